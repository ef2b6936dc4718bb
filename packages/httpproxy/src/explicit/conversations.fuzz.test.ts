import { once } from "node:events";
import { Agent, createServer, type IncomingMessage, request as makeRequest, type ServerResponse } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import type { Duplex } from "node:stream";
import { rescueUnread } from "@hostd/streams";
import { describe, expect, test } from "vitest";
import { Random } from "../../../stack/src/testing/random.ts";
import { LinkedStacks } from "../../../streams/src/testing/linked-stacks.ts";
import { sha256 } from "../../../streams/src/testing/pattern.ts";
import { cleanUp, settle } from "../../../streams/src/testing/peer.ts";
import { type ExplicitHarness, isIdle, startExplicit } from "../testing/explicit-harness.ts";
import { readRequests } from "../testing/strict-requests.ts";
import { neverAborted, playProxy } from "../testing/upstream-harness.ts";
import { dialTcp } from "../upstream/dial-proxy.ts";

const BODIES = ["", "x", "hello\r\n\r\n", "0\r\n\r\n", "GET http://a.test/smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"];

interface Message {
  readonly framing: "none" | "length" | "chunks" | "close";
  readonly pieces: readonly string[];
  readonly trailers: Readonly<Record<string, string>>;
  readonly fields: Readonly<Record<string, string>>;
}

interface Exchange {
  readonly method: string;
  readonly path: string;
  readonly request: Message;
  readonly expectsContinue: boolean;
  readonly status: number;
  readonly response: Message;
  readonly hints: number;
  /** Whether the response comes before the request's body is read. */
  readonly isEarly: boolean;
}

/** What one side has got. */
interface Got {
  readonly body: string;
  readonly trailers: Readonly<Record<string, string | undefined>>;
  readonly fields: Readonly<Record<string, unknown>>;
}

function randomMessage(random: Random, framings: readonly Message["framing"][]): Message {
  const framing = random.pick(framings);
  const pieces = Array.from({ length: framing === "none" ? 0 : random.below(4) }, () => {
    return random.oneIn(8) ? "y".repeat(random.below(200_000)) : random.pick(BODIES);
  }).filter((piece) => piece !== "");
  const fields = { "x-value": random.pick(["", "a, b", '"q"', "x".repeat(2000)]) };
  return { framing, pieces, fields, trailers: framing === "chunks" && random.oneIn(2) ? { "x-trailer": "t" } : {} };
}

function randomExchange(random: Random): Exchange {
  const method = random.pick(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"]);
  const hasBody = method === "POST" || method === "PUT" || method === "PATCH";
  const request = randomMessage(random, hasBody ? ["length", "chunks"] : ["none"]);
  const status = random.pick([200, 200, 201, 204, 304, 404, 500]);
  const isEmpty = method === "HEAD" || status === 204 || status === 304;
  const response = randomMessage(random, isEmpty ? ["none"] : ["length", "chunks", "chunks", "close"]);
  return {
    method,
    path: `/${random.below(1e9)}?${random.pick(["", "a=b", "http://a.test/"])}`,
    request,
    expectsContinue: hasBody && random.oneIn(4),
    status,
    response,
    hints: random.oneIn(5) ? 1 + random.below(3) : 0,
    // Node resets the connection then when it has not read all, so that nobody could tell the end of such a response.
    isEarly: response.framing !== "close" && random.oneIn(5),
  };
}

/** Passes a connection on, its bytes cut anew. */
async function startCutter(dial: () => Promise<Duplex>, random: Random): Promise<number> {
  const pass = (from: Duplex, target: Duplex) => {
    let turn = Promise.resolve();
    const take = (bytes: Buffer) => {
      const most = random.pick([1, 3, 50, 5000, 100_000]);
      turn = turn.then(async () => {
        // Few of the small ones: there are large bodies.
        for (let at = 0, cuts = 0; at < bytes.length && target.writable; cuts++) {
          const next = cuts > 30 ? bytes.length : Math.min(bytes.length, at + 1 + random.below(most));
          target.write(bytes.subarray(at, next));
          at = next;
          if (random.oneIn(4)) await settle(1);
        }
      });
    };
    from.on("data", take);
    rescueUnread(from, take);
    from.on("error", () => {});
    // A reset would overtake what is on its way.
    for (const event of ["end", "close"]) from.on(event, () => void turn.then(() => target.end()));
  };
  const server = createTcpServer({ allowHalfOpen: true, noDelay: true }, async (socket) => {
    const target = await dial();
    cleanUp(() => {
      socket.destroy();
      target.destroy();
    });
    pass(socket, target);
    pass(target, socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanUp(() => server.close());
  return (server.address() as AddressInfo).port;
}

/** A body, cut short where it is too long to be looked at. */
function summary(body: string): string {
  return body.length < 1000 ? body : `${body.length} bytes of ${sha256(Buffer.from(body, "latin1"))}`;
}

async function read(message: IncomingMessage): Promise<Got> {
  const parts: Buffer[] = [];
  for await (const part of message) parts.push(part);
  return {
    body: summary(Buffer.concat(parts).toString("latin1")),
    trailers: message.trailers,
    fields: message.headers,
  };
}

async function write(
  to: { write(chunk: Buffer): boolean; end(): unknown; addTrailers(trailers: Record<string, string>): void },
  { pieces, trailers, framing }: Message,
  random: Random,
): Promise<void> {
  for (const piece of pieces) {
    to.write(Buffer.from(piece, "latin1"));
    if (random.oneIn(3)) await settle(random.below(3));
  }
  if (framing === "chunks") to.addTrailers({ ...trailers });
  to.end();
}

function fieldsOf({ framing, pieces, fields, trailers }: Message): Record<string, string> {
  return {
    ...fields,
    ...(framing === "length" && { "content-length": String(pieces.join("").length) }),
    ...(framing === "chunks" && { "transfer-encoding": "chunked" }),
    ...(framing === "close" && { connection: "close" }),
    ...(Object.keys(trailers).length > 0 && { trailer: Object.keys(trailers).join() }),
  };
}

/** An origin that answers each request as its exchange has it. */
class Origin {
  readonly exchanges = new Map<string, Exchange>();
  readonly got = new Map<string, Promise<Got>>();
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  async listen(): Promise<number> {
    const server = createServer((incoming, outgoing) => void this.#answer(incoming, outgoing));
    server.on("checkContinue", (incoming: IncomingMessage, outgoing: ServerResponse) => {
      outgoing.writeContinue();
      void this.#answer(incoming, outgoing);
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    cleanUp(() => {
      server.closeAllConnections();
      server.close();
    });
    return (server.address() as AddressInfo).port;
  }

  async #answer(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const exchange = this.exchanges.get(`${incoming.method} ${incoming.url}`);
    if (exchange === undefined || this.got.has(exchange.path)) {
      outgoing.writeHead(599).end(`nobody sent ${incoming.url}`);
      return;
    }
    const reading = read(incoming);
    reading.catch(() => {});
    this.got.set(exchange.path, reading);
    if (!exchange.isEarly) await reading;
    for (let hint = 0; hint < exchange.hints; hint++) outgoing.writeEarlyHints({ link: "</a>; rel=preload" });
    const { response, status } = exchange;
    if (response.framing === "close") outgoing.removeHeader("transfer-encoding");
    outgoing.useChunkedEncodingByDefault = response.framing === "chunks";
    outgoing.writeHead(status, fieldsOf(response));
    await write(outgoing, response, this.#random);
  }
}

/** Makes a request by the proxy, and gives what comes back. */
async function ask(
  exchange: Exchange,
  port: number,
  agent: Agent,
  random: Random,
): Promise<Got & { status: number | undefined; hints: number }> {
  const { method, path, request, expectsContinue } = exchange;
  let hints = 0;
  const headers = { ...fieldsOf(request), host: "other.test", ...(expectsContinue && { expect: "100-continue" }) };
  const asked = makeRequest({ host: "127.0.0.1", port, method, path: `http://a.test${path}`, headers, agent });
  asked.on("information", ({ statusCode }) => {
    if (statusCode === 103) hints++;
  });
  const answered = once(asked, "response");
  if (expectsContinue) {
    asked.flushHeaders();
    await Promise.race([once(asked, "continue"), answered]);
  }
  const written = write(asked, request, random);
  const [response]: IncomingMessage[] = await answered;
  const got = await read(response);
  await written;
  return { ...got, status: response.statusCode, hints };
}

/** How a client's connection reaches the proxy. */
type Way = (harness: ExplicitHarness) => Promise<() => Promise<Duplex>>;

const bySocket: Way = async ({ connectUnread }) => connectUnread;

const fromGuest: Way = async ({ proxy }) => {
  const stacks = new LinkedStacks();
  cleanUp(() => stacks.close());
  stacks.listen(3128, (stream) => proxy.serve(stream));
  return () => stacks.connect(3128);
};

describe.each([
  ["sockets", bySocket],
  ["guests", fromGuest],
])("conversations between Node's client and server come out as they went in, over %s", (_, way) => {
  test.each(Array.from({ length: 20 }, (_, seed) => seed))("however they are cut (%i)", async (seed) => {
    const random = new Random(seed);
    const origin = new Origin(random);
    const originPort = await origin.listen();
    const harness = await startExplicit();
    const cutOrigin = await startCutter(() => dialTcp({ host: "127.0.0.1", port: originPort }, neverAborted()), random);
    harness.connector.servers.set("a.test:80", { ...harness.origin, port: cutOrigin });
    const port = await startCutter(await way(harness), random);
    const agent = new Agent({ keepAlive: true, maxSockets: 1 + random.below(3) });
    cleanUp(() => agent.destroy());
    const exchanges = Array.from({ length: 12 }, () => randomExchange(random));
    for (const exchange of exchanges) origin.exchanges.set(`${exchange.method} ${exchange.path}`, exchange);
    await Promise.all(
      exchanges.map(async (exchange) => {
        const { request, response, status, hints } = exchange;
        const got = await ask(exchange, port, agent, random);
        expect(got).toMatchObject({
          ...{ status, hints, body: summary(response.pieces.join("")), trailers: response.trailers },
        });
        expect(got.fields["x-value"]).toBe(response.fields["x-value"]);
        // Node closes the connection behind such a response, and then does not read the rest of its request.
        if (exchange.isEarly && response.framing === "none") return;
        const seen = await origin.got.get(exchange.path);
        expect(seen).toMatchObject({ body: summary(request.pieces.join("")), trailers: request.trailers });
        expect(seen?.fields).toMatchObject({ host: "a.test", "x-value": request.fields["x-value"] });
      }),
    );
    expect(origin.got.size).toBe(exchanges.length);
    agent.destroy();
  });
});

const METHODS = ["GET", "POST", "PUT", "HEAD"];
const FIELDS = [
  "",
  "",
  "Content-Length: 5\r\n",
  "Transfer-Encoding: chunked\r\n",
  "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
  "Connection: close\r\n",
  "A: b\r\n c\r\n",
];
const CONTENTS = [
  "",
  "hello",
  "5\r\nhello\r\n0\r\n\r\n",
  "0\r\n\r\n",
  "5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n",
  "GET http://a.test/smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n",
];
/** What likes to be taken for something else. */
const ODDITIES = [
  "\r",
  "\n",
  "\r\n",
  "\0",
  "\v",
  " ",
  "\t",
  ":",
  ",",
  ";",
  "0",
  "5",
  "a",
  "\xa0",
  "\xff",
  "chunked",
  "http://",
];

function hostile(random: Random): string {
  let text = Array.from({ length: 1 + random.below(4) }, (_, index) => {
    const head = `${random.pick(METHODS)} http://a.test/${index} HTTP/1.${random.oneIn(8) ? 0 : 1}\r\nHost: a.test\r\n`;
    return `${head}${random.pick(FIELDS)}\r\n${random.pick(CONTENTS)}`;
  }).join("");
  for (let mutations = random.below(4); mutations > 0; mutations--) {
    const at = random.below(text.length);
    text = text.slice(0, at) + random.pick(ODDITIES) + text.slice(at + random.below(3));
  }
  return text;
}

/** A server that keeps what Node's strict reader takes for requests. */
async function startRecorder(): Promise<{ port: number; seen: string[] }> {
  const seen: string[] = [];
  const server = createServer(async (incoming, outgoing) => {
    const index = seen.push("") - 1;
    const got = await read(incoming).catch(() => null);
    if (got === null) return;
    seen[index] = `${incoming.method} http://${incoming.headers.host}${incoming.url} ${got.body}`;
    outgoing.end("ok");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanUp(() => {
    server.closeAllConnections();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, seen };
}

test("an origin gets no request that its client has not sent as one, whatever that sends", async () => {
  const harness = await startExplicit();
  const { port, seen } = await startRecorder();
  harness.connector.servers.set("a.test:80", { ...harness.origin, port });
  let passed = 0;
  for (let seed = 0; seed < 1500; seed++) {
    const random = new Random(seed);
    const text = hostile(random);
    const client = await harness.connect();
    const cut = random.below(text.length);
    client.write(text.slice(0, cut));
    if (random.oneIn(2)) await settle(2);
    client.end(text.slice(cut));
    await client.until(() => client.hasEnded || client.isClosed);
    client.destroy();
    await isIdle(harness.proxy);
    const sent = readRequests(text).map(({ method, url, body }) => `${method} ${url} ${body}`);
    const got = seen.splice(0).filter((request) => request !== "");
    // Node does not know all methods, so that some are missing.
    let from = 0;
    for (const request of got) {
      from = sent.indexOf(request, from) + 1;
      if (from === 0) throw new Error(`seed ${seed}: ${JSON.stringify({ text, sent, got })}`);
    }
    passed += got.length;
  }
  // It is not that nothing passes.
  expect(passed).toBeGreaterThan(500);
  expect(harness.connector.sockets.filter(({ destroyed }) => !destroyed)).toEqual([]);
});

const RESPONSES = [
  "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n",
  "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
  "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
  "HTTP/1.0 200 OK\r\n\r\nhello",
  "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged",
];

test("a client gets no response that belongs to another request, whatever an origin sends", async () => {
  let hostileBytes = "";
  const harness: ExplicitHarness = await startExplicit();
  const bad = await playProxy((peer) => {
    peer.stream.once("data", () => peer.end(hostileBytes));
  });
  const good = await startRecorder();
  harness.connector.servers.set("bad.test:80", bad);
  harness.connector.servers.set("a.test:80", { ...harness.origin, port: good.port });
  let answered = 0;
  for (let seed = 0; seed < 600; seed++) {
    const random = new Random(seed);
    hostileBytes = random.pick(RESPONSES);
    for (let mutations = random.below(4); mutations > 0; mutations--) {
      const at = random.below(hostileBytes.length);
      hostileBytes = hostileBytes.slice(0, at) + random.pick(ODDITIES) + hostileBytes.slice(at + random.below(3));
    }
    const client = await harness.connect();
    const method = random.pick(["GET", "HEAD"]);
    client.write(
      `${method} http://bad.test/ HTTP/1.1\r\nHost: x\r\n\r\nGET http://a.test/2 HTTP/1.1\r\nHost: x\r\n\r\n`,
    );
    const isAnswered = () => client.text.endsWith("\r\n\r\nok");
    await client.until(() => isAnswered() || client.hasEnded || client.isClosed);
    if (isAnswered()) {
      answered++;
      expect(good.seen).toEqual(["GET http://a.test/2 "]);
      // One of each, and the hints before.
      const finals = client.text.match(/HTTP\/1\.1 [2-9]\d\d /g) ?? [];
      if (!client.text.includes("forged")) expect(finals).toHaveLength(2);
    } else {
      expect(good.seen).toEqual([]);
    }
    good.seen.length = 0;
    client.destroy();
    await isIdle(harness.proxy);
  }
  expect(answered).toBeGreaterThan(100);
  expect(harness.connector.sockets.filter(({ destroyed }) => !destroyed)).toEqual([]);
});
