import { type FrameSink, type Ipv4, parseIpv4, Stack } from "@hostd/stack";
import { FlowStream } from "../flow-stream.ts";

const RST = 0x04;

/** Collects the frames of a turn. */
class Wire implements FrameSink {
  readonly bytes = new Uint8Array(128 * 1024);
  readonly view = new DataView(this.bytes.buffer);
  frames: Uint8Array[] = [];
  readonly #committed: () => void;

  /** @param committed - a frame waits, which is to leave in this turn. */
  constructor(committed: () => void) {
    this.#committed = committed;
  }

  reserve(length: number): number {
    return length <= this.bytes.length ? 0 : -1;
  }

  commit(length: number): void {
    this.frames.push(this.bytes.slice(0, length));
    this.#committed();
  }
}

interface End {
  readonly stack: Stack;
  readonly wire: Wire;
}

/** A gateway's and a guest's stack on one link in memory, driven by the event loop. */
export class LinkedStacks {
  readonly gatewayAddress: Ipv4 = parseIpv4("192.168.65.1");
  readonly guestAddress: Ipv4 = parseIpv4("192.168.65.3");
  readonly gateway: Stack;
  readonly guest: Stack;
  /** TCP segments with RST that were on the link. */
  resets = 0;
  readonly #ends: [End, End];
  readonly #streams = new Set<FlowStream>();
  #timer: NodeJS.Timeout | null = null;
  #scheduled = false;
  #closed = false;

  constructor() {
    const gateway = this.#makeEnd(1, this.gatewayAddress);
    const guest = this.#makeEnd(3, this.guestAddress);
    this.#ends = [gateway, guest];
    this.gateway = gateway.stack;
    this.guest = guest.stack;
    this.#run();
  }

  /** Serves connections to the gateway's `port`. */
  listen(port: number, connected: (stream: FlowStream) => void): void {
    this.gateway.tcpListen(this.gatewayAddress, port, (request) => {
      const stream = FlowStream.accept(request);
      if (stream === null) return;
      this.#streams.add(stream);
      connected(stream);
    });
  }

  /** Connects from the guest. */
  async connect(port: number): Promise<FlowStream> {
    const stream = new FlowStream();
    const tuple = { localAddress: this.guestAddress, localPort: 0, remoteAddress: this.gatewayAddress };
    const flow = this.guest.tcpDial({ ...tuple, remotePort: port }, stream.handler);
    if (flow === null) throw new Error("the guest's stack has no room");
    stream.bind(flow);
    this.#streams.add(stream);
    await new Promise<void>((resolve, reject) => {
      stream.once("connect", resolve);
      stream.once("error", reject);
    });
    stream.removeAllListeners("error");
    return stream;
  }

  /** Both ends of one new connection: the guest's, then the gateway's. */
  async join(port = 7): Promise<[FlowStream, FlowStream]> {
    const accepted = Promise.withResolvers<FlowStream>();
    this.listen(port, accepted.resolve);
    return [await this.connect(port), await accepted.promise];
  }

  /** The VM goes, and with it every connection. */
  vanish(): void {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    for (const { stack } of this.#ends) stack.detach();
  }

  /** Ends everything; what is still open makes no noise. */
  close(): void {
    for (const stream of this.#streams) stream.on("error", () => {});
    this.vanish();
  }

  #makeEnd(number: number, address: Ipv4): End {
    const wire = new Wire(() => this.#schedule());
    const stack = new Stack({
      mac: Uint8Array.of(2, 0, 0, 0, 0, number),
      addresses: [address],
      network: { address: parseIpv4("192.168.65.0"), prefixLength: 24 },
      mtu: 1500,
      now: () => performance.now(),
      randomBytes: (bytes) => void crypto.getRandomValues(bytes as Uint8Array<ArrayBuffer>),
      wake: () => this.#schedule(),
      handlers: { tcpRequest: (request) => request.reject("refused"), udpDatagram: () => {}, echoRequest: () => {} },
    });
    stack.attach(wire);
    return { stack, wire };
  }

  #schedule(): void {
    if (this.#scheduled || this.#closed) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      if (!this.#closed) this.#run();
    });
  }

  /** One turn: each end does what is due, sends, and gets in the next turn what the other one sent. */
  #run(): void {
    for (const { stack } of this.#ends) {
      stack.poll();
      stack.flush();
    }
    const [left, right] = this.#ends;
    this.#carry(left, right);
    this.#carry(right, left);
    if (left.wire.frames.length + right.wire.frames.length > 0) this.#schedule();
    const deadline = Math.min(left.stack.nextDeadline, right.stack.nextDeadline);
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#schedule(), Math.max(1, deadline - performance.now()));
  }

  #carry(from: End, to: End): void {
    const { frames } = from.wire;
    from.wire.frames = [];
    for (const frame of frames) {
      if (isReset(frame)) this.resets++;
      to.stack.receiveFrame(frame, new DataView(frame.buffer), 0, frame.length);
    }
    to.stack.flush();
  }
}

function isReset(frame: Uint8Array): boolean {
  const isTcp = frame[12] === 0x08 && frame[13] === 0x00 && frame[14 + 9] === 6;
  return isTcp && (frame[14 + (frame[14] & 0x0f) * 4 + 13] & RST) !== 0;
}
