import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { Readable, Transform } from "node:stream";
import { text } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { FlowStream } from "./flow-stream.ts";
import { LinkedStacks } from "./testing/linked-stacks.ts";

const MEGABYTE = 1_000_000;

describe("two FlowStreams of one connection", () => {
  let link: LinkedStacks;

  beforeEach(() => {
    link = new LinkedStacks();
  });

  afterEach(() => {
    link.close();
  });

  it("carry text both ways and close in order", async () => {
    const [guest, gateway] = await link.join();
    guest.end("question");
    gateway.end("answer");
    expect(await Promise.all([text(guest), text(gateway)])).toEqual(["answer", "question"]);
    expect([guest.destroyed, gateway.destroyed]).toEqual([true, true]);
    expect(link.resets).toBe(0);
  });

  it.each(["the guest", "the gateway"])("go on in the other direction when %s has ended its own", async (first) => {
    const [guest, gateway] = await link.join();
    const [early, late] = first === "the guest" ? [guest, gateway] : [gateway, guest];
    early.end("that is all");
    expect(String(await readToEnd(late))).toBe("that is all");
    const rest = randomBytes(MEGABYTE);
    late.end(rest);
    expect(Buffer.compare(await readToEnd(early), rest)).toBe(0);
    expect(link.resets).toBe(0);
  });

  it("carry a large transfer unchanged in both directions at once", async () => {
    const [guest, gateway] = await link.join();
    const data = [randomBytes(20 * MEGABYTE), randomBytes(20 * MEGABYTE)];
    const hash = async (stream: FlowStream) => {
      const sum = createHash("sha256");
      // A loop over the stream itself would destroy it at the end, while it may have more to write.
      for await (const chunk of stream.iterator({ destroyOnReturn: false })) sum.update(chunk);
      return sum.digest("hex");
    };
    guest.end(data[0]);
    gateway.end(data[1]);
    const sums = await Promise.all([hash(gateway), hash(guest)]);
    expect(sums).toEqual(data.map((bytes) => createHash("sha256").update(bytes).digest("hex")));
    expect(link.resets).toBe(0);
    expect(link.guest.statistics.tcpRetransmissions + link.gateway.statistics.tcpRetransmissions).toBe(0);
  });

  it.each(["guest", "gateway"])("make the writer wait for the reader when the %s writes", async (side) => {
    const [guest, gateway] = await link.join();
    const [writer, reader] = side === "guest" ? [guest, gateway] : [gateway, guest];
    const piece = randomBytes(64 * 1024);
    const total = 200;
    let written = 0;
    // Until nothing moves any more: neither a write that was taken nor a segment on the link.
    let stalled = 0;
    const send = async () => {
      while (written < total) {
        written++;
        stalled = 0;
        if (!writer.write(piece)) await once(writer, "drain");
      }
      writer.end();
    };
    const sending = send();
    while (stalled++ < 50) await new Promise((resolve) => setImmediate(resolve));
    // The stream's buffers, the flow's send buffer and the window bound what is under way.
    expect(written).toBeGreaterThan(1);
    expect(written).toBeLessThan(20);
    const sum = createHash("sha256");
    for await (const chunk of reader) sum.update(chunk);
    await sending;
    const expected = createHash("sha256");
    for (let count = 0; count < total; count++) expected.update(piece);
    expect(sum.digest("hex")).toBe(expected.digest("hex"));
  });

  it("fail with ECONNRESET at the far end when one is destroyed", async () => {
    const [guest, gateway] = await link.join();
    guest.write("hello");
    await once(gateway, "data");
    const failed = once(guest, "error");
    gateway.destroy();
    expect(await failed).toMatchObject([{ code: "ECONNRESET" }]);
    expect(link.resets).toBe(1);
  });

  it("fail with ECONNREFUSED where nobody listens", async () => {
    await expect(link.connect(81)).rejects.toMatchObject({ code: "ECONNREFUSED" });
  });

  it("fail with ECONNRESET when the VM goes away", async () => {
    const [guest, gateway] = await link.join();
    const failed = Promise.all([once(guest, "error"), once(gateway, "error")]);
    link.vanish();
    expect(await failed).toMatchObject([[{ code: "ECONNRESET" }], [{ code: "ECONNRESET" }]]);
  });

  it("work in a pipeline, which ends without an error", async () => {
    link.listen(7, (stream) => {
      const upperCase = new Transform({
        transform: (chunk, _encoding, done) => done(null, chunk.toString().toUpperCase()),
      });
      void pipeline(stream, upperCase, stream);
    });
    const guest = await link.connect(7);
    const lines = Array.from({ length: 2000 }, (_, index) => `line ${index}\n`);
    const answer = text(guest);
    await pipeline(Readable.from(lines), guest, { end: true });
    expect(await answer).toBe(lines.join("").toUpperCase());
    expect(link.resets).toBe(0);
  });

  it("break a pipeline off when the guest resets", async () => {
    const [guest, gateway] = await link.join();
    const outcome = pipeline(gateway, new Transform({ transform: (_chunk, _encoding, done) => done() }));
    guest.write("x");
    guest.destroy();
    await expect(outcome).rejects.toMatchObject({ code: "ECONNRESET" });
  });

  it("serve an http.Server: a hundred requests on one connection", async () => {
    const server = createServer((request, response) => {
      void text(request).then((body) => response.end(`${request.method} ${request.url} ${body}`));
    });
    const warnings: Error[] = [];
    const warn = (warning: Error) => warnings.push(warning);
    process.on("warning", warn);
    const streams: FlowStream[] = [];
    link.listen(80, (stream) => {
      streams.push(stream);
      server.emit("connection", stream);
    });
    const client = await link.connect(80);
    const responses = new ResponseReader(client);
    let listeners = 0;
    for (let count = 0; count < 100; count++) {
      const body = "x".repeat(count * 100);
      client.write(`POST /${count} HTTP/1.1\r\nHost: gateway\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
      expect(await responses.next()).toBe(`POST /${count} ${body}`);
      if (count === 1) listeners = countListeners(streams[0]);
    }
    expect(streams).toHaveLength(1);
    expect(countListeners(streams[0])).toBeLessThanOrEqual(listeners);
    client.end();
    await once(streams[0], "close");
    process.removeListener("warning", warn);
    expect(warnings).toEqual([]);
    expect(link.resets).toBe(0);
    server.close();
  });

  it("serve an http.Server that answers pipelined requests and closes behind the last", async () => {
    const server = createServer((request, response) => response.end(`to ${request.url}`));
    link.listen(80, (stream) => void server.emit("connection", stream));
    const client = await link.connect(80);
    const requests = ["GET /a HTTP/1.1", "GET /b HTTP/1.1", "GET /c HTTP/1.1\r\nConnection: close"];
    client.write(requests.map((request) => `${request}\r\nHost: gateway\r\n\r\n`).join(""));
    const answer = await text(client);
    client.end();
    expect(answer.match(/to \/[abc]/g)).toEqual(["to /a", "to /b", "to /c"]);
    expect(link.resets).toBe(0);
    server.close();
  });

  it("leave no connection behind after many of them", async () => {
    link.listen(7, (stream) => void pipeline(stream, stream));
    for (let count = 0; count < 50; count++) {
      const client = await link.connect(7);
      client.end(`number ${count}`);
      expect(await text(client)).toBe(`number ${count}`);
    }
    const open = [...link.guest.tcp.connections(), ...link.gateway.tcp.connections()].filter(
      ({ stateName }) => stateName !== "TIME-WAIT",
    );
    // The guest's last acknowledgment may still be under way.
    expect(open.length).toBeLessThanOrEqual(1);
  });
});

/** Reads by events, since iterating over a stream destroys it at the end. */
async function readToEnd(stream: FlowStream): Promise<Buffer> {
  const chunks: Buffer[] = [];
  return await new Promise((resolve, reject) => {
    stream.on("data", (chunk) => chunks.push(chunk));
    stream.once("end", () => resolve(Buffer.concat(chunks)));
    stream.once("error", reject);
  });
}

function countListeners(stream: FlowStream): number {
  return stream.eventNames().reduce((sum, name) => sum + stream.listenerCount(name), 0);
}

/** Reads responses with a Content-Length one by one, and ones in chunks of which the whole is there. */
class ResponseReader {
  #received = "";
  #wake: (() => void) | null = null;

  constructor(stream: FlowStream) {
    stream.setEncoding("latin1");
    stream.on("data", (chunk: string) => {
      this.#received += chunk;
      this.#wake?.();
    });
  }

  /** The next response's body. */
  async next(): Promise<string> {
    for (;;) {
      const head = this.#received.indexOf("\r\n\r\n");
      const length = Number(/\r\ncontent-length: (\d+)\r\n/i.exec(this.#received.slice(0, head + 2))?.[1]);
      if (head >= 0 && this.#received.length >= head + 4 + length) {
        const body = this.#received.slice(head + 4, head + 4 + length);
        this.#received = this.#received.slice(head + 4 + length);
        return body;
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
