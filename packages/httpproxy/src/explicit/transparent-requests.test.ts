import { describe, expect, test } from "vitest";
import { settle } from "../../../streams/src/testing/peer.ts";
import type { HostPort } from "../route.ts";
import { type ExplicitHarness, isIdle, PROXY, response, startExplicit } from "../testing/explicit-harness.ts";
import type { PlayedProxy } from "../testing/upstream-harness.ts";

/** A harness whose clients have connected to this, and the proxy that all goes through. */
async function start(original: HostPort): Promise<{ harness: ExplicitHarness; proxy: PlayedProxy }> {
  const harness = await startExplicit({ serve: (proxy, client) => proxy.serveTransparently(client, original) });
  harness.router.routes = [{ kind: "proxy", server: PROXY }];
  return { harness, proxy: await harness.serve("proxy.test:3128") };
}

describe("a request of a client that knows of no proxy", () => {
  test.each([
    ["GET /x?y HTTP/1.1\r\nHost: A.test\r\n", 80, "a.test", "GET http://a.test/x?y", "A.test"],
    ["GET / HTTP/1.1\r\nHost: a.test:80\r\n", 80, "a.test", "GET http://a.test/", "a.test:80"],
    ["GET / HTTP/1.1\r\nHost: a.test:99\r\n", 8080, "a.test", "GET http://a.test:8080/", "a.test:99"],
    ["GET / HTTP/1.1\r\nHost: [2001:DB8::1]\r\n", 80, "2001:db8::1", "GET http://[2001:db8::1]/", "[2001:DB8::1]"],
    ["GET / HTTP/1.1\r\nHost:\r\n", 80, "192.0.2.7", "GET http://192.0.2.7/", "192.0.2.7"],
    ["GET / HTTP/1.0\r\n", 81, "192.0.2.7", "GET http://192.0.2.7:81/", "192.0.2.7:81"],
    ["OPTIONS * HTTP/1.1\r\nHost: a.test\r\n", 80, "a.test", "OPTIONS http://a.test", "a.test"],
    ["GET http://b.test/x HTTP/1.1\r\nHost: a.test\r\n", 80, "b.test", "GET http://b.test/x", "b.test"],
    ["GET http://b.test:99 HTTP/1.1\r\nHost: a.test\r\n", 80, "b.test", "GET http://b.test/", "b.test:99"],
  ])("goes to the host that it names and the port that it is on: %j at %i", async (bytes, port, host, line, value) => {
    const { harness, proxy } = await start({ host: "192.0.2.7", port });
    const client = await harness.connect();
    client.write(`${bytes}\r\n`);
    const server = await proxy.next();
    await server.gets(`${line} HTTP/1.1\r\nHost: ${value}\r\n\r\n`);
    expect(harness.router.decided).toEqual([{ scheme: "http", host, port, address: "192.0.2.7" }]);
  });

  test("goes to the origin in the form that it has", async () => {
    const harness = await startExplicit({
      serve: (proxy, client) => proxy.serveTransparently(client, { host: "192.0.2.7", port: 80 }),
    });
    const client = await harness.connect();
    client.write("OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\nGET http://a.test/x HTTP/1.1\r\nHost: b.test\r\n\r\n");
    const server = await harness.origin.next();
    await server.gets("OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n");
    server.write(response("one"));
    await client.gets(response("one"));
    await server.gets("OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\nGET /x HTTP/1.1\r\nHost: a.test\r\n\r\n");
  });

  test.each([
    ["a path that is none", "GET @evil.test/ HTTP/1.1\r\nHost: a.test\r\n", 400],
    ["a path that is a part of a host", "GET .evil.test/ HTTP/1.1\r\nHost: a.test\r\n", 400],
    ["a path that is a port", "GET :8080/ HTTP/1.1\r\nHost: a.test\r\n", 400],
    ["* with another method", "GET * HTTP/1.1\r\nHost: a.test\r\n", 400],
    ["another scheme", "GET https://a.test/ HTTP/1.1\r\nHost: a.test\r\n", 400],
    ["no Host", "GET / HTTP/1.1\r\n", 400],
    ["two of them", "GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n", 400],
    ["a user in Host", "GET / HTTP/1.1\r\nHost: user@a.test\r\n", 400],
    ["CONNECT", "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n", 501],
    ["TRACE", "TRACE / HTTP/1.1\r\nHost: a.test\r\n", 501],
  ])("is refused with %s", async (_, bytes, status) => {
    const { harness } = await start({ host: "192.0.2.7", port: 80 });
    const client = await harness.connect();
    client.write(`${bytes}\r\n`);
    await client.ends();
    expect(client.text).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    expect(harness.connector.asked).toEqual([]);
    client.end();
    await isIdle(harness.proxy);
    await settle();
    expect(harness.clock.timers).toBe(0);
  });
});
