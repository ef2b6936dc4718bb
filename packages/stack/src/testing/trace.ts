import type { Ipv4, Mac } from "../address.ts";
import type { TcpFlow, TcpRequest } from "../tcp/flow.ts";
import { FlowLog, type FlowReactions } from "./flow-log.ts";
import {
  concatenate,
  ethernet,
  icmp,
  ipv4,
  type ParsedTcp,
  type SackBlock,
  type TcpFields,
  type Timestamps,
  tcp,
  tcpOptions,
} from "./frames.ts";
import { describeFrame, flowKey, GUEST, GUEST_MAC, Lan, type LanOptions, OUTSIDE, STACK_MAC } from "./lan.ts";
import { PeerTimestamps, type TimestampsToSend } from "./peer-timestamps.ts";
import { pattern } from "./random.ts";

/** What the peer's side of every connection counts from: the first bytes of data cross the wrap. */
export const PEER_ISN = -16;

/** The furthest from the wrap that the stack's own first sequence number may be. */
const NEAR_WRAP = 1 << 20;

/**
 * A segment that the peer sends. Numbers are relative to the initial sequence numbers, as in packetdrill; timestamps are
 * relative to {@link Peer.clock} at 0, and to the value of the stack's SYN.
 */
export interface SegmentToSend {
  /** Letters of SYN, FIN, RST, PSH, ACK, URG, ECE and CWR. */
  readonly flags: string;
  /** Relative to the peer's initial sequence number. */
  readonly seq?: number;
  /** Relative to the stack's. */
  readonly ack?: number;
  /** The field as it stands in the header; what was sent last when absent. */
  readonly win?: number;
  /** Bytes of the peer's pattern stream that belong at `seq`, or the bytes themselves. */
  readonly data?: number | Uint8Array;
  readonly mss?: number | undefined;
  readonly wscale?: number | undefined;
  /**
   * The peer's value and the echo of the stack's; what is undefined follows from {@link Peer.clock} and from what the
   * stack has sent. Without one, a peer that has agreed on timestamps adds one by itself, unless this is false.
   */
  readonly ts?: TimestampsToSend | false | undefined;
  readonly sackOK?: boolean | undefined;
  /** Relative to the stack's initial sequence number. */
  readonly sack?: readonly SackBlock[];
  /** Options in place of those above. */
  readonly options?: Uint8Array;
  /** The urgent pointer as it stands in the header. */
  readonly urgent?: number;
  /** Type of service of the packet; its lowest two bits are ECN's. */
  readonly tos?: number;
  readonly checksum?: number;
  readonly headerLength?: number;
}

/**
 * A segment that the stack is to send. What is absent is not compared, except that there is no data. Timestamps are
 * relative to the value of the stack's SYN, and to {@link Peer.clock} at 0; the echo is absolute in a segment without ACK.
 */
export interface SegmentToExpect {
  readonly flags: string;
  /** Relative to the stack's initial sequence number; absolute before it is known. */
  readonly seq?: number;
  /** Relative to the peer's. */
  readonly ack?: number | undefined;
  readonly win?: number;
  /** Bytes of data, which have to be those of the stack's pattern stream at `seq`. */
  readonly data?: number;
  readonly mss?: number | undefined;
  readonly wscale?: number | undefined;
  readonly ts?: readonly [value: number | undefined, echo: number | undefined] | false | undefined;
  readonly sackOK?: boolean | undefined;
  /** Relative to the peer's initial sequence number, in the order of the option; a D-SACK is first. */
  readonly sack?: readonly SackBlock[] | undefined;
}

/** A segment that the stack has sent, in the terms of {@link SegmentToExpect}. */
export interface SeenSegment {
  readonly flags: string;
  readonly seq: number;
  readonly ack: number;
  readonly win: number;
  readonly data: number;
  readonly ts: Timestamps | false;
  readonly sack: readonly SackBlock[];
}

export interface PeerOptions {
  readonly address?: Ipv4;
  readonly port?: number;
  readonly mac?: Mac;
  readonly stackAddress?: Ipv4;
  readonly stackPort?: number;
  readonly isn?: number;
  readonly reactions?: FlowReactions;
}

export interface HandshakeOptions {
  readonly mss?: number;
  readonly wscale?: number;
  readonly win?: number;
  /** Whether the peer offers timestamps, which the stack then has to take. */
  readonly ts?: boolean;
  /** Whether the peer offers selective acknowledgments, which the stack then has to take. */
  readonly sack?: boolean;
  /** Milliseconds from the stack's SYN or SYN-ACK to the peer's answer. */
  readonly rtt?: number;
  /** Whether the log consumes data as it arrives. */
  readonly consumes?: boolean;
}

/** The other end of one TCP connection: a script in segments. */
export class Peer {
  readonly lan: Lan;
  readonly log: FlowLog;
  readonly address: Ipv4;
  readonly port: number;
  readonly mac: Mac;
  readonly stackAddress: Ipv4;
  readonly stackPort: number;
  readonly isn: number;
  /** The stack's initial sequence number, once its SYN has been seen. */
  stackIsn: number | null = null;
  window = 65535;
  readonly timestamps: PeerTimestamps;
  #hasOffered = false;
  /** What the peer's first SYN said: whether blocks may come, and how much fits one segment; null when it is not known. */
  #sackOffered: boolean | null = null;
  #maximumSegment: number | null = null;
  #flow: TcpFlow | null = null;

  constructor(lan: Lan, options: PeerOptions = {}) {
    this.lan = lan;
    this.log = new FlowLog(options.reactions);
    this.address = options.address ?? GUEST;
    this.port = options.port ?? 40000;
    this.mac = options.mac ?? GUEST_MAC;
    this.stackAddress = options.stackAddress ?? OUTSIDE;
    this.stackPort = options.stackPort ?? 80;
    this.isn = options.isn ?? PEER_ISN;
    this.timestamps = new PeerTimestamps(() => lan.now);
    const key = flowKey(this.address, this.port, this.stackAddress, this.stackPort);
    lan.observers.set(key, (segment) => this.#observe(segment));
  }

  /** Milliseconds since this peer was made: the value of the timestamps it sends. */
  get clock(): number {
    return this.timestamps.clock;
  }

  /** The stack's end of the connection. */
  get flow(): TcpFlow {
    if (this.#flow === null) throw new Error("there is no connection");
    return this.#flow;
  }

  /** The request that the stack handed out last. */
  get request(): TcpRequest {
    const request = this.lan.requests.at(-1);
    if (request === undefined) throw new Error("there is no request");
    return request;
  }

  get stateName(): string {
    return [...this.lan.stack.tcp.connections()].find((each) => each.remotePort === this.port)?.stateName ?? "none";
  }

  /** Sends a segment and lets the stack answer. */
  send(segment: SegmentToSend): void {
    this.inject(segment);
    this.lan.flush();
  }

  /** Sends a segment without letting the stack answer: one of several in a batch. */
  inject(segment: SegmentToSend): void {
    const frame = this.frame(segment);
    if (segment.checksum === undefined && segment.headerLength === undefined) this.#sent(segment);
    this.lan.receive(frame);
  }

  /** The frame of a segment. */
  frame(segment: SegmentToSend): Uint8Array {
    const { flags, seq = 0, win = this.window, data = 0, checksum, headerLength, urgent } = segment;
    this.window = win;
    const isn = this.stackIsn ?? 0;
    const options = tcpOptions({
      mss: segment.mss,
      windowScale: segment.wscale,
      sackPermitted: segment.sackOK,
      timestamps: this.#timestampsOf(segment),
      sack: segment.sack?.map(([start, end]) => [(isn + start) | 0, (isn + end) | 0]),
    });
    const fields: TcpFields = {
      source: this.address,
      sourcePort: this.port,
      destination: this.stackAddress,
      destinationPort: this.stackPort,
      sequence: (this.isn + seq) | 0,
      acknowledgment: segment.ack === undefined ? 0 : (isn + segment.ack) | 0,
      flags,
      window: win,
      options: segment.options ?? options,
      payload: typeof data === "number" ? pattern(seq - 1, data) : data,
      ...(urgent === undefined ? {} : { urgentPointer: urgent }),
      ...(checksum === undefined ? {} : { checksum }),
      ...(headerLength === undefined ? {} : { headerLength }),
    };
    const packet = ipv4({
      source: this.address,
      destination: this.stackAddress,
      protocol: 6,
      payload: tcp(fields),
      dontFragment: true,
      tos: segment.tos ?? 0,
    });
    return ethernet(STACK_MAC, this.mac, 0x0800, packet);
  }

  /** Takes the oldest frame, which has to be this segment. */
  expect(expected: SegmentToExpect): ParsedTcp {
    const frame = this.lan.next();
    if (frame.kind !== "tcp") throw new Error(`expected ${describe(expected)}, got ${describeFrame(frame)}`);
    if (
      frame.sourceAddress !== this.stackAddress ||
      frame.sourcePort !== this.stackPort ||
      frame.destinationAddress !== this.address ||
      frame.destinationPort !== this.port
    ) {
      throw new Error(`expected ${describe(expected)}, got another flow's ${describeFrame(frame)}`);
    }
    if (frame.flags.includes("S") && (frame.sequence >= 0 || frame.sequence < -NEAR_WRAP)) {
      throw new Error("the connection starts far from the wrap");
    }
    const hasAck = frame.flags.includes("A");
    if (!hasAck && frame.acknowledgment !== 0) throw new Error("an acknowledgment number without ACK");
    const seen = this.#seen(frame);
    const actual: SegmentToExpect = {
      ...seen,
      ...(hasAck ? {} : { ack: undefined }),
      mss: frame.mss,
      wscale: frame.windowScale,
      sackOK: frame.sackPermitted,
    };
    for (const key of Object.keys({ ...expected, data: 0 }) as (keyof SegmentToExpect)[]) {
      if (!agrees(key, key === "data" ? (expected.data ?? 0) : expected[key], actual[key])) {
        throw new Error(`expected ${describe(expected)}, got ${describe(actual)} (${key} differs)`);
      }
    }
    return frame;
  }

  /** Takes everything that was sent, all of which has to be segments to this peer with the right data. */
  take(): SeenSegment[] {
    return this.lan.all().map((frame) => {
      if (frame.kind === "tcp" && frame.destinationPort === this.port) return this.#seen(frame);
      throw new Error(`expected segments only, got ${describeFrame(frame)}`);
    });
  }

  /** Reports by ICMP destination unreachable that a segment of the stack's did not get through. */
  unreachable(code: number, segment: ParsedTcp, mtu = 0): void {
    this.icmpError(3, code, segment, mtu);
  }

  /** Sends an ICMP error about a segment of the stack's; `rest` is what follows the checksum. */
  icmpError(type: number, code: number, segment: ParsedTcp, rest = 0): void {
    const quote = ipv4({
      source: segment.sourceAddress,
      destination: segment.destinationAddress,
      protocol: 6,
      payload: segment.ipPayload.slice(0, 8),
      totalLength: 20 + segment.ipPayload.length,
      identification: segment.identification,
      dontFragment: true,
    });
    const { address: source, stackAddress: destination } = this;
    const payload = icmp(type, code, rest, quote);
    this.lan.deliverIpv4({ source, destination, protocol: 1, payload }, this.mac);
  }

  expectNothing(): void {
    this.lan.expectNothing();
  }

  advance(milliseconds: number): void {
    this.lan.advance(milliseconds);
  }

  /** Accepts the request that the stack handed out last. */
  accept(): TcpFlow {
    this.#flow = this.request.accept(this.log);
    this.lan.flush();
    return this.flow;
  }

  /** Has the stack open the connection. */
  dial(): void {
    this.#flow = this.lan.stack.tcpDial(
      {
        localAddress: this.stackAddress,
        localPort: this.stackPort,
        remoteAddress: this.address,
        remotePort: this.port,
      },
      this.log,
    );
    this.lan.flush();
  }

  /** Goes through the handshake that the peer begins; the next byte is 1 on both sides. */
  established(options: HandshakeOptions = {}): this {
    const { ts = false, sack: sackOK = false, rtt = 0, win = 65535, consumes = true } = options;
    this.log.consumes = consumes;
    this.send({ flags: "S", seq: 0, win, ...offer(options) });
    this.accept();
    const syn = this.expect({ flags: "SA", seq: 0, ack: 1, sackOK });
    if ((syn.timestamps !== undefined) !== ts) throw new Error(`timestamps were ${ts ? "" : "not "}offered`);
    this.advance(rtt);
    this.send({ flags: "A", seq: 1, ack: 1, win });
    this.expectEvents("established");
    return this;
  }

  /** Goes through the handshake that the stack begins. */
  dialed(options: HandshakeOptions = {}): this {
    const { ts = false, sack = false, rtt = 0, win = 65535, consumes = true } = options;
    this.log.consumes = consumes;
    this.lan.announce(this.address, this.mac);
    this.dial();
    const syn = this.expect({ flags: "S", seq: 0, ...(sack ? { sackOK: true } : {}) });
    if (ts && syn.timestamps === undefined) throw new Error("the SYN offers no timestamps");
    this.advance(rtt);
    this.send({ flags: "SA", seq: 0, ack: 1, win, ...offer(options) });
    this.expect({ flags: "A", seq: 1, ack: 1 });
    this.expectEvents("established");
    return this;
  }

  /** Queues bytes `from` to `from + length` of the stack's pattern stream, and lets the stack send. */
  write(from: number, length: number): number {
    const taken = this.flow.send(concatenate(new Uint8Array(3), pattern(from - 1, length)), 3, length);
    this.lan.flush();
    return taken;
  }

  /** Takes the events of the connection so far, which have to be these. */
  expectEvents(...expected: string[]): void {
    const events = this.log.take();
    if (events.join() !== expected.join()) {
      throw new Error(`expected the events [${expected.join()}], got [${events.join()}]`);
    }
  }

  #seen(frame: ParsedTcp): SeenSegment {
    const seq = (frame.sequence - (this.stackIsn ?? 0)) | 0;
    const right = pattern(seq - 1, frame.payload.length);
    if (seq > 0 && !right.every((byte, index) => byte === frame.payload[index])) {
      throw new Error(`the data of the segment at ${seq} is wrong`);
    }
    return {
      flags: frame.flags,
      seq,
      ack: (frame.acknowledgment - this.isn) | 0,
      win: frame.window,
      data: frame.payload.length,
      ts: this.timestamps.relative(frame),
      sack: frame.sack.map(([start, end]) => [(start - this.isn) | 0, (end - this.isn) | 0]),
    };
  }

  #timestampsOf({ ts, flags, ack = 0 }: SegmentToSend): Timestamps | undefined {
    // What has left the stack meanwhile may be in the echo.
    void this.lan.waiting;
    return this.timestamps.next(ts, flags.includes("A") ? ack : undefined);
  }

  /** Keeps what the stack's segments are checked against. */
  #sent(segment: SegmentToSend): void {
    const { flags, seq = 0, ack = 0, data = 0, mss = 536, sackOK = false, options } = segment;
    const isKnown = options === undefined;
    if (flags.includes("S") && !this.#hasOffered) {
      this.#hasOffered = true;
      this.#sackOffered = isKnown ? sackOK : null;
      this.#maximumSegment = isKnown ? mss : null;
      if (!isKnown) this.timestamps.checks = false;
    }
    const length = (typeof data === "number" ? data : data.length) + (flags.includes("F") ? 1 : 0);
    const timestamps = isKnown ? this.#timestampsOf(segment) : undefined;
    this.timestamps.sent({ flags, seq, ack, length, timestamps });
  }

  /** Checks what holds of every segment, as it leaves the stack. */
  #observe(segment: ParsedTcp): void {
    const { flags, timestamps, payload, options } = segment;
    if (flags.includes("S")) this.stackIsn ??= segment.sequence;
    const answersSack = segment.sack.length > 0 || (segment.sackPermitted && flags.includes("A"));
    if (answersSack && this.#sackOffered === false) throw new Error("SACK to a peer that did not offer it");
    // Options are at the expense of data (RFC 6691); a segment size too small to be believed is not held to.
    const limit = this.#maximumSegment ?? 0;
    if (payload.length > 0 && limit >= 100 && payload.length + options.length > limit) {
      throw new Error(`${payload.length} bytes of data and ${options.length} of options for a peer's MSS of ${limit}`);
    }
    this.timestamps.received({
      flags,
      seq: (segment.sequence - (this.stackIsn ?? 0)) | 0,
      ack: (segment.acknowledgment - this.isn) | 0,
      length: payload.length + (flags.includes("F") ? 1 : 0),
      timestamps,
    });
  }
}

/** The options of the peer's SYN. */
function offer({ mss = 1460, wscale, ts = false, sack }: HandshakeOptions): Partial<SegmentToSend> {
  return { mss, wscale, sackOK: sack, ts: ts ? [undefined, undefined] : false };
}

/** Whether what was sent is what was expected, where that is compared. */
function agrees(key: keyof SegmentToExpect, expected: unknown, actual: unknown): boolean {
  if (key !== "ts" && key !== "sackOK" && key !== "sack") return expected === actual;
  if (expected === undefined) return true;
  if (!Array.isArray(expected) || !Array.isArray(actual)) return expected === actual;
  if (key === "ts") return expected.every((value, index) => value === undefined || value === actual[index]);
  return expected.join(";") === actual.join(";");
}

/** A stack with one peer on its link. */
export function trace(lan: LanOptions = {}, peer: PeerOptions = {}): Peer {
  return new Peer(new Lan(lan), peer);
}

function describe(segment: SegmentToExpect): string {
  const parts = Object.entries(segment).map(
    ([key, value]) => `${key} ${Array.isArray(value) ? value.join("/") : value}`,
  );
  return `<${parts.join(", ")}>`;
}
