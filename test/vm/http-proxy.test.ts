import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, request, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { type AddressInfo, connect } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { TestAuthority } from "../../packages/httpproxy/src/testing/certificates.ts";
import { DHCP_CLIENTS, MAKE_BUSYBOX_CONTAINER_IMAGE, START_DOCKER } from "./guest-commands.ts";
import { ARTIFACTS, HostdProcess, makeFolder } from "./hostd-process.ts";
import { ensureVm, imageOf } from "./image.ts";
import { CONTAINER_PROCESSORS, Vm } from "./vm.ts";

const availability = await ensureVm();
const LOOPBACK = "127.0.0.1";
const PAGE = "from the origin behind the proxy";
/** Of a network that nothing has (RFC 5737): nobody gets there but by a proxy that knows the name. */
const NOWHERE = "192.0.2.80";
const NAME = "www.company.test";
const PROXY = "http://http.docker.internal:3128";

/** Fetches a page with python's urllib, which takes the variables http_proxy and https_proxy. */
const URLLIB = (url: string) =>
  `python3 -c 'import urllib.request as r; print(r.urlopen("${url}", timeout=20).read().decode(), end="")'`;

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}

describe.skipIf(!availability.available)("a VM behind a company's proxy", () => {
  const folder = makeFolder("http-proxy");
  const socket = join(folder, "vm.sock");
  /** What the proxy was asked for. */
  const asked: string[] = [];
  const servers: Server[] = [];
  let hostd: HostdProcess;
  let vm: Vm;

  const listen = async (server: Server) => {
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, LOOPBACK, resolve));
    return portOf(server);
  };

  /** A proxy that takes every name for one origin. */
  const makeProxy = (plainPort: number, tlsPort: number): Server => {
    const proxy = createServer((asking, answer) => {
      asked.push(`${asking.method} ${asking.url}`);
      const path = new URL(asking.url ?? "").pathname;
      const { method, headers } = asking;
      const forward = request({ host: LOOPBACK, port: plainPort, method, path, headers }, (answered) => {
        answer.writeHead(answered.statusCode ?? 0, answered.headers);
        answered.pipe(answer);
      });
      asking.pipe(forward);
    });
    proxy.on("connect", (asking, client, head) => {
      asked.push(`CONNECT ${asking.url}`);
      const upstream = connect(tlsPort, LOOPBACK, () => {
        client.write("HTTP/1.1 200 OK\r\n\r\n");
        upstream.write(head);
        upstream.pipe(client).pipe(upstream);
      });
      upstream.on("error", () => client.destroy());
      client.on("error", () => upstream.destroy());
    });
    return proxy;
  };

  beforeAll(async () => {
    const authority = await TestAuthority.make();
    const { key, cert } = await authority.sign([`DNS:${NAME}`]);
    const plain = await listen(createServer((_, answer) => answer.end(PAGE)));
    const tls = await listen(createTlsServer({ key, cert }, (_, answer) => answer.end(PAGE)));
    const proxy = await listen(makeProxy(plain, tls));
    const config = join(folder, "hostd.yaml");
    writeFileSync(
      config,
      `dns: {zones: [{name: company.test, records: [{name: www, address: ${NOWHERE}}]}]}
proxy: {upstream: "http://${LOOPBACK}:${proxy}"}
`,
      { mode: 0o644 },
    );
    const args = ["--config", config, "--qemu", `unix://${socket}`, "--state", join(folder, "state")];
    hostd = await HostdProcess.start("http-proxy", args);
    const netdev = `stream,id=n0,addr.type=unix,addr.path=${socket}`;
    vm = await Vm.boot({
      ...{ image: imageOf(availability), netdev, processors: CONTAINER_PROCESSORS },
      ...{ name: "http-proxy", artifacts: ARTIFACTS },
    });
    await vm.check(DHCP_CLIENTS.udhcpc);
    await vm.check("mkdir -p /etc/ssl/certs && cat >>/etc/ssl/certs/test.pem", { stdin: Buffer.from(authority.ca) });
  });

  afterAll(async () => {
    await vm?.kill();
    await hostd?.stop();
    for (const server of servers) {
      server.closeAllConnections();
      server.close();
    }
    rmSync(folder, { recursive: true, force: true });
  });

  beforeEach(() => {
    asked.length = 0;
  });

  const explicit = `export http_proxy=${PROXY} https_proxy=${PROXY} SSL_CERT_FILE=/etc/ssl/certs/test.pem;`;
  const transparent = "export SSL_CERT_FILE=/etc/ssl/certs/test.pem;";

  it.each([
    ["told of the proxy on the gateway", explicit],
    ["that knows of no proxy", transparent],
  ])("gets there with wget and python %s", async (_, variables) => {
    expect((await vm.check(`${variables} busybox wget -q -O - http://${NAME}/page`)).stdout).toBe(PAGE);
    expect((await vm.check(`${variables} ${URLLIB(`http://${NAME}/page`)}`)).stdout).toBe(PAGE);
    expect((await vm.check(`${variables} ${URLLIB(`https://${NAME}/page`)}`)).stdout).toBe(PAGE);
    expect(asked).toEqual([
      `GET http://${NAME}/page`,
      `GET http://${NAME}/page`,
      // The name, not the address that the VM found for it.
      `CONNECT ${NAME}:443`,
    ]);
  });

  it("gets there from containers, and while an image is built, that know of no proxy", async () => {
    await vm.check(START_DOCKER, { timeoutMs: 120_000 });
    await vm.check(MAKE_BUSYBOX_CONTAINER_IMAGE, { timeoutMs: 60_000 });
    const wget = `wget -q -O - http://${NAME}/page`;
    expect((await vm.check(`docker run --rm busybox ${wget}`, { timeoutMs: 60_000 })).stdout).toBe(PAGE);
    const dockerfile = `FROM busybox\nRUN ${wget} >/page\n`;
    await vm.check("docker build -t built -", { stdin: Buffer.from(dockerfile), timeoutMs: 120_000 });
    expect((await vm.check("docker run --rm built cat /page", { timeoutMs: 60_000 })).stdout).toBe(PAGE);
    const argument = `--build-arg http_proxy=${PROXY} --no-cache`;
    await vm.check(`docker build ${argument} -`, { stdin: Buffer.from(dockerfile), timeoutMs: 120_000 });
    expect(asked).toEqual(Array.from({ length: 3 }, () => `GET http://${NAME}/page`));
  });

  it("reads why when the company's proxy is gone, and gets there again at once when it is back", async () => {
    const [, , proxy] = servers;
    const port = portOf(proxy);
    proxy.closeAllConnections();
    await new Promise((resolve) => proxy.close(resolve));
    const failed = await vm.run(`${explicit} ${URLLIB(`http://${NAME}/page`)}`);
    expect(failed.stderr).toContain("502");
    const { stdout } = await vm.run(
      `printf 'GET http://${NAME}/ HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' | nc http.docker.internal 3128`,
    );
    expect(stdout).toContain(`the proxy http://${LOOPBACK}:${port} refused the connection`);
    await new Promise<void>((resolve) => proxy.listen(port, LOOPBACK, resolve));
    expect((await vm.check(`${explicit} ${URLLIB(`http://${NAME}/page`)}`)).stdout).toBe(PAGE);
  });

  it("reaches this host itself directly, whatever proxy is set", async () => {
    const port = portOf(servers[0]);
    const url = `http://host.docker.internal:${port}/`;
    expect((await vm.check(`${explicit} ${URLLIB(url)}`)).stdout).toBe(PAGE);
    expect(asked).toEqual([]);
    expect(readFileSync(join(ARTIFACTS, "http-proxy.hostd.log"), "utf8")).not.toContain("uncaught");
  });
});
