import type { ResponseHead } from "@hostd/http1";
import { describe, expect, test } from "vitest";
import { settle } from "../../../streams/src/testing/peer.ts";
import { startPair } from "../testing/proxy-harness.ts";
import type { Verdict } from "./intercept.ts";

const GET = "GET /info HTTP/1.1\r\nHost: docker\r\n\r\n";
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const CREATED = "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}";
const CONTINUE = "HTTP/1.1 100 Continue\r\n\r\n";

function create(fields: string, body: string): string {
  return `POST /containers/create HTTP/1.1\r\nhost: d\r\n${fields}\r\n${body}`;
}

function errorOf(status: string, message: string, fields = ""): string {
  const body = `${JSON.stringify({ message })}\n`;
  return (
    `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n` +
    `${fields}\r\n${body}`
  );
}

/** A proxy that looks at requests to create, with what it was given, and verdicts that the test gives. */
async function startJudged({ bodyLimit = 100 }: { bodyLimit?: number } = {}) {
  const bodies: string[] = [];
  const verdicts: ((verdict: Verdict) => void)[] = [];
  const pair = await startPair({
    intercept: ({ target }) => {
      if (target !== "/containers/create") return null;
      return {
        bodyLimit,
        decide: (body) => {
          bodies.push(body.toString("latin1"));
          return new Promise((resolve) => verdicts.push(resolve));
        },
      };
    },
  });
  const judged = async (count: number) => {
    while (verdicts.length < count) await settle(1);
    await settle();
    return verdicts[count - 1];
  };
  return { ...pair, bodies, judged };
}

describe("a request that is looked at", () => {
  test.each([
    ["with a length", create("Content-Length: 4\r\nX-A:  b\r\n", "body"), "body"],
    ["in chunks", create("TRANSFER-encoding: chunked\r\n", "2;a=b\r\nbo\r\n02\r\ndy\r\n0\r\nA: b\r\n\r\n"), "body"],
    ["without a body", create("", ""), ""],
    ["with an empty body", create("Content-Length: 0\r\n", ""), ""],
  ])("%s waits for its verdict, and passes as it came, wherever it is cut", async (_, request, content) => {
    const { connect, engine, bodies, judged } = await startJudged();
    for (let cut = 1; cut <= request.length; cut += 3) {
      const client = await connect();
      client.write(request.slice(0, cut));
      await settle(3);
      client.write(request.slice(cut) + GET);
      const verdict = await judged(bodies.length + (bodies.length < Math.ceil(cut / 3) ? 1 : 0));
      expect(bodies.at(-1)).toBe(content);
      expect(engine.peers.length).toBe(bodies.length - 1);
      verdict({ kind: "pass" });
      const server = await engine.next();
      await server.gets(request + GET);
      server.write(CREATED + OK);
      await client.gets(CREATED + OK);
      client.destroy();
    }
  });

  test("is given another body, with its length, and all else as it came", async () => {
    const { client, engine, judged } = await startJudged();
    client.write(
      create("X-A:  b\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n", "4\r\nbody\r\n0\r\nA: b\r\n\r\n") + GET,
    );
    (await judged(1))({ kind: "rewrite", body: Buffer.from("another \u20ac") });
    const server = await engine.next();
    await server.gets(
      `POST /containers/create HTTP/1.1\r\nhost: d\r\nX-A:  b\r\nContent-Length: 11\r\n\r\nanother \xe2\x82\xac${GET}`,
    );
    server.write(CREATED + OK);
    await client.gets(CREATED + OK);
  });

  test("is given an empty body", async () => {
    const { client, engine, judged } = await startJudged();
    client.write(create("Content-Length: 4\r\n", "body") + GET);
    (await judged(1))({ kind: "rewrite", body: Buffer.alloc(0) });
    await (await engine.next()).gets(create("Content-Length: 0\r\n", "") + GET);
  });

  test("is answered in the engine's stead, and the connection goes on", async () => {
    const { client, engine, judged } = await startJudged();
    client.write(create("Content-Length: 4\r\n", "body") + GET);
    (await judged(1))({ kind: "answer", status: 403, message: 'no "host" mount' });
    const refusal = errorOf("403 Forbidden", 'no "host" mount');
    await client.gets(refusal);
    const server = await engine.next();
    await server.gets(GET);
    server.write(OK);
    await client.gets(refusal + OK);
  });

  test("is answered with the connection's end where the client wants that", async () => {
    const { client, engine, judged } = await startJudged();
    client.write(create("Connection: close\r\n", ""));
    (await judged(1))({ kind: "answer", status: 403, message: "no" });
    await client.gets(errorOf("403 Forbidden", "no", "Connection: close\r\n"));
    await client.ends();
    expect(engine.peers.length).toBe(0);
  });

  test("is answered in its turn, behind those that came before, and before those behind", async () => {
    const { client, engine, judged } = await startJudged();
    client.write(GET + create("", "") + GET + create("", "") + create("", "") + GET);
    const server = await engine.next();
    await server.gets(GET);
    (await judged(1))({ kind: "answer", status: 403, message: "one" });
    await server.gets(GET + GET);
    (await judged(2))({ kind: "answer", status: 409, message: "two" });
    (await judged(3))({ kind: "pass" });
    await server.gets(GET + GET + create("", "") + GET);
    expect(client.text).toBe("");
    server.write(OK);
    await client.gets(OK + errorOf("403 Forbidden", "one"));
    server.write(OK + CREATED + OK);
    await client.gets(OK + errorOf("403 Forbidden", "one") + OK + errorOf("409 Conflict", "two") + CREATED + OK);
  });

  test("that expects 100 is told to go on, in its turn, and the engine does not hear of it", async () => {
    const { client, engine, bodies, judged } = await startJudged();
    const head = create("eXpect: 100-continue\r\nContent-Length: 4\r\n", "");
    client.write(GET + head);
    const server = await engine.next();
    await server.gets(GET);
    await settle();
    expect(client.text).toBe("");
    server.write(OK);
    await client.gets(OK + CONTINUE);
    client.write("body");
    (await judged(1))({ kind: "pass" });
    expect(bodies).toEqual(["body"]);
    await server.gets(GET + create("Content-Length: 4\r\n", "body"));
    server.write(CREATED);
    await client.gets(OK + CONTINUE + CREATED);
  });

  test("may become a stream after its verdict", async () => {
    const { client, engine, judged } = await startJudged();
    const request = create("Upgrade: tcp\r\nConnection: Upgrade\r\n", "");
    client.write(`${request}early`);
    (await judged(1))({ kind: "pass" });
    const server = await engine.next();
    await server.gets(request);
    server.write("HTTP/1.1 101 UPGRADED\r\n\r\nstream");
    await server.gets(`${request}early`);
    await client.gets("HTTP/1.1 101 UPGRADED\r\n\r\nstream");
  });

  test.each([
    ["says it is too long", create("Content-Length: 101\r\n", "")],
    ["says it is too long, and waits for 100", create("Content-Length: 101\r\nExpect: 100-continue\r\n", "")],
    [
      "becomes too long",
      create("Transfer-Encoding: chunked\r\n", `40\r\n${"x".repeat(64)}\r\n40\r\n`) + "x".repeat(100_000),
    ],
  ])("and %s is refused", async (_, request) => {
    const { client, engine, bodies } = await startJudged();
    client.write(request);
    await client.gets(errorOf("413 Content Too Large", "the body has more than 100 bytes", "Connection: close\r\n"));
    await client.ends();
    client.end();
    await client.closes();
    expect(client.failure).toBeNull();
    expect(bodies).toEqual([]);
    expect(engine.peers.length).toBe(0);
  });

  test("and is malformed inside is refused", async () => {
    const { client, bodies } = await startJudged();
    client.write(create("Transfer-Encoding: chunked\r\n", "2\r\nbody\r\n"));
    await client.gets(errorOf("400 Bad Request", "a chunk is longer than it says", "Connection: close\r\n"));
    expect(bodies).toEqual([]);
  });

  test("and ends too early is refused to a client that still listens", async () => {
    const { client, bodies } = await startJudged();
    client.end(create("Content-Length: 4\r\n", "bod"));
    await client.gets(errorOf("400 Bad Request", "the request is cut off", "Connection: close\r\n"));
    await client.closes();
    expect(bodies).toEqual([]);
  });

  test("of a client that has ended its direction goes its way, and the end behind it", async () => {
    const { client, engine, judged } = await startJudged();
    client.end(create("Content-Length: 4\r\n", "body"));
    const verdict = await judged(1);
    expect(engine.peers.length).toBe(0);
    verdict({ kind: "pass" });
    const server = await engine.next();
    await server.ends();
    expect(server.text).toBe(create("Content-Length: 4\r\n", "body"));
    server.end(CREATED);
    await client.gets(CREATED);
    await client.closes();
  });

  test("of a client that has ended its direction is answered", async () => {
    const { client, judged } = await startJudged();
    client.end(create("", ""));
    (await judged(1))({ kind: "answer", status: 409, message: "no" });
    await client.gets(errorOf("409 Conflict", "no"));
    await client.closes();
  });

  test.each([
    ["rejects", () => Promise.reject(new Error("broken"))],
    [
      "throws",
      () => {
        throw new Error("broken");
      },
    ],
  ])("by somebody who %s is answered, and the proxy lives", async (_, decide) => {
    const { client, connect } = await startPair({ intercept: () => ({ bodyLimit: 10, decide }) });
    client.write(GET);
    await client.gets(errorOf("500 Internal Server Error", "broken"));
    const other = await connect();
    other.write(GET);
    await other.gets(errorOf("500 Internal Server Error", "broken"));
  });

  test("by somebody who cannot look at heads is answered", async () => {
    const { client } = await startPair({
      intercept: () => {
        throw new Error("broken");
      },
    });
    client.write(GET);
    await client.gets(errorOf("500 Internal Server Error", "broken", "Connection: close\r\n"));
  });
});

describe("a request whose body is not looked at", () => {
  test("passes with a body of any length, untouched", async () => {
    const { client, engine, bodies, judged } = await startJudged({ bodyLimit: 0 });
    const request = create("Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n", "");
    const body = `8000\r\n${"x".repeat(0x8000)}\r\n`.repeat(20);
    client.write(request);
    (await judged(1))({ kind: "pass" });
    expect(bodies).toEqual([""]);
    const server = await engine.next();
    await server.gets(request);
    server.write(CONTINUE);
    await client.gets(CONTINUE);
    client.write(`${body}0\r\n\r\n${GET}`);
    await server.gets(`${request}${body}0\r\n\r\n${GET}`);
    server.write(CREATED + OK);
    await client.gets(CONTINUE + CREATED + OK);
  });

  test("is answered with the connection's end when there is one", async () => {
    const { client, judged } = await startJudged({ bodyLimit: 0 });
    client.write(create("Content-Length: 4\r\n", "body") + GET);
    (await judged(1))({ kind: "answer", status: 500, message: "ports are not available" });
    await client.gets(errorOf("500 Internal Server Error", "ports are not available", "Connection: close\r\n"));
    await client.ends();
  });

  test("is answered with the connection going on when there is none", async () => {
    const { client, engine, judged } = await startJudged({ bodyLimit: 0 });
    client.write(create("Content-Length: 0\r\n", "") + GET);
    (await judged(1))({ kind: "answer", status: 500, message: "no" });
    await client.gets(errorOf("500 Internal Server Error", "no"));
    await (await engine.next()).gets(GET);
  });

  test("is given no other body", async () => {
    const { client, engine, judged } = await startJudged({ bodyLimit: 0 });
    client.write(create("Content-Length: 4\r\n", "body"));
    (await judged(1))({ kind: "rewrite", body: Buffer.from("x") });
    const message = "the body that is replaced was not read";
    await client.gets(errorOf("500 Internal Server Error", message, "Connection: close\r\n"));
    expect(engine.peers.length).toBe(0);
  });
});

describe("who wants to know the engine's answer", () => {
  test("is told its status before the client gets it, which waits", async () => {
    const { client, engine, judged } = await startJudged();
    client.write(create("", "") + GET);
    const told: (ResponseHead | null)[] = [];
    const gate = Promise.withResolvers<void>();
    const answered = (head: ResponseHead | null) => {
      told.push(head);
      return gate.promise;
    };
    (await judged(1))({ kind: "pass", answered });
    const server = await engine.next();
    await server.gets(create("", "") + GET);
    server.write(CONTINUE);
    await client.gets(CONTINUE);
    expect(told).toEqual([]);
    server.end(CREATED + OK);
    while (told.length === 0) await settle(1);
    await settle();
    expect(told).toMatchObject([{ status: 201 }]);
    expect(client.text).toBe(CONTINUE);
    expect(client.hasEnded).toBe(false);
    gate.resolve();
    await client.gets(CONTINUE + CREATED + OK);
    await client.ends();
    expect(told.length).toBe(1);
  });

  test("is told of it even when the engine goes while the client waits, which gets it all the same", async () => {
    const { client, engine, judged } = await startJudged();
    client.write(create("", ""));
    const gate = Promise.withResolvers<void>();
    (await judged(1))({ kind: "pass", answered: () => gate.promise });
    const server = await engine.next();
    await server.gets(create("", ""));
    server.write(CREATED);
    await settle();
    server.destroy();
    await settle();
    gate.resolve();
    await client.gets(CREATED);
    await client.ends();
  });

  test("does not keep the answer from the client by failing", async () => {
    const { client, engine, judged } = await startJudged();
    client.write(create("", ""));
    (await judged(1))({ kind: "pass", answered: () => Promise.reject(new Error("broken")) });
    const server = await engine.next();
    await server.gets(create("", ""));
    server.write(CREATED);
    await client.gets(CREATED);
  });

  test.each<[string, (pair: Awaited<ReturnType<typeof startJudged>>) => Promise<void>]>([
    [
      "the engine goes without one",
      async (pair) => {
        const server = await pair.engine.next();
        await server.gets(create("", ""));
        server.destroy();
      },
    ],
    [
      "the engine answers what is no HTTP",
      async (pair) => {
        const server = await pair.engine.next();
        await server.gets(create("", ""));
        server.end("nonsense\r\n\r\n");
        await pair.client.ends();
        pair.client.end();
      },
    ],
    [
      "the client goes first",
      async (pair) => {
        const server = await pair.engine.next();
        await server.gets(create("", ""));
        pair.client.destroy();
      },
    ],
    [
      "the proxy is closed",
      async (pair) => {
        await pair.engine.next();
        await pair.proxy.close();
      },
    ],
  ])("is told once that there is none when %s", async (_, end) => {
    const pair = await startJudged();
    const told: (ResponseHead | null)[] = [];
    pair.client.write(create("", ""));
    (await pair.judged(1))({ kind: "pass", answered: (head) => void told.push(head) });
    await end(pair);
    while (told.length === 0) await settle(1);
    await settle();
    expect(told).toEqual([null]);
  });

  test("is told that there is none when the client goes before the verdict", async () => {
    const { client, engine, judged, proxy } = await startJudged();
    client.write(create("", ""));
    const verdict = await judged(1);
    client.destroy();
    while (proxy.connections > 0) await settle(1);
    const told: (ResponseHead | null)[] = [];
    verdict({ kind: "pass", answered: (head) => void told.push(head) });
    await settle();
    expect(told).toEqual([null]);
    expect(engine.peers.length).toBe(0);
  });

  test("is told that there is none when the engine cannot be dialled", async () => {
    const told: (ResponseHead | null)[] = [];
    const { client } = await startPair({
      dial: () => Promise.reject(new Error("down")),
      intercept: () => ({
        bodyLimit: 0,
        decide: async () => ({ kind: "pass", answered: (head) => void told.push(head) }),
      }),
    });
    client.write(GET);
    await client.ends();
    expect(client.text).toMatch(/^HTTP\/1\.1 502 /);
    expect(told).toEqual([null]);
  });
});

test("a client that does not read its refusals causes no more of them", async () => {
  let decided = 0;
  const { client } = await startPair({
    intercept: () => ({
      bodyLimit: 0,
      decide: async () => {
        decided++;
        return { kind: "answer", status: 409, message: "x".repeat(1000) };
      },
    }),
  });
  client.stream.pause();
  client.write(GET.repeat(5000));
  for (let last = -1; last < decided; ) {
    last = decided;
    await settle(100);
  }
  // About the size of the buffers of a Unix socket and of two streams.
  expect(decided).toBeGreaterThan(50);
  expect(decided).toBeLessThan(1000);
  client.stream.resume();
  await client.getsBytes(5000 * errorOf("409 Conflict", "x".repeat(1000)).length);
  expect(decided).toBe(5000);
});
