import { sequenceDistance } from "../sequence.ts";
import { State, type TcpConnection } from "../tcp/connection.ts";
import type { CloseReason, TcpRequest } from "../tcp/flow.ts";
import { type ParsedTcp, type TcpOptionFields, tcpOptions } from "./frames.ts";
import { GUEST } from "./lan.ts";
import { checkBooks } from "./segment-books.ts";
import { isAcceptable, type Outgoing, PORT, readOptions, STACK_PORT, segmentFrame } from "./segment-frames.ts";
import { BUFFER_BUDGET, SegmentLan } from "./segment-lan.ts";
import { buildOptions } from "./segment-options.ts";
import { Reception } from "./segment-reception.ts";
import type { AcknowledgmentBase, Place, Scenario, SegmentStep, SequenceBase } from "./segment-steps.ts";
import { type PeerSegment, SegmentWatch } from "./segment-watch.ts";

/** No options, or no data. */
export const EMPTY = new Uint8Array(0);
/** Frames of the stack's that are kept to be looked at. */
const MAX_ARRIVED = 5000;

/** How far the runs came. */
export interface Coverage {
  readonly states: Set<string>;
  readonly reasons: Set<CloseReason>;
  readonly seen: Set<string>;
  readonly statistics: Record<string, number>;
  runs: number;
  steps: number;
  segments: number;
  /** Runs whose connection went on in order after all that. */
  recovered: number;
}

/** One end of a connection with the stack: sends whatever segments it is told to, and has what comes back checked. */
export class SegmentGuest {
  readonly lan: SegmentLan;
  watch: SegmentWatch;
  /** The end of its stream as far as it was sent, in bytes. */
  sentEnd = 0;
  /** Segments of the connection that the stack has sent. */
  received = 0;
  /** Whether it has sent two versions of its stream. */
  hasLied = false;
  protected readonly scenario: Scenario;
  protected readonly coverage: Coverage;
  /** Its SYN of the current connection. */
  protected initial: number;
  /** The segment that is being handed to the stack, and whether its data is not the stream's. */
  protected current: PeerSegment | null = null;
  protected isLying = false;
  /** What the stack sent and nobody has looked at. */
  protected readonly arrived: ParsedTcp[] = [];
  protected readonly reception = new Reception();
  protected last: ParsedTcp | null = null;
  protected first: ParsedTcp | null = null;
  /** Values of its clock of timestamps are no longer in order. */
  protected clockIsSpoilt = false;
  /** Segments handed to the stack and timers that expired, since its output was last looked at. */
  protected causes = 0;
  /** What the stack expected next when it was handed the current segment. */
  protected expected: number | null = null;
  /** Its owner, or the stack's, is ending connections. */
  protected isEnding = false;
  /** When the stack was last handed a segment of the connection. */
  protected heardAt = 0;
  /** When something was last acknowledged, or all was. */
  protected progressAt = 0;
  #acknowledged = 0;
  /** The congestion window when its output was last looked at. */
  #congestionWindow = 0;

  constructor(scenario: Scenario, coverage: Coverage, request: (request: TcpRequest) => void) {
    this.scenario = scenario;
    this.coverage = coverage;
    this.initial = scenario.peerSequence;
    this.watch = new SegmentWatch(scenario.mtu, false);
    this.lan = new SegmentLan(scenario, request);
  }

  /** The stack's end of the connection, as long as there is one. */
  get connection(): TcpConnection | null {
    for (const each of this.lan.stack.tcp.connections()) {
      if (each.remotePort === PORT && each.remoteAddress === GUEST && each.localPort === STACK_PORT) return each;
    }
    return null;
  }

  protected sequenceAt({ base, offset }: Place<SequenceBase>): number {
    const from = {
      next: () => this.next(),
      edge: () => this.watch.edge,
      initial: () => this.origin,
      sent: () => this.origin + 1 + this.sentEnd,
      wrap: () => 0,
    }[base]();
    return (from + offset) | 0;
  }

  protected acknowledgmentAt({ base, offset }: Place<AcknowledgmentBase>): number {
    const { watch } = this;
    const from = {
      maximum: () => watch.maximum,
      unacknowledged: () => this.connection?.sendUnacknowledged ?? watch.maximum,
      initial: () => watch.initial ?? 0,
      edge: () => watch.peerEdge,
      wrap: () => 0,
    }[base]();
    return (from + offset) | 0;
  }

  /** What the stack expects next of the peer. */
  protected next(): number {
    const { connection } = this;
    return connection !== null && connection.state >= State.synReceived ? connection.receiveNext : this.origin + 1;
  }

  /** The sequence number of the peer's SYN: the one that the stack has taken in, else the one it is to get. */
  protected get origin(): number {
    const { connection } = this;
    return connection !== null && connection.state !== State.synSent ? connection.initialReceive : this.initial;
  }

  #clock(): number {
    return (this.scenario.timestampBase + this.lan.now) | 0;
  }

  protected usualOptions(isSyn: boolean): Uint8Array {
    const { mss, windowScale, sackPermitted, timestamps } = this.scenario;
    const stamps = [this.#clock(), this.watch.timestampValue] as const;
    const options: TcpOptionFields = isSyn
      ? { mss, windowScale, sackPermitted, timestamps: timestamps ? stamps : undefined }
      : {
          timestamps: timestamps && this.watch.hasTimestamps ? stamps : undefined,
          sack: sackPermitted && this.watch.hasSack ? this.reception.blocks : [],
        };
    return tcpOptions(options);
  }

  protected builtOptions(steps: Exclude<SegmentStep["options"], "usual">): Uint8Array {
    const built = buildOptions(steps, {
      clock: this.#clock(),
      lastEcho: this.watch.timestampValue,
      place: (place) => this.acknowledgmentAt(place),
    });
    if (built.spoilsClock) this.clockIsSpoilt = true;
    return built.options;
  }

  protected sendSyn(sequence: number, flags: string): void {
    this.sendSegment({
      flags,
      sequence,
      acknowledgment: flags.includes("A") ? this.watch.maximum : 0,
      window: this.scenario.window,
      payload: EMPTY,
      options: this.usualOptions(true),
      headerLength: null,
      isUsual: true,
      lies: false,
    });
  }

  protected sendSegment(outgoing: Outgoing): void {
    const { connection } = this;
    const { flags, sequence, acknowledgment, window, payload, options, headerLength, isUsual, lies } = outgoing;
    this.isLying = lies;
    this.hasLied ||= lies;
    if (headerLength !== null) this.clockIsSpoilt = true;
    const size = 40 + options.length + payload.length;
    this.current = {
      flags,
      sequence,
      acknowledgment,
      window,
      length: payload.length + (headerLength === null ? 0 : options.length),
      ...readOptions(outgoing),
      isUsual,
      isEarly: connection === null || !connection.isSynchronized || connection.state === State.timeWait,
      isAcceptable: isUsual && this.isHeard && size <= this.scenario.mtu && isAcceptable(connection, outgoing),
    };
    this.tellWatch(this.current);
    this.heardAt = this.lan.now;
    this.expected = connection?.receiveNext ?? null;
    this.hand(segmentFrame(outgoing));
    this.current = null;
  }

  /** Whether the stack has no reason to reject the usual options: its clock of timestamps, or that there is none. */
  protected get isHeard(): boolean {
    return !this.clockIsSpoilt && (this.scenario.timestamps || !this.watch.hasTimestamps);
  }

  protected tellWatch(segment: PeerSegment): void {
    this.watch.peerSent(segment);
    const start = segment.flags.includes("S") ? 0 : sequenceDistance(segment.sequence, this.origin) - 1;
    if (segment.length > 0) this.sentEnd = Math.max(this.sentEnd, start + segment.length);
  }

  protected hand(frame: Uint8Array): void {
    this.causes++;
    this.coverage.segments++;
    this.lan.receive(frame);
    this.note();
  }

  protected sendUsual(
    flags: string,
    sequence: number,
    acknowledgment: number,
    window: number,
    payload: Uint8Array,
  ): void {
    const options = this.usualOptions(false);
    this.sendSegment({
      flags,
      sequence,
      acknowledgment,
      window,
      payload,
      options,
      headerLength: null,
      isUsual: true,
      lies: false,
    });
    this.lan.flush();
    this.drain(true);
  }

  /** Looks at what the stack has sent. */
  protected drain(mayTalk: boolean): void {
    const { watch } = this;
    const { dropLinkFull, dropUnresolved } = this.lan.stack.statistics;
    if (dropLinkFull + dropUnresolved > 0) watch.isBlind = true;
    const { bare, resets, repeatedBytes, maximum } = watch;
    for (const frame of this.lan.toGuest.splice(0)) {
      if (frame.kind !== "tcp" || frame.destinationPort !== PORT) continue;
      if (!mayTalk && this.causes === 0 && !this.watch.isBlind)
        throw new Error("a segment of a connection that is gone");
      this.received++;
      this.watch.stackSent(frame);
      this.arrived.push(frame);
      this.last = frame;
      this.first ??= frame;
    }
    if (this.arrived.length > MAX_ARRIVED) this.arrived.length = MAX_ARRIVED;
    // The answer to a segment, an acknowledgment for what it changed, and one that was owed.
    const most = 2 * this.causes + 3;
    if (watch === this.watch && !this.watch.isBlind && watch.bare - bare + watch.resets - resets > most) {
      throw new Error(`${watch.bare - bare} acknowledgments and ${watch.resets - resets} resets for ${this.causes}`);
    }
    // What is sent again is within the congestion window, however much an acknowledgment or a timer tells at once.
    const window = this.connection?.congestion.window ?? 0;
    const mostBytes = this.causes * (Math.max(window, this.#congestionWindow) + 2 * this.scenario.mtu);
    if (watch === this.watch && watch.repeatedBytes - repeatedBytes > mostBytes && this.causes > 0) {
      throw new Error(`${watch.repeatedBytes - repeatedBytes} bytes sent again for ${this.causes}`);
    }
    const inFlight = this.connection?.recovery.inFlight(this.connection) ?? 0;
    const grew = watch === this.watch && watch.maximum !== maximum;
    const room = Math.max(window, this.#congestionWindow) + 2 * this.scenario.mtu;
    if (grew && inFlight > room) throw new Error(`${inFlight} bytes in flight with a congestion window of ${window}`);
    this.#congestionWindow = window;
    const acknowledged = this.connection?.sendUnacknowledged ?? 0;
    if (acknowledged !== this.#acknowledged) this.progressAt = this.lan.now;
    this.#acknowledged = acknowledged;
    this.causes = 0;
    this.note();
  }

  protected checkStack(): void {
    const { stack } = this.lan;
    const { tcp } = stack;
    if (tcp.reservedBytes > BUFFER_BUDGET || tcp.reservedBytes < 0) throw new Error(`${tcp.reservedBytes} reserved`);
    if (Number.isNaN(stack.nextDeadline)) throw new Error("the next deadline is not a number");
    const { connection } = this;
    if (connection !== null) checkBooks(connection);
  }

  protected note(): void {
    const { connection } = this;
    this.coverage.states.add(connection?.stateName ?? "CLOSED");
  }
}
