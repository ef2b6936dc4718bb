/** Whether programs understand what containers are told to reach without the proxy. */
import { execFile } from "node:child_process";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { promisify } from "node:util";
import { parseConfig } from "hostd";
import { describe, expect, it } from "vitest";
import { noProxyList } from "../../apps/hostd/src/proxy/guest-environment.ts";
import { cleanUp } from "../../packages/streams/src/testing/peer.ts";
import { findCommand } from "../vm/host-packages.ts";

const LIST = noProxyList(parseConfig({ docker: { zone: "shop.test" } }, "test"));
/** Hosts that everybody reaches without the proxy. */
const DIRECT = ["localhost", "127.0.0.1", "web.docker.internal", "host.containers.internal", "api.web.shop.test"];
/** Those that only programs do that know networks. */
const NETWORKS = ["10.1.2.3", "172.17.0.2", "192.168.65.3"];
const PROXIED = ["www.example.com", "docker.internal.example", "198.51.100.7"];

async function serve(answer: string): Promise<number> {
  const server = createServer((_, response) => response.end(answer));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanUp(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

/** What a program prints that is told of a proxy. */
async function run(program: string, args: readonly string[], proxy: number): Promise<string> {
  const url = `http://127.0.0.1:${proxy}`;
  const variables = { http_proxy: url, HTTP_PROXY: url, no_proxy: LIST, NO_PROXY: LIST };
  const env = { PATH: process.env.PATH, HOME: "/nonexistent", ...variables };
  const { stdout } = await promisify(execFile)(program, args, { env });
  return stdout.trim();
}

describe("the list of what containers reach without the proxy", () => {
  it("is understood by Node", async () => {
    const [origin, proxy] = [await serve("direct"), await serve("proxy")];
    const script = `
      const http = require("node:http");
      const agent = new http.Agent({ proxyEnv: process.env });
      // No name is looked up, and nothing leaves this host.
      const lookup = (_, { all }, done) => all ? done(null, [{ address: "127.0.0.1", family: 4 }]) : done(null, "127.0.0.1", 4);
      const ask = (host) => new Promise((resolve, reject) => {
        http.get({ host, port: ${origin}, agent, lookup }, (response) => {
          response.setEncoding("utf8").on("data", (text) => resolve(host + " " + text));
        }).on("error", reject);
      });
      Promise.all(process.argv.slice(1).map(ask)).then((lines) => { console.log(lines.join("\\n")); process.exit(); });`;
    const lines = await run(process.execPath, ["-e", script, ...DIRECT, ...NETWORKS, ...PROXIED], proxy);
    expect(lines.split("\n")).toEqual([
      ...DIRECT.map((host) => `${host} direct`),
      ...[...NETWORKS, ...PROXIED].map((host) => `${host} proxy`),
    ]);
  });

  it.skipIf(findCommand("curl") === undefined)("is understood by curl, with the networks from 7.86 on", async () => {
    const [origin, proxy] = [await serve("direct"), await serve("proxy")];
    const urls = [...DIRECT, ...NETWORKS, ...PROXIED].map((host) => `http://${host}:${origin}/`);
    // What goes direct goes to this host, whatever its name or address is.
    const resolved = [...DIRECT, ...NETWORKS].flatMap((host) => ["--resolve", `${host}:${origin}:127.0.0.1`]);
    const args = ["--disable", "--silent", "--interface", "127.0.0.1", ...resolved, "--write-out", "\\n", ...urls];
    const answers = (await run("curl", args, proxy)).split("\n");
    const version = /^curl (\d+)\.(\d+)/.exec(await run("curl", ["--version"], proxy)) ?? [];
    const knowsNetworks = Number(version[1]) > 7 || Number(version[2]) >= 86;
    expect(answers).toEqual([
      ...DIRECT.map(() => "direct"),
      ...NETWORKS.map(() => (knowsNetworks ? "direct" : "proxy")),
      ...PROXIED.map(() => "proxy"),
    ]);
  });

  it.skipIf(findCommand("python3") === undefined)("is understood by Python", async () => {
    const script =
      "import sys, urllib.request\n" +
      "for host in sys.argv[1:]: print(host, bool(urllib.request.proxy_bypass_environment(host)))";
    const lines = await run("python3", ["-c", script, ...DIRECT, ...NETWORKS, ...PROXIED], 1);
    expect(lines.split("\n")).toEqual([
      ...DIRECT.map((host) => `${host} True`),
      ...[...NETWORKS, ...PROXIED].map((host) => `${host} False`),
    ]);
  });
});
