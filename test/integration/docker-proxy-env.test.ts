import { createServer, request } from "node:http";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { describe, expect, it, vi } from "vitest";
import { ensureDockerClient, ensureDockerEngine } from "../vm/host-packages.ts";
import { askDaemon } from "./support/control.ts";
import { DOCKER, engineGuestsLack, IMAGE, useEngine } from "./support/engine-guest.ts";
import { HOST, inLab, type Lab } from "./support/lab.ts";
import { askedOf, ORIGIN, playUpstream, setProxy, ZONES } from "./support/proxy-lab.ts";

const PROXY = "http://http.docker.internal:3128";
const NO_PROXY =
  "localhost,127.0.0.1,::1,.docker.internal,.containers.internal,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16";
const VARIABLES = [
  ...["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"].map((name) => `${name}=${PROXY}`),
  ...["NO_PROXY", "no_proxy"].map((name) => `${name}=${NO_PROXY}`),
];

/** An engine that keeps what it is asked to make. */
async function serveEngine(lab: Lab) {
  const bodies: { path: string; body: unknown }[] = [];
  const server = createServer(async (incoming, response) => {
    const body = await text(incoming);
    if (incoming.method !== "POST") {
      response.writeHead(404).end('{"message":"there is nothing here"}');
      return;
    }
    bodies.push({ path: incoming.url ?? "", body: JSON.parse(body) });
    response.writeHead(201, { "content-type": "application/json" }).end('{"Id":"x","Warnings":[]}');
  });
  const path = join(lab.folder, "engine.sock");
  await new Promise<void>((resolve) => server.listen(path, resolve));
  lab.defer(() => {
    server.closeAllConnections();
    server.close();
  });
  return { path, bodies };
}

async function post(socketPath: string, path: string, body: object): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const outgoing = request({ socketPath, path, method: "POST", agent: false }, (response) => {
      text(response).then(() => resolve(), reject);
    });
    outgoing.once("error", reject);
    outgoing.end(JSON.stringify(body));
  });
}

describe("docker.injectProxyEnv", () => {
  it.each<[string, object, object, readonly string[]]>([
    ["adds the variables that a container does not set", { injectProxyEnv: true }, {}, VARIABLES],
    ["does nothing unless it is set", {}, {}, []],
    ["does nothing where there is no proxy on the gateway", { injectProxyEnv: true }, { enabled: false }, []],
  ])("%s", (_, docker, proxy, added) =>
    inLab(async (lab) => {
      const engine = await serveEngine(lab);
      const listen = join(lab.folder, "docker.sock");
      await lab.start({
        docker: { listen: `unix://${listen}`, upstream: `unix://${engine.path}`, ...docker },
        proxy: { upstream: "direct", ...proxy },
      });
      await post(listen, "/v1.44/containers/create", { Image: "web", Env: ["A=1"] });
      await post(listen, "/v1.44/containers/create", { Image: "web", Env: ["A=1", "https_proxy=", "No_Proxy=mine"] });
      const services = { Name: "web", TaskTemplate: { ContainerSpec: { Image: "web" } } };
      await post(listen, "/v1.44/services/create", services);
      const environments = engine.bodies.map(({ body }) => {
        const { Env, TaskTemplate } = body as { Env?: string[]; TaskTemplate?: { ContainerSpec: { Env?: string[] } } };
        return Env ?? TaskTemplate?.ContainerSpec.Env ?? [];
      });
      expect(environments).toEqual([
        ["A=1", ...added],
        ["A=1", "https_proxy=", "No_Proxy=mine", ...added.filter((variable) => /^http_proxy/i.test(variable))],
        added,
      ]);
    }),
  );
});

const lack = engineGuestsLack(ensureDockerEngine(), ensureDockerClient());

describe.skipIf(lack !== undefined)(`containers of a real engine${lack === undefined ? "" : ` (${lack})`}`, () => {
  const engine = useEngine("docker-proxy-env", DOCKER, { docker: { injectProxyEnv: true } });

  it("have the variables, which lead to hostd from the default network and from others, whatever the way is then", async () => {
    const { api, lab } = engine();
    for (const zone of ZONES) await askDaemon(api, "POST", "/v1/dns/zones", zone);
    const shown = (await engine().docker("run", "--rm", "-e", "HTTPS_PROXY=mine", IMAGE, "env")).split("\n");
    expect(shown).toContain("HTTPS_PROXY=mine");
    expect(shown).not.toContain(`https_proxy=${PROXY}`);
    for (const variable of VARIABLES.filter((one) => !/^https/i.test(one))) expect(shown).toContain(variable);

    const server = createServer((incoming, response) => response.end(`direct to ${incoming.headers.host}`));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    lab.defer(() => server.close());
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const url = `http://${ORIGIN}:${port}/`;
    await engine().docker("network", "create", "other");
    await engine().start("one", [], ["sleep", "3600"]);
    await engine().start("two", ["--network", "other"], ["sleep", "3600"]);
    const fetchIn = (name: string) => engine().docker("exec", name, "wget", "-q", "-O", "-", url);
    for (const name of ["one", "two"]) expect(await fetchIn(name)).toBe(`direct to ${ORIGIN}:${port}`);

    // While they run, with an environment that never changes.
    const upstream = await playUpstream();
    await setProxy(api, upstream.url);
    for (const name of ["one", "two"]) {
      const fetched = fetchIn(name);
      const { peer, head } = await askedOf(upstream.proxy);
      expect(head).toMatch(`GET ${url} HTTP/1.1\r\nHost: ${ORIGIN}:${port}\r\n`);
      peer.write("HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nby the proxy\n");
      expect(await fetched).toBe("by the proxy");
    }
    await askDaemon(api, "DELETE", "/v1/proxy");
    await vi.waitFor(async () => expect(await fetchIn("one")).toBe(`direct to ${ORIGIN}:${port}`));
    expect(HOST).toBe("192.168.65.254");
    await engine().docker("rm", "-f", "two");
    await engine().docker("network", "rm", "other");
  });
});
