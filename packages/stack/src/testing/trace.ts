import type { Ipv4, Mac } from "../address.ts";
import type { TcpFlow, TcpRequest } from "../tcp/flow.ts";
import { FlowLog, type FlowReactions } from "./flow-log.ts";
import { concatenate, ethernet, ipv4, type ParsedTcp, synOptions, type TcpFields, tcp } from "./frames.ts";
import { describeFrame, GUEST, GUEST_MAC, Lan, type LanOptions, OUTSIDE, STACK_MAC } from "./lan.ts";
import { pattern } from "./random.ts";

/** What the peer's side of every connection counts from: the first bytes of data cross the wrap. */
export const PEER_ISN = -16;

/** The furthest from the wrap that the stack's own first sequence number may be. */
const NEAR_WRAP = 1 << 20;

/** A segment that the peer sends. Numbers are relative to the initial sequence numbers, as in packetdrill. */
export interface SegmentToSend {
  /** Letters of SYN, FIN, RST, PSH, ACK and URG. */
  readonly flags: string;
  /** Relative to the peer's initial sequence number. */
  readonly seq?: number;
  /** Relative to the stack's. */
  readonly ack?: number;
  /** The field as it stands in the header; what was sent last when absent. */
  readonly win?: number;
  /** Bytes of the peer's pattern stream that belong at `seq`, or the bytes themselves. */
  readonly data?: number | Uint8Array;
  readonly mss?: number;
  readonly wscale?: number;
  /** Options in place of `mss` and `wscale`. */
  readonly options?: Uint8Array;
  readonly checksum?: number;
  readonly headerLength?: number;
}

/** A segment that the stack is to send. What is absent is not compared, except that there is no data. */
export interface SegmentToExpect {
  readonly flags: string;
  /** Relative to the stack's initial sequence number; absolute before it is known. */
  readonly seq?: number;
  /** Relative to the peer's. */
  readonly ack?: number;
  readonly win?: number;
  /** Bytes of data, which have to be those of the stack's pattern stream at `seq`. */
  readonly data?: number;
  readonly mss?: number | undefined;
  readonly wscale?: number | undefined;
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
    this.lan.receive(this.frame(segment));
  }

  /** The frame of a segment. */
  frame(segment: SegmentToSend): Uint8Array {
    const { flags, seq = 0, win = this.window, data = 0, options, checksum, headerLength } = segment;
    this.window = win;
    const fields: TcpFields = {
      source: this.address,
      sourcePort: this.port,
      destination: this.stackAddress,
      destinationPort: this.stackPort,
      sequence: (this.isn + seq) | 0,
      acknowledgment: segment.ack === undefined ? 0 : ((this.stackIsn ?? 0) + segment.ack) | 0,
      flags,
      window: win,
      options: options ?? synOptions(segment.mss, segment.wscale),
      payload: typeof data === "number" ? pattern(seq - 1, data) : data,
      ...(checksum === undefined ? {} : { checksum }),
      ...(headerLength === undefined ? {} : { headerLength }),
    };
    const packet = ipv4({
      source: this.address,
      destination: this.stackAddress,
      protocol: 6,
      payload: tcp(fields),
      dontFragment: true,
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
    if (frame.flags.includes("S") && this.stackIsn === null) {
      this.stackIsn = frame.sequence;
      if (frame.sequence >= 0 || frame.sequence < -NEAR_WRAP)
        throw new Error("the connection starts far from the wrap");
    }
    const hasAck = frame.flags.includes("A");
    if (!hasAck && frame.acknowledgment !== 0) throw new Error("an acknowledgment number without ACK");
    const seq = (frame.sequence - (this.stackIsn ?? 0)) | 0;
    const actual: SegmentToExpect = {
      flags: frame.flags,
      seq,
      ...(hasAck ? { ack: (frame.acknowledgment - this.isn) | 0 } : {}),
      win: frame.window,
      data: frame.payload.length,
      mss: frame.mss,
      wscale: frame.windowScale,
    };
    for (const key of Object.keys({ ...expected, data: 0 }) as (keyof SegmentToExpect)[]) {
      const wanted = key === "data" ? (expected.data ?? 0) : expected[key];
      if (actual[key] !== wanted) {
        throw new Error(`expected ${describe(expected)}, got ${describe(actual)} (${key} differs)`);
      }
    }
    const right = pattern(seq - 1, frame.payload.length);
    if (seq > 0 && !right.every((byte, index) => byte === frame.payload[index])) {
      throw new Error(`the data of ${describe(actual)} is wrong`);
    }
    return frame;
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
    const { mss = 1460, wscale, win = 65535, consumes = true } = options;
    this.log.consumes = consumes;
    this.send({ flags: "S", seq: 0, win, mss, ...(wscale === undefined ? {} : { wscale }) });
    this.accept();
    this.expect({ flags: "SA", seq: 0, ack: 1 });
    this.send({ flags: "A", seq: 1, ack: 1, win });
    this.expectEvents("established");
    return this;
  }

  /** Goes through the handshake that the stack begins. */
  dialed(options: HandshakeOptions = {}): this {
    const { mss = 1460, wscale, win = 65535, consumes = true } = options;
    this.log.consumes = consumes;
    this.lan.announce(this.address, this.mac);
    this.dial();
    this.expect({ flags: "S", seq: 0 });
    this.send({ flags: "SA", seq: 0, ack: 1, win, mss, ...(wscale === undefined ? {} : { wscale }) });
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
}

/** A stack with one peer on its link. */
export function trace(lan: LanOptions = {}, peer: PeerOptions = {}): Peer {
  return new Peer(new Lan(lan), peer);
}

function describe(segment: SegmentToExpect): string {
  const parts = Object.entries(segment).map(([key, value]) => `${key} ${value}`);
  return `<${parts.join(", ")}>`;
}
