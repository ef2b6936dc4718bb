import { createSocket, Socket } from "node:dgram";
import { datagramDescriptor, receiveNow, sendNow } from "@hostd/native";
import { parseIpv4, UNREACHABLE_HOST } from "@hostd/stack";
import { FailureLog } from "@hostd/streams";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { EventLog } from "../../streams/src/testing/event-log.ts";
import { FakeClock } from "../../streams/src/testing/fake-clock.ts";
import { RecordingLogger } from "../../streams/src/testing/recording-logger.ts";
import { literalLookup } from "./literal-lookup.ts";
import { FakeStack } from "./testing/fake-stack.ts";
import { HostDatagrams } from "./testing/host-datagrams.ts";
import { UdpEgress } from "./udp.ts";
import { bindMainSocket, connectSibling, type EndpointHandler, UdpEndpoint } from "./udp-endpoint.ts";
import { UdpMapping } from "./udp-mapping.ts";

vi.mock("@hostd/native", async (importOriginal) => {
  const native = await importOriginal<typeof import("@hostd/native")>();
  return {
    ...native,
    datagramDescriptor: vi.fn(native.datagramDescriptor),
    receiveNow: vi.fn(native.receiveNow),
    sendNow: vi.fn(native.sendNow),
  };
});

const HOST = parseIpv4("192.168.65.254");
const GUEST = parseIpv4("192.168.65.3");

const cleanups: (() => void | Promise<void>)[] = [];
beforeEach(() => {
  vi.clearAllMocks();
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  for (const mock of [datagramDescriptor, receiveNow, sendNow]) vi.mocked(mock).mockReset();
});

interface Arrival {
  readonly endpoint: UdpEndpoint;
  readonly text: string;
  /** Where Node says that it came from; null for what was read directly. */
  readonly port: number | null;
}

/** Keeps what endpoints hand over, and does what a test says in the middle of that. */
class Recorder implements EndpointHandler {
  readonly arrivals = new EventLog<Arrival>();
  readonly errors: string[] = [];
  onArrival: (arrival: Arrival) => void = () => {};
  onFailure: (endpoint: UdpEndpoint) => void = () => {};
  /** Whether the guest's link has no room for what is read directly. */
  isFull = false;

  received(endpoint: UdpEndpoint, bytes: Uint8Array, _address: string, port: number): void {
    this.#arrived({ endpoint, text: Buffer.from(bytes).toString(), port });
  }

  receivedFromPeer(endpoint: UdpEndpoint, bytes: Uint8Array, offset: number, length: number): boolean {
    this.#arrived({ endpoint, text: Buffer.from(bytes.subarray(offset, offset + length)).toString(), port: null });
    return !this.isFull;
  }

  failed(endpoint: UdpEndpoint, error: NodeJS.ErrnoException): void {
    this.errors.push(error.code ?? "unknown");
    this.onFailure(endpoint);
    this.arrivals.changed();
  }

  get texts(): string[] {
    return this.arrivals.events.map(({ text }) => text);
  }

  #arrived(arrival: Arrival): void {
    this.arrivals.push(arrival);
    this.onArrival(arrival);
  }
}

/** A socket of the host that is bound, connects and sends at once, since no address is looked up in between. */
function hostSocket(): Socket {
  const socket = createSocket({ type: "udp4", lookup: literalLookup });
  socket.bind(0, "127.0.0.1");
  return socket;
}

/** A sibling on a port of its own, and its peer, a socket of the host. */
function makeEndpoint(handler: EndpointHandler) {
  const peer = hostSocket();
  const { port } = peer.address();
  const main = bindMainSocket();
  main.socket.close();
  const socket = connectSibling(main.port, "127.0.0.1", port);
  if (socket === null) throw new Error("no sibling");
  // Less fits than could have arrived before `connect`, so that direct reads begin soon; the endpoint makes it larger.
  socket.setRecvBufferSize(1);
  const mapping = new UdpMapping(0, GUEST, 40000, 120_000, main.port, 0);
  const endpoint = new UdpEndpoint(mapping, { address: HOST, port }, socket, 0, handler);
  let peerOpen = true;
  const closePeer = (): void => {
    if (peerOpen) peer.close();
    peerOpen = false;
  };
  cleanups.push(() => {
    if (!endpoint.closed) endpoint.close();
    closePeer();
  });
  return { endpoint, closePeer, send: (payload: string) => peer.send(payload, main.port, "127.0.0.1") };
}

/** Lets an endpoint get over the datagrams that may be from anyone. */
async function warmUp(recorder: Recorder, send: (payload: string) => void): Promise<void> {
  const before = recorder.arrivals.events.length;
  for (let count = 0; count < 30; count++) send("warm");
  await recorder.arrivals.take(before + 30);
  recorder.arrivals.events.length = 0;
  vi.mocked(receiveNow).mockClear();
}

function directReads(): number {
  return vi.mocked(receiveNow).mock.results.filter(({ type, value }) => type === "return" && value >= 0).length;
}

describe("a burst to a connected socket", () => {
  test("arrives whole and in order, empty datagrams too, and most of it is read directly", async () => {
    const recorder = new Recorder();
    const { send } = makeEndpoint(recorder);
    await warmUp(recorder, send);
    const expected: string[] = [];
    for (let burst = 1; burst <= 10; burst++) {
      for (let count = 0; count < 100; count++) {
        const text = count % 7 === 3 ? "" : `${burst} ${count}`.repeat(1 + (count % 50));
        expected.push(text);
        send(text);
      }
      await recorder.arrivals.take(100 * burst);
    }
    expect(recorder.texts).toEqual(expected);
    expect(directReads()).toBeGreaterThan(800);
    expect(recorder.errors).toEqual([]);
  });

  test("with an error in the middle of it loses nothing, and the error is told once", async () => {
    const recorder = new Recorder();
    const { endpoint, send, closePeer } = makeEndpoint(recorder);
    await warmUp(recorder, send);
    for (let count = 0; count < 100; count++) send(`${count}`);
    closePeer();
    let direct = 0;
    recorder.onArrival = ({ port }) => {
      if (port !== null || ++direct !== 5) return;
      // The loopback refuses it at once, so that the next read of this burst meets the error.
      expect(sendNow(endpoint.descriptor, new Uint8Array(1), 0, 1)).toBe(true);
    };
    await recorder.arrivals.take(100);
    expect(recorder.texts).toEqual(Array.from({ length: 100 }, (_, count) => `${count}`));
    expect(recorder.errors).toEqual(["ECONNREFUSED"]);
    expect(vi.mocked(receiveNow).mock.results.filter(({ type }) => type === "throw")).toHaveLength(1);
  });

  test("ends with an error for which the socket is closed", async () => {
    const recorder = new Recorder();
    const { send } = makeEndpoint(recorder);
    await warmUp(recorder, send);
    vi.mocked(receiveNow).mockImplementationOnce(() => {
      throw Object.assign(new Error("no route"), { code: "EHOSTUNREACH" });
    });
    recorder.onFailure = (endpoint) => endpoint.close();
    for (let count = 0; count < 10; count++) send(`${count}`);
    await recorder.arrivals.until(() => recorder.errors.length > 0);
    expect(recorder.errors).toEqual(["EHOSTUNREACH"]);
    expect(receiveNow).toHaveBeenCalledTimes(1);
  });

  test("stays in the kernel's queue while the guest's link has no room", async () => {
    const recorder = new Recorder();
    const { send } = makeEndpoint(recorder);
    await warmUp(recorder, send);
    recorder.isFull = true;
    const byEvent: number[] = [];
    recorder.onArrival = ({ port }) => {
      if (port !== null) byEvent.push(0);
      else byEvent[byEvent.length - 1]++;
    };
    for (let count = 0; count < 100; count++) send(`${count}`);
    await recorder.arrivals.take(100);
    // Each of Node's own is followed by one direct read at most, which found that there is no room.
    expect(Math.max(...byEvent)).toBe(1);
    expect(recorder.texts).toEqual(Array.from({ length: 100 }, (_, count) => `${count}`));
  });

  test("that does not end does not keep another socket from its turn", async () => {
    const recorder = new Recorder();
    const [flooded, other] = [makeEndpoint(recorder), makeEndpoint(recorder)];
    await warmUp(recorder, flooded.send);
    let served = false;
    let flood = 0;
    recorder.onArrival = ({ endpoint }) => {
      if (endpoint === other.endpoint) served = true;
      // Each datagram brings the next one, so there is always one waiting.
      else if (!served && ++flood < 100_000) flooded.send("flood");
    };
    for (let count = 0; count < 50; count++) flooded.send("flood");
    other.send("other");
    await recorder.arrivals.until(() => served);
    expect(directReads()).toBeGreaterThan(0);
    expect(flood).toBeLessThan(2000);
  });
});

describe("the receive buffer of a connected socket", () => {
  test("is made larger", () => {
    const { endpoint } = makeEndpoint(new Recorder());
    expect(endpoint.socket.getRecvBufferSize()).toBeGreaterThan(100_000);
  });

  test("stays as it is where the system refuses, and datagrams arrive", async () => {
    const recorder = new Recorder();
    const socket = hostSocket();
    const { port } = socket.address();
    socket.setRecvBufferSize(4096);
    const before = socket.getRecvBufferSize();
    vi.spyOn(socket, "setRecvBufferSize").mockImplementation(() => {
      throw Object.assign(new Error("too large"), { code: "ERR_SOCKET_BUFFER_SIZE" });
    });
    const peer = hostSocket();
    cleanups.push(() => {
      peer.close();
    });
    socket.connect(peer.address().port, "127.0.0.1");
    const mapping = new UdpMapping(0, GUEST, 40000, 120_000, port, 0);
    const endpoint = new UdpEndpoint(mapping, { address: HOST, port: peer.address().port }, socket, 0, recorder);
    cleanups.push(() => endpoint.close());
    expect(socket.setRecvBufferSize).toHaveBeenCalledTimes(1);
    expect(socket.getRecvBufferSize()).toBe(before);
    peer.send("hello", port, "127.0.0.1");
    await recorder.arrivals.take(1);
    expect(recorder.texts).toEqual(["hello"]);
  });
});

describe("direct reads", () => {
  test("are hardly attempted while datagrams come one at a time", async () => {
    const recorder = new Recorder();
    const { send } = makeEndpoint(recorder);
    await warmUp(recorder, send);
    // Sent by a callback of their own, or the next one would lie ready before an attempt.
    recorder.onArrival = () => {
      if (recorder.arrivals.events.length < 500) setImmediate(() => send("one"));
    };
    send("one");
    await recorder.arrivals.take(500);
    const attempts = vi.mocked(receiveNow).mock.calls.length;
    expect(attempts).toBeGreaterThan(3);
    expect(attempts).toBeLessThan(20);
  });

  test("do not take what arrived before the socket was connected, which may be from anyone", async () => {
    const [peer, stranger, socket] = [hostSocket(), hostSocket(), hostSocket()];
    cleanups.push(() => {
      peer.close();
      stranger.close();
    });
    const { port } = socket.address();
    for (let count = 0; count < 50; count++) stranger.send("stranger", port, "127.0.0.1");
    socket.connect(peer.address().port, "127.0.0.1");
    for (let count = 0; count < 50; count++) peer.send("peer", port, "127.0.0.1");
    const recorder = new Recorder();
    const mapping = new UdpMapping(0, GUEST, 40000, 120_000, port, 0);
    const endpoint = new UdpEndpoint(mapping, { address: HOST, port: peer.address().port }, socket, 0, recorder);
    cleanups.push(() => endpoint.close());
    await recorder.arrivals.take(100);
    const sources = recorder.arrivals.events.map(({ port: source }) => source);
    expect(sources).toEqual([
      ...Array.from({ length: 50 }, () => stranger.address().port),
      ...Array.from({ length: 50 }, () => peer.address().port),
    ]);
  });

  test("are not made on the main socket, whose datagrams are from anyone", async () => {
    const host = await HostDatagrams.bind(false);
    cleanups.push(() => host.close());
    const recorder = new Recorder();
    const { socket, port } = bindMainSocket();
    socket.setRecvBufferSize(1);
    const endpoint = new UdpEndpoint(new UdpMapping(0, GUEST, 40000, 120_000, port, 0), null, socket, 0, recorder);
    cleanups.push(() => endpoint.close());
    for (let count = 1; count <= 100; count++) {
      host.send(Buffer.from(`${count}`), port);
      await recorder.arrivals.take(count);
    }
    expect(receiveNow).not.toHaveBeenCalled();
  });

  test("are not made where Node shows no descriptor, and everything arrives", async () => {
    vi.mocked(datagramDescriptor).mockReturnValue(-1);
    const recorder = new Recorder();
    const { send } = makeEndpoint(recorder);
    for (let count = 0; count < 100; count++) send(`${count}`);
    expect((await recorder.arrivals.take(100)).map(({ text }) => text)).toEqual(
      Array.from({ length: 100 }, (_, count) => `${count}`),
    );
    expect(receiveNow).not.toHaveBeenCalled();
  });
});

describe("datagrams of a guest", () => {
  const frame = new Uint8Array(2000);

  function send(egress: UdpEgress, destinationPort: number, text: string): void {
    const length = new TextEncoder().encodeInto(text, frame.subarray(42)).written;
    egress.handle({
      source: GUEST,
      sourcePort: 40000,
      destination: HOST,
      destinationPort,
      ttl: 64,
      bytes: frame,
      offset: 42,
      length,
    });
    frame.fill(0xee);
  }

  async function makeEgress() {
    const stack = new FakeStack();
    const clock = new FakeClock();
    const logger = new RecordingLogger();
    const network = { address: parseIpv4("192.168.65.0"), prefixLength: 24 };
    const egress = new UdpEgress({
      stack,
      clock,
      failures: new FailureLog(logger, clock),
      destinations: { hostAddress: HOST, ownAddresses: new Set([HOST]), network, linkLocal: true },
    });
    const host = await HostDatagrams.bind(false);
    cleanups.push(
      () => host.close(),
      () => egress.close(),
    );
    return { egress, stack, host, logger };
  }

  async function textsOf(host: HostDatagrams, count: number): Promise<string[]> {
    return (await host.received.take(count)).map(({ payload }) => payload.toString());
  }

  test("are sent straight from the frame", async () => {
    const { egress, host } = await makeEgress();
    const sendByNode = vi.spyOn(Socket.prototype, "send");
    cleanups.push(() => sendByNode.mockRestore());
    for (const text of ["one", "two", "three"]) send(egress, host.port, text);
    expect(await textsOf(host, 3)).toEqual(["one", "two", "three"]);
    expect(vi.mocked(sendNow).mock.calls.map(([, bytes, offset]) => bytes === frame && offset)).toEqual([42, 42, 42]);
    expect(sendByNode).not.toHaveBeenCalled();
    expect(egress.stats()).toMatchObject({ sent: 3, failed: 0 });
  });

  test("that the kernel does not take at once wait in Node, and those behind them too", async () => {
    const { egress, host } = await makeEgress();
    const queue = vi.spyOn(Socket.prototype, "getSendQueueCount");
    cleanups.push(() => queue.mockRestore());
    send(egress, host.port, "direct");
    vi.mocked(sendNow).mockReturnValueOnce(false);
    queue.mockReturnValue(1);
    for (const text of ["queued", "behind it", "last"]) send(egress, host.port, text);
    expect(sendNow).toHaveBeenCalledTimes(2);
    queue.mockReturnValue(0);
    send(egress, host.port, "direct again");
    expect(sendNow).toHaveBeenCalledTimes(3);
    expect(await textsOf(host, 5)).toEqual(["direct", "queued", "behind it", "last", "direct again"]);
    expect(egress.stats()).toMatchObject({ sent: 5, failed: 0, droppedQueue: 0 });
  });

  test("beyond what may wait in Node are dropped and counted", async () => {
    const { egress, host } = await makeEgress();
    const queue = vi.spyOn(Socket.prototype, "getSendQueueCount");
    cleanups.push(() => queue.mockRestore());
    vi.mocked(sendNow).mockReturnValueOnce(false);
    queue.mockReturnValue(256);
    send(egress, host.port, "queued");
    send(egress, host.port, "dropped");
    queue.mockReturnValue(255);
    send(egress, host.port, "last");
    expect(await textsOf(host, 2)).toEqual(["queued", "last"]);
    expect(egress.stats()).toMatchObject({ sent: 2, droppedQueue: 1 });
  });

  test("that meet a changed route are answered, and the next one has a new socket", async () => {
    const { egress, stack, host } = await makeEgress();
    send(egress, host.port, "before");
    vi.mocked(sendNow).mockImplementationOnce(() => {
      throw Object.assign(new Error("no route"), { code: "EHOSTUNREACH" });
    });
    send(egress, host.port, "lost");
    expect(egress.stats()).toMatchObject({ siblings: 0, failed: 1, unreachable: 1 });
    expect(stack.udpErrors.events).toEqual([
      {
        code: UNREACHABLE_HOST,
        flow: { source: GUEST, sourcePort: 40000, destination: HOST, destinationPort: host.port },
        from: null,
      },
    ]);
    send(egress, host.port, "after");
    expect(await textsOf(host, 2)).toEqual(["before", "after"]);
    const ports = host.received.events.map(({ source }) => source.port);
    expect(new Set(ports)).toEqual(new Set([egress.hostPort(GUEST, 40000)]));
    expect(egress.stats()).toMatchObject({ siblings: 1, sent: 3 });
  });

  test("get their answers from the source that they were sent to, by whichever way those are read", async () => {
    const { egress, stack, host } = await makeEgress();
    send(egress, host.port, "hello");
    const [{ source }] = await host.received.take(1);
    const answers: string[] = [];
    // More than fit the receive buffer at first, so that direct reads have begun.
    for (let burst = 1; burst <= 60; burst++) {
      for (let count = 0; count < 50; count++) {
        answers.push(`${burst} ${count}`);
        host.send(Buffer.from(`${burst} ${count}`), source.port);
      }
      await stack.datagrams.take(50 * burst);
    }
    expect(stack.datagrams.events.map(({ payload }) => payload.toString())).toEqual(answers);
    const sources = stack.datagrams.events.map((datagram) => [datagram.source, datagram.sourcePort]);
    expect(new Set(sources.map(String))).toEqual(new Set([String([HOST, host.port])]));
    expect(directReads()).toBeGreaterThan(0);
    expect(egress.stats()).toMatchObject({ received: 3000, siblings: 1 });
  });
});
