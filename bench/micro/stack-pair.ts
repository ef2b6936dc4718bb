import type { Stack as StackType, TcpFlow, TcpHandler } from "../../packages/stack/src/index.ts";
import { Random } from "../../packages/stack/src/testing/random.ts";
import type { Checkout } from "./checkout.ts";
import { type PacketMemory, packetMemory } from "./packet-memory.ts";

const PREFIX_LENGTH = 4;
const ETHERNET_HEADER_LENGTH = 14;
/** The time between two turns, in microseconds. */
const SHORTEST_TURN = 50;
const LONGEST_TURN = 150;
/** Turns after which a connection that does not fill the link is not going to. */
const MAXIMUM_TURNS = 10_000;
const CHUNK = new Uint8Array(64 * 1024);

/** The frames that one side sends in a turn, as they lie in QEMU's stream: one behind the other, each after its length. */
export class FrameBatch {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Frames that are taken until {@link clear}. */
  readonly limit: number;
  count = 0;
  readonly offsets: Int32Array;
  readonly lengths: Int32Array;
  readonly #start: number;
  #end: number;

  /** @param memory - room for `limit` frames of the largest size. */
  constructor(memory: PacketMemory, limit: number) {
    this.bytes = memory.bytes;
    this.view = memory.view;
    this.limit = limit;
    this.offsets = new Int32Array(limit);
    this.lengths = new Int32Array(limit);
    this.#start = memory.offset;
    this.#end = memory.offset;
  }

  reserve(_length: number): number {
    return this.count === this.limit ? -1 : this.#end + PREFIX_LENGTH;
  }

  commit(length: number): void {
    const offset = this.#end + PREFIX_LENGTH;
    this.offsets[this.count] = offset;
    this.lengths[this.count] = length;
    this.count++;
    this.#end = offset + length;
  }

  clear(): void {
    this.count = 0;
    this.#end = this.#start;
  }

  /** Whether it holds all the frames it takes, each of `length` bytes. */
  isFullOf(length: number): boolean {
    return this.count === this.limit && this.lengths.every((each) => each === length);
  }

  /** Hands every frame to a stack, and takes new ones. */
  deliverTo(stack: StackType): void {
    for (let index = 0; index < this.count; index++) {
      stack.receiveFrame(this.bytes, this.view, this.offsets[index], this.lengths[index]);
    }
    this.clear();
  }
}

export interface StackPairOptions {
  readonly mtu: number;
  /** Frames that a batch of each side takes. */
  readonly guestFrames: number;
  readonly hostFrames: number;
}

/**
 * A guest's stack and hostd's, joined in memory, with a connection of the guest to a server outside. Both run the
 * checkout's code; time passes only as it is told to.
 */
export class StackPair {
  readonly fromGuest: FrameBatch;
  readonly fromHost: FrameBatch;
  readonly guest: StackType;
  readonly host: StackType;
  readonly guestFlow: TcpFlow;
  readonly hostFlow: TcpFlow;
  /** Bytes of a frame with a full segment. */
  readonly fullFrame: number;
  /** Bytes that the host was handed. */
  received = 0;
  #now = 1000;
  readonly #random = new Random(1);

  static async create(checkout: Checkout, options: StackPairOptions): Promise<StackPair> {
    const module = await checkout.import<typeof import("../../packages/stack/src/index.ts")>(
      "packages/stack/src/index.ts",
      { parseIpv4: [], parseMac: [], Stack: ["receiveFrame", "flush", "poll", "configure"] },
    );
    const frame = PREFIX_LENGTH + ETHERNET_HEADER_LENGTH + options.mtu;
    return new StackPair(
      module,
      options.mtu,
      new FrameBatch(await packetMemory(checkout, options.guestFrames * frame), options.guestFrames),
      new FrameBatch(await packetMemory(checkout, options.hostFrames * frame), options.hostFrames),
    );
  }

  private constructor(
    module: typeof import("../../packages/stack/src/index.ts"),
    mtu: number,
    fromGuest: FrameBatch,
    fromHost: FrameBatch,
  ) {
    const { parseIpv4, parseMac, Stack } = module;
    this.fullFrame = ETHERNET_HEADER_LENGTH + mtu;
    this.fromGuest = fromGuest;
    this.fromHost = fromHost;
    const hostAddress = parseIpv4("192.168.65.1");
    const guestAddress = parseIpv4("192.168.65.3");
    const network = { address: parseIpv4("192.168.65.0"), prefixLength: 24 };
    const open: { guest: TcpFlow | null; host: TcpFlow | null } = { guest: null, host: null };
    const handler = (side: "guest" | "host", data: TcpHandler["data"]): TcpHandler => ({
      established: (flow) => {
        open[side] = flow;
      },
      data,
      end: () => {},
      writable: () => {},
      closed: (_flow, reason) => {
        throw new Error(`the connection of the benchmark ended: ${reason}`);
      },
    });
    const hostHandler = handler("host", (flow, _bytes, _offset, length) => {
      this.received += length;
      flow.consumed(length);
    });
    const common = {
      network,
      mtu,
      now: () => this.#now,
      randomBytes: (bytes: Uint8Array) => {
        bytes.fill(0x5e);
      },
      wake: () => {},
    };
    const nobody = { udpDatagram: () => {}, echoRequest: () => {} };
    this.guest = new Stack({
      ...common,
      mac: parseMac("02:00:00:00:00:03"),
      addresses: [guestAddress],
      handlers: { ...nobody, tcpRequest: (request) => request.reject("refused") },
    });
    this.host = new Stack({
      ...common,
      mac: parseMac("02:00:00:00:00:01"),
      addresses: [hostAddress],
      handlers: { ...nobody, tcpRequest: (request) => void request.accept(hostHandler) },
    });
    this.guest.attach(fromGuest);
    this.host.attach(fromHost);
    this.guest.configure(guestAddress, network, hostAddress);
    const tuple = {
      localAddress: guestAddress,
      localPort: 0,
      remoteAddress: parseIpv4("203.0.113.5"),
      remotePort: 443,
    };
    this.guest.tcpDial(
      tuple,
      handler("guest", (flow, _bytes, _offset, length) => flow.consumed(length)),
    );
    for (let turns = 0; open.guest === null || open.host === null; turns++) {
      if (turns === MAXIMUM_TURNS) throw new Error("the connection of the benchmark was not established");
      this.turn();
    }
    this.guestFlow = open.guest;
    this.hostFlow = open.host;
  }

  /**
   * Lets some time pass. Round trips of no time at all, or all of the same, would have their averages decay into
   * numbers that the processor takes a hundred times as long for.
   */
  pass(): void {
    this.#now += (SHORTEST_TURN + this.#random.below(LONGEST_TURN - SHORTEST_TURN)) / 1000;
    if (this.host.nextDeadline <= this.#now) this.host.poll();
    if (this.guest.nextDeadline <= this.#now) this.guest.poll();
  }

  /** Lets both sides send what they have, and each have what the other sent. */
  turn(): void {
    this.pass();
    this.guest.flush();
    this.fromGuest.deliverTo(this.host);
    this.pass();
    this.host.flush();
    this.fromHost.deliverTo(this.guest);
  }

  /** Has the guest send a batch of full segments, which wait in {@link fromGuest}. */
  batchFromGuest(): void {
    for (let turns = 0; turns < MAXIMUM_TURNS; turns++) {
      this.host.flush();
      this.fromHost.deliverTo(this.guest);
      this.pass();
      fill(this.guestFlow);
      this.guest.flush();
      this.pass();
      if (this.fromGuest.isFullOf(this.fullFrame)) return;
      this.fromGuest.deliverTo(this.host);
    }
    throw new Error(`the guest does not send ${this.fromGuest.limit} full segments at once`);
  }

  /** Has the guest acknowledge every two segments of a batch; the acknowledgments wait in {@link fromGuest}. */
  acknowledgmentsFromGuest(): void {
    const { fromGuest, fromHost } = this;
    for (let turns = 0; turns < MAXIMUM_TURNS; turns++) {
      this.pass();
      fill(this.hostFlow);
      this.host.flush();
      for (let index = 0; index < fromHost.count; index++) {
        this.guest.receiveFrame(fromHost.bytes, fromHost.view, fromHost.offsets[index], fromHost.lengths[index]);
        if (index % 2 === 1) this.guest.flush();
      }
      fromHost.clear();
      this.pass();
      if (fromGuest.isFullOf(fromGuest.lengths[0])) return;
      this.guest.flush();
      fromGuest.deliverTo(this.host);
    }
    throw new Error(`the guest does not send ${fromGuest.limit} acknowledgments of two segments`);
  }

  /** Has the guest acknowledge all that the host has sent, and the host's send buffer filled. */
  readyToSend(): void {
    this.fromHost.deliverTo(this.guest);
    this.guest.flush();
    this.pass();
    this.fromGuest.deliverTo(this.host);
    fill(this.hostFlow);
  }
}

function fill(flow: TcpFlow): void {
  while (flow.send(CHUNK, 0, CHUNK.length) === CHUNK.length);
}
