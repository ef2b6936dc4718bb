import { createServer, type Server } from "node:net";
import { networkInterfaces } from "node:os";
import { describe, expect, it } from "vitest";
import { chromeHello, firefoxHello } from "../../packages/httpproxy/src/testing/client-hellos.ts";
import { Peer } from "../../packages/streams/src/testing/peer.ts";
import { askDaemon } from "./support/control.ts";
import { until } from "./support/control-lab.ts";
import { serveTcp } from "./support/host-servers.ts";
import { HOST, inLab, type Lab } from "./support/lab.ts";
import { GuestHttp, playUpstream, serveOrigin, setProxy, ZONES } from "./support/proxy-lab.ts";

/** An address that nobody is connected to: what guests send there is for the upstream proxy. */
const FAR = "198.51.100.7";
/** An address of this host that is not its loopback, and which its own packets do not leave it for. */
const OWN = Object.values(networkInterfaces())
  .flatMap((addresses) => addresses ?? [])
  .find(({ family, internal }) => family === "IPv4" && !internal)?.address;
const SSH = "SSH-2.0-OpenSSH_9.9\r\n";

async function start(lab: Lab, upstream: string, proxy: object = {}) {
  const api = `${lab.folder}/api.sock`;
  const daemon = await lab.start({
    api,
    dns: { servers: [lab.nameServer.address], zones: ZONES },
    proxy: { upstream, ...proxy },
  });
  return { api, daemon, guest: await lab.boot() };
}

/** A server on an address, and the port that it has. */
async function listenOn(lab: Lab, address: string): Promise<{ server: Server; port: number }> {
  const server = createServer((socket) => socket.on("error", () => {}).end("served"));
  await new Promise<void>((resolve) => server.listen(0, address, resolve));
  lab.defer(() => server.close());
  const bound = server.address();
  return { server, port: typeof bound === "object" && bound !== null ? bound.port : 0 };
}

describe("connections to port 443 while there is a proxy", () => {
  it.each([
    ["one segment", firefoxHello("www.example.com"), 100_000],
    ["many segments", chromeHello("www.example.com"), 700],
  ])("go through it by the name that the client says, in %s", (_, hello, size) =>
    inLab(async (lab) => {
      const upstream = await playUpstream();
      const { guest } = await start(lab, upstream.url.replace("//", "//alice:s3cret@"));
      const client = new Peer(await guest.connect(FAR, 443));
      for (let at = 0; at < hello.length; at += size) client.write(hello.subarray(at, at + size));
      const { peer, head } = await upstream.asked();
      expect(head).toMatch("CONNECT www.example.com:443 HTTP/1.1\r\n");
      expect(head).toContain(`Proxy-Authorization: Basic ${btoa("alice:s3cret")}\r\n`);
      expect(head).not.toContain(FAR);
      peer.clear();
      peer.write("HTTP/1.1 200 OK\r\n\r\nanswer");
      await peer.getsBytes(hello.length);
      expect(peer.received.equals(hello)).toBe(true);
      await client.gets("answer");
      client.end();
      await peer.ends();
      peer.end();
      await client.closes();
    }),
  );

  it("are reset when the proxy has no way, which the log tells without a word of the password", () =>
    inLab(async (lab) => {
      const upstream = await playUpstream();
      const { guest, daemon } = await start(lab, upstream.url.replace("//", "//alice:s3cret@"));
      const client = new Peer(await guest.connect(FAR, 443));
      client.write(firefoxHello("www.example.com"));
      (await upstream.asked()).peer.write("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
      await client.closes();
      expect(client.failure).toBe("ECONNRESET");
      expect(JSON.stringify(daemon.log)).toContain("www.example.com:443");
      expect(JSON.stringify(daemon.log)).not.toContain("s3cret");
    }));
});

describe("connections to port 80 while there is a proxy", () => {
  it("go through it request by request, by the Host of each", () =>
    inLab(async (lab) => {
      const upstream = await playUpstream();
      const { guest } = await start(lab, upstream.url);
      const client = await GuestHttp.open(guest, 80, FAR);
      const first = client.ask("GET /a?b HTTP/1.1\r\nHost: one.example");
      const { peer, head } = await upstream.asked();
      expect(head).toMatch("GET http://one.example/a?b HTTP/1.1\r\nHost: one.example\r\n");
      peer.clear();
      peer.write("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none");
      expect((await first).body).toBe("one");
      const second = client.ask("GET / HTTP/1.1\r\nHost: two.example");
      await peer.until(() => peer.text.includes("\r\n\r\n"));
      expect(peer.text).toMatch("GET http://two.example/ HTTP/1.1\r\nHost: two.example\r\n");
      peer.write("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo");
      expect((await second).body).toBe("two");
    }));

  it("are answered with a page when the proxy is not there", () =>
    inLab(async (lab) => {
      const { guest } = await start(lab, "http://127.0.0.1:1");
      const client = await GuestHttp.open(guest, 80, FAR);
      const { status, body } = await client.ask("GET / HTTP/1.1\r\nHost: one.example\r\nAccept: text/html");
      expect(status).toBe(502);
      expect(body).toContain("the proxy http://127.0.0.1:1 refused the connection");
    }));
});

describe("what is neither HTTP nor TLS on those ports", () => {
  it("is reset where it may not pass", () =>
    inLab(async (lab) => {
      const upstream = await playUpstream();
      const { guest } = await start(lab, upstream.url, { other: "refuse" });
      const client = new Peer(await guest.connect(FAR, 443));
      client.write(SSH);
      await client.closes();
      expect(client.failure).toBe("ECONNRESET");
      expect(upstream.proxy.peers).toEqual([]);
    }));
});

describe("other connections", () => {
  it("to this host, and to ports that are not looked into, are as if there were no proxy", () =>
    inLab(async (lab) => {
      const upstream = await playUpstream();
      const { guest } = await start(lab, upstream.url, { transparentPorts: "all" });
      const server = await serveTcp(lab, (socket) => socket.end("first"));
      // It speaks first, and nobody has to wait whether the client does.
      await new Peer(await guest.connect(HOST, server.port)).gets("first");
      await expect(guest.connect(HOST, 1)).rejects.toMatchObject({ code: "ECONNREFUSED" });
      const origin = await serveOrigin(lab);
      expect((await (await GuestHttp.open(guest, origin.port, HOST)).ask("GET /x HTTP/1.1\r\nHost: a")).body).toBe(
        "origin has /x",
      );
      expect(upstream.proxy.peers).toEqual([]);
    }));
});

describe.skipIf(OWN === undefined)(`an address of this host, ${OWN ?? "of which there is none"}`, () => {
  const own = OWN ?? "";

  it("refuses a guest that it refuses itself, as long as no proxy is in force, and for what is excluded", () =>
    inLab(async (lab) => {
      const { server, port: closed } = await listenOn(lab, own);
      server.close();
      const { port: open } = await listenOn(lab, own);
      const upstream = await playUpstream();
      const { api, guest } = await start(lab, "direct", { transparentPorts: `${closed},${open}` });
      const isRefused = () => expect(guest.connect(own, closed)).rejects.toMatchObject({ code: "ECONNREFUSED" });
      const isServed = async () => new Peer(await guest.connect(own, open)).gets("served");
      await isRefused();
      await isServed();
      await setProxy(api, upstream.url, own);
      await isRefused();
      await isServed();
      await setProxy(api, `pac+file://${lab.folder}/no.pac`, `${own}/32`);
      await isRefused();
      await isServed();

      // With a proxy for it, it is accepted before anybody else was asked.
      await setProxy(api, upstream.url, "other.test");
      const client = new Peer(await guest.connect(own, closed));
      client.write(firefoxHello("www.example.com"));
      const { head } = await upstream.asked();
      expect(head).toMatch(`CONNECT www.example.com:${closed} HTTP/1.1\r\n`);
      await askDaemon(api, "DELETE", "/v1/proxy");
      await isRefused();
    }));

  it("is connected to under whichever name, when the name is excluded", () =>
    inLab(async (lab) => {
      const { port } = await listenOn(lab, own);
      const upstream = await playUpstream();
      const { guest } = await start(lab, upstream.url, { transparentPorts: String(port), noProxy: ".example.com" });
      const client = new Peer(await guest.connect(own, port));
      client.write(firefoxHello("www.example.com"));
      await client.gets("served");
      expect(upstream.proxy.peers).toEqual([]);
    }));

  it("is passed what is neither HTTP nor TLS, whoever speaks first", () =>
    inLab(async (lab) => {
      const { port } = await listenOn(lab, own);
      const upstream = await playUpstream();
      const { guest, daemon } = await start(lab, upstream.url, { transparentPorts: "all" });
      const [speaking, silent] = [new Peer(await guest.connect(own, port)), new Peer(await guest.connect(own, port))];
      speaking.write(SSH);
      await speaking.gets("served");
      await silent.gets("served");
      expect(upstream.proxy.peers).toEqual([]);
      speaking.end();
      silent.end();
      await until(async () => {
        const [{ proxyCounts }] = daemon.control.vms();
        return proxyCounts.connections + proxyCounts.tunnels === 0;
      });
    }));
});
