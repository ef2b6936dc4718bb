import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseConfig } from "hostd";
import { describe, expect, it } from "vitest";
import { proxyReportSchema } from "../../apps/hostd/src/control/proxy-report.ts";
import { Peer } from "../../packages/streams/src/testing/peer.ts";
import { askDaemon } from "./support/control.ts";
import { Api, until } from "./support/control-lab.ts";
import { serveTcp } from "./support/host-servers.ts";
import { GATEWAY, HOST, HOST_NAME, inLab, type Lab } from "./support/lab.ts";
import { GuestHttp, ORIGIN, playUpstream, serveOrigin, setProxy, ZONES } from "./support/proxy-lab.ts";

const PORTS = [3128, 3129];
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nupstream";

/** Forms of what is nobody's but one's own, and why it is not connected to. */
const OWN = [
  ["127.0.0.1", "127.0.0.1 is a loopback address"],
  ["127.1", "127.0.0.1 is a loopback address"],
  ["2130706433", "127.0.0.1 is a loopback address"],
  ["0x7f.0.0.1", "127.0.0.1 is a loopback address"],
  ["localhost", "is a loopback"],
  ["0.0.0.0", "0.0.0.0 is no address of a host"],
  ["[::1]", "::1 is a loopback, link-local, multicast or unspecified address"],
  ["[::]", ":: is a loopback, link-local, multicast or unspecified address"],
  ["[::ffff:127.0.0.1]", "127.0.0.1 is a loopback address"],
  ["[fe80::1]", "fe80::1 is a loopback, link-local, multicast or unspecified address"],
  [GATEWAY, `${GATEWAY} is the gateway`],
  ["gateway.docker.internal", `${GATEWAY} is the gateway`],
  ["192.168.65.99", "192.168.65.99 is in the network of the VM"],
  ["169.254.169.254", "169.254.169.254 is a link-local address"],
] as const;

async function start(lab: Lab, proxy: Parameters<Lab["start"]>[0] = {}) {
  const api = `${lab.folder}/api.sock`;
  const daemon = await lab.start({
    api,
    dns: { servers: [lab.nameServer.address], zones: ZONES },
    ...proxy,
  });
  return { api, daemon, guest: await lab.boot() };
}

describe("a client that knows of the proxy", () => {
  it.each(PORTS)("reaches this host's own services by port %i, with requests and with tunnels", (port) =>
    inLab(async (lab) => {
      const { guest } = await start(lab);
      expect(await guest.resolve("http.docker.internal")).toEqual([GATEWAY]);
      const origin = await serveOrigin(lab);
      const client = await GuestHttp.open(guest, port);
      expect(await client.get(`http://${HOST_NAME}:${origin.port}/a`)).toMatchObject({
        status: 200,
        body: "origin has /a",
      });
      // The next request of the connection is for somebody else.
      const other = await serveOrigin(lab);
      expect((await client.get(`http://${HOST}:${other.port}/b?c`)).body).toBe("origin has /b?c");
      expect(origin.asked).toEqual([`GET /a ${HOST_NAME}:${origin.port}`]);
      expect(other.asked).toEqual([`GET /b?c ${HOST}:${other.port}`]);

      const echo = await serveTcp(lab, (socket) => socket.pipe(socket));
      const tunnel = await GuestHttp.open(guest, port);
      expect((await tunnel.connect(`${HOST_NAME}:${echo.port}`)).status).toBe(200);
      tunnel.clear();
      tunnel.end("there and back");
      await tunnel.gets("there and back");
      await tunnel.ends();
    }),
  );

  it("is sent to names that only hostd knows", () =>
    inLab(async (lab) => {
      const { guest } = await start(lab);
      const origin = await serveOrigin(lab);
      const client = await GuestHttp.open(guest);
      expect((await client.get(`http://${ORIGIN}:${origin.port}/`)).body).toBe("origin has /");
      const tunnel = await GuestHttp.open(guest);
      expect((await tunnel.connect(`${ORIGIN}:${origin.port}`)).status).toBe(200);
      const failed = await (await GuestHttp.open(guest)).get("http://none.lab.test/");
      expect(failed).toMatchObject({ status: 502, body: expect.stringContaining("none.lab.test:80") });
    }));

  it("is told of a port of this host where nobody listens", () =>
    inLab(async (lab) => {
      const { guest } = await start(lab);
      const { status, body } = await (await GuestHttp.open(guest)).connect(`${HOST_NAME}:1`);
      expect({ status, body }).toEqual({
        status: 502,
        body: `hostd: ${HOST_NAME}:1 refused the connection\n`,
      });
    }));

  it.each(["direct", "an upstream proxy"])("reaches nothing that is one's own, whatever its form: %s", (way) =>
    inLab(async (lab) => {
      const { proxy, url } = await playUpstream();
      const { guest } = await start(lab, {
        egress: { linkLocal: false },
        // A proxy may reach link-local addresses, and has to be told by a list that it is not to be asked.
        proxy:
          way === "direct"
            ? { upstream: way }
            : { upstream: url, noProxy: "169.254/16,192.168.65.0/24,fe80::/10,::,0.0.0.0" },
      });
      for (const [host, reason] of OWN) {
        for (const ask of ["get", "connect"] as const) {
          const client = await GuestHttp.open(guest);
          const answer = ask === "get" ? client.get(`http://${host}/`) : client.connect(`${host}:80`);
          const { status, head, body } = await answer;
          expect({ host, ask, status }).toEqual({ host, ask, status: 403 });
          expect(body).toContain(reason);
          expect(body).toContain("those of the host are at host.docker.internal");
          expect(head).toContain("Proxy-Status: hostd; error=http_request_denied");
        }
      }
      expect(proxy.peers).toEqual([]);
    }),
  );

  it("has a port of the gateway that is closed where the proxy is turned off", () =>
    inLab(async (lab) => {
      const { guest } = await start(lab, { proxy: { enabled: false, upstream: "direct" } });
      for (const port of PORTS) {
        await expect(guest.connect(GATEWAY, port)).rejects.toMatchObject({ code: "ECONNREFUSED" });
      }
    }));
});

describe("other settings", () => {
  it("hold for the next request, while a download under way finishes on its way", () =>
    inLab(async (lab) => {
      const { api, guest } = await start(lab);
      const slow = await serveTcp(lab, (socket) => {
        socket.once("data", () => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst"));
      });
      const upstream = await playUpstream();
      const download = await GuestHttp.open(guest);
      const url = `http://${ORIGIN}:${slow.port}/`;
      download.write(`GET ${url} HTTP/1.1\r\nHost: ${ORIGIN}:${slow.port}\r\n\r\n`);
      await download.until(() => download.text.endsWith("first"));

      await setProxy(api, upstream.url.replace("//", "//alice:s3cret@"));
      const next = await GuestHttp.open(guest);
      const asked = next.get(url);
      const { peer, head } = await upstream.asked();
      expect(head).toMatch(`GET ${url} HTTP/1.1\r\n`);
      expect(head).toContain(`Proxy-Authorization: Basic ${btoa("alice:s3cret")}\r\n`);
      peer.write(OK);
      expect(await asked).toMatchObject({ status: 200, body: "upstream" });

      slow.sockets[0].write("again");
      await download.until(() => download.text.endsWith("firstagain"));
      // The same connection of the guest takes the other way too.
      const later = download.get(url);
      const again = await upstream.asked();
      again.peer.write(OK);
      expect((await later).body).toBe("upstream");

      await askDaemon(api, "DELETE", "/v1/proxy");
      const origin = await serveOrigin(lab);
      expect((await next.get(`http://${ORIGIN}:${origin.port}/`)).body).toBe("origin has /");
    }));

  it("have tunnels of an excluded name go direct, and others through the proxy", () =>
    inLab(async (lab) => {
      const { api, guest } = await start(lab);
      const upstream = await playUpstream();
      const origin = await serveOrigin(lab);
      const authority = `${ORIGIN}:${origin.port}`;
      await setProxy(api, upstream.url, ".lab.test");
      expect((await (await GuestHttp.open(guest)).connect(authority)).status).toBe(200);
      expect((await (await GuestHttp.open(guest)).get(`http://${authority}/direct`)).body).toBe("origin has /direct");
      expect(upstream.proxy.peers).toEqual([]);

      await setProxy(api, upstream.url, `other.test,lab.test:${origin.port + 1}`);
      const tunnel = (await GuestHttp.open(guest)).connect(authority);
      const { peer, head } = await upstream.asked();
      expect(head).toMatch(`CONNECT ${authority} HTTP/1.1\r\n`);
      peer.write("HTTP/1.1 200 OK\r\n\r\n");
      expect((await tunnel).status).toBe(200);
    }));

  it("are those of the configuration that is read again, and are told of", () =>
    inLab(async (lab) => {
      const upstream = await playUpstream();
      const base = { api: `${lab.folder}/api.sock`, qemu: [`unix://${lab.socket}`], state: join(lab.folder, "state") };
      const dns = { servers: [lab.nameServer.address], zones: ZONES };
      let proxy: { upstream: string; noProxy?: string; ca?: string } = { upstream: "direct" };
      const daemon = await lab.start(
        { ...base, dns, proxy },
        {
          readConfig: async () => parseConfig({ ...base, dns, proxy, log: { level: "debug", format: "json" } }, "test"),
        },
      );
      const events: unknown[] = [];
      daemon.control.events.listen(({ time: _, ...event }) => events.push(event));
      const guest = await lab.boot();
      const origin = await serveOrigin(lab);
      const client = await GuestHttp.open(guest);
      const url = `http://${ORIGIN}:${origin.port}/`;
      expect((await client.get(url)).body).toBe("origin has /");

      proxy = { upstream: upstream.url.replace("//", "//bob:s3cret@"), noProxy: "corp.test" };
      expect((await daemon.control.reload()).changed).toEqual(["proxy.upstream", "proxy.noProxy"]);
      const asked = client.get(url);
      const { peer } = await upstream.asked();
      peer.write(OK);
      expect((await asked).body).toBe("upstream");

      proxy = { upstream: "direct", ca: join(lab.folder, "none.pem") };
      await expect(daemon.control.reload()).rejects.toThrow(/^proxy\.ca: .*none\.pem has no certificates/);
      const { json } = await askDaemon(base.api, "GET", "/v1/proxy");
      expect(proxyReportSchema.parse(json).settings).toMatchObject({ http: [upstream.url], from: "the configuration" });
      expect(events.filter((event) => (event as { type: string }).type === "proxy.changed")).toEqual([
        {
          ...{ type: "proxy.changed", http: [upstream.url], https: [upstream.url], pac: null },
          ...{ exclusions: ["corp.test"], from: "the configuration" },
        },
      ]);
      expect(JSON.stringify([daemon.log, events])).not.toContain("s3cret");
    }));

  it("are those of vpnkit's file, as it is now", () =>
    inLab(async (lab) => {
      const upstream = await playUpstream();
      const file = join(lab.folder, "proxy.json");
      const { guest, daemon } = await start(lab, { proxy: { vpnkitFile: file, upstream: "direct" } });
      const origin = await serveOrigin(lab);
      const client = await GuestHttp.open(guest);
      const url = `http://${ORIGIN}:${origin.port}/`;
      expect((await client.get(url)).body).toBe("origin has /");
      await writeFile(file, JSON.stringify({ http: upstream.url, transparent_http_ports: [8080] }));
      await until(async () => (await daemon.control.proxy.report()).settings.http.length === 1);
      const asked = client.get(url);
      (await upstream.asked()).peer.write(OK);
      expect((await asked).body).toBe("upstream");
      expect(daemon.control.proxy.transparentPorts).toEqual([8080, 443]);
      await rm(file);
      await until(async () => (await daemon.control.proxy.report()).settings.http.length === 0);
      expect((await client.get(url)).body).toBe("origin has /");
    }));
});

describe("a VM that goes", () => {
  it("ends its requests and its tunnels, at both ends, and what is counted of them", () =>
    inLab(async (lab) => {
      const api = await Api.start(lab, { dns: { servers: [lab.nameServer.address], zones: ZONES } });
      const guest = await lab.boot();
      const held = await serveTcp(lab, (socket) => socket.write("open"));
      const origin = await serveOrigin(lab);
      const upstream = await playUpstream();
      const tunnel = await GuestHttp.open(guest);
      expect((await tunnel.connect(`${HOST_NAME}:${held.port}`)).status).toBe(200);
      const idle = await GuestHttp.open(guest);
      await idle.get(`http://${HOST_NAME}:${origin.port}/`);
      await setProxy(`${lab.folder}/api.sock`, upstream.url);
      const waiting = await GuestHttp.open(guest);
      waiting.write(`GET http://${ORIGIN}/ HTTP/1.1\r\nHost: ${ORIGIN}\r\n\r\n`);
      const { peer } = await upstream.asked();
      const [{ name, connections, tunnels }] = (
        await api.get<{ vms: { name: string; connections: number; tunnels: number }[] }>("/v1/proxy", proxyReportSchema)
      ).vms;
      expect({ name, connections, tunnels }).toEqual({ name: `unix://${lab.socket}`, connections: 2, tunnels: 1 });
      const metrics = await api.scrape();
      expect(metrics.get('hostd_proxy_connections{kind="requests"}')?.value).toBe(2);
      expect(metrics.get('hostd_proxy_connections{kind="tunnels"}')?.value).toBe(1);
      expect(metrics.get('hostd_proxy_upstreams{state="working"}')?.value).toBe(1);

      await guest.kill();
      await peer.ends();
      await until(async () => held.sockets[0].destroyed && origin.sockets.size === 0);
      await until(async () => (await api.vms()).length === 0);
      expect((await api.scrape()).get('hostd_proxy_connections{kind="tunnels"}')?.value).toBe(0);
    }));

  it("may go while the first of its connections waits for what serves it", () =>
    inLab(async (lab) => {
      const { daemon } = await start(lab);
      const guest = await lab.boot(2);
      const connecting = guest.connect(GATEWAY, 3128).then(
        (stream) => new Peer(stream),
        () => null,
      );
      await guest.kill();
      await connecting;
      await until(async () => daemon.control.vms().length === 1);
      expect(daemon.log.filter(({ level }) => level === "error")).toEqual([]);
    }));
});
