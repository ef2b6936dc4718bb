import { randomInt } from "node:crypto";
import { afterEach, expect, onTestFinished, test, vi } from "vitest";
import type { ServerAddress } from "../server-address.ts";
import { answerWith, queryMessage, readValid } from "../testing/messages.ts";
import { heldServer, isPortFree, type Received, udpServer } from "../testing/servers.ts";
import { ServerSockets, SOCKET_LIFETIME, SOCKETS_PER_SERVER } from "./server-sockets.ts";
import { QUERIES_PER_SOCKET } from "./udp-socket.ts";

const query = readValid(queryMessage("a.example", "A", { id: 0x4242 }));

vi.mock("node:crypto", async (original) => {
  const crypto = await original<typeof import("node:crypto")>();
  return { ...crypto, randomInt: vi.fn(crypto.randomInt) };
});

afterEach(() => {
  vi.useRealTimers();
  vi.mocked(randomInt).mockReset();
});

function serverSockets(): ServerSockets {
  const made = new ServerSockets();
  onTestFinished(() => made.retire());
  return made;
}

/** Asks over UDP and resolves when the answer has come. */
function ask(from: ServerSockets, server: ServerAddress): Promise<void> {
  return new Promise((resolve, reject) => {
    const exchange = from.ask("udp", server, query, { answered: () => resolve(), failed: reject });
    onTestFinished(() => exchange.close());
  });
}

const closed = (port: number) => vi.waitFor(async () => expect(await isPortFree(port)).toBe(true));
const portsOf = (received: readonly Received[]) => new Set(received.map(({ port }) => port));

test("simultaneous queries use several ports, but not more than there are places", async () => {
  const count = SOCKETS_PER_SERVER * 10;
  const waiting: Received[] = [];
  const server = await udpServer((received) => {
    if (waiting.push(received) < count) return;
    for (const { message, reply } of waiting) reply(answerWith(message, "192.0.2.1"));
  });
  const from = serverSockets();
  await Promise.all(Array.from({ length: count }, () => ask(from, server.address)));
  const ports = portsOf(waiting);
  expect(ports.size).toBeGreaterThan(SOCKETS_PER_SERVER / 2);
  expect(ports.size).toBeLessThanOrEqual(SOCKETS_PER_SERVER);
});

test("a socket that has had its queries is replaced", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  // So every query falls to the same place.
  vi.mocked(randomInt).mockImplementation(() => 0);
  const ports: number[] = [];
  const server = await udpServer(({ message, port, reply }) => {
    ports.push(port);
    reply(answerWith(message, "192.0.2.1"));
  });
  const from = serverSockets();
  for (let count = 0; count <= QUERIES_PER_SOCKET; count++) await ask(from, server.address);
  expect(ports.indexOf(ports[QUERIES_PER_SOCKET])).toBe(QUERIES_PER_SOCKET);
  expect(new Set(ports).size).toBe(2);
});

test("no socket takes a query after its lifetime, and one that waits for an answer still gets it", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const server = await heldServer();
  const from = serverSockets();
  const answers: Promise<void>[] = [];
  const asked: Received[] = [];
  const askAll = async () => {
    for (let count = 0; count < 40; count++) {
      answers.push(ask(from, server.address));
      asked.push(await server.next());
    }
    return portsOf(asked.slice(-40));
  };
  const before = await askAll();
  vi.advanceTimersByTime(SOCKET_LIFETIME - 1);
  const still = await askAll();
  expect(new Set([...before, ...still]).size).toBeLessThanOrEqual(SOCKETS_PER_SERVER);
  vi.advanceTimersByTime(1);
  const after = await askAll();
  expect([...after].filter((port) => before.has(port) || still.has(port))).toEqual([]);
  for (const { message, reply } of asked) reply(answerWith(message, "192.0.2.1"));
  await Promise.all(answers);
});

test("nothing is left open when there was no query for a while", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const received: Received[] = [];
  const server = await udpServer((one) => {
    received.push(one);
    one.reply(answerWith(one.message, "192.0.2.1"));
  });
  const from = serverSockets();
  for (let count = 0; count < 20; count++) await ask(from, server.address);
  vi.advanceTimersByTime(SOCKET_LIFETIME);
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
  for (const port of portsOf(received)) await closed(port);
});

test("retiring all sockets closes them, and stops the clock", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const server = await heldServer();
  const from = serverSockets();
  const answer = ask(from, server.address);
  const { message, port, reply } = await server.next();
  reply(answerWith(message, "192.0.2.1"));
  await answer;
  expect(await isPortFree(port)).toBe(false);
  from.retire();
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
  await closed(port);
});

test("servers have sockets of their own, told apart by address and port", async () => {
  const [first, second] = [await heldServer(), await heldServer()];
  const from = serverSockets();
  const answers = [ask(from, first.address), ask(from, { ...second.address }), ask(from, { ...first.address })];
  const received = [await first.next(), await first.next(), await second.next()];
  for (const { message, reply } of received) reply(answerWith(message, "192.0.2.1"));
  await Promise.all(answers);
});

test("a thousand queries that are outstanding share a few sockets, and each gets its answer", async () => {
  const waiting: Received[] = [];
  const { promise: complete, resolve } = Promise.withResolvers<void>();
  const server = await udpServer((received) => {
    if (waiting.push(received) === 1000) resolve();
  });
  const from = serverSockets();
  const answers: Promise<void>[] = [];
  // In portions that the receive buffer of the server has room for.
  for (let portion = 1; portion <= 10; portion++) {
    for (let count = 0; count < 100; count++) answers.push(ask(from, server.address));
    await vi.waitFor(() => expect(waiting.length).toBe(portion * 100), { interval: 1 });
  }
  await complete;
  expect(portsOf(waiting).size).toBeLessThanOrEqual(SOCKETS_PER_SERVER);
  for (const { message, reply } of waiting) {
    reply(answerWith(message, "192.0.2.1"));
    await new Promise(setImmediate);
  }
  await Promise.all(answers);
});
