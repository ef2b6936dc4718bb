import { Socket } from "node:dgram";
import { formatIpv4, parseIpv4 } from "@hostd/stack";
import { afterEach, describe, expect, test, vi } from "vitest";
import { pattern } from "../../streams/src/testing/pattern.ts";
import { DatagramForward } from "./datagram-forward.ts";
import type { Forward } from "./forward.ts";
import type { GuestTarget } from "./forward-rule.ts";
import type { PortForwarder, PortForwarderOptions } from "./port-forwarder.ts";
import { DatagramClient } from "./testing/datagram-client.ts";
import { FakeVm } from "./testing/fake-vm.ts";
import { GATEWAY, makeForwarder } from "./testing/harness.ts";

const GUEST_PORT = 5353;
const IDLE_TIME = 10_000;

afterEach(() => {
  vi.restoreAllMocks();
});

async function listen(
  forwarder: PortForwarder,
  to: Partial<GuestTarget> = {},
  host = "127.0.0.1",
): Promise<DatagramForward> {
  const target = { address: null, port: GUEST_PORT, ...to };
  const forward = await forwarder.listen({ protocol: "udp", listen: { host, port: 0 }, to: target });
  if (!(forward instanceof DatagramForward)) throw new Error("it is no forward of datagrams");
  return forward;
}

/** A forward with a VM, a client of it and the socket that it is bound to. */
async function setUp(options: Partial<PortForwarderOptions> = {}) {
  const { forwarder, logger, clock } = makeForwarder({ datagramIdleTime: IDLE_TIME, ...options });
  const bind = vi.spyOn(Socket.prototype, "bind");
  const forward = await listen(forwarder);
  const socket = bind.mock.contexts[0] as Socket;
  bind.mockRestore();
  const vm = new FakeVm();
  const attached = forwarder.attach(vm);
  const { port } = forward.listening;
  const client = await DatagramClient.open();
  return { clock, forwarder, logger, forward, socket, vm, attached, port, client };
}

describe("a datagram", () => {
  test.for([0, 1, 1472, 1473, 8000, 65_507])(
    "of %i bytes reaches the guest and its answer the client",
    async (size) => {
      const { clock, forward, vm, port, client } = await setUp();
      const payload = pattern(size);
      await client.send(payload, port);
      const got = await vm.datagram();
      expect(got).toMatchObject({ source: GATEWAY, destination: vm.address, destinationPort: GUEST_PORT });
      expect(got.payload.equals(payload)).toBe(true);
      const answer = pattern(size).reverse();
      vm.answer(got, answer);
      expect((await client.payload()).equals(answer)).toBe(true);
      expect(client.received.events[0]).toMatchObject({ address: "127.0.0.1", port });
      expect(forward.stats()).toMatchObject({ flows: 1, received: 1, answered: 1 });
      const counted = { openedAt: clock.now(), bytesToGuest: size, bytesFromGuest: size };
      expect([...forward.flows()]).toMatchObject([counted]);
    },
  );

  test("comes from a port of the dynamic range that is another one for each flow", async () => {
    const { vm, port } = await setUp();
    const clients = await Promise.all(Array.from({ length: 20 }, () => DatagramClient.open()));
    for (const client of clients) await client.send("x", port);
    const ports = new Set((await vm.datagrams.take(20)).map(({ sourcePort }) => sourcePort));
    expect(ports.size).toBe(20);
    expect(Math.min(...ports)).toBeGreaterThanOrEqual(49_152);
  });

  test("is the same flow's as long as the client is the same", async () => {
    const { vm, port, client } = await setUp();
    for (const text of ["one", "two", "three"]) await client.send(text, port);
    const got = await vm.datagrams.take(3);
    expect(got.map(({ payload }) => payload.toString())).toEqual(["one", "two", "three"]);
    expect(new Set(got.map(({ sourcePort }) => sourcePort)).size).toBe(1);
    expect(vm.listening).toBe(1);
  });

  test("of IPv6 reaches the guest as one of the gateway", async () => {
    const { forwarder, vm } = await setUp();
    const { port } = (await listen(forwarder, {}, "::1")).listening;
    const client = await DatagramClient.open("::1");
    await client.send("question", port);
    const got = await vm.datagram();
    expect(got.source).toBe(GATEWAY);
    vm.answer(got, Buffer.from("answer"));
    expect(String(await client.payload())).toBe("answer");
    expect(client.received.events[0]).toMatchObject({ address: "::1", port });
  });

  test("that is longer than IPv4 allows is dropped", async () => {
    const { forwarder, vm } = await setUp();
    const forward = await listen(forwarder, {}, "::1");
    const client = await DatagramClient.open("::1");
    await client.send(Buffer.alloc(65_508), forward.listening.port);
    await client.send("next", forward.listening.port);
    expect((await vm.datagram()).payload.toString()).toBe("next");
    expect(forward.stats()).toMatchObject({ received: 1, droppedInvalid: 1 });
  });

  test("from port 0 is dropped, as nothing could answer it", async () => {
    const { forward, socket, vm } = await setUp();
    socket.emit("message", Buffer.from("x"), { address: "127.0.0.1", family: "IPv4", port: 0, size: 1 });
    expect(forward.stats()).toMatchObject({ flows: 0, droppedInvalid: 1 });
    expect(vm.datagrams.events).toEqual([]);
  });

  test("is dropped and counted while the link has no room", async () => {
    const { forward, vm, port, client } = await setUp();
    vm.isLinkFull = true;
    await client.send("lost", port);
    await vi.waitUntil(() => forward.stats().droppedLink === 1);
    vm.isLinkFull = false;
    await client.send("next", port);
    expect((await vm.datagram()).payload.toString()).toBe("next");
    expect(forward.stats()).toMatchObject({ flows: 1, received: 1, droppedLink: 1 });
  });

  test("goes to the address behind a VM that the rule names", async () => {
    const { forwarder, vm, client } = await setUp();
    const container = parseIpv4("172.17.0.2");
    const { port } = (await listen(forwarder, { address: container, port: 53 })).listening;
    await client.send("x", port);
    const got = await vm.datagram();
    expect(got).toMatchObject({ destination: container, destinationPort: 53 });
    vm.answer(got, Buffer.from("answer"));
    expect(String(await client.payload())).toBe("answer");
  });
});

describe("a forward of datagrams that is to lead somewhere else", () => {
  test("loses datagrams while it leads nowhere, and has a new flow to the new place then", async () => {
    const { forward, vm, port, client } = await setUp();
    await client.send("one", port);
    await vm.datagram(1);
    forward.retarget(null);
    await client.send("lost", port);
    await vi.waitUntil(() => forward.stats().droppedNoVm === 1);
    const container = parseIpv4("172.17.0.2");
    forward.retarget({ address: container, port: 53 });
    await client.send("two", port);
    expect(await vm.datagram(2)).toMatchObject({ destination: container, destinationPort: 53 });
    expect(forward.stats()).toMatchObject({ flows: 1, received: 2 });
  });
});

describe("an answer", () => {
  test("goes to the client that it is for, however two are interleaved", async () => {
    const { vm, port, client } = await setUp();
    const other = await DatagramClient.open();
    await client.send("of one", port);
    await vm.datagram(1);
    await other.send("of other", port);
    const [toOne, toOther] = await vm.datagrams.take(2);
    for (let round = 0; round < 3; round++) {
      vm.answer(toOther, Buffer.from(`other ${round}`));
      vm.answer(toOne, Buffer.from(`one ${round}`));
    }
    const texts = async (which: DatagramClient) =>
      (await which.received.take(3)).map(({ payload }) => payload.toString());
    expect(await texts(client)).toEqual(["one 0", "one 1", "one 2"]);
    expect(await texts(other)).toEqual(["other 0", "other 1", "other 2"]);
  });

  test("is only taken from the address and port that the flow leads to", async () => {
    const { forward, vm, port, client } = await setUp();
    await client.send("x", port);
    const got = await vm.datagram();
    // Anything else is the guest's own traffic to whoever has that address.
    expect(vm.answer(got, Buffer.from("own"), { port: GUEST_PORT + 1 })).toBe(false);
    expect(vm.answer(got, Buffer.from("own"), { address: parseIpv4("192.168.65.4") })).toBe(false);
    expect(vm.answer(got, Buffer.from("true"))).toBe(true);
    expect(String(await client.payload())).toBe("true");
    expect(forward.stats()).toMatchObject({ answered: 1 });
  });

  test("that the host does not send is counted and logged once, and the forward goes on", async () => {
    const { forward, vm, port, client, logger } = await setUp();
    await client.send("x", port);
    const got = await vm.datagram();
    const refused = Object.assign(new Error("send ENETUNREACH"), { code: "ENETUNREACH" });
    const send = vi.spyOn(Socket.prototype, "send").mockImplementation((...given: unknown[]) => {
      (given.at(-1) as (error: Error) => void)(refused);
    });
    vm.answer(got, Buffer.from("lost"));
    vm.answer(got, Buffer.from("lost"));
    send.mockRestore();
    vm.answer(got, Buffer.from("sent"));
    expect(String(await client.payload())).toBe("sent");
    expect(forward.stats()).toMatchObject({ failed: 2, flows: 1 });
    expect(logger.lines).toMatchObject([
      {
        level: "warn",
        fields: { listen: `127.0.0.1:${port}`, code: "ENETUNREACH" },
        message: "the host did not send answers of a published port",
      },
    ]);
  });

  test("is dropped when too many wait for the host", async () => {
    const { forward, socket, vm, port, client } = await setUp();
    await client.send("x", port);
    const got = await vm.datagram();
    vi.spyOn(socket, "getSendQueueCount").mockReturnValue(10);
    vi.spyOn(socket, "getSendQueueSize").mockReturnValue(4 * 1024 * 1024);
    vm.answer(got, Buffer.from("taken, as nothing waited before"));
    vm.answer(got, Buffer.from("dropped"));
    await client.payload();
    expect(forward.stats()).toMatchObject({ answered: 1, droppedUnsent: 1 });
  });

  test("has an error of the socket before it that ends nothing", async () => {
    const { forward, socket, vm, port, client, logger } = await setUp();
    await client.send("x", port);
    const got = await vm.datagram();
    socket.emit("error", Object.assign(new Error("recvmsg ECONNREFUSED"), { code: "ECONNREFUSED" }));
    vm.answer(got, Buffer.from("answer"));
    expect(String(await client.payload())).toBe("answer");
    expect(forward.stats()).toMatchObject({ failed: 1, flows: 1 });
    expect(logger.lines).toMatchObject([
      { fields: { code: "ECONNREFUSED" }, message: "the host did not receive datagrams of a published port" },
    ]);
  });
});

describe("with clients' addresses", () => {
  const clientAddresses = {
    host: parseIpv4("192.168.65.254"),
    network: { address: parseIpv4("192.168.65.0"), prefixLength: 24 },
  };

  test("a flow has the client's own port", async () => {
    const { forward, vm, port, client } = await setUp({ clientAddresses });
    await client.send("x", port);
    const got = await vm.datagram();
    expect([formatIpv4(got.source), got.sourcePort]).toEqual(["192.168.65.254", client.port]);
    vm.answer(got, Buffer.from("answer"));
    expect(String(await client.payload())).toBe("answer");
    expect([...forward.flows()]).toMatchObject([{ sourcePort: client.port }]);
  });

  test("a second flow of the same client has another port", async () => {
    const { forwarder, vm, port, client } = await setUp({ clientAddresses });
    const second = await listen(forwarder);
    await client.send("one", port);
    await vm.datagram(1);
    await client.send("two", second.listening.port);
    const [one, two] = await vm.datagrams.take(2);
    expect(one.sourcePort).toBe(client.port);
    expect(two.source).toBe(one.source);
    expect(two.sourcePort).not.toBe(client.port);
    vm.answer(two, Buffer.from("by the second"));
    await client.payload();
    expect(client.received.events[0].port).toBe(second.listening.port);
  });
});

describe("without a VM", () => {
  test("datagrams are dropped and counted, and logged once", async () => {
    const { forwarder, logger } = makeForwarder();
    const forward = await listen(forwarder);
    const { port } = forward.listening;
    const client = await DatagramClient.open();
    await client.send("one", port);
    await client.send("two", port);
    await vi.waitUntil(() => forward.stats().droppedNoVm === 2);
    expect(forward.stats().flows).toBe(0);
    expect(logger.lines).toMatchObject([
      {
        level: "warn",
        fields: { listen: `127.0.0.1:${port}` },
        message: "datagrams to a published port were dropped: no VM with a known address is attached",
      },
    ]);
  });

  test("they go to the one that is attached later, once its address is known", async () => {
    const { forwarder } = makeForwarder();
    const forward = await listen(forwarder);
    const client = await DatagramClient.open();
    const vm = new FakeVm({}, null);
    forwarder.attach(vm);
    await client.send("lost", forward.listening.port);
    await vi.waitUntil(() => forward.stats().droppedNoVm === 1);
    vm.address = parseIpv4("192.168.65.9");
    await client.send("arrives", forward.listening.port);
    expect(await vm.datagram()).toMatchObject({ destination: vm.address, payload: Buffer.from("arrives") });
  });
});

describe("a flow", () => {
  test("ends with its VM, and the client's next datagram opens one to the next VM", async () => {
    const { forwarder, forward, vm, attached, port, client } = await setUp();
    await client.send("first", port);
    const old = await vm.datagram();
    expect(attached.connections.size).toBe(1);
    attached.detach();
    expect([attached.connections.size, vm.listening, forward.stats().flows]).toEqual([0, 0, 0]);
    vm.answer(old, Buffer.from("too late"));

    const next = new FakeVm({}, "192.168.65.4");
    forwarder.attach(next);
    await client.send("second", port);
    const got = await next.datagram();
    expect(got.payload.toString()).toBe("second");
    next.answer(got, Buffer.from("of the next"));
    expect(String(await client.payload())).toBe("of the next");
    expect(vm.datagrams.events.length).toBe(1);
  });

  test("is opened anew when the VM's address has become another", async () => {
    const { forward, vm, attached, port, client } = await setUp();
    await client.send("one", port);
    await vm.datagram();
    vm.address = parseIpv4("192.168.65.9");
    await client.send("two", port);
    const got = await vm.datagram(2);
    expect(got.destination).toBe(vm.address);
    vm.answer(got, Buffer.from("answer"));
    expect(String(await client.payload())).toBe("answer");
    expect([forward.stats().flows, attached.connections.size, vm.listening]).toEqual([1, 1, 1]);
  });

  test("moves to the VM that has shown the address that the rule names", async () => {
    const { forwarder, vm, client } = await setUp();
    const container = parseIpv4("172.17.0.2");
    const { port } = (await listen(forwarder, { address: container })).listening;
    await client.send("one", port);
    await vm.datagram();
    const other = new FakeVm({}, "192.168.65.4");
    forwarder.attach(other);
    other.shown.add(container);
    await client.send("two", port);
    expect(await other.datagram()).toMatchObject({ destination: container, payload: Buffer.from("two") });
    expect(vm.listening).toBe(0);
  });

  test("goes when it was not used for its time, in either direction", async () => {
    const { clock, forward, vm, attached, port, client } = await setUp();
    await client.send("x", port);
    const got = await vm.datagram();
    for (let round = 1; round <= 3; round++) {
      clock.advance(IDLE_TIME - 1000);
      vm.answer(got, Buffer.from("still there"));
      await client.payload(round);
      clock.advance(IDLE_TIME - 1000);
      await client.send("still here", port);
      await vm.datagram(1 + round);
    }
    expect(forward.stats()).toMatchObject({ flows: 1, expired: 0 });
    // What the guest sends from elsewhere is no use of it.
    clock.advance(IDLE_TIME / 2);
    vm.answer(got, Buffer.from("forged"), { port: 1 });
    clock.advance(IDLE_TIME / 2 + 2000);
    expect(forward.stats()).toMatchObject({ flows: 0, expired: 1 });
    expect([attached.connections.size, vm.listening, clock.timers]).toEqual([0, 0, 0]);
  });

  test("that was not used for longest makes way for one too many", async () => {
    const { clock, forward, vm, attached, port } = await setUp({ maxDatagramFlows: 4 });
    const clients = await Promise.all(Array.from({ length: 5 }, () => DatagramClient.open()));
    for (const [index, client] of clients.slice(0, 4).entries()) {
      await client.send("x", port);
      await vm.datagram(1 + index);
    }
    clock.advance(1000);
    vm.answer(vm.datagrams.events[0], Buffer.from("in use"));
    await clients[4].send("x", port);
    await vm.datagram(5);
    const left = [...forward.flows()].map(({ client }) => client.port);
    expect(new Set(left)).toEqual(new Set([0, 2, 3, 4].map((index) => clients[index].port)));
    expect(forward.stats()).toMatchObject({ flows: 4, evicted: 1 });
    expect([attached.connections.size, vm.listening]).toEqual([4, 4]);
  });

  test("keeps to limits that were changed", async () => {
    const { clock, forwarder, forward, vm, port, client } = await setUp();
    forwarder.configure({ gateway: GATEWAY, maxDatagramFlows: 1, datagramIdleTime: 1000 });
    await client.send("x", port);
    await vm.datagram(1);
    await (await DatagramClient.open()).send("x", port);
    await vm.datagram(2);
    expect(forward.stats()).toMatchObject({ flows: 1, evicted: 1 });
    clock.advance(3000);
    expect(forward.stats()).toMatchObject({ flows: 0, expired: 1 });
  });

  test("is not opened while there are as many connections of all forwards as there may be", async () => {
    const { forward, vm, port, client, logger } = await setUp({ maxConnections: 1 });
    const other = await DatagramClient.open();
    await client.send("x", port);
    await vm.datagram(1);
    await other.send("dropped", port);
    await vi.waitUntil(() => forward.stats().droppedLimit === 1);
    await client.send("goes on", port);
    expect((await vm.datagram(2)).payload.toString()).toBe("goes on");
    expect(logger.lines).toMatchObject([{ level: "warn", fields: { limit: 1 } }]);
  });

  test("is not opened when no port is free towards the guest", async () => {
    const { forward, vm, port, client, logger } = await setUp();
    vi.spyOn(vm, "udpListen").mockImplementation(() => {
      throw new Error("taken");
    });
    await client.send("dropped", port);
    await vi.waitUntil(() => forward.stats().droppedLimit === 1);
    expect(forward.stats().flows).toBe(0);
    expect(logger.lines).toMatchObject([
      { message: "datagrams to a published port were dropped: there is no free port towards the guest" },
    ]);
  });

  test("is listed with its ends, and can be ended", async () => {
    const { clock, forward, vm, attached, port, client } = await setUp();
    const now = clock.now();
    await client.send("x", port);
    const { source, sourcePort, destination, destinationPort } = await vm.datagram();
    const [flow] = forward.flows();
    expect(flow).toMatchObject({
      client: { address: "127.0.0.1", port: client.port },
      source,
      sourcePort,
      target: { address: destination, port: destinationPort },
      lastUsed: now,
    });
    expect(flow.attached).toBe(attached);
    flow.reset();
    flow.reset();
    expect([forward.stats().flows, vm.listening, attached.connections.size]).toEqual([0, 0, 0]);
  });
});

describe("closing", () => {
  test("ends the flows and frees the port", async () => {
    const { clock, forwarder, forward, vm, attached, port, client } = await setUp();
    await client.send("x", port);
    const got = await vm.datagram();
    const closing: Forward = forward;
    await Promise.all([closing.close(), closing.close({ keepConnections: true })]);
    expect([vm.listening, attached.connections.size, clock.timers]).toEqual([0, 0, 0]);
    expect(forwarder.stats()).toEqual([]);
    vm.answer(got, Buffer.from("too late"));
    const rule = { protocol: "udp", listen: { host: "127.0.0.1", port }, to: { address: null, port: 9 } } as const;
    expect((await forwarder.listen(rule)).listening).toEqual({ host: "127.0.0.1", port });
  });
});

test("a port that is taken is a bind error in Go's words", async () => {
  const { forwarder } = makeForwarder();
  const { port } = (await listen(forwarder)).listening;
  const rule = { protocol: "udp", listen: { host: "127.0.0.1", port }, to: { address: null, port: 9 } } as const;
  await expect(forwarder.listen(rule)).rejects.toMatchObject({
    name: "BindError",
    goMessage: `listen udp 127.0.0.1:${port}: bind: address already in use`,
  });
  expect(forwarder.stats().length).toBe(1);
});
