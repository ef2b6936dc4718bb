/** Bodies of guests' requests, which pass without a buffer in between as far as they can. */
import { describe, expect, test } from "vitest";
import { FakeClock } from "../../../streams/src/testing/fake-clock.ts";
import { LinkedStacks } from "../../../streams/src/testing/linked-stacks.ts";
import { pattern } from "../../../streams/src/testing/pattern.ts";
import { cleanUp, Peer, settle } from "../../../streams/src/testing/peer.ts";
import { RecordingLogger } from "../../../streams/src/testing/recording-logger.ts";
import { forwarded, isIdle, PlayedRouter, request, response } from "../testing/explicit-harness.ts";
import { playProxy } from "../testing/upstream-harness.ts";
import { dialTcp } from "../upstream/dial-proxy.ts";
import { UpstreamConnector } from "../upstream/upstream-connector.ts";
import { HttpProxy } from "./http-proxy.ts";

const PORT = 3128;
const LARGE = pattern(3_000_000);

async function start() {
  const clock = new FakeClock();
  const origin = await playProxy();
  const connector = new UpstreamConnector({
    dialOrigin: (_, signal) => dialTcp({ host: "127.0.0.1", port: origin.port }, signal),
    logger: new RecordingLogger(),
    clock,
  });
  const proxy = new HttpProxy({ router: new PlayedRouter(), connector, clock });
  cleanUp(() => proxy.close());
  const stacks = new LinkedStacks();
  cleanUp(() => stacks.close());
  stacks.listen(PORT, (stream) => proxy.serve(stream));
  return { proxy, origin, stacks, connect: async () => new Peer(await stacks.connect(PORT)) };
}

/** A body in chunks of a size. */
function chunked(body: Buffer, size: number): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < body.length; at += size) {
    const part = body.subarray(at, at + size);
    parts.push(Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from("\r\n"));
  }
  return Buffer.concat([...parts, Buffer.from("0\r\n\r\n")]);
}

/** How many bytes somebody gets from now on; putting them together each time takes long. */
function countBytes({ stream }: Peer): () => number {
  let count = 0;
  stream.on("data", (bytes: Buffer) => (count += bytes.length));
  return () => count;
}

const CHUNKED = "Transfer-Encoding: chunked\r\n";
const lengthOf = (body: Buffer) => `Content-Length: ${body.length}\r\n`;
const head = (fields: string) => Buffer.from(`HTTP/1.1 200 OK\r\n${fields}\r\n`);

describe("a request's body", () => {
  test.each([
    ["of a length", LARGE, lengthOf(LARGE)],
    ["in small chunks", chunked(LARGE, 1000), CHUNKED],
    ["in large chunks", chunked(LARGE, 500_000), CHUNKED],
  ])("%s is passed on whole, and the request behind it is another one", async (_name, body, fields) => {
    const { proxy, origin, connect } = await start();
    const client = await connect();
    const first = Buffer.concat([Buffer.from(request("POST", "http://a.test/first", fields)), body]);
    client.write(Buffer.concat([first, Buffer.from(request("GET", "http://a.test/second"))]));
    const server = await origin.next();
    const expected = Buffer.concat([Buffer.from(forwarded("POST", "/first", fields)), body]);
    await server.getsBytes(expected.length);
    await settle();
    expect(server.received.equals(expected)).toBe(true);
    server.clear();
    server.write(response("one"));
    await server.gets(forwarded("GET", "/second"));
    server.write(response("two"));
    await client.gets(response("one") + response("two"));
    client.end();
    await isIdle(proxy);
  });

  test("waits for a server that does not read, and comes whole once it does", async () => {
    const { origin, connect } = await start();
    const client = await connect();
    const body = pattern(20_000_000);
    client.write(request("POST", "http://a.test/", lengthOf(body)));
    const server = await origin.next();
    await server.gets(forwarded("POST", "/", lengthOf(body)));
    server.stream.pause();
    client.write(body);
    await settle(200);
    expect(client.stream.writableLength).toBeGreaterThan(0);
    server.clear();
    const all = countBytes(server);
    server.stream.resume();
    await server.until(() => all() >= body.length);
    expect(server.received.equals(body)).toBe(true);
  });
});

describe("a response's body", () => {
  test.each([
    ["of a length", LARGE, lengthOf(LARGE)],
    ["in small chunks", chunked(LARGE, 1000), CHUNKED],
    ["in large chunks", chunked(LARGE, 500_000), CHUNKED],
  ])("%s is passed on whole, and the connection is used again", async (_name, body, fields) => {
    const { proxy, origin, connect } = await start();
    const client = await connect();
    for (let count = 0; count < 2; count++) {
      client.clear();
      client.write(request("GET", "http://a.test/"));
      if (origin.peers.length === 0) await origin.next();
      const [server] = origin.peers;
      await server.gets(forwarded("GET", "/"));
      server.clear();
      const sent = Buffer.concat([head(fields), body]);
      server.write(sent);
      await client.getsBytes(sent.length);
      expect(client.received.equals(sent)).toBe(true);
    }
    expect(origin.peers).toHaveLength(1);
    client.end();
    await isIdle(proxy);
  });

  test("that ends with the connection is passed on to its end", async () => {
    const { origin, connect } = await start();
    const client = await connect();
    client.write(request("GET", "http://a.test/"));
    const server = await origin.next();
    server.end(Buffer.concat([Buffer.from("HTTP/1.1 200 OK\r\n\r\n"), LARGE]));
    await client.ends();
    expect(client.received.subarray(-LARGE.length).equals(LARGE)).toBe(true);
    expect(client.failure).toBeNull();
  });

  test("that is followed by more than was asked for is passed on without that", async () => {
    const { origin, connect } = await start();
    const client = await connect();
    client.write(request("GET", "http://a.test/"));
    const server = await origin.next();
    const sent = Buffer.concat([head(lengthOf(LARGE)), LARGE]);
    server.write(Buffer.concat([sent, Buffer.from(response("smuggled"))]));
    await client.getsBytes(sent.length);
    await server.until(() => server.hasEnded || server.isClosed);
    client.write(request("GET", "http://a.test/next"));
    const next = await origin.next();
    await next.gets(forwarded("GET", "/next"));
    next.write(response("wanted"));
    await client.getsBytes(sent.length + response("wanted").length);
    expect(client.received.subarray(sent.length).toString()).toBe(response("wanted"));
  });

  test("that is cut off is so for the guest", async () => {
    const { origin, connect } = await start();
    const client = await connect();
    client.write(request("GET", "http://a.test/"));
    const server = await origin.next();
    server.end(Buffer.concat([head(lengthOf(LARGE)), LARGE.subarray(0, -1)]));
    await client.closes();
    expect(client.failure).toBe("ECONNRESET");
  });

  test("waits for a guest that does not read, and comes whole once it does", async () => {
    const { origin, stacks } = await start();
    const stream = await stacks.connect(PORT);
    stream.write(request("GET", "http://a.test/"));
    const server = await origin.next();
    const body = pattern(20_000_000);
    const sent = Buffer.concat([head(lengthOf(body)), body]);
    server.write(sent);
    await settle(200);
    expect(server.stream.writableLength).toBeGreaterThan(0);
    const client = new Peer(stream);
    const all = countBytes(client);
    await client.until(() => all() >= sent.length);
    expect(client.received.equals(sent)).toBe(true);
  });
});
