import { describe, expect, test } from "vitest";
import { pattern } from "../../../streams/src/testing/pattern.ts";
import { type Peer, settle } from "../../../streams/src/testing/peer.ts";
import { type ExplicitHarness, forwarded, request, response, startExplicit } from "../testing/explicit-harness.ts";

/** Sends a request, and gives the client and the origin's connection with it. */
async function exchange(harness: ExplicitHarness, bytes: string): Promise<{ client: Peer; server: Peer }> {
  const client = await harness.connect();
  client.write(bytes);
  return { client, server: await harness.origin.next() };
}

/** Has an exchange with nothing special about it, which shows that the connections are as if new. */
async function provesFresh(client: Peer, server: Peer): Promise<void> {
  client.clear();
  server.clear();
  client.write(request("GET", "http://a.test/fresh"));
  await server.gets(forwarded("GET", "/fresh"));
  server.write(response("fresh"));
  await client.gets(response("fresh"));
}

describe("a request", () => {
  test.each([
    ["http://a.test/x?y=/z", "/x?y=/z", "a.test"],
    ["http://a.test", "/", "a.test"],
    ["http://a.test?q", "/?q", "a.test"],
    ["HTTP://A.Test:80/", "/", "A.Test:80"],
    ["http://a.test.:/%20", "/%20", "a.test.:"],
    ["http://a.test//b", "//b", "a.test"],
  ])("for %s is made in origin form, with the Host of the URL", async (url, path, host) => {
    const harness = await startExplicit();
    const { client, server } = await exchange(harness, `GET ${url} HTTP/1.1\r\nHost: other.test:99\r\nA: b\r\n\r\n`);
    await server.gets(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\nA: b\r\n\r\n`);
    server.write(response("yes"));
    await client.gets(response("yes"));
    expect(harness.router.decided).toEqual([{ scheme: "http", host: "a.test", port: 80 }]);
    await provesFresh(client, server);
  });

  test.each([
    ["OPTIONS", "http://a.test", "*"],
    ["OPTIONS", "http://a.test/", "/"],
    ["OPTIONS", "http://a.test?q", "/?q"],
    ["PROPFIND", "http://a.test", "/"],
  ])("%s for %s asks for %s", async (method, url, target) => {
    const { server } = await exchange(await startExplicit(), request(method, url));
    await server.gets(forwarded(method, target));
  });

  test("that counts those who forward it has one left", async () => {
    const harness = await startExplicit();
    const { client, server } = await exchange(harness, request("OPTIONS", "http://a.test", "Max-Forwards: 2\r\n"));
    await server.gets(forwarded("OPTIONS", "*", "Max-Forwards: 1\r\n"));
    server.write(response(""));
    await client.gets(response(""));
    client.clear();
    server.clear();
    // Nobody counts others.
    client.write(request("GET", "http://a.test/", "Max-Forwards: 2\r\n"));
    await server.gets(forwarded("GET", "/", "Max-Forwards: 2\r\n"));
  });

  test("that may not be forwarded any more is answered here", async () => {
    const { connect, connector } = await startExplicit();
    const client = await connect();
    client.write(request("OPTIONS", "http://a.test", "Max-Forwards: 0\r\n"));
    await client.ends();
    expect(client.text).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(connector.asked).toEqual([]);
  });

  test("with a method that sends back what was sent is not made", async () => {
    const { connect, connector } = await startExplicit();
    const client = await connect();
    client.write(request("TRACE", "http://a.test/", "Max-Forwards: 1\r\n"));
    await client.ends();
    expect(client.text).toMatch(/^HTTP\/1\.1 501 Not Implemented\r\n[\s\S]*TRACE/);
    expect(connector.asked).toEqual([]);
  });

  test("names whom it passes when that is wanted", async () => {
    const harness = await startExplicit({ via: "hostd" });
    const { client, server } = await exchange(harness, request("GET", "http://a.test/", "Via: 1.0 first\r\n"));
    await server.gets(forwarded("GET", "/", "Via: 1.0 first\r\nVia: 1.1 hostd\r\n"));
    server.write("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n");
    await client.gets("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nVia: 1.0 hostd\r\n\r\n");
  });
});

describe("bodies pass as they are:", () => {
  const CHUNKED = '5;a="b;c"\r\nhello\r\n00A\r\n0123456789\r\n0\r\nTrailer: yes\r\nX:\r\n\r\n';

  test("with a length, both ways", async () => {
    const body = pattern(300_000).toString("latin1");
    const fields = `Content-Length: ${body.length}\r\n`;
    const { client, server } = await exchange(await startExplicit(), request("POST", "http://a.test/", fields, body));
    await server.gets(forwarded("POST", "/", fields, body));
    server.write(response(body));
    await client.gets(response(body));
    await provesFresh(client, server);
  });

  test("in chunks with extensions and trailers, both ways", async () => {
    const fields = "Transfer-Encoding: chunked\r\n";
    const { client, server } = await exchange(await startExplicit(), request("PUT", "http://a.test/", fields, CHUNKED));
    await server.gets(forwarded("PUT", "/", fields, CHUNKED));
    server.write(`HTTP/1.1 200 OK\r\n${fields}\r\n${CHUNKED}`);
    await client.gets(`HTTP/1.1 200 OK\r\n${fields}\r\n${CHUNKED}`);
    await provesFresh(client, server);
  });

  test("as they come, before there is more", async () => {
    const fields = "Transfer-Encoding: chunked\r\n";
    const { client, server } = await exchange(
      await startExplicit(),
      request("POST", "http://a.test/", fields, "5\r\nhello"),
    );
    await server.gets(forwarded("POST", "/", fields, "5\r\nhello"));
    server.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nback");
    await client.gets("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nback");
    client.clear();
    server.clear();
    client.write("\r\n0\r\n\r\n");
    await server.gets("\r\n0\r\n\r\n");
    server.write("\r\n0\r\n\r\n");
    await client.gets("\r\n0\r\n\r\n");
    await provesFresh(client, server);
  });

  test("of no length, which is told", async () => {
    const { client, server } = await exchange(
      await startExplicit(),
      request("POST", "http://a.test/", "Content-Length: 0\r\n"),
    );
    await server.gets(forwarded("POST", "/", "Content-Length: 0\r\n"));
    server.write(response(""));
    await client.gets(response(""));
    await provesFresh(client, server);
  });

  test("until the end of the connection, where the response says nothing of a length", async () => {
    const { client, server } = await exchange(await startExplicit(), request("GET", "http://a.test/"));
    server.write("HTTP/1.1 200 OK\r\n\r\nall ");
    await client.gets("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall ");
    server.end("of it");
    await client.ends();
    expect(client.text).toBe("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it");
  });
});

describe("a response without a body leaves the connection as it was:", () => {
  test.each([
    ["HEAD", "200 OK", "Content-Length: 5\r\n"],
    ["HEAD", "200 OK", "Transfer-Encoding: chunked\r\n"],
    ["HEAD", "200 OK", ""],
    ["GET", "304 Not Modified", "ETag: x\r\nContent-Length: 5\r\n"],
    ["GET", "304 Not Modified", "Transfer-Encoding: chunked\r\n"],
    ["DELETE", "204 No Content", ""],
  ])("to %s, %s with %j", async (method, status, fields) => {
    const { client, server } = await exchange(await startExplicit(), request(method, "http://a.test/"));
    server.write(`HTTP/1.1 ${status}\r\n${fields}\r\n`);
    await client.gets(`HTTP/1.1 ${status}\r\n${fields}\r\n`);
    await provesFresh(client, server);
  });

  test.each(["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"])(
    "204 that tells of one by %j",
    async (fields) => {
      const { client, server } = await exchange(await startExplicit(), request("GET", "http://a.test/"));
      server.write(`HTTP/1.1 204 No Content\r\n${fields}\r\n`);
      await client.gets("HTTP/1.1 204 No Content\r\n\r\n");
      await provesFresh(client, server);
    },
  );
});

describe("interim responses", () => {
  test("pass, each with its fields", async () => {
    const { client, server } = await exchange(await startExplicit(), request("GET", "http://a.test/"));
    const hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
    server.write(`HTTP/1.1 102 Processing\r\n\r\n${hints}`);
    await client.gets(`HTTP/1.1 102 Processing\r\n\r\n${hints}`);
    server.write(hints + response("end"));
    await client.gets(`HTTP/1.1 102 Processing\r\n\r\n${hints}${hints}${response("end")}`);
    await provesFresh(client, server);
  });

  test("are counted for each request", async () => {
    const { client, server } = await exchange(await startExplicit(), request("GET", "http://a.test/"));
    const hints = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(40);
    for (let count = 0; count < 3; count++) {
      await server.gets(forwarded("GET", "/"));
      server.write(`${hints}${response("end")}`);
      await client.gets(`${hints}${response("end")}`);
      client.clear();
      server.clear();
      client.write(request("GET", "http://a.test/"));
    }
  });

  test("are kept from clients of HTTP/1.0", async () => {
    const { client, server } = await exchange(await startExplicit(), "GET http://a.test/ HTTP/1.0\r\n\r\n");
    await server.gets(forwarded("GET", "/"));
    server.write(`HTTP/1.1 103 Early Hints\r\n\r\n${response("end")}`);
    await client.ends();
    expect(client.text).toBe("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nend");
  });

  test("are asked for by Expect, and the body follows them", async () => {
    const fields = "Expect: 100-continue\r\n";
    const { client, server } = await exchange(
      await startExplicit(),
      request("POST", "http://a.test/", `${fields}Content-Length: 4\r\n`),
    );
    await server.gets(forwarded("POST", "/", `${fields}Content-Length: 4\r\n`));
    server.write("HTTP/1.1 100 Continue\r\n\r\n");
    await client.gets("HTTP/1.1 100 Continue\r\n\r\n");
    client.write("body");
    await server.until(() => server.text.endsWith("\r\n\r\nbody"));
    server.write(response("got it"));
    await client.gets(`HTTP/1.1 100 Continue\r\n\r\n${response("got it")}`);
    await provesFresh(client, server);
  });
});

describe("a response that comes before all of the request", () => {
  const half = request("POST", "http://a.test/", "Content-Length: 8\r\n", "half");

  test("passes, and the rest goes on to a server that reads on", async () => {
    const { client, server } = await exchange(await startExplicit(), half);
    server.write(response("early"));
    await client.gets(response("early"));
    client.write("more");
    await server.gets(forwarded("POST", "/", "Content-Length: 8\r\n", "halfmore"));
    await provesFresh(client, server);
  });

  test("passes, and the next request waits for the rest", async () => {
    const { client, server } = await exchange(await startExplicit(), half);
    server.write(response("early"));
    await client.gets(response("early"));
    client.write(`more${request("GET", "http://a.test/2")}`);
    await server.gets(`${forwarded("POST", "/", "Content-Length: 8\r\n", "halfmore")}${forwarded("GET", "/2")}`);
    server.write(response("two"));
    await client.gets(response("early") + response("two"));
  });

  test("is the last one when it says so, and the rest is not passed on", async () => {
    const { client, server } = await exchange(await startExplicit(), half);
    server.write(response("no", "Connection: close\r\n", "413 Content Too Large"));
    await client.ends();
    const head = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\n";
    expect(client.text).toBe(`${head}no`);
    await server.ends();
    client.end("more");
    await client.closes();
    expect(client.failure).toBeNull();
  });

  test("reaches a client whose server has closed when the rest is sent, with all of it", async () => {
    const harness = await startExplicit();
    const body = pattern(100_000).toString("latin1");
    for (let round = 0; round < 10; round++) {
      const client = await harness.connect();
      client.write(request("POST", "http://a.test/", "Content-Length: 10000000\r\n"));
      const server = await harness.origin.next();
      await server.until(() => server.received.length > 0);
      server.stream.pause();
      client.write(Buffer.alloc(1_000_000));
      await settle();
      client.write(Buffer.alloc(100_000));
      server.write(response(body));
      server.destroy();
      await client.getsBytes(response(body).length);
      expect(client.text).toBe(response(body));
      client.destroy();
    }
  });

  test("reaches a client whose server closes at once, with what it was sent unread", async () => {
    const { origin, connect, serve } = await startExplicit();
    expect(origin.peers).toEqual([]);
    const rude = await serve("rude.test:80", (peer) => {
      peer.stream.pause();
      peer.write(response("no", "Connection: close\r\n", "403 Forbidden"));
      peer.stream.once("readable", () => peer.destroy());
    });
    const client = await connect();
    client.write(request("POST", "http://rude.test/", "Content-Length: 1000000\r\n"));
    (await rude.next()).stream.on("error", () => {});
    for (let part = 0; part < 10; part++) {
      client.write(Buffer.alloc(10_000));
      await settle(2);
    }
    await client.ends();
    expect(client.text).toMatch(/^HTTP\/1\.1 403 Forbidden\r\n[\s\S]*\r\n\r\nno$/);
  });

  test("ends the connection when its server goes before the rest", async () => {
    const { client, server } = await exchange(await startExplicit(), half);
    server.write(response("early"));
    await client.gets(response("early"));
    server.end();
    await client.ends();
    expect(client.text).toBe(response("early"));
  });
});

describe("a client of HTTP/1.0", () => {
  const get = "GET http://a.test/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
  const head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";

  test("is given chunks without their framing", async () => {
    const { client, server } = await exchange(await startExplicit(), get);
    await server.gets(forwarded("GET", "/"));
    server.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n1\r\n");
    await client.gets(`${head}hello`);
    server.write("!\r\n0\r\nTrailer: no\r\n\r\n");
    await client.ends();
    expect(client.text).toBe(`${head}hello!`);
  });

  test("is not told that a response has chunks which has no body", async () => {
    const { client, server } = await exchange(await startExplicit(), get.replace("GET", "HEAD"));
    server.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    await client.ends();
    expect(client.text).toBe(head);
  });

  test("is given what ends with the connection", async () => {
    const { client, server } = await exchange(await startExplicit(), get);
    server.end("HTTP/1.0 200 OK\r\n\r\nall");
    await client.ends();
    expect(client.text).toBe(`${head}all`);
  });

  test("is answered once, and its connection ends", async () => {
    const { client, server } = await exchange(await startExplicit(), get + get);
    await server.gets(forwarded("GET", "/"));
    server.write(response("one"));
    await client.ends();
    expect(client.text).toBe("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\none");
    await server.ends();
    expect(server.text).toBe(forwarded("GET", "/"));
  });
});

describe("hop-by-hop fields", () => {
  test("of a request go no further, and what it says to the proxy is nobody else's", async () => {
    const fields =
      "Connection: Keep-Alive, X-Mine , close\r\nConnection: x-other\r\nKeep-Alive: timeout=5\r\nX-Mine: 1\r\nx-OTHER: 2\r\n" +
      "Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic c2VjcmV0\r\nTE: gzip\r\nUpgrade: h2c\r\nA: b\r\n";
    const { server } = await exchange(await startExplicit(), request("GET", "http://a.test/", fields));
    await server.gets(forwarded("GET", "/", "A: b\r\n"));
  });

  test("of a response go no further", async () => {
    const harness = await startExplicit();
    const { client, server } = await exchange(harness, request("GET", "http://a.test/"));
    const fields =
      "Connection: keep-alive, X-Mine\r\nKeep-Alive: timeout=5\r\nX-Mine: 1\r\nProxy-Authenticate: Basic\r\n" +
      "Proxy-Connection: keep-alive\r\nProxy-Authentication-Info: x\r\nUpgrade: h2, h2c\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n";
    server.write(response("ok", fields));
    await client.gets(response("ok", "Set-Cookie: a\r\nSet-Cookie: b\r\n"));
    await provesFresh(client, server);
  });

  test("cannot take away what would make it another request", async () => {
    const fields = "Connection: host, authorization, cookie, content-length, content-type\r\n";
    const kept = "Authorization: Basic eA==\r\nCookie: a=b\r\nContent-Type: x/y\r\n";
    const { server } = await exchange(
      await startExplicit(),
      request("POST", "http://a.test/", `${fields}${kept}Content-Length: 2\r\n`, "ab"),
    );
    await server.gets(forwarded("POST", "/", `${kept}Content-Length: 2\r\n`, "ab"));
  });

  test("that ask for trailers are asked on", async () => {
    const { server } = await exchange(
      await startExplicit(),
      request("GET", "http://a.test/", "TE: trailers, deflate;q=0.5\r\nConnection: TE\r\n"),
    );
    await server.gets(forwarded("GET", "/", "Connection: TE\r\nTE: trailers\r\n"));
  });

  test.each(["Connection: close\r\n", "Proxy-Connection: close\r\n"])(
    "of %j end the client's connection",
    async (fields) => {
      const { client, server } = await exchange(await startExplicit(), request("GET", "http://a.test/", fields));
      await server.gets(forwarded("GET", "/"));
      server.write(response("ok"));
      await client.ends();
      expect(client.text).toBe("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
      await server.ends();
    },
  );
});

test("pipelined requests are answered in their order, one after the other", async () => {
  const harness = await startExplicit();
  const other = await harness.serve("b.test:8080");
  const client = await harness.connect();
  client.write(
    request("GET", "http://a.test/1") +
      request("POST", "http://b.test:8080/2", "Content-Length: 3\r\n", "two") +
      request("HEAD", "http://a.test/3") +
      request("GET", "http://a.test/4"),
  );
  const first = await harness.origin.next();
  await first.gets(forwarded("GET", "/1"));
  expect(harness.router.decided).toHaveLength(1);
  first.write(response("one"));
  const second = await other.next();
  await second.gets("POST /2 HTTP/1.1\r\nHost: b.test:8080\r\nContent-Length: 3\r\n\r\ntwo");
  await first.ends();
  second.write(response("two"));
  const third = await harness.origin.next();
  await third.gets(forwarded("HEAD", "/3"));
  third.write("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n");
  await third.gets(forwarded("HEAD", "/3") + forwarded("GET", "/4"));
  third.write(response("four"));
  await client.gets(
    `${response("one")}${response("two")}HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n${response("four")}`,
  );
});

test("a message may be cut anywhere", async () => {
  const harness = await startExplicit();
  const bytes = request("POST", "http://a.test/", "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n");
  const answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
  const client = await harness.connect();
  let server: Peer | null = null;
  for (const cut of [1, 2, 3, 5, 7]) {
    client.clear();
    server?.clear();
    for (let at = 0; at < bytes.length; at += cut) {
      client.write(bytes.slice(at, at + cut));
      if (cut > 1) await settle(2);
    }
    server ??= await harness.origin.next();
    await server.gets(forwarded("POST", "/", "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n"));
    for (let at = 0; at < answer.length; at += cut) {
      server.write(answer.slice(at, at + cut));
      await settle(2);
    }
    await client.gets(answer);
  }
});
