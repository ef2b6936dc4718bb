import { MAX_HEAD } from "@hostd/http1";
import { describe, expect, test } from "vitest";
import { settle } from "../../../streams/src/testing/peer.ts";
import { idle, startPair } from "../testing/proxy-harness.ts";

const GET = "GET /v1.44/containers/json HTTP/1.1\r\nHost: docker\r\n\r\n";
const PING = "HEAD /_ping HTTP/1.1\r\nHost: docker\r\n\r\n";

function ok(body: string): string {
  return `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
}

describe("requests and answers", () => {
  test("pass as they are written, however oddly", async () => {
    const { client, engine } = await startPair();
    const request =
      "POST  /x".replace("  ", " ") +
      "%2f/?q HTTP/1.1\r\nhOsT:docker\r\nX-A:  b\t\r\nx-a: \xe9\r\ncontent-length: 2\r\n\r\nok";
    client.write(request);
    const server = await engine.next();
    await server.gets(request);
    const answer = "HTTP/1.1 299 Quite \xfc fine\r\nserver:x\r\nServer: Y \r\nCONTENT-LENGTH:  3\r\n\r\nyes";
    server.write(answer);
    await client.gets(answer);
  });

  test("follow one another on one connection each", async () => {
    const { client, engine, proxy } = await startPair();
    let sent = "";
    let answered = "";
    for (let count = 0; count < 20; count++) {
      client.write(GET);
      sent += GET;
      if (count === 0) await engine.next().then((server) => server.gets(sent));
      else await engine.peers[0].gets(sent);
      engine.peers[0].write(ok(String(count)));
      answered += ok(String(count));
      await client.gets(answered);
    }
    expect(engine.peers.length).toBe(1);
    expect(proxy.connections).toBe(1);
  });

  test("may be pipelined, each answer for its own request", async () => {
    const { client, engine } = await startPair();
    const requests = `${PING}${GET}GET /a HTTP/1.1\r\n\r\n${PING}${GET}`;
    client.write(requests);
    const server = await engine.next();
    await server.gets(requests);
    // Only who knows which of them answer HEAD sees where each ends.
    const answers =
      "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" +
      ok("one") +
      "HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n" +
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" +
      "HTTP/1.1 204 No Content\r\n\r\n";
    server.write(answers);
    await client.gets(answers);
    client.write(GET);
    await server.gets(requests + GET);
    server.write(ok("last"));
    await client.gets(answers + ok("last"));
  });

  test("that are pipelined without end wait for answers", async () => {
    const { client, engine } = await startPair();
    client.write(PING.repeat(200));
    const server = await engine.next();
    await server.getsBytes(PING.length * 64);
    await settle();
    expect(server.received.length).toBe(PING.length * 64);
    const answer = "HTTP/1.1 200 OK\r\n\r\n";
    server.write(answer.repeat(10));
    await server.getsBytes(PING.length * 74);
    server.write(answer.repeat(64));
    await server.getsBytes(PING.length * 138);
    server.write(answer.repeat(64));
    await server.getsBytes(PING.length * 200);
    server.write(answer.repeat(62));
    await client.gets(answer.repeat(200));
  });

  test("in chunks pass with their extensions and trailers, both ways", async () => {
    const { client, engine } = await startPair();
    const chunks = "5;a=b\r\nhello\r\n0a\r\n0123456789\r\n0\r\nExpires: now\r\n\r\n";
    const request = `POST /build HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTrailer: Expires\r\n\r\n${chunks}`;
    client.write(request + GET);
    const server = await engine.next();
    await server.gets(request + GET);
    const answer = `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}`;
    server.write(answer + ok("next"));
    await client.gets(answer + ok("next"));
  });

  test("of which the engine wants the body first wait for its 100", async () => {
    const { client, engine } = await startPair();
    const head = "PUT /v1.44/containers/x/archive HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    client.write(head);
    const server = await engine.next();
    await server.gets(head);
    const interim = "HTTP/1.1 100 Continue\r\n\r\n";
    server.write(interim);
    await client.gets(interim);
    client.write("body");
    await server.gets(`${head}body`);
    server.write(ok("done"));
    await client.gets(interim + ok("done"));
  });

  test("are answered after any number of interim answers", async () => {
    const { client, engine } = await startPair();
    client.write(GET + GET);
    const server = await engine.next();
    await server.gets(GET + GET);
    const interim = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
    const answers = interim + interim + ok("one") + interim + ok("two");
    server.write(answers);
    await client.gets(answers);
  });

  test("are answered early, and the body that still comes stays theirs", async () => {
    const { client, engine } = await startPair();
    const head = "POST /build HTTP/1.1\r\nContent-Length: 100\r\n\r\n";
    client.write(head);
    const server = await engine.next();
    await server.gets(head);
    server.write(ok("early"));
    await client.gets(ok("early"));
    const rest = GET.padEnd(100, "x") + GET;
    client.write(rest);
    await server.gets(head + rest);
    server.write(ok("next"));
    await client.gets(ok("early") + ok("next"));
  });

  test("end with the connection where there is no length", async () => {
    const { client, engine } = await startPair();
    client.write("GET /v1.44/containers/x/logs HTTP/1.0\r\n\r\n");
    const server = await engine.next();
    await server.getsBytes(10);
    server.write("HTTP/1.0 200 OK\r\n\r\nline 1\n");
    await client.gets("HTTP/1.0 200 OK\r\n\r\nline 1\n");
    server.end("HTTP/1.1 200 OK\r\n\r\n");
    await client.gets("HTTP/1.0 200 OK\r\n\r\nline 1\nHTTP/1.1 200 OK\r\n\r\n");
    await client.ends();
  });

  test("pass wherever they are cut", async () => {
    const { connect, engine } = await startPair();
    const request = "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nT: u\r\n\r\n";
    const answer = "HTTP/1.1 103 A\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for (let cut = 1; cut < request.length; cut++) {
      const client = await connect();
      client.write(request.slice(0, cut));
      await settle(2);
      client.write(request.slice(cut) + GET);
      const server = await engine.next();
      await server.gets(request + GET);
      server.write(answer.slice(0, cut));
      await settle(2);
      server.write(answer.slice(cut) + ok("next"));
      await client.gets(answer + ok("next"));
      client.destroy();
    }
  });

  test("end in the middle of an answer's head, of which the client gets what there is", async () => {
    const { client, engine } = await startPair();
    client.write(GET);
    const server = await engine.next();
    await server.gets(GET);
    server.end("HTTP/1.1 200 OK\r\nContent-Le");
    await client.ends();
    expect(client.text).toBe("HTTP/1.1 200 OK\r\nContent-Le");
  });

  test("may be preceded by empty lines", async () => {
    const { client, engine } = await startPair();
    client.write(`\r\n${GET}\r\n\r\n${GET}`);
    const server = await engine.next();
    await server.gets(`\r\n${GET}\r\n\r\n${GET}`);
    server.write(ok("one") + ok("two"));
    await client.gets(ok("one") + ok("two"));
  });

  test("pass with a head of a megabyte, both ways", async () => {
    const { client, engine } = await startPair();
    const long = `X-A: ${"a".repeat(1024 * 1024)}\r\n`;
    const request = `GET / HTTP/1.1\r\n${long}\r\n`;
    client.write(request);
    const server = await engine.next();
    await server.gets(request);
    const answer = `HTTP/1.1 200 OK\r\n${long}Content-Length: 0\r\n\r\n`;
    server.write(answer);
    await client.gets(answer);
  });
});

/** The answer to a request that is not understood. */
function refusal(status: string, message: string): string {
  const body = `{"message":"${message}"}\n`;
  return (
    `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n` +
    `Connection: close\r\n\r\n${body}`
  );
}

describe("a request that is not understood", () => {
  test.each([
    ["has a malformed head", "GET /a b HTTP/1.1\r\n\r\n", "400 Bad Request", "malformed request line"],
    [
      "has an endless head",
      `GET /${"a".repeat(MAX_HEAD)}`,
      "431 Request Header Fields Too Large",
      "the head of the request is too long",
    ],
    [
      "has two lengths",
      "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
      "400 Bad Request",
      "malformed Content-Length",
    ],
    [
      "has an unknown coding",
      "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
      "501 Not Implemented",
      "the Transfer-Encoding is not chunked alone",
    ],
    ["speaks TLS", "\x16\x03\x01\x02\n\r\n", "400 Bad Request", "a line of the head does not end in CR and LF"],
    [
      "begins as HTTP/2 and goes on otherwise",
      "PRI * HTTP/2.0\r\nHost: d\r\n\r\n",
      "400 Bad Request",
      "malformed request line",
    ],
  ])("and %s is answered, and never reaches the engine", async (_, request, status, message) => {
    const { client, engine, proxy } = await startPair();
    client.write(request + GET);
    await client.gets(refusal(status, message));
    await client.ends();
    expect(engine.peers.length).toBe(0);
    // What still comes has no effect, and no reset either.
    client.write(GET.repeat(1000));
    client.end();
    await client.closes();
    expect(client.failure).toBeNull();
    await idle(proxy);
  });

  test("is answered in its turn", async () => {
    const { client, engine } = await startPair();
    client.write(`${GET}nonsense\r\n\r\n`);
    const server = await engine.next();
    await server.gets(GET);
    await settle();
    expect(client.text).toBe("");
    server.write(ok("one").slice(0, -1));
    await client.gets(ok("one").slice(0, -1));
    server.write("e");
    await client.gets(ok("one") + refusal("400 Bad Request", "malformed request line"));
    await client.ends();
    await server.ends();
  });

  test("because it is HTTP/2 behind HTTP/1 is answered", async () => {
    const { client, engine } = await startPair();
    client.write(GET);
    const server = await engine.next();
    await server.gets(GET);
    server.write(ok("one"));
    await client.gets(ok("one"));
    client.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    await client.gets(ok("one") + refusal("400 Bad Request", "malformed request line"));
    await server.ends();
    expect(server.text).toBe(GET);
  });

  test("has no answer when the engine ends before its turn", async () => {
    const { client, engine, proxy } = await startPair();
    client.end(`${GET}nonsense`);
    const server = await engine.next();
    await server.gets(GET);
    server.end("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe");
    await client.closes();
    expect(client.text).toBe("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe");
    await idle(proxy);
  });

  test("because it is cut off is answered to a client that still listens", async () => {
    const { client, engine } = await startPair();
    client.end("GET / HTTP/1.1\r\nHost");
    await client.gets(refusal("400 Bad Request", "the request is cut off"));
    await client.closes();
    expect(engine.peers.length).toBe(0);
  });

  test("because of its chunks is answered, and cut off for the engine", async () => {
    const { client, engine } = await startPair();
    const head = "POST /build HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.write(`${head}2\r\nab\r\n`);
    const server = await engine.next();
    await server.gets(`${head}2\r\nab\r\n`);
    client.write("nonsense\r\n");
    await client.gets(refusal("400 Bad Request", "malformed size of a chunk"));
    await client.ends();
    await server.ends();
    expect(server.text).toBe(`${head}2\r\nab\r\n`);
  });

  test("because of its chunks is not answered twice", async () => {
    const { client, engine, clock } = await startPair();
    const head = "POST /build HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.write(head);
    const server = await engine.next();
    await server.gets(head);
    server.write(ok("early"));
    await client.gets(ok("early"));
    client.write("nonsense\r\n");
    await client.ends();
    expect(client.text).toBe(ok("early"));
    clock.advance(5000);
    client.write("more");
    await client.closes();
  });
});

describe("an answer that is not understood", () => {
  test.each([
    ["is no HTTP", "SSH-2.0-OpenSSH_9.2\r\n"],
    ["has a malformed status", "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok"],
    ["has lines without CR", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok"],
    ["has two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"],
    ["has malformed chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nxyz\r\n"],
    ["upgrades what was no upgrade", "HTTP/1.1 101 UPGRADED\r\n\r\nstream"],
    ["has an endless head", `HTTP/1.1 200 OK\r\nX-A: ${"a".repeat(MAX_HEAD)}`],
  ])("and %s reaches the client as it came, with all that follows", async (_, answer) => {
    const { client, engine } = await startPair();
    client.write(GET);
    const server = await engine.next();
    await server.gets(GET);
    server.write(answer);
    // A head may not end, so what follows it is looked at too.
    server.end(`\r\n\r\n${ok("more")}`);
    await client.gets(`${answer}\r\n\r\n${ok("more")}`);
    await client.ends();
  });

  test("because nothing was asked reaches the client", async () => {
    const { client, engine } = await startPair();
    client.write(GET);
    const server = await engine.next();
    await server.gets(GET);
    const timeout = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\nbye";
    server.end(ok("one") + timeout);
    await client.gets(ok("one") + timeout);
    await client.ends();
  });
});
