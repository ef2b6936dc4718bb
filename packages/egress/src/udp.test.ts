import { createSocket, Socket } from "node:dgram";
import { once } from "node:events";
import { type Ipv4, parseIpv4, UNREACHABLE_HOST, UNREACHABLE_PORT, UNREACHABLE_PROHIBITED } from "@hostd/stack";
import { FailureLog } from "@hostd/streams";
import { afterEach, describe, expect, test, vi } from "vitest";
import { FakeClock } from "../../streams/src/testing/fake-clock.ts";
import { RecordingLogger } from "../../streams/src/testing/recording-logger.ts";
import { FakeStack } from "./testing/fake-stack.ts";
import { HostDatagrams } from "./testing/host-datagrams.ts";
import { UdpEgress, type UdpLimits } from "./udp.ts";

const HOST = parseIpv4("192.168.65.254");
const GUEST = parseIpv4("192.168.65.3");
const GUEST_PORT = 40000;

const cleanups: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function makeEgress(limits: UdpLimits = {}) {
  const stack = new FakeStack();
  const clock = new FakeClock();
  const logger = new RecordingLogger();
  const egress = new UdpEgress({
    stack,
    clock,
    failures: new FailureLog(logger, clock),
    destinations: {
      hostAddress: HOST,
      ownAddresses: new Set([parseIpv4("192.168.65.1"), HOST]),
      network: { address: parseIpv4("192.168.65.0"), prefixLength: 24 },
      linkLocal: true,
    },
    ...limits,
  });
  cleanups.push(() => egress.close());
  return { egress, stack, clock, logger };
}

async function bind(answer = true, address?: string): Promise<HostDatagrams> {
  const host = await HostDatagrams.bind(answer, address);
  cleanups.push(() => host.close());
  return host;
}

/** The memory that frames are received into; overwritten after each call, as a link's is. */
const frame = new Uint8Array(70_000);

function send(
  egress: UdpEgress,
  destinationPort: number,
  payload: Uint8Array | string = "payload",
  flow: { sourcePort?: number; destination?: Ipv4; ttl?: number } = {},
): void {
  const bytes = Buffer.from(payload);
  frame.set(bytes, 42);
  egress.handle({
    source: GUEST,
    sourcePort: flow.sourcePort ?? GUEST_PORT,
    destination: flow.destination ?? HOST,
    destinationPort,
    ttl: flow.ttl ?? 64,
    bytes: frame,
    offset: 42,
    length: bytes.length,
  });
  frame.fill(0xee, 42, 42 + bytes.length);
}

/** A UDP port of 127.0.0.1 on which nothing listens: one that was just given and given back. */
async function closedPort(): Promise<number> {
  const host = await HostDatagrams.bind(false);
  const { port } = host;
  await host.close();
  return port;
}

describe("datagrams", () => {
  test.each([0, 1, 2, 512, 1472, 1473, 9000, 65506, 65507])("of %i bytes are echoed unchanged", async (length) => {
    const { egress, stack } = makeEgress();
    const host = await bind();
    const payload = Buffer.alloc(length, "0123456789abc");
    send(egress, host.port, payload);
    const [answer] = await stack.datagrams.take(1);
    expect(answer).toMatchObject({
      source: HOST,
      sourcePort: host.port,
      destination: GUEST,
      destinationPort: GUEST_PORT,
    });
    expect(answer.payload.equals(payload)).toBe(true);
    expect(egress.stats()).toMatchObject({ sent: 1, received: 1 });
  });

  test("arrive with the bytes that the guest sent, although its frame was overwritten", async () => {
    const { egress } = makeEgress();
    const host = await bind(false);
    for (let count = 0; count < 50; count++) send(egress, host.port, `datagram ${count}`);
    const arrived = await host.received.take(50);
    expect(arrived.map(({ payload }) => payload.toString())).toEqual(
      Array.from({ length: 50 }, (_, count) => `datagram ${count}`),
    );
  });

  test("leave with the guest's time to live less one", async () => {
    const setTTL = vi.spyOn(Socket.prototype, "setTTL");
    cleanups.push(() => setTTL.mockRestore());
    const { egress } = makeEgress();
    const host = await bind(false);
    for (const ttl of [2, 255, 255, 1, 64]) send(egress, host.port, `${ttl}`, { ttl });
    expect(await host.received.take(5)).toHaveLength(5);
    // One call for each change; 0 would be refused.
    expect(setTTL.mock.calls).toEqual([[1], [254], [1], [63]]);
  });

  test("are flows of their guest's address and port, with their bytes and where the last one went", async () => {
    const { egress, stack, clock } = makeEgress();
    const [one, other] = [await bind(), await bind()];
    send(egress, one.port, "first");
    clock.advance(5000);
    send(egress, other.port, "second one", { sourcePort: GUEST_PORT + 1 });
    send(egress, other.port, "and now here");
    await stack.datagrams.take(3);
    const flow = { guestAddress: GUEST, peerAddress: HOST, peerPort: other.port };
    const [second, first] = [...egress.flows()];
    expect(first).toMatchObject({
      ...flow,
      guestPort: GUEST_PORT,
      openedAt: 1000,
      bytesFromGuest: 17,
      bytesToGuest: 17,
    });
    expect(second).toMatchObject({
      ...flow,
      guestPort: GUEST_PORT + 1,
      openedAt: 6000,
      lastUsed: 6000,
      bytesFromGuest: 10,
      bytesToGuest: 10,
    });
    expect(first.lastUsed).toBe(6000);
    expect(egress.stats()).toMatchObject({ opened: 2, mappings: 2 });
  });

  test("that a guest's link has no room for do not count for the flow", async () => {
    const { egress, stack } = makeEgress();
    const [host, silent] = [await bind(), await bind(false)];
    const refused = Promise.withResolvers<void>();
    stack.udpSend = () => {
      refused.resolve();
      return false;
    };
    send(egress, host.port, "hello");
    await refused.promise;
    send(egress, silent.port, "you");
    expect([...egress.flows()]).toMatchObject([{ bytesFromGuest: 8, bytesToGuest: 0, peerPort: silent.port }]);
  });

  test("open another flow after theirs was ended", async () => {
    const { egress } = makeEgress();
    const host = await bind(false);
    send(egress, host.port);
    const [{ source }] = await host.received.take(1);
    expect(egress.endFlow(GUEST, GUEST_PORT + 1)).toBe(false);
    expect(egress.endFlow(GUEST, GUEST_PORT)).toBe(true);
    expect(egress.endFlow(GUEST, GUEST_PORT)).toBe(false);
    expect([...egress.flows()]).toEqual([]);
    expect(egress.stats()).toMatchObject({ mappings: 0, siblings: 0, opened: 1 });
    send(egress, host.port);
    const [, again] = await host.received.take(2);
    expect(again.source.port).not.toBe(source.port);
    expect(egress.stats()).toMatchObject({ mappings: 1, opened: 2 });
  });

  test.each([
    ["from port 0", { sourcePort: 0 }, 9],
    ["to port 0", {}, 0],
  ])("%s are dropped and counted", (_name, flow, port) => {
    const { egress } = makeEgress();
    send(egress, port, "x", flow);
    expect(egress.stats()).toMatchObject({ droppedInvalid: 1, sent: 0, mappings: 0 });
  });

  test.each([
    ["127.0.0.1", UNREACHABLE_PROHIBITED, null],
    ["0.0.0.0", UNREACHABLE_PROHIBITED, null],
    ["192.168.65.1", UNREACHABLE_PORT, "192.168.65.1"],
    ["192.168.65.77", UNREACHABLE_HOST, null],
  ] as const)("to %s never leave and are answered with code %i", (address, code, from) => {
    const { egress, stack } = makeEgress();
    const destination = parseIpv4(address);
    send(egress, 9, "x", { destination });
    expect(stack.udpErrors.events).toEqual([
      {
        code,
        flow: { source: GUEST, sourcePort: GUEST_PORT, destination, destinationPort: 9 },
        from: from === null ? null : parseIpv4(from),
      },
    ]);
    expect(egress.stats()).toMatchObject({ rejectedDestination: 1, mappings: 0 });
  });

  test.each(["255.255.255.255", "192.168.65.255", "224.0.0.251", "239.255.255.250"])(
    "to %s are dropped without an answer",
    (address) => {
      const { egress, stack } = makeEgress();
      send(egress, 9, "x", { destination: parseIpv4(address) });
      expect(stack.udpErrors.events).toEqual([]);
      expect(egress.stats()).toMatchObject({ rejectedDestination: 1, mappings: 0 });
    },
  );

  test("to a closed port are answered with port unreachable by the destination, each time", async () => {
    const { egress, stack } = makeEgress();
    const port = await closedPort();
    const flow = { source: GUEST, sourcePort: GUEST_PORT, destination: HOST, destinationPort: port };
    const expected = { code: UNREACHABLE_PORT, flow, from: HOST };
    send(egress, port);
    expect(await stack.udpErrors.take(1)).toEqual([expected]);
    send(egress, port);
    expect(await stack.udpErrors.take(2)).toEqual([expected, expected]);
  });

  test("to a closed port leave the mapping's other destinations alone", async () => {
    const { egress, stack } = makeEgress();
    const host = await bind();
    const port = await closedPort();
    for (let count = 0; count < 20; count++) {
      send(egress, port);
      send(egress, host.port, `datagram ${count}`);
      await stack.datagrams.take(count + 1);
    }
    expect(stack.datagrams.events.map(({ payload }) => payload.toString())).toEqual(
      Array.from({ length: 20 }, (_, count) => `datagram ${count}`),
    );
    expect(stack.udpErrors.events.length).toBeGreaterThan(0);
  });
});

describe("a mapping", () => {
  test("is the same port of the host for all destinations", async () => {
    const { egress, stack } = makeEgress();
    const hosts = await Promise.all(Array.from({ length: 7 }, () => bind()));
    for (const host of hosts) send(egress, host.port);
    await stack.datagrams.take(hosts.length);
    const ports = hosts.map((host) => host.received.events[0].source.port);
    expect(new Set(ports)).toEqual(new Set([egress.hostPort(GUEST, GUEST_PORT)]));
    expect(new Set(stack.datagrams.events.map(({ sourcePort }) => sourcePort))).toEqual(
      new Set(hosts.map(({ port }) => port)),
    );
    expect(egress.stats()).toMatchObject({ mappings: 1, siblings: 4 });
  });

  test("lets in what a stranger sends to its port, with the stranger's source", async () => {
    const { egress, stack } = makeEgress();
    const [host, stranger] = [await bind(), await bind()];
    send(egress, host.port);
    await stack.datagrams.take(1);
    stranger.send(Buffer.from("knock"), host.received.events[0].source.port);
    const [, knock] = await stack.datagrams.take(2);
    expect(knock).toMatchObject({
      source: HOST,
      sourcePort: stranger.port,
      destination: GUEST,
      destinationPort: GUEST_PORT,
    });
    expect(knock.payload.toString()).toBe("knock");
  });

  test("answers a stranger from the same port", async () => {
    const { egress, stack } = makeEgress();
    const [host, stranger] = [await bind(), await bind(false)];
    send(egress, host.port);
    await stack.datagrams.take(1);
    const port = egress.hostPort(GUEST, GUEST_PORT);
    stranger.send(Buffer.from("knock"), port ?? 0);
    await stack.datagrams.take(2);
    send(egress, stranger.port, "who is there");
    expect((await stranger.received.take(1))[0].source.port).toBe(port);
  });

  test("shows nothing from a loopback address other than 127.0.0.1", async () => {
    const { egress, stack } = makeEgress();
    const [host, other] = [await bind(), await bind(false, "127.0.0.2")];
    send(egress, host.port);
    await stack.datagrams.take(1);
    const port = egress.hostPort(GUEST, GUEST_PORT) ?? 0;
    other.send(Buffer.from("unseen"), port);
    // Of one socket and in order, so the first is dropped when the second is there.
    host.send(Buffer.from("seen"), port);
    await stack.datagrams.take(2);
    send(egress, host.port, "again");
    await stack.datagrams.take(3);
    expect(stack.datagrams.events.map(({ payload }) => payload.toString())).toEqual(["payload", "seen", "again"]);
    expect(egress.stats()).toMatchObject({ droppedSource: 1 });
  });

  test("is another port for each port of the guest, and none is anybody else's", async () => {
    const { egress } = makeEgress();
    const host = await bind(false);
    for (let index = 0; index < 100; index++) send(egress, host.port, "x", { sourcePort: 1000 + index });
    const arrived = await host.received.take(100);
    expect(new Set(arrived.map(({ source }) => source.port)).size).toBe(100);
    expect(egress.stats()).toMatchObject({ mappings: 100, siblings: 100 });
  });

  test("goes after 120 s without use in either direction", async () => {
    const { egress, stack, clock } = makeEgress();
    const host = await bind(false);
    send(egress, host.port);
    const [{ source }] = await host.received.take(1);
    clock.advance(100_000);
    host.send(Buffer.from("in"), source.port);
    await stack.datagrams.take(1);
    clock.advance(100_000);
    send(egress, host.port, "out");
    expect((await host.received.take(2))[1].source.port).toBe(source.port);
    clock.advance(119_000);
    expect(egress.stats()).toMatchObject({ mappings: 1, expired: 0 });
    clock.advance(3000);
    expect(egress.stats()).toMatchObject({ mappings: 0, siblings: 0, expired: 1 });
    expect(clock.timers).toBe(0);
  });

  test("that was only used for DNS goes after 30 s, one used for more after 120 s", () => {
    const { egress, clock } = makeEgress();
    send(egress, 53, "x", { sourcePort: 1 });
    send(egress, 53, "x", { sourcePort: 2 });
    send(egress, 54, "x", { sourcePort: 2 });
    clock.advance(29_000);
    expect(egress.stats().mappings).toBe(2);
    clock.advance(3000);
    expect(egress.stats().mappings).toBe(1);
    expect(egress.hostPort(GUEST, 2)).not.toBe(null);
  });

  test("beyond the limit takes the place of the least recently used one", async () => {
    const { egress, clock } = makeEgress({ maxMappings: 2 });
    const host = await bind(false);
    send(egress, host.port, "x", { sourcePort: 1 });
    send(egress, host.port, "x", { sourcePort: 2 });
    clock.advance(2000);
    send(egress, host.port, "x", { sourcePort: 1 });
    send(egress, host.port, "x", { sourcePort: 3 });
    expect([1, 2, 3].map((port) => egress.hostPort(GUEST, port) !== null)).toEqual([true, false, true]);
    expect(egress.stats()).toMatchObject({ mappings: 2, evicted: 1, siblings: 2 });
  });

  test("beyond the limit of connected sockets does without, and everything but refusals works", async () => {
    const { egress, stack } = makeEgress({ maxSiblings: 1 });
    const [one, two] = [await bind(), await bind()];
    send(egress, one.port);
    send(egress, two.port);
    await stack.datagrams.take(2);
    expect(new Set(stack.datagrams.events.map(({ sourcePort }) => sourcePort))).toEqual(new Set([one.port, two.port]));
    expect(egress.stats()).toMatchObject({ siblings: 1 });
  });

  test("connects anew to a destination now and then, and to a new one when an old one is idle", async () => {
    const { egress, stack, clock } = makeEgress();
    const hosts = await Promise.all(Array.from({ length: 5 }, () => bind()));
    for (const host of hosts.slice(0, 4)) send(egress, host.port);
    await stack.datagrams.take(4);
    clock.advance(31_000);
    send(egress, hosts[0].port);
    await stack.datagrams.take(5);
    send(egress, hosts[4].port);
    await stack.datagrams.take(6);
    const port = await closedPort();
    send(egress, port);
    await stack.udpErrors.take(1);
    expect(egress.stats()).toMatchObject({ mappings: 1, siblings: 4 });
    const sources = hosts.flatMap((host) => host.received.events.map(({ source }) => source.port));
    expect(new Set(sources)).toEqual(new Set([egress.hostPort(GUEST, GUEST_PORT)]));
  });

  test("is never on a port that another socket shares", async () => {
    const { egress } = makeEgress();
    const host = await bind(false);
    for (let index = 0; index < 50; index++) send(egress, host.port, "x", { sourcePort: 1000 + index });
    for (let index = 0; index < 50; index++) {
      const exclusive = createSocket("udp4");
      exclusive.bind({ port: egress.hostPort(GUEST, 1000 + index) ?? 0, address: "0.0.0.0", exclusive: true });
      const [error] = await once(exclusive, "error");
      expect(error.code).toBe("EADDRINUSE");
      exclusive.close();
    }
  });

  test("that the host has no descriptor for drops its datagrams, and the log says so once", () => {
    const bindSocket = vi.spyOn(Socket.prototype, "bind").mockImplementation(function (this: Socket) {
      this.emit("error", Object.assign(new Error("no descriptor"), { code: "EMFILE" }));
      return this;
    });
    cleanups.push(() => bindSocket.mockRestore());
    const { egress, logger } = makeEgress();
    for (let index = 0; index < 3; index++) send(egress, 9, "x", { sourcePort: 1 + index });
    expect(egress.stats()).toMatchObject({ droppedNoSocket: 3, mappings: 0 });
    expect(logger.lines).toMatchObject([{ level: "warn", fields: { code: "EMFILE" } }]);
  });

  test("is closed with all others, and its ports are free again", async () => {
    const { egress, clock } = makeEgress();
    const host = await bind(false);
    send(egress, host.port);
    const port = egress.hostPort(GUEST, GUEST_PORT) ?? 0;
    egress.close();
    expect(egress.stats()).toMatchObject({ mappings: 0, siblings: 0 });
    expect(clock.timers).toBe(0);
    const again = createSocket("udp4");
    again.bind({ port, address: "0.0.0.0", exclusive: true });
    await once(again, "listening");
    again.close();
  });
});
