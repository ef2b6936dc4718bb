import { duplexPair } from "node:stream";
import { describe, expect, test } from "vitest";
import { Peer, settle } from "../../../streams/src/testing/peer.ts";
import { DIRECT, type ProxyServer } from "../route.ts";
import {
  type ExplicitHarness,
  forwarded,
  PROXY,
  request,
  response,
  startExplicit,
  THROUGH_PROXY,
} from "../testing/explicit-harness.ts";
import type { PlayedProxy } from "../testing/upstream-harness.ts";

const GET = request("GET", "http://a.test/");

/** Has a first request answered, by a connection that is idle then. */
async function haveOne(
  harness: ExplicitHarness,
  answer = response("one"),
): Promise<{ readonly client: Peer; readonly server: Peer }> {
  const client = await harness.connect();
  client.write(GET);
  const server = await harness.origin.next();
  await server.until(() => server.text.endsWith("\r\n\r\n"));
  server.write(answer);
  await client.until(() => client.text.endsWith("one"));
  await settle();
  client.clear();
  server.clear();
  return { client, server };
}

/** Has a server answer requests that end with their heads. */
function answering(peer: Peer): void {
  let answered = 0;
  peer.stream.on("data", () => {
    for (const heads = peer.text.split("\r\n\r\n").length - 1; answered < heads; answered++) peer.write(response("ok"));
  });
}

/** Has connections made in memory, where what is written comes in the same parts; gives their servers. */
function playPairs({ connector }: ExplicitHarness): Peer[] {
  const servers: Peer[] = [];
  connector.request = async () => {
    const [near, far] = duplexPair();
    servers.push(new Peer(far));
    return { stream: near, proxy: null };
  };
  return servers;
}

async function getsOk(client: Peer, url: string, fields = ""): Promise<void> {
  client.clear();
  client.write(request("GET", url, fields));
  await client.gets(response("ok"));
}

describe("a connection to the origin", () => {
  test("serves all requests for it, one after the other", async () => {
    const harness = await startExplicit();
    const { client, server } = await haveOne(harness);
    for (const method of ["GET", "POST", "DELETE"]) {
      server.clear();
      client.clear();
      client.write(request(method, "http://A.test.:80/"));
      await server.until(() => server.text.endsWith("\r\n\r\n"));
      server.write(response("ok"));
      await client.gets(response("ok"));
    }
    expect(harness.origin.peers).toHaveLength(1);
  });

  test.each(["http://b.test/", "http://a.test:81/"])("serves none for %s, and is closed", async (url) => {
    const harness = await startExplicit();
    const { client, server } = await haveOne(harness);
    await harness.serve("b.test:80", answering);
    await harness.serve("a.test:81", answering);
    await getsOk(client, url);
    await server.ends();
    expect(server.text).toBe("");
  });

  test.each([
    ["says that it closes", response("one", "Connection: close\r\n")],
    ["is of HTTP/1.0", response("one").replace("HTTP/1.1", "HTTP/1.0")],
    ["has sent more than it was asked for", `${response("one")}HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none`],
    ["has sent an empty line more", `${response("one")}\r\n`],
  ])("serves no more when it %s", async (_, answer) => {
    const harness = await startExplicit();
    const client = await harness.connect();
    client.write(GET);
    const server = await harness.origin.next();
    await server.gets(forwarded("GET", "/"));
    server.write(answer);
    await server.ends();
    await client.gets(response("one"));
    client.clear();
    client.write(GET);
    const second = await harness.origin.next();
    await second.gets(forwarded("GET", "/"));
    second.write(response("two"));
    await client.gets(response("two"));
    expect(server.text).toBe(forwarded("GET", "/"));
  });

  test("serves no more when bytes have come meanwhile that nobody asked for", async () => {
    const harness = await startExplicit();
    const { client, server } = await haveOne(harness);
    server.write(response("unasked"));
    await server.ends();
    client.write(GET);
    const second = await harness.origin.next();
    second.write(response("two"));
    await client.gets(response("two"));
  });

  test("serves no more when such bytes came while the client took nothing", async () => {
    const harness = await startExplicit();
    const body = "x".repeat(8 * 1024 * 1024);
    const socket = await harness.connectUnread();
    socket.write(GET + request("GET", "http://a.test/2"));
    const server = await harness.origin.next();
    await server.gets(forwarded("GET", "/"));
    server.write(response(body));
    server.write(response("unasked"));
    await settle(200);
    let text = "";
    socket.setEncoding("latin1").on("data", (part: string) => (text += part));
    const second = await harness.origin.next();
    await second.gets(forwarded("GET", "/2"));
    second.write(response("two"));
    while (text.length < response(body).length + response("two").length) await settle(1);
    expect(text.endsWith(response("two"))).toBe(true);
  });

  test("serves no more when such bytes wait behind the response", async () => {
    const harness = await startExplicit();
    const servers = playPairs(harness);
    const [stream, served] = duplexPair();
    harness.proxy.serve(served);
    stream.write(GET + request("GET", "http://a.test/2"));
    while (servers.length === 0) await settle(1);
    const [server] = servers;
    const body = "x".repeat(1_000_000);
    // The client takes nothing, so that what comes is kept in the parts in which it came.
    for (const part of [response(body).slice(0, -1), "x", response("unasked")]) {
      server.write(part);
      await settle();
    }
    const client = new Peer(stream);
    await client.gets(response(body));
    while (servers.length === 1) await settle(1);
    await servers[1].gets(forwarded("GET", "/2"));
    expect(server.text).toBe(forwarded("GET", "/"));
    servers[1].write(response("two"));
    await client.gets(response(body) + response("two"));
  });

  test("lets the next request go when it was full and is closed", async () => {
    const harness = await startExplicit();
    const servers = playPairs(harness);
    const [stream, served] = duplexPair();
    harness.proxy.serve(served);
    // Of the first server, which reads nothing, the body is more than its buffer takes.
    const parts = [request("PUT", "http://a.test/", "Content-Length: 70000\r\n"), "x".repeat(70_000), GET];
    for (const part of parts) {
      stream.write(part);
      await settle();
      servers.at(0)?.stream.pause();
    }
    const client = new Peer(stream);
    servers[0].write(response("one", "Connection: close\r\n"));
    await client.gets(response("one"));
    while (servers.length === 1) await settle(1);
    await servers[1].gets(forwarded("GET", "/"));
    servers[1].write(response("two"));
    await client.gets(response("one") + response("two"));
  });

  test("serves none by another way, when that was decided meanwhile", async () => {
    const harness = await startExplicit();
    const proxy = await harness.serve("proxy.test:3128", answering);
    const { client, server } = await haveOne(harness);
    harness.router.routes = [THROUGH_PROXY];
    await getsOk(client, "http://a.test/");
    await server.ends();
    expect(proxy.peers[0].text).toBe("GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n");
    harness.router.routes = [DIRECT];
    client.clear();
    client.write(GET);
    await (await harness.origin.next()).gets(forwarded("GET", "/"));
  });

  test("is closed when no request has gone out on it for long", async () => {
    const harness = await startExplicit();
    const { client, server } = await haveOne(harness);
    harness.clock.advance(50_000);
    await settle();
    expect(server.hasEnded).toBe(false);
    harness.clock.advance(30_000);
    await server.ends();
    client.write(GET);
    await (await harness.origin.next()).gets(forwarded("GET", "/"));
  });

  test("is not closed while a request takes long", async () => {
    const harness = await startExplicit();
    const { client, server } = await haveOne(harness);
    client.write(request("POST", "http://a.test/", "Content-Length: 2\r\n", "a"));
    await server.until(() => server.text.endsWith("\r\n\r\na"));
    server.write(response("early"));
    await client.gets(response("early"));
    harness.clock.advance(500_000);
    client.write("b");
    await server.until(() => server.text.endsWith("\r\n\r\nab"));
    client.clear();
    server.clear();
    client.write(GET);
    await server.gets(forwarded("GET", "/"));
    harness.clock.advance(500_000);
    server.write(response("slow"));
    await client.gets(response("slow"));
  });
});

describe("a connection to an HTTP proxy", () => {
  async function startProxied(routes = [THROUGH_PROXY]): Promise<{ harness: ExplicitHarness; proxy: PlayedProxy }> {
    const harness = await startExplicit();
    harness.router.routes = routes;
    return { harness, proxy: await harness.serve("proxy.test:3128", answering) };
  }

  test("serves the requests for all origins, with the whole URL and our credentials", async () => {
    const server: ProxyServer = { ...PROXY, credentials: { user: "us", password: "secret" } };
    const { harness, proxy } = await startProxied([{ kind: "proxy", server }]);
    const client = await harness.connect();
    await getsOk(client, "http://a.test", "Proxy-Authorization: Basic dGhlbTp0aGVpcnM=\r\n");
    await getsOk(client, "http://[2001:db8::1]:8080/x");
    client.clear();
    client.write(request("OPTIONS", "http://b.test"));
    await client.gets(response("ok"));
    const authorization = `Proxy-Authorization: Basic ${btoa("us:secret")}\r\n\r\n`;
    expect(proxy.peers).toHaveLength(1);
    expect(proxy.peers[0].text).toBe(
      `GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n${authorization}` +
        `GET http://[2001:db8::1]:8080/x HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n${authorization}` +
        `OPTIONS http://b.test HTTP/1.1\r\nHost: b.test\r\n${authorization}`,
    );
  });

  test("serves no other origin that may be reached by a route that comes first", async () => {
    // It was reached by the second one, as the first did not lead to that origin.
    const { harness, proxy } = await startProxied([DIRECT, THROUGH_PROXY]);
    const { connector } = harness;
    const { request: direct } = connector;
    connector.request = (destination, decision, signal) => {
      const routes = destination.host === "far.test" ? [THROUGH_PROXY] : decision.routes;
      return direct.call(connector, destination, { ...decision, routes }, signal);
    };
    const client = await harness.connect();
    await getsOk(client, "http://far.test/");
    await getsOk(client, "http://far.test/");
    expect(proxy.peers).toHaveLength(1);
    client.write(GET);
    await (await harness.origin.next()).gets(forwarded("GET", "/"));
    await proxy.peers[0].ends();
  });

  test("serves no more when its credentials have changed", async () => {
    const { harness, proxy } = await startProxied();
    const client = await harness.connect();
    await getsOk(client, "http://a.test/");
    harness.router.routes = [{ kind: "proxy", server: { ...PROXY } }];
    await getsOk(client, "http://a.test/");
    expect(proxy.peers).toHaveLength(1);
    for (const [user, password] of ["ab", "ac", "bc", "bc"]) {
      const server: ProxyServer = { ...PROXY, credentials: { user, password } };
      harness.router.routes = [{ kind: "proxy", server }];
      await getsOk(client, "http://a.test/");
    }
    expect(proxy.peers).toHaveLength(4);
  });

  test("is told nothing of our credentials when another one has asked for them", async () => {
    const { harness } = await startProxied();
    const other = await harness.serve("other.test:3128", answering);
    const client = await harness.connect();
    const server: ProxyServer = { ...PROXY, credentials: { user: "us", password: "secret" } };
    harness.router.routes = [{ kind: "proxy", server }];
    await getsOk(client, "http://a.test/");
    harness.router.routes = [{ kind: "proxy", server: { kind: "http", host: "other.test", port: 3128 } }];
    await getsOk(client, "http://a.test/");
    expect(other.peers[0].text).toBe("GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n");
  });
});

describe("a connection that its server closes while the next request is on its way", () => {
  /** Has the next request reach a server that closes without an answer. */
  async function meetsClose(harness: ExplicitHarness, bytes: string, answer = ""): Promise<Peer> {
    const { client, server } = await haveOne(harness);
    client.write(bytes);
    await server.until(() => server.received.length > 0);
    if (answer === "") server.stream.destroy();
    else server.end(answer);
    return client;
  }

  test.each(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])("is made up for when it is %s", async (method) => {
    const harness = await startExplicit();
    const client = await meetsClose(harness, request(method, "http://a.test/again"));
    const second = await harness.origin.next();
    await second.gets(forwarded(method, "/again"));
    second.write("HTTP/1.1 304 Not Modified\r\n\r\n");
    await client.gets("HTTP/1.1 304 Not Modified\r\n\r\n");
    expect(harness.origin.peers).toHaveLength(2);
  });

  test("is made up for once only", async () => {
    const harness = await startExplicit();
    const client = await meetsClose(harness, GET);
    const second = await harness.origin.next();
    await second.gets(forwarded("GET", "/"));
    second.destroy();
    await client.ends();
    expect(client.text).toMatch(/^HTTP\/1\.1 502 [\s\S]*a\.test:80 closed the connection without an answer\n$/);
    expect(harness.origin.peers).toHaveLength(2);
  });

  test.each([
    ["may do something twice", request("POST", "http://a.test/", "Content-Length: 0\r\n")],
    ["has a body, which is gone", request("PUT", "http://a.test/", "Content-Length: 2\r\n", "ab")],
    ["is of an unknown kind", request("BREW", "http://a.test/")],
  ])("is told of when the request %s", async (_, bytes) => {
    const harness = await startExplicit();
    const client = await meetsClose(harness, bytes);
    await client.ends();
    expect(client.text).toMatch(/^HTTP\/1\.1 502 /);
    expect(harness.origin.peers).toHaveLength(1);
  });

  test.each(["H", "HTTP/1.1 102 Processing\r\n\r\n", "\r\n"])("is told of when %j has come", async (answer) => {
    const harness = await startExplicit();
    const client = await meetsClose(harness, GET, answer);
    await client.ends();
    expect(client.text).toMatch(/HTTP\/1\.1 502 [\s\S]*closed the connection before its response was complete\n$/);
    expect(harness.origin.peers).toHaveLength(1);
  });

  test("is told of when it was new", async () => {
    const harness = await startExplicit();
    const client = await harness.connect();
    client.write(GET);
    (await harness.origin.next()).destroy();
    await client.ends();
    expect(client.text).toMatch(/^HTTP\/1\.1 502 /);
    expect(harness.origin.peers).toHaveLength(1);
  });

  test.each([
    ["POST", ""],
    ["PUT", "Content-Length: 2\r\n"],
  ])("is not met by %s after a while, for which there is a new one", async (method, fields) => {
    const harness = await startExplicit();
    const { client, server } = await haveOne(harness);
    harness.clock.advance(3_000);
    const bytes = request(method, "http://a.test/", fields, fields && "ab");
    for (let count = 0; count < 2; count++) {
      client.clear();
      server.clear();
      client.write(bytes);
      await server.until(() => server.received.length > 0);
      server.write(response("ok"));
      await client.gets(response("ok"));
      harness.clock.advance(3_000);
    }
    harness.clock.advance(1_001);
    client.write(bytes);
    const second = await harness.origin.next();
    await second.until(() => second.received.length > 0);
    await server.ends();
    harness.clock.advance(4_001);
    client.clear();
    second.write(response("ok"));
    await client.gets(response("ok"));
    // One that can be repeated takes it still.
    harness.clock.advance(4_001);
    client.write(GET);
    await second.until(() => second.text.endsWith(forwarded("GET", "/")));
  });
});

describe("while a decision is awaited", () => {
  test("what comes on the idle connection belongs to no request", async () => {
    const harness = await startExplicit();
    const { client, server } = await haveOne(harness);
    const decided = Promise.withResolvers<void>();
    harness.router.wait = decided.promise;
    client.write(GET);
    await settle();
    server.write(response("forged"));
    await server.ends();
    decided.resolve();
    const second = await harness.origin.next();
    await second.gets(forwarded("GET", "/"));
    second.write(response("true"));
    await client.gets(response("true"));
    expect(harness.origin.peers).toHaveLength(2);
  });

  test.each(["GET", "POST"])("the idle connection may close, which is no answer to %s", async (method) => {
    const harness = await startExplicit();
    const { client, server } = await haveOne(harness);
    const decided = Promise.withResolvers<void>();
    harness.router.wait = decided.promise;
    client.write(request(method, "http://a.test/"));
    await settle();
    server.end();
    await server.ends();
    await settle();
    decided.resolve();
    const second = await harness.origin.next();
    await second.gets(forwarded(method, "/"));
    second.write(response("true"));
    await client.gets(response("true"));
    expect(harness.origin.peers).toHaveLength(2);
  });
});

test("an idle connection that its server closes is no failure", async () => {
  const harness = await startExplicit();
  const { client, server } = await haveOne(harness);
  server.end();
  await server.ends();
  client.write(request("POST", "http://a.test/"));
  const second = await harness.origin.next();
  second.write(response("two"));
  await client.gets(response("two"));
  expect(client.hasEnded).toBe(false);
});
