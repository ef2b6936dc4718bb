import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { describe, expect, test } from "vitest";
import { settle } from "../../../streams/src/testing/peer.ts";
import { type ExplicitHarness, forwarded, request, startExplicit } from "../testing/explicit-harness.ts";

const TOTAL = 100 * 1024 * 1024;
const PIECE = Buffer.alloc(64 * 1024, "x");
/** Two connections' buffers of the kernel, which by its defaults grow to 4 and 6 MiB each. */
const KERNEL_BYTES = 24 * 1024 * 1024;
/** What the proxy may hold of one direction: what is kept of a held stream, and what streams have read and not written. */
const OWN_BYTES = 512 * 1024;

/** Writes as many bytes as a stream takes, until `length`; gives how many it has taken. */
function pour(stream: Duplex, length: number): () => number {
  let poured = 0;
  const write = () => {
    while (poured < length) {
      poured += PIECE.length;
      if (!stream.write(PIECE)) {
        stream.once("drain", write);
        return;
      }
    }
  };
  write();
  return () => poured - stream.writableLength;
}

/** Waits until it does not grow any more. */
async function standsStill(amount: () => number): Promise<number> {
  for (let same = 0, last = -1; ; last = amount()) {
    same = amount() === last ? same + 1 : 0;
    if (same > 20) return last;
    await settle(5);
  }
}

/** Reads a stream; gives how many bytes have come. */
function count(stream: Duplex): () => number {
  let length = 0;
  stream.on("data", (bytes: Buffer) => (length += bytes.length));
  stream.resume();
  return () => length;
}

/** A harness, and the proxy's own end of its clients' connections. */
async function start(): Promise<{ harness: ExplicitHarness; served: Socket[] }> {
  const served: Socket[] = [];
  const harness = await startExplicit({
    serve: (proxy, client) => {
      served.push(client);
      proxy.serve(client);
    },
  });
  return { harness, served };
}

describe.each([
  ["a length", `Content-Length: ${TOTAL}\r\n`, "", ""],
  // One chunk with all of it.
  ["chunks", "Transfer-Encoding: chunked\r\n", `${TOTAL.toString(16)}\r\n`, "\r\n0\r\n\r\n"],
])("100 MB with %s", (_, fields, before, after) => {
  test("for a client that takes nothing stay at the origin, and reach it when it does", async () => {
    const { harness, served } = await start();
    const client = await harness.connectUnread();
    client.write(request("GET", "http://a.test/"));
    const server = await harness.origin.next();
    await server.until(() => server.received.length > 0);
    const head = `HTTP/1.1 200 OK\r\n${fields}\r\n${before}`;
    server.write(head);
    const poured = pour(server.stream, TOTAL);
    expect(await standsStill(poured)).toBeLessThan(KERNEL_BYTES);
    expect(served[0].writableLength).toBeLessThan(OWN_BYTES);
    expect(harness.connector.sockets[0].readableLength).toBeLessThan(OWN_BYTES);
    const received = count(client);
    while (poured() < TOTAL) await settle(1);
    server.write(after);
    while (received() < head.length + TOTAL + after.length) await settle(1);
    expect(received()).toBe(head.length + TOTAL + after.length);
  });

  test("of a client whose origin takes nothing stay with it, and reach the origin when it does", async () => {
    const { harness, served } = await start();
    const client = await harness.connect();
    client.write(request("PUT", "http://a.test/", fields, before));
    const server = await harness.origin.next();
    await server.gets(forwarded("PUT", "/", fields, before));
    server.stream.pause().removeAllListeners("data");
    const poured = pour(client.stream, TOTAL);
    expect(await standsStill(poured)).toBeLessThan(KERNEL_BYTES);
    expect(harness.connector.sockets[0].writableLength).toBeLessThan(OWN_BYTES);
    expect(served[0].readableLength).toBeLessThan(OWN_BYTES);
    const received = count(server.stream);
    while (poured() < TOTAL) await settle(1);
    client.write(after);
    while (received() < TOTAL + after.length) await settle(1);
    expect(received()).toBe(TOTAL + after.length);
  });
});

test("a client that reads none of its answers is not read without end", async () => {
  const { harness, served } = await start();
  const client = await harness.connectUnread();
  const bytes = request("GET", "http://a.test/").repeat(1000);
  void harness.origin.next().then((peer) => {
    let answered = 0;
    peer.stream.on("data", () => {
      for (const asked = peer.text.split("\r\n\r\n").length - 1; answered < asked; answered++) {
        peer.write(`HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n${"x".repeat(65536)}`);
      }
    });
  });
  let poured = 0;
  const write = () => {
    do poured += bytes.length;
    while (poured < TOTAL && client.write(bytes));
    if (poured < TOTAL) client.once("drain", write);
  };
  write();
  expect(await standsStill(() => poured - client.writableLength)).toBeLessThan(KERNEL_BYTES);
  expect(served[0].writableLength).toBeLessThan(OWN_BYTES);
  expect(harness.origin.peers[0].text.split("\r\n\r\n").length).toBeLessThan(1000);
});
