import { describe, expect, test } from "vitest";
import { type Peer, settle } from "../../../streams/src/testing/peer.ts";
import { conformancePage } from "../testing/conformance-page.ts";
import { REQUESTS, type Refusal } from "../testing/conformance-requests.ts";
import { RESPONSES } from "../testing/conformance-responses.ts";
import { forwarded, isIdle, request, response, startExplicit } from "../testing/explicit-harness.ts";

/** Checks that a client has got an answer of the proxy with this, as its last one. */
function expectRefusal(text: string, { status, reason }: Refusal, method = "GET"): void {
  expect(text).toMatch(new RegExp(`^HTTP/1\\.1 ${status} [A-Z]`));
  expect(text).toContain("\r\nConnection: close\r\n");
  expect(text.split("\r\n\r\n").slice(1)).toEqual([method === "HEAD" ? "" : `hostd: ${reason}\n`]);
}

async function closesAll(client: Peer): Promise<void> {
  client.end();
  await client.closes();
}

describe.each(REQUESTS)("$title:", ({ cases }) => {
  test.each(cases)("$form", async ({ sent, origin, refusal }) => {
    const harness = await startExplicit();
    const client = await harness.connect();
    client.write(sent);
    if (origin !== null) {
      const server = await harness.origin.next();
      await server.gets(origin);
      if (refusal === null) {
        server.write(response("yes"));
        await client.until(() => client.text.endsWith("\r\n\r\nyes"));
      } else {
        await server.ends();
      }
      expect(server.text).toBe(origin);
    }
    if (refusal !== null) {
      await client.ends();
      expectRefusal(client.text, refusal);
    }
    await closesAll(client);
    await isIdle(harness.proxy);
    expect(harness.connector.asked).toHaveLength(origin === null ? 0 : 1);
    for (const peer of harness.origin.peers) {
      await peer.ends();
      expect(peer.text).toBe(origin);
    }
  });
});

describe.each(RESPONSES)("$title:", ({ cases }) => {
  test.each(cases)("$form", async ({ method, sent, client: expected, refusal, after }) => {
    const harness = await startExplicit();
    const client = await harness.connect();
    client.write(request(method, "http://a.test/"));
    const server = await harness.origin.next();
    await server.gets(forwarded(method, "/"));
    server.write(sent);
    if (after === "next request") {
      await client.gets(expected);
      // Whatever was sent, the next response is that of the next request.
      client.clear();
      client.write(request("GET", "http://a.test/2"));
      await settle();
      const next = harness.origin.peers.length > 1 ? harness.origin.peers[1] : server;
      await next.until(() => next.text.endsWith(forwarded("GET", "/2")));
      next.write(response("two"));
      await client.gets(response("two"));
    } else {
      await client.until(() => client.text.length >= expected.length || client.isClosed);
      server.end();
      await client.until(() => client.hasEnded || client.isClosed);
      expect(client.failure).toBe(after === "reset" ? "ECONNRESET" : null);
      expect(client.text.slice(0, expected.length)).toBe(expected);
      const rest = client.text.slice(expected.length);
      if (refusal === null) expect(rest).toBe("");
      else expectRefusal(rest, refusal, method);
    }
    await closesAll(client);
    await isIdle(harness.proxy);
    for (const peer of harness.origin.peers) await peer.until(() => peer.hasEnded || peer.isClosed);
  });
});

test("the page lists all of it", async () => {
  await expect(conformancePage()).toMatchFileSnapshot("../../../../docs/http-proxy-conformance.md");
});
