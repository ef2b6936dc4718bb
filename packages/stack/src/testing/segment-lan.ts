import { type Mac, parseIpv4, parseMac } from "../address.ts";
import { Stack } from "../stack.ts";
import type { TcpRequest } from "../tcp/flow.ts";
import { arp, ethernet, type ParsedFrame, parseFrame } from "./frames.ts";
import { BROADCAST_MAC, GATEWAY, GUEST, GUEST_MAC, HOST, STACK_MAC } from "./lan.ts";
import { Random } from "./random.ts";
import type { Scenario } from "./segment-steps.ts";
import { TraceLink } from "./trace-link.ts";

export const NETWORK = { address: parseIpv4("192.168.65.0"), prefixLength: 24 };
export const COMPANION = parseIpv4("192.168.65.3");
export const COMPANION_MAC = parseMac("52:54:00:00:00:03");
export const BUFFER_BUDGET = 8 * 1024 * 1024;
/** The stack's first sequence numbers are so far apart, from one connection to the next. */
const SEQUENCE_STEP = 1 << 24;

/** The stack under test, and who is on its link: one hostile guest and its good companion. */
export class SegmentLan {
  readonly stack: Stack;
  readonly link = new TraceLink();
  now = 5000;
  /** Whether the guest answers ARP. */
  answersArp = true;
  /** What the stack sent to the guest, ARP excluded. */
  readonly toGuest: ParsedFrame[] = [];
  /** What it sent to the companion. */
  readonly toCompanion: Uint8Array[] = [];

  constructor(scenario: Scenario, request: (request: TcpRequest) => void) {
    const random = new Random(1);
    let connections = 0;
    this.stack = new Stack({
      mac: STACK_MAC,
      addresses: [GATEWAY],
      proxiedAddresses: [HOST],
      network: NETWORK,
      mtu: scenario.mtu,
      now: () => this.now,
      randomBytes: (bytes) => random.fill(bytes),
      initialSequence: ({ remoteAddress }) =>
        remoteAddress === GUEST ? (scenario.stackSequence + connections++ * SEQUENCE_STEP) | 0 : -1000,
      wake: () => {},
      tcp: {
        maximumConnections: 64,
        maximumHalfOpen: 8,
        bufferBudget: BUFFER_BUDGET,
        congestionControl: scenario.congestionControl,
        keepAliveIdle: scenario.keepAliveIdle,
        userTimeout: scenario.userTimeout,
        receiveRing: scenario.receiveRing,
      },
      handlers: { tcpRequest: request, udpDatagram: () => {}, echoRequest: () => {} },
    });
    this.stack.attach(this.link);
    this.#announce(GUEST, GUEST_MAC);
    this.#announce(COMPANION, COMPANION_MAC);
  }

  /** Hands a frame to the stack, in the middle of other memory and at an odd offset, without a flush. */
  receive(frame: Uint8Array): void {
    const memory = new Uint8Array(frame.length + 20).fill(0x5a);
    memory.set(frame, 7);
    this.stack.receiveFrame(memory, new DataView(memory.buffer), 7, frame.length);
    this.#collect();
  }

  flush(): void {
    this.stack.flush();
    this.#collect();
  }

  #announce(address: number, mac: Mac): void {
    const packet = arp({ operation: 1, senderMac: mac, senderAddress: address, targetAddress: address });
    this.receive(ethernet(BROADCAST_MAC, mac, 0x0806, packet));
  }

  #collect(): void {
    for (let bytes = this.link.take(); bytes !== null; bytes = this.link.take()) {
      const frame = parseFrame(bytes);
      if (isSame(frame.destination, COMPANION_MAC)) this.toCompanion.push(bytes);
      else if (frame.kind === "arp") this.#answer(frame);
      else this.toGuest.push(frame);
    }
  }

  #answer(request: Extract<ParsedFrame, { kind: "arp" }>): void {
    const { targetAddress, senderAddress, senderMac } = request;
    if (request.operation !== 1) {
      if (senderAddress !== GATEWAY) throw new Error("an ARP reply for another address");
      return;
    }
    const mac = targetAddress === COMPANION ? COMPANION_MAC : targetAddress === GUEST ? GUEST_MAC : null;
    if (mac === null || (mac === GUEST_MAC && !this.answersArp)) return;
    const reply = arp({
      operation: 2,
      senderMac: mac,
      senderAddress: targetAddress,
      targetMac: senderMac,
      targetAddress: senderAddress,
    });
    this.receive(ethernet(senderMac, mac, 0x0806, reply));
  }
}

function isSame(a: Mac, b: Mac): boolean {
  return a.every((byte, index) => byte === b[index]);
}
