import type { FrameSink } from "../link.ts";
import { Stack } from "../stack.ts";
import type { TcpFlow } from "../tcp/flow.ts";
import { FlowLog } from "./flow-log.ts";
import { GATEWAY } from "./lan.ts";
import { pattern, Random } from "./random.ts";
import { COMPANION, COMPANION_MAC, NETWORK, type SegmentLan } from "./segment-lan.ts";

/** Where the stack listens for the companion. */
export const COMPANION_PORT = 80;
/** Bytes that fill the stack's window and not its send buffer. */
const BURST = 50_000;
/** Frames that one exchange may take; it takes some hundred. */
const MAX_FRAMES = 20_000;

/** One end of the good connection. */
class End {
  readonly log = new FlowLog();
  flow: TcpFlow | null = null;
  written = 0;

  write(length: number): void {
    const taken = this.flow?.send(pattern(this.written, length), 0, length) ?? 0;
    if (taken !== length) throw new Error(`the good connection took ${taken} of ${length} bytes`);
    this.written += length;
  }

  /** Writes as much of `length` as there is room for. */
  offer(length: number): void {
    this.written += this.flow?.send(pattern(this.written, length), 0, length) ?? 0;
  }
}

/** A second host on the link, of good behaviour, with one connection to the stack: a stack as well. */
export class Companion implements FrameSink {
  readonly bytes = new Uint8Array(70_000);
  readonly view = new DataView(this.bytes.buffer);
  readonly stack: Stack;
  /** Frames that it has sent and the stack has not got. */
  readonly sent: Uint8Array[] = [];
  /** The stack's end of the connection, and the companion's. */
  readonly near = new End();
  readonly far = new End();
  readonly #lan: SegmentLan;

  constructor(lan: SegmentLan) {
    const random = new Random(2);
    this.#lan = lan;
    this.stack = new Stack({
      mac: COMPANION_MAC,
      addresses: [COMPANION],
      network: NETWORK,
      mtu: lan.stack.mtu,
      now: () => lan.now,
      randomBytes: (bytes) => random.fill(bytes),
      wake: () => {},
      handlers: { tcpRequest: () => {}, udpDatagram: () => {}, echoRequest: () => {} },
    });
    this.stack.attach(this);
    lan.stack.tcpListen(GATEWAY, COMPANION_PORT, (request) => {
      this.near.flow = request.accept(this.near.log);
      // A link that takes nothing for an hour is not to end this connection.
      this.near.flow?.setKeepAlive(0);
      this.near.flow?.setUserTimeout(0);
    });
  }

  reserve(length: number): number {
    return length > this.bytes.length ? -1 : 0;
  }

  commit(length: number): void {
    this.sent.push(this.bytes.slice(0, length));
  }

  /** Opens the connection and exchanges a few bytes. */
  open(): void {
    const tuple = { localAddress: COMPANION, localPort: 0, remoteAddress: GATEWAY, remotePort: COMPANION_PORT };
    this.far.flow = this.stack.tcpDial(tuple, this.far.log);
    this.settle();
    this.exchange(2000);
  }

  /** Sends so much both ways, which has to arrive without waiting. */
  exchange(length: number): void {
    this.near.write(length);
    this.far.write(length);
    this.settle();
    this.#check();
  }

  /** How many frames the stack sends at once when it has much to send, and nobody else has. */
  burst(): number {
    for (let rounds = 0; rounds < 3; rounds++) this.exchange(BURST);
    this.near.write(BURST);
    this.#lan.flush();
    const frames = this.#lan.toCompanion.length;
    this.settle();
    this.#check();
    return frames;
  }

  /** Closes the connection from this end first. */
  close(): void {
    this.far.flow?.shutdown();
    this.settle();
    this.near.flow?.shutdown();
    this.settle();
    for (const { log } of [this.near, this.far]) {
      const last = log.events.at(-1);
      if (last !== "closed finished") throw new Error(`the good connection ended with ${last}`);
    }
  }

  /** Lets frames go both ways, in no time, until neither stack has more to send. */
  settle(): void {
    for (let frames = 0; ; ) {
      this.stack.flush();
      this.#lan.flush();
      const arriving = this.#lan.toCompanion.splice(0);
      for (const frame of arriving) {
        this.stack.receiveFrame(frame, new DataView(frame.buffer, frame.byteOffset), 0, frame.length);
      }
      frames += arriving.length;
      const leaving = this.sent.splice(0);
      for (const frame of leaving) this.#lan.receive(frame);
      if (arriving.length + leaving.length === 0) return;
      if (frames > MAX_FRAMES) throw new Error("the two stacks go on and on");
    }
  }

  #check(): void {
    for (const [from, to] of [
      [this.near, this.far],
      [this.far, this.near],
    ]) {
      if (to.log.receivedBytes !== from.written) {
        throw new Error(`the good connection brought ${to.log.receivedBytes} of ${from.written} bytes`);
      }
    }
  }
}
