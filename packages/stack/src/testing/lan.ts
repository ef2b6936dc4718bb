import { formatIpv4, formatMac, type Ipv4, type Mac, parseIpv4, parseMac } from "../address.ts";
import type { EchoRequest } from "../icmp/echo.ts";
import type { ReceivedUnreachable } from "../icmp/icmp.ts";
import { Stack, type StackHandlers, type StackOptions } from "../stack.ts";
import type { TcpRequest } from "../tcp/flow.ts";
import type { UdpDatagram } from "../udp/datagram.ts";
import {
  arp,
  ethernet,
  type Ipv4Fields,
  icmp,
  ipv4,
  type ParsedFrame,
  type ParsedTcp,
  parseFrame,
  udp,
} from "./frames.ts";
import { Random } from "./random.ts";
import { TraceLink } from "./trace-link.ts";

/** The stack's MAC and own address. */
export const STACK_MAC = parseMac("5a:94:ef:e4:0c:dd");
export const GATEWAY = parseIpv4("192.168.65.1");
/** The address that the stack answers ARP and echo requests for, and forwards the rest of. */
export const HOST = parseIpv4("192.168.65.254");
/** An address on the far side of the gateway. */
export const OUTSIDE = parseIpv4("93.184.216.34");
/** The machine on the link. */
export const GUEST_MAC = parseMac("52:54:00:00:00:02");
export const GUEST = parseIpv4("192.168.65.2");
export const BROADCAST_MAC = parseMac("ff:ff:ff:ff:ff:ff");

/** What the stack's own side of every connection counts from: close enough to the wrap that the first bytes cross it. */
export const STACK_ISN = -40;

export interface LanOptions extends Partial<Omit<StackOptions, "now" | "wake" | "handlers">> {
  readonly handlers?: Partial<StackHandlers>;
  /** The clock's first value, in milliseconds. */
  readonly startAt?: number;
}

/** A datagram or an echo request as a handler saw it, copied. */
export type Seen<Event> = Omit<Event, "bytes" | "offset" | "length"> & { readonly payload: Uint8Array };

/**
 * A stack on a link that a test is the other end of, in time that the test moves.
 *
 * What the stack sends is kept until {@link next}. ARP requests for the hosts in {@link hosts} are answered at once and
 * not kept.
 */
export class Lan {
  readonly link = new TraceLink();
  readonly stack: Stack;
  /** Whose ARP requests are answered, and by which MAC. */
  readonly hosts = new Map<Ipv4, Mac>([[GUEST, GUEST_MAC]]);
  readonly requests: TcpRequest[] = [];
  readonly datagrams: Seen<UdpDatagram>[] = [];
  readonly echoes: Seen<EchoRequest>[] = [];
  readonly echoReplies: Seen<EchoRequest>[] = [];
  readonly unreachables: ReceivedUnreachable[] = [];
  /** How often the stack asked to be flushed. */
  wakes = 0;
  now: number;
  /** Told of each segment as it leaves the stack, before the stack is handed another frame; by {@link flowKey}. */
  readonly observers = new Map<string, (segment: ParsedTcp) => void>();
  readonly #sent: ParsedFrame[] = [];

  constructor(options: LanOptions = {}) {
    const { handlers, startAt, ...stackOptions } = options;
    this.now = startAt ?? 1000;
    const random = new Random(1);
    this.stack = new Stack({
      mac: STACK_MAC,
      addresses: [GATEWAY],
      proxiedAddresses: [HOST],
      network: { address: parseIpv4("192.168.65.0"), prefixLength: 24 },
      mtu: 1500,
      randomBytes: (bytes) => random.fill(bytes),
      initialSequence: () => STACK_ISN,
      ...stackOptions,
      now: () => this.now,
      wake: () => {
        this.wakes++;
      },
      handlers: {
        tcpRequest: (request) => this.requests.push(request),
        udpDatagram: (datagram) => this.datagrams.push(seen(datagram)),
        echoRequest: (request) => this.echoes.push(seen(request)),
        echoReply: (reply) => this.echoReplies.push(seen(reply)),
        udpUnreachable: (error) => this.unreachables.push(error),
        ...handlers,
      },
    });
    this.stack.attach(this.link);
  }

  /** Hands a frame to the stack, in the middle of other memory and at an odd offset, without a flush. */
  receive(frame: Uint8Array): void {
    const memory = new Uint8Array(frame.length + 74).fill(0x5a);
    memory.set(frame, 37);
    this.stack.receiveFrame(memory, new DataView(memory.buffer), 37, frame.length);
    this.#collect();
  }

  /** Hands a frame to the stack and lets it send. */
  deliver(frame: Uint8Array): void {
    this.receive(frame);
    this.flush();
  }

  /** Hands a packet from the guest, in a frame to the stack, and lets it send. */
  deliverIpv4(fields: Partial<Ipv4Fields> & Pick<Ipv4Fields, "protocol" | "payload">, mac: Mac = GUEST_MAC): void {
    this.deliver(ethernet(STACK_MAC, mac, 0x0800, ipv4({ source: GUEST, destination: GATEWAY, ...fields })));
  }

  deliverUdp(fields: {
    destination?: Ipv4;
    source?: Ipv4;
    port: number;
    payload?: Uint8Array;
    checksum?: number;
  }): void {
    const { source = GUEST, destination = GATEWAY, port, payload = new Uint8Array(0), ...rest } = fields;
    const datagram = udp({ source, sourcePort: 40000, destination, destinationPort: port, payload, ...rest });
    this.deliverIpv4({ source, destination, protocol: 17, payload: datagram });
  }

  deliverEcho(data: Uint8Array, fields: Partial<Ipv4Fields> = {}): void {
    this.deliverIpv4({ protocol: 1, payload: icmp(8, 0, 0x00070001, data), ...fields });
  }

  /** Announces a host by gratuitous ARP, so that the stack knows its MAC. */
  announce(address: Ipv4 = GUEST, mac: Mac = GUEST_MAC): void {
    this.hosts.set(address, mac);
    const packet = arp({ operation: 1, senderMac: mac, senderAddress: address, targetAddress: address });
    this.deliver(ethernet(BROADCAST_MAC, mac, 0x0806, packet));
  }

  /** Lets the stack send. */
  flush(): boolean {
    const all = this.stack.flush();
    this.#collect();
    return all;
  }

  /** Moves the time, stopping wherever the stack says that it is due. */
  advance(milliseconds: number): void {
    const end = this.now + milliseconds;
    for (let turns = 0; this.stack.nextDeadline <= end; turns++) {
      if (turns > 100_000) throw new Error("the stack is due again and again");
      this.now = Math.max(this.now, this.stack.nextDeadline);
      this.stack.poll();
      this.flush();
    }
    this.now = end;
  }

  /** Frames sent and not taken. */
  get waiting(): number {
    this.#collect();
    return this.#sent.length;
  }

  /** Takes the oldest frame that the stack sent. */
  next(): ParsedFrame {
    this.#collect();
    const frame = this.#sent.shift();
    if (frame === undefined) throw new Error("nothing was sent");
    return frame;
  }

  /** Takes the oldest frame, which has to be of one kind. */
  nextOf<Kind extends ParsedFrame["kind"]>(kind: Kind): Extract<ParsedFrame, { kind: Kind }> {
    const frame = this.next();
    if (!isKind(frame, kind)) throw new Error(`expected ${kind}, got ${describeFrame(frame)}`);
    return frame;
  }

  /** Takes everything that was sent. */
  all(): ParsedFrame[] {
    this.#collect();
    return this.#sent.splice(0);
  }

  expectNothing(): void {
    this.#collect();
    if (this.#sent.length === 0) return;
    throw new Error(`expected nothing, got ${this.#sent.map(describeFrame).join("; ")}`);
  }

  #collect(): void {
    for (let bytes = this.link.take(); bytes !== null; bytes = this.link.take()) {
      const frame = parseFrame(bytes);
      if (this.#answerArp(frame)) continue;
      this.#sent.push(frame);
      if (frame.kind !== "tcp") continue;
      const { destinationAddress, destinationPort, sourceAddress, sourcePort } = frame;
      this.observers.get(flowKey(destinationAddress, destinationPort, sourceAddress, sourcePort))?.(frame);
    }
  }

  #answerArp(request: ParsedFrame): boolean {
    if (request.kind !== "arp" || request.operation !== 1) return false;
    const mac = this.hosts.get(request.targetAddress);
    if (mac === undefined) return false;
    const reply = arp({
      operation: 2,
      senderMac: mac,
      senderAddress: request.targetAddress,
      targetMac: request.senderMac,
      targetAddress: request.senderAddress,
    });
    this.receive(ethernet(request.source, mac, 0x0806, reply));
    return true;
  }
}

/** One flow as a key: the peer's end, then the stack's. */
export function flowKey(address: Ipv4, port: number, stackAddress: Ipv4, stackPort: number): string {
  return `${address}:${port} ${stackAddress}:${stackPort}`;
}

function isKind<Kind extends ParsedFrame["kind"]>(
  frame: ParsedFrame,
  kind: Kind,
): frame is Extract<ParsedFrame, { kind: Kind }> {
  return frame.kind === kind;
}

function seen<Event extends { bytes: Uint8Array; offset: number; length: number }>(event: Event): Seen<Event> {
  const { bytes, offset, length, ...rest } = event;
  return { ...rest, payload: bytes.slice(offset, offset + length) };
}

/** A frame in one line, for messages. */
export function describeFrame(frame: ParsedFrame): string {
  if (frame.kind === "arp") {
    const { operation, senderAddress, targetAddress } = frame;
    return `ARP ${operation} ${formatIpv4(senderAddress)} for ${formatIpv4(targetAddress)} to ${formatMac(frame.destination)}`;
  }
  const ends = `${formatIpv4(frame.sourceAddress)} > ${formatIpv4(frame.destinationAddress)}`;
  switch (frame.kind) {
    case "fragment":
      return `fragment ${ends} at ${frame.fragmentOffset}, ${frame.ipPayload.length} bytes`;
    case "icmp":
      return `ICMP ${frame.type}/${frame.code} ${ends}, ${frame.data.length} bytes`;
    case "udp":
      return `UDP ${frame.sourcePort} > ${frame.destinationPort} ${ends}, ${frame.payload.length} bytes`;
    case "tcp":
      return `TCP ${frame.flags} ${frame.sourcePort} > ${frame.destinationPort} ${ends}, ${frame.payload.length} bytes`;
  }
}
