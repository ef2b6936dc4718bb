import { expect, onTestFinished, test, vi } from "vitest";
import type { QueryContext } from "../context.ts";
import { type Policy, type PolicySource, RouteTable } from "../policy/policy.ts";
import { newQuery } from "../query.ts";
import { Resolver } from "../resolver.ts";
import { formatServerAddress, type ServerAddress } from "../server-address.ts";
import { answerWith, dataOf, decoded, errorFor, queryMessage, readValid } from "../testing/messages.ts";
import { heldServer, type Received, type TestServer, udpServer } from "../testing/servers.ts";
import { Zones } from "../zones/zones.ts";
import { Forwarder } from "./forwarder.ts";
import { LoopCheck } from "./loop-check.ts";
import { ServerSockets } from "./server-sockets.ts";

const query = readValid(queryMessage("a.example", "A", { id: 0x4242 }));

class ChangingPolicy implements PolicySource {
  #policy: Policy = { routes: new RouteTable([]), search: [] };

  change(servers: readonly ServerAddress[]): void {
    const set = { servers, serverTimeout: null, attempts: null };
    this.#policy = { routes: new RouteTable([{ domain: "", set, from: "a test" }]), search: [] };
  }

  current(): Policy {
    return this.#policy;
  }
}

function setUp(totalTimeout = 60_000) {
  const source = new ChangingPolicy();
  const logger = { debug: vi.fn(), info: vi.fn(), warn: vi.fn() };
  const forwarder = new Forwarder({ source, totalTimeout });
  const loopCheck = new LoopCheck(forwarder, logger);
  onTestFinished(() => {
    loopCheck.close();
    forwarder.close();
  });
  const states = () => forwarder.report()[0].servers.map(({ state }) => state);
  return { source, logger, forwarder, loopCheck, states };
}

/** A server that asks `loopCheck` what it does not know: whether its name is that of a check. */
function loopingServer(loopCheck: LoopCheck): Promise<TestServer> {
  return udpServer(({ message, reply }) => {
    const answer = loopCheck.answer(readValid(message));
    if (answer !== null) reply(answer);
  });
}

const isCheck = (message: Uint8Array) => decoded(message).questions?.[0].name.endsWith(".loop-check.hostd.internal");
const checksOf = ({ received }: TestServer) => received.filter(isCheck);

/** Answers every name, and none of the checks. */
const answering = (address: string) =>
  udpServer(({ message, reply }) => reply(isCheck(message) ? errorFor(message, 3) : answerWith(message, address)));

function virtualTime(): void {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
  onTestFinished(() => {
    vi.useRealTimers();
  });
}

test("a server that asks us in turn is found, reported once and asked no more", async () => {
  const { source, logger, forwarder, loopCheck, states } = setUp();
  const looping = await loopingServer(loopCheck);
  const healthy = await answering("192.0.2.1");
  source.change([looping.address, healthy.address]);
  loopCheck.check();
  await vi.waitFor(() => expect(logger.warn).toHaveBeenCalled());
  expect(logger.warn).toHaveBeenCalledExactlyOnceWith(
    { server: formatServerAddress(looping.address) },
    expect.stringContaining("asks hostd in turn"),
  );
  expect(states()).toEqual(["excluded", "untried"]);

  // The same query may come twice, when it was sent again on the way.
  const again = loopCheck.answer(readValid(looping.received[0]));
  expect(again && decoded(again).rcode).toBe(3);
  expect(logger.warn).toHaveBeenCalledOnce();

  const answer = await forwarder.forward(query, "udp");
  expect(dataOf(answer ? decoded(answer.message).answers : [], "A")).toEqual(["192.0.2.1"]);
  expect(states()).toEqual(["excluded", "alive"]);
  // It is not checked again either, when a query from before fails.
  const ask = vi.spyOn(ServerSockets.prototype, "ask");
  onTestFinished(() => ask.mockRestore());
  forwarder.health.failed(looping.address, performance.now() + 600_000);
  expect(ask).not.toHaveBeenCalled();
  expect(looping.received).toHaveLength(1);
});

test("a server that is the only one leaves no answer, at once", async () => {
  const { source, logger, forwarder, loopCheck } = setUp();
  const looping = await loopingServer(loopCheck);
  source.change([looping.address]);
  loopCheck.check();
  await vi.waitFor(() => expect(logger.warn).toHaveBeenCalled());
  expect(await forwarder.forward(query, "udp")).toBeNull();
  expect(looping.received).toHaveLength(1);
});

test("queries that a server has when it is found out are asked of the others, or end", async () => {
  for (const others of [[await answering("192.0.2.1")], []]) {
    const { source, forwarder, loopCheck } = setUp();
    const looping = await heldServer();
    source.change([looping.address, ...others.map(({ address }) => address)]);
    const answer = forwarder.forward(query, "udp");
    await looping.next();
    loopCheck.check();
    const check = await looping.next();
    expect(loopCheck.answer(readValid(check.message))).not.toBeNull();
    const message = (await answer)?.message;
    expect(message && dataOf(decoded(message).answers, "A")).toEqual(others.length === 0 ? undefined : ["192.0.2.1"]);
  }
});

test("queries to other servers go on undisturbed when one is found out", async () => {
  const { source, forwarder, loopCheck } = setUp();
  const [looping, other] = [await heldServer(), await heldServer()];
  source.change([other.address]);
  const answer = forwarder.forward(query, "udp");
  const { message, reply } = await other.next();
  forwarder.exclude(looping.address);
  reply(answerWith(message, "192.0.2.1"));
  expect(await answer).not.toBeNull();
  expect(other.received).toHaveLength(1);
  loopCheck.close();
});

test("after the policy has changed an excluded server is checked and asked again", async () => {
  const { source, logger, forwarder, loopCheck, states } = setUp();
  let isLoop = true;
  const server = await udpServer(({ message, reply }) => {
    const answer = isLoop ? loopCheck.answer(readValid(message)) : null;
    reply(answer ?? (isCheck(message) ? errorFor(message, 3) : answerWith(message, "192.0.2.1")));
  });
  source.change([server.address]);
  loopCheck.check();
  await vi.waitFor(() => expect(logger.warn).toHaveBeenCalledOnce());
  loopCheck.check();
  expect(states()).toEqual(["excluded"]);

  isLoop = false;
  source.change([server.address]);
  loopCheck.check();
  await vi.waitFor(() => expect(checksOf(server)).toHaveLength(2));
  expect(await forwarder.forward(query, "udp")).not.toBeNull();
  expect(states()).toEqual(["alive"]);

  isLoop = true;
  source.change([server.address]);
  loopCheck.check();
  await vi.waitFor(() => expect(logger.warn).toHaveBeenCalledTimes(2));
});

test("a server that answers NXDOMAIN, answers anything, refuses or is silent stays", async () => {
  const { source, logger, forwarder, loopCheck, states } = setUp();
  const servers = [
    await answering("192.0.2.1"),
    await udpServer(({ message, reply }) => reply(answerWith(message, "192.0.2.2"))),
    await udpServer(({ message, reply }) => reply(errorFor(message, 5))),
    await udpServer(() => {}),
  ];
  source.change(servers.map(({ address }) => address));
  loopCheck.check();
  await vi.waitFor(() => expect(servers.map((server) => checksOf(server).length)).toEqual([1, 1, 1, 1]));
  loopCheck.check();
  expect(await forwarder.forward(query, "udp")).not.toBeNull();
  expect(logger.warn).not.toHaveBeenCalled();
  expect(states()).toEqual(["alive", "untried", "untried", "untried"]);
  expect(servers.map((server) => checksOf(server).length)).toEqual([1, 1, 1, 1]);
});

test("each server has a name of its own, which nobody can guess", async () => {
  const { source, loopCheck } = setUp();
  const servers = [await heldServer(), await heldServer()];
  source.change(servers.map(({ address }) => address));
  loopCheck.check();
  const names = await Promise.all(
    servers.map(async ({ next }) => decoded((await next()).message).questions?.[0].name ?? ""),
  );
  for (const name of names) expect(name).toMatch(/^[0-9a-f]{16}\.loop-check\.hostd\.internal$/);
  expect(new Set(names).size).toBe(2);
});

test("every other name is none of a check, also a forged one", async () => {
  const { source, logger, loopCheck, states } = setUp();
  const server = await heldServer();
  source.change([server.address]);
  loopCheck.check();
  const { message } = await server.next();
  const label = readValid(message).question.labels[0];
  const names = [
    "loop-check.hostd.internal",
    "0123456789abcdef.loop-check.hostd.internal",
    `a.${label}.loop-check.hostd.internal`,
    `${label}.loop-check.hostd.example`,
    `${label}.hostd.internal`,
    label,
  ];
  for (const name of names) expect(loopCheck.answer(newQuery(name, 16))).toBeNull();
  expect(logger.warn).not.toHaveBeenCalled();
  expect(states()).toEqual(["untried"]);
  // In another case it is still ours.
  expect(loopCheck.answer(newQuery(`${label.toUpperCase()}.LOOP-check.hostd.internal`, 16))).not.toBeNull();
});

test("a loop that begins later is found when the server leaves a query unanswered", async () => {
  virtualTime();
  const { source, logger, forwarder, loopCheck } = setUp(4500);
  let isLoop = false;
  const waiting: Received[] = [];
  const server = await udpServer((received) => {
    const { message, reply } = received;
    if (!isLoop) return reply(isCheck(message) ? errorFor(message, 3) : answerWith(message, "192.0.2.1"));
    waiting.push(received);
    const answer = loopCheck.answer(readValid(message));
    if (answer !== null) reply(answer);
  });
  source.change([server.address]);
  loopCheck.check();
  expect(await forwarder.forward(query, "udp")).not.toBeNull();
  isLoop = true;
  vi.advanceTimersByTime(60_000);
  const answer = forwarder.forward(query, "udp");
  await vi.waitFor(() => expect(waiting).toHaveLength(1));
  vi.advanceTimersByTime(1000);
  expect(await answer).toBeNull();
  expect(logger.warn).toHaveBeenCalledOnce();
});

test("a server that answers nothing is checked once a minute, and nothing is left of a check after five seconds", async () => {
  virtualTime();
  const ask = vi.spyOn(ServerSockets.prototype, "ask");
  onTestFinished(() => ask.mockRestore());
  const start = performance.now();
  const { source, forwarder, loopCheck } = setUp();
  const server = await heldServer();
  source.change([server.address]);
  loopCheck.check();
  await server.next();
  expect(vi.getTimerCount()).toBeGreaterThan(0);
  vi.advanceTimersByTime(5000);
  expect(vi.getTimerCount()).toBe(0);
  for (const [now, checks] of [
    [10_000, 1],
    [59_999, 1],
    [60_000, 2],
    [60_001, 2],
    [120_000, 3],
  ]) {
    vi.advanceTimersByTime(start + now - performance.now());
    forwarder.health.failed(server.address, performance.now());
    expect(ask).toHaveBeenCalledTimes(checks);
  }
  loopCheck.close();
  expect(vi.getTimerCount()).toBe(0);
  forwarder.health.failed(server.address, start + 600_000);
  expect(vi.getTimerCount()).toBe(0);
});

test("of very many servers not all are asked at once", () => {
  const { source, loopCheck } = setUp();
  const ask = vi.spyOn(ServerSockets.prototype, "ask");
  onTestFinished(() => ask.mockRestore());
  source.change(Array.from({ length: 100 }, (_, index) => ({ address: `127.0.1.${index}`, family: 4, port: 9 })));
  loopCheck.check();
  expect(ask).toHaveBeenCalledTimes(64);
});

test("a query that comes back to us through a server ends in a loop of a few datagrams", async () => {
  const { source, logger, forwarder, loopCheck } = setUp(4500);
  const resolver = new Resolver({ zones: new Zones([]), loopCheck, upstream: forwarder });
  const context: QueryContext = { link: "vm", client: 0x0a000002, vmAddress: null };
  const resolve = (message: Uint8Array) => resolver.resolve(readValid(message), context, "udp", { take: () => true });
  // As a forwarder does, it asks under an id of its own.
  let id = 0;
  const server = await udpServer(async ({ message, reply }) => {
    const own = Uint8Array.from(message);
    own.set([id >>> 8, id++ & 0xff]);
    const answer = Uint8Array.from((await resolve(own)).message);
    answer.set(message.subarray(0, 2));
    reply(answer);
  });
  source.change([server.address]);
  const start = performance.now();
  const { message, origin } = await resolve(queryMessage("a.example", "A"));
  expect(origin).toBe("failure");
  expect(decoded(message).rcode).toBe(2);
  expect(performance.now() - start).toBeLessThan(1000);
  expect(server.received.length).toBeLessThan(10);
  expect(logger.warn).toHaveBeenCalledOnce();
  expect((await resolve(queryMessage("b.example", "A"))).origin).toBe("failure");
  expect(logger.warn).toHaveBeenCalledOnce();
});
