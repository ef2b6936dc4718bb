import type { Duplex } from "node:stream";
import { expect, test } from "vitest";
import { FakeClock } from "../../streams/src/testing/fake-clock.ts";
import { Peer, settle } from "../../streams/src/testing/peer.ts";
import { writeFailure } from "./explicit/error-page.ts";
import type { Destination } from "./route.ts";
import { tryRequest } from "./trial.ts";

const TUNNEL: Destination = { scheme: "https", host: "2001:db8::1", port: 443 };
const PLAIN: Destination = { scheme: "http", host: "www.example.com", port: 80 };

/** A request that is made of a proxy whose part the test plays. */
async function play(destination: Destination) {
  const clock = new FakeClock();
  let served: Duplex | undefined;
  const result = tryRequest({ serve: (stream) => (served = stream) }, destination, { clock, time: 5000 });
  if (served === undefined) throw new Error("nothing is served");
  const proxy = new Peer(served);
  await proxy.until(() => proxy.text.endsWith("\r\n\r\n"));
  return { result, proxy, clock };
}

test("a tunnel is opened and closed", async () => {
  const { result, proxy, clock } = await play(TUNNEL);
  expect(proxy.text).toMatch(/^CONNECT \[2001:db8::1\]:443 HTTP\/1\.1\r\nHost: \[2001:db8::1\]:443\r\n/);
  clock.advance(12);
  proxy.write("HTTP/1.1 200 Connection established\r\n\r\n");
  expect(await result).toEqual({
    ...{ isReached: true, status: 200, milliseconds: 12 },
    message: "[2001:db8::1]:443 is reached",
  });
  await proxy.closes();
  expect(clock.timers).toBe(0);
});

test("plain HTTP is asked for a head, and whatever the origin answers, it was reached", async () => {
  const { result, proxy } = await play(PLAIN);
  expect(proxy.text).toMatch(/^HEAD http:\/\/www\.example\.com\/ HTTP\/1\.1\r\nHost: www\.example\.com\r\n/);
  proxy.write("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 404 Not Fo");
  await settle();
  proxy.write("und\r\nContent-Length: 5\r\n\r\n");
  expect(await result).toMatchObject({
    isReached: true,
    status: 404,
    message: "www.example.com:80 answers with 404 Not Found",
  });
});

test("what hostd says of a failure is told, with its status", async () => {
  const { result, proxy } = await play(PLAIN);
  const message = 'the proxy http://proxy.test:3128 wants credentials; "quoted" \\ and so on';
  proxy.write(writeFailure({ status: 407, message }, null).toString("latin1"));
  expect(await result).toMatchObject({ isReached: false, status: 407, message });
});

test.each<[string, (proxy: Peer) => unknown, string]>([
  ["no answer", (proxy) => proxy.end(), "was not reached: the connection was closed without an answer"],
  [
    "a connection that breaks off",
    (proxy) => proxy.destroy(),
    "was not reached: the connection was closed without an answer",
  ],
  ["something else than HTTP", (proxy) => proxy.write("SSH-2.0-x\r\n\r\n"), "has not answered as HTTP has it"],
  [
    "an endless head",
    (proxy) => proxy.write(`HTTP/1.1 200 OK\r\nA: ${"a".repeat(300_000)}`),
    "has an answer that is too long",
  ],
])("it is not reached with %s", async (_, answer, message) => {
  const { result, proxy, clock } = await play(PLAIN);
  answer(proxy);
  const { isReached, status, message: told } = await result;
  expect({ isReached, status }).toEqual({ isReached: false, status: null });
  expect(told).toContain(`www.example.com:80 ${message}`);
  expect(clock.timers).toBe(0);
});

test("it is not waited for without end, and nothing is left then", async () => {
  const { result, proxy, clock } = await play(TUNNEL);
  proxy.write("HTTP/1.1 100 Continue\r\n\r\n");
  await settle();
  clock.advance(5000);
  expect(await result).toEqual({
    ...{ isReached: false, status: null, milliseconds: 5000 },
    message: "[2001:db8::1]:443 has not answered within 5 s",
  });
  await proxy.closes();
});
