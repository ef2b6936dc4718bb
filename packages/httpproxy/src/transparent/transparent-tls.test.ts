import { once } from "node:events";
import { type AddressInfo, connect } from "node:net";
import type { Duplex } from "node:stream";
import { connect as connectTls, createServer, type TLSSocket } from "node:tls";
import { expect, test } from "vitest";
import { cleanUp, Peer } from "../../../streams/src/testing/peer.ts";
import { DIRECT, type HostPort } from "../route.ts";
import { TestAuthority } from "../testing/certificates.ts";
import { guestPair } from "../testing/stream-pairs.ts";
import { ORIGINAL, startTransparent } from "../testing/transparent-harness.ts";
import { decision, playProxy, through, UpstreamHarness } from "../testing/upstream-harness.ts";

const NAME = "www.example.com";

interface Origin {
  readonly ca: string;
  readonly port: number;
  /** The names that clients have asked for. */
  readonly names: readonly (string | false | null)[];
}

/** A server of TLS that says everything back in capitals. */
async function startOrigin(): Promise<Origin> {
  const authority = await TestAuthority.make();
  const certificate = await authority.sign([`DNS:${NAME}`]);
  const names: (string | false | null)[] = [];
  const server = createServer({ ...certificate, allowHalfOpen: true }, (socket) => {
    names.push(socket.servername);
    socket.on("error", () => {});
    socket.on("data", (bytes: Buffer) => socket.write(bytes.toString("latin1").toUpperCase()));
    socket.on("end", () => socket.end());
    cleanUp(() => socket.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanUp(() => server.close());
  return { ca: authority.ca, port: (server.address() as AddressInfo).port, names };
}

/** A guest's TLS over a stream. */
async function secure(stream: Duplex, ca: string): Promise<TLSSocket> {
  const socket = connectTls({ socket: stream, servername: NAME, ca });
  cleanUp(() => socket.destroy());
  await once(socket, "secureConnect");
  return socket;
}

test("a guest's TLS reaches its server, and nobody between them is seen", async () => {
  const { ca, port, names } = await startOrigin();
  const { proxy, routes } = await startTransparent();
  routes.open = async () => connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  const [stream, served] = await guestPair();
  proxy.handle(served, ORIGINAL);
  const guest = await secure(stream, ca);
  expect(guest.authorized).toBe(true);
  const peer = new Peer(guest);
  const bytes = "abc".repeat(100_000);
  peer.end(bytes);
  await peer.ends();
  expect(peer.text).toBe(bytes.toUpperCase());
  expect(names).toEqual([NAME]);
});

test("an HTTP proxy is asked for the name, and what goes direct goes to the address", async () => {
  const { ca, port, names } = await startOrigin();
  const upstream = await playProxy();
  const dialled: HostPort[] = [];
  const { connector } = new UpstreamHarness({
    dialOrigin: async (origin) => {
      dialled.push(origin);
      return connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    },
  });
  const { proxy, routes } = await startTransparent({ connector });
  for (const route of [through("http", upstream.port), DIRECT]) {
    routes.decision = decision([route]);
    const [stream, served] = await guestPair();
    proxy.handle(served, ORIGINAL);
    const secured = secure(stream, ca);
    if (route !== DIRECT) {
      const asked = await upstream.next();
      await asked.until(() => asked.text.includes("\r\n\r\n"));
      expect(asked.text).toMatch(/^CONNECT www\.example\.com:443 HTTP\/1\.1\r\n/);
      expect(asked.text).not.toContain(ORIGINAL.host);
      const origin = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
      cleanUp(() => origin.destroy());
      asked.write("HTTP/1.1 200 OK\r\n\r\n");
      asked.stream.pipe(origin).pipe(asked.stream);
    }
    const guest = new Peer(await secured);
    guest.end("hello");
    await guest.ends();
    expect(guest.text).toBe("HELLO");
  }
  expect(names).toEqual([NAME, NAME]);
  expect(dialled).toEqual([expect.objectContaining({ host: NAME, port: 443, address: ORIGINAL.host })]);
});
