import { IPV4_BROADCAST, type Ipv4, parseIpv4 } from "../address.ts";
import { LeaseTable } from "../dhcp/lease-table.ts";
import { DhcpServer } from "../dhcp/server.ts";
import type { FrameSink } from "../link.ts";
import { Stack } from "../stack.ts";
import type { StackStatistics } from "../statistics.ts";
import type { CloseReason, RejectReason, TcpFlow, TcpHandler, TcpRequest } from "../tcp/flow.ts";
import { arp, ethernet, icmp, ipv4, synOptions, tcp, udp } from "./frames.ts";
import { BROADCAST_MAC, GATEWAY, GUEST, GUEST_MAC, HOST, OUTSIDE, STACK_MAC } from "./lan.ts";
import { Random } from "./random.ts";

const NETWORK = { address: parseIpv4("192.168.65.0"), prefixLength: 24 };
/** Few enough that bursts meet them. */
const MAX_CONNECTIONS = 200;
const MAX_REQUESTS = 50;
const MAX_TIME_WAIT = 8192;
const MAX_NEIGHBORS = 4096;
const REASONS: readonly RejectReason[] = ["refused", "net-unreachable", "host-unreachable", "prohibited", "silent"];
const FLAGS = ["S", "A", "PA", "FA", "R", "RA", "SA", "SF", "FPU", "", "SR", "PAU"];

export interface FuzzOptions {
  readonly seed: number;
  /**
   * Asked now and then with the number of frames so far; true goes on.
   *
   * @param isQuiet - whether every connection was just ended and every timeout has passed, so that what is still in
   *   memory is what the stack keeps for good.
   */
  readonly goesOn: (frames: number, isQuiet: boolean) => boolean;
}

export interface FuzzReport {
  readonly frames: number;
  /** Connections that came to be, by any way. */
  readonly accepted: number;
  readonly closed: Readonly<Record<string, number>>;
  readonly largestConnections: number;
  readonly largestNeighbors: number;
  readonly statistics: StackStatistics;
}

/** Frames between two rests. */
const FRAMES_BETWEEN_RESTS = 50_000;
/** Longer than anything in the stack waits for, in milliseconds. */
const REST_MS = 2 * 60 * 60_000;

/** A link that takes frames most of the time, and lets the fuzzer learn the numbers of the flows they belong to. */
class FuzzLink implements FrameSink {
  readonly bytes = new Uint8Array(65536 + 64);
  readonly view = new DataView(this.bytes.buffer);
  readonly #random: Random;
  readonly #sent: (frame: DataView, length: number) => void;

  constructor(random: Random, sent: (frame: DataView, length: number) => void) {
    this.#random = random;
    this.#sent = sent;
  }

  reserve(length: number): number {
    return this.#random.oneIn(50) || length > 65536 ? -1 : 2;
  }

  commit(length: number): void {
    this.#sent(new DataView(this.bytes.buffer, 2, length), length);
  }
}

/** What the guest's side knows of a flow that the stack answered. */
interface KnownFlow {
  readonly localAddress: Ipv4;
  readonly localPort: number;
  readonly port: number;
  sequence: number;
  acknowledgment: number;
}

/**
 * Feeds a stack with frames that are right, nearly right and random, and with owners that do anything they may.
 *
 * @throws when the stack throws, when a table outgrows its bound, when a connection is closed twice, or when something
 *   is left after the VM is gone.
 */
export function fuzzFrames({ seed, goesOn }: FuzzOptions): FuzzReport {
  const random = new Random(seed);
  const known: KnownFlow[] = [];
  const open = new Set<TcpFlow>();
  const waiting: TcpRequest[] = [];
  const closed: Record<string, number> = {};
  let now = 1000;
  let accepted = 0;
  let largestConnections = 0;
  let largestNeighbors = 0;

  const handler: TcpHandler = {
    established() {},
    data(flow, bytes, offset, length) {
      if (random.oneIn(2)) flow.consumed(length);
      if (random.oneIn(3)) flow.send(bytes, offset, length);
      if (random.oneIn(1000)) flow.abort();
    },
    end(flow) {
      if (random.oneIn(2)) flow.shutdown();
    },
    writable() {},
    closed(flow, reason: CloseReason) {
      if (!open.delete(flow)) throw new Error(`closed twice, or never opened: ${reason}`);
      closed[reason] = (closed[reason] ?? 0) + 1;
    },
  };

  const answer = (request: TcpRequest) => {
    if (random.oneIn(3)) {
      request.reject(random.pick(REASONS));
      return;
    }
    const flow = request.accept(handler);
    if (flow === null) return;
    accepted++;
    open.add(flow);
  };

  const stack: Stack = new Stack({
    mac: STACK_MAC,
    addresses: [GATEWAY],
    proxiedAddresses: [HOST],
    network: NETWORK,
    mtu: 1500,
    now: () => now,
    randomBytes: (bytes) => random.fill(bytes),
    wake: () => {},
    tcp: { maximumConnections: MAX_CONNECTIONS, maximumHalfOpen: MAX_REQUESTS, bufferBudget: 4 * 1024 * 1024 },
    handlers: {
      tcpRequest: (request) => {
        if (random.oneIn(3)) waiting.push(request);
        else answer(request);
        if (waiting.length > 100) waiting.shift();
      },
      udpDatagram: ({ source, sourcePort, destination, destinationPort, bytes, offset, length }) => {
        if (random.oneIn(2)) {
          stack.udpSend(destination, destinationPort, source, sourcePort, bytes, offset, length);
        } else {
          stack.udpUnreachable(3, { source, sourcePort, destination, destinationPort }, destination);
        }
      },
      echoRequest: ({ source, destination, identifier, sequence, bytes, offset, length }) => {
        stack.echoReply(destination, source, identifier, sequence, bytes, offset, length);
      },
    },
  });
  stack.attach(
    new FuzzLink(random, (frame, length) => {
      const flow = readAnswer(frame, length);
      if (flow === null) return;
      if (known.length < 100) known.push(flow);
      else known[random.below(known.length)] = flow;
    }),
  );
  stack.tcpListen(GATEWAY, 53, answer);
  serveDhcp(stack, () => now);

  const generator = new FrameGenerator(random, known);
  let frames = 0;
  const check = () => {
    largestConnections = Math.max(largestConnections, stack.tcp.size);
    largestNeighbors = Math.max(largestNeighbors, stack.neighbors.size);
    if (stack.tcp.size > MAX_CONNECTIONS + MAX_TIME_WAIT) throw new Error(`${stack.tcp.size} connections`);
    if (stack.neighbors.size > MAX_NEIGHBORS) throw new Error(`${stack.neighbors.size} neighbours`);
    if (open.size > MAX_CONNECTIONS) throw new Error(`${open.size} open flows`);
  };
  const rest = () => {
    waiting.length = 0;
    stack.tcp.abortAll();
    now += REST_MS;
    while (stack.nextDeadline <= now) {
      stack.poll();
      stack.flush();
    }
  };
  while (frames % 1000 !== 0 || goesOn(frames, frames % FRAMES_BETWEEN_RESTS === 0)) {
    // The frame lies in the middle of other bytes, as in a read of many.
    const frame = generator.next();
    const bytes = new Uint8Array(frame.length + 9);
    bytes.set(frame, 5);
    stack.receiveFrame(bytes, new DataView(bytes.buffer), 5, frame.length);
    frames++;
    if (random.oneIn(8)) actAsOwner(random, open, waiting, answer);
    if (random.oneIn(20)) stack.flush();
    now += random.oneIn(200) ? random.below(5000) : random.below(3);
    while (stack.nextDeadline <= now) {
      stack.poll();
      stack.flush();
    }
    if (frames % 100 === 0) check();
    if (frames % FRAMES_BETWEEN_RESTS === 0) rest();
  }
  if (stack.statistics.framesReceived !== frames) throw new Error("a frame was not counted");
  stack.detach();
  if (stack.tcp.size !== 0 || stack.tcp.reservedBytes !== 0 || open.size !== 0) {
    throw new Error(`left behind: ${stack.tcp.size} connections, ${stack.tcp.reservedBytes} bytes, ${open.size} flows`);
  }
  return { frames, accepted, closed, largestConnections, largestNeighbors, statistics: stack.statistics };
}

/** Something that the owner of flows and requests may do at any time. */
function actAsOwner(
  random: Random,
  open: ReadonlySet<TcpFlow>,
  waiting: TcpRequest[],
  answer: (request: TcpRequest) => void,
): void {
  const request = waiting.pop();
  if (request !== undefined) answer(request);
  if (open.size === 0) return;
  const flow = random.pick([...open]);
  switch (random.below(5)) {
    case 0:
      flow.send(random.bytes(3000), 0, 3000);
      return;
    case 1:
      flow.consumed(random.below(100_000));
      return;
    case 2:
      if (random.oneIn(4)) flow.shutdown();
      return;
    case 3:
      if (random.oneIn(40)) flow.abort();
      return;
    default:
      flow.send(new Uint8Array(200_000), 0, 200_000);
  }
}

function serveDhcp(stack: Stack, now: () => number): void {
  const server = new DhcpServer({
    serverAddress: GATEWAY,
    subnet: NETWORK,
    router: GATEWAY,
    dnsServers: [GATEWAY],
    searchDomains: ["example.test"],
    mtu: 1500,
    firstAddress: NETWORK.address + 3,
    lastAddress: NETWORK.address + 40,
    leases: new LeaseTable(),
    clock: now,
  });
  stack.udpListen(0, 67, ({ bytes, offset, length, source, destination }) => {
    const context = { source, destination, sourceMac: stack.frameSource };
    const reply = server.handle(bytes, offset, length, context);
    if (reply === null) return;
    const mac = reply.destinationMac ?? BROADCAST_MAC;
    stack.udpSendToMac(mac, GATEWAY, 67, reply.destination, reply.destinationPort, reply.message);
  });
}

/** Reads the numbers of a flow out of a segment of the stack's, or null. */
function readAnswer(frame: DataView, length: number): KnownFlow | null {
  if (length < 54 || frame.getUint16(12) !== 0x0800 || frame.getUint8(23) !== 6) return null;
  const flags = frame.getUint8(47);
  if ((flags & 4) !== 0) return null;
  return {
    localAddress: frame.getInt32(26),
    localPort: frame.getUint16(34),
    port: frame.getUint16(36),
    sequence: frame.getInt32(42),
    acknowledgment: (frame.getInt32(38) + ((flags & 3) !== 0 ? 1 : 0)) | 0,
  };
}

/** Makes one frame after the other. */
class FrameGenerator {
  readonly #random: Random;
  readonly #known: readonly KnownFlow[];

  constructor(random: Random, known: readonly KnownFlow[]) {
    this.#random = random;
    this.#known = known;
  }

  next(): Uint8Array {
    const random = this.#random;
    if (random.oneIn(40)) return random.bytes(random.below(200));
    const frame = random.oneIn(12) ? this.#arp() : this.#ip();
    if (random.oneIn(4)) {
      for (let count = 1 + random.below(4); count > 0 && frame.length > 0; count--) {
        frame[random.below(Math.min(frame.length, 100))] = random.bits();
      }
    }
    return random.oneIn(25) ? frame.subarray(0, random.below(frame.length + 1)) : frame;
  }

  #source(): Ipv4 {
    const random = this.#random;
    if (!random.oneIn(10)) return GUEST;
    return random.pick([
      0,
      random.bits(),
      GATEWAY,
      HOST,
      IPV4_BROADCAST,
      parseIpv4("127.0.0.1"),
      NETWORK.address + random.below(256),
    ]);
  }

  #destination(): Ipv4 {
    const random = this.#random;
    return random.pick([GATEWAY, HOST, OUTSIDE, OUTSIDE, IPV4_BROADCAST, parseIpv4("224.0.0.251"), random.bits()]);
  }

  #arp(): Uint8Array {
    const random = this.#random;
    const senderAddress = this.#source();
    const targetAddress = random.pick([GATEWAY, HOST, senderAddress, random.bits()]);
    const packet = arp({ operation: random.below(4), senderMac: GUEST_MAC, senderAddress, targetAddress });
    return ethernet(random.pick([BROADCAST_MAC, STACK_MAC]), GUEST_MAC, 0x0806, packet);
  }

  #ip(): Uint8Array {
    const random = this.#random;
    let source = this.#source();
    let destination = this.#destination();
    let protocol: number;
    let payload: Uint8Array;
    switch (random.below(8)) {
      case 0:
        protocol = 1;
        payload = icmp(
          random.pick([8, 8, 0, 3, 5, 11]),
          random.below(16),
          random.bits(),
          random.bytes(random.below(100)),
        );
        break;
      case 1: {
        protocol = 17;
        const destinationPort = random.pick([53, 67, 68, 123, random.below(65536)]);
        const length = random.below(random.oneIn(10) ? 1400 : 300);
        payload = udp({
          source,
          sourcePort: random.below(65536),
          destination,
          destinationPort,
          payload: random.bytes(length),
        });
        break;
      }
      case 2:
        return ethernet(BROADCAST_MAC, GUEST_MAC, 0x0800, this.#dhcp());
      case 3:
        protocol = random.below(256);
        payload = random.bytes(random.below(64));
        break;
      default: {
        protocol = 6;
        const flow = this.#known.length > 0 && !random.oneIn(4) ? random.pick(this.#known) : null;
        if (flow !== null) {
          source = GUEST;
          destination = flow.localAddress;
        }
        payload = this.#segment(source, destination, flow);
      }
    }
    const fragment = random.oneIn(15);
    const packet = ipv4({
      source,
      destination,
      protocol,
      payload: fragment ? payload.subarray(0, payload.length & ~7) : payload,
      ttl: random.pick([64, 64, 64, 1, 0, 255]),
      identification: random.below(8),
      dontFragment: random.oneIn(4),
      moreFragments: fragment && random.oneIn(2),
      fragmentOffset: fragment ? 8 * random.below(200) : 0,
      options: random.oneIn(20) ? random.bytes(4 * random.below(10)) : new Uint8Array(0),
      ...(random.oneIn(50) ? { totalLength: random.below(65536) } : {}),
    });
    return ethernet(random.oneIn(20) ? BROADCAST_MAC : STACK_MAC, GUEST_MAC, 0x0800, packet);
  }

  #segment(source: Ipv4, destination: Ipv4, flow: KnownFlow | null): Uint8Array {
    const random = this.#random;
    const payload = random.oneIn(3) ? random.bytes(random.below(1460)) : new Uint8Array(0);
    const ports = {
      sourcePort: flow?.port ?? 1024 + random.below(400),
      destinationPort: flow?.localPort ?? random.pick([53, 80, 443]),
    };
    const near = () => random.pick([0, 0, 0, 0, -1, 1, random.below(70_000) - 35_000, random.bits()]);
    const sequence = ((flow?.sequence ?? -20) + near()) | 0;
    if (flow !== null && random.oneIn(2)) flow.sequence = (flow.sequence + payload.length) | 0;
    return tcp({
      source,
      destination,
      ...ports,
      sequence,
      acknowledgment: ((flow?.acknowledgment ?? 0) + (flow === null ? 0 : near())) | 0,
      flags:
        flow === null ? random.pick(["S", "S", "S", ...FLAGS]) : random.pick(["A", "A", "A", "PA", "FA", ...FLAGS]),
      window: random.pick([65535, 1000, 1, 0, random.below(65536)]),
      options: random.pick([
        new Uint8Array(0),
        synOptions(1460, 7),
        synOptions(random.below(65536), random.below(256)),
        random.bytes(4 * random.below(10)),
      ]),
      payload,
    });
  }

  /** A message that begins as DHCP's do, with options that make sense now and then. */
  #dhcp(): Uint8Array {
    const random = this.#random;
    const message = new Uint8Array(240 + random.below(120));
    message.set([1, 1, 6, 0]);
    random.fill(message.subarray(4, 8));
    message.set(GUEST_MAC, 28);
    if (random.oneIn(3)) message[33] = random.below(256);
    message.set([0x63, 0x82, 0x53, 0x63], 236);
    random.fill(message.subarray(240));
    message.set(
      [53, 1, 1 + random.below(9), 50, 4, 192, 168, 65, random.below(64), 255].slice(0, message.length - 240),
      240,
    );
    const source = random.oneIn(5) ? GUEST : 0;
    const datagram = { source, sourcePort: 68, destination: IPV4_BROADCAST, destinationPort: 67, payload: message };
    return ipv4({ source, destination: IPV4_BROADCAST, protocol: 17, payload: udp(datagram) });
  }
}
