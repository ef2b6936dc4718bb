import { sequenceDistance } from "../sequence.ts";
import { State } from "../tcp/connection.ts";
import type { TcpFlow, TcpHandler, TcpRequest } from "../tcp/flow.ts";
import { GUEST, OUTSIDE } from "./lan.ts";
import { pattern } from "./random.ts";
import { Companion } from "./segment-companion.ts";
import { PORT, STACK_PORT, segmentFrame, unreachableFrame } from "./segment-frames.ts";
import { type Coverage, EMPTY, SegmentGuest } from "./segment-guest.ts";
import { type PeerView, SegmentOwner } from "./segment-owner.ts";
import type { OwnerAction, Scenario, SegmentStep, Step } from "./segment-steps.ts";
import { SegmentWatch } from "./segment-watch.ts";

/** A connection is not given up in less (RFC 9293, 3.8.3: R2), unless its owner said so. */
const SHORTEST_TIMEOUT_MS = 100_000;
/** Polls at one instant after which the stack counts as never done. */
const MAX_POLLS_AT_ONCE = 20;

/** The hostile guest: does what the steps say on one connection, and has everything that comes back checked. */
export class SegmentPeer extends SegmentGuest implements PeerView {
  readonly companion: Companion;
  owner: SegmentOwner | null = null;
  #request: TcpRequest | null = null;
  readonly #reactions = new Map<keyof TcpHandler, OwnerAction>();
  /** Whether the owner wants the connection to end in less than the usual time when the peer is silent. */
  #isImpatient: boolean;

  constructor(scenario: Scenario, coverage: Coverage) {
    super(scenario, coverage, (request) => this.#receiveRequest(request));
    this.companion = new Companion(this.lan);
    this.#isImpatient = scenario.keepAliveIdle > 0 || scenario.userTimeout > 0;
  }

  /** @throws {Error} when the stack does what it may never do. */
  apply(step: Step): void {
    const hadConnection = this.connection !== null;
    switch (step.do) {
      case "segment":
        this.#segment(step);
        break;
      case "answer":
        this.#answer(step);
        break;
      case "wait":
        this.wait(step.ms === "deadline" ? Math.max(0, this.lan.stack.nextDeadline - this.lan.now) : step.ms);
        break;
      case "open":
        this.open(step.by);
        break;
      case "owner":
        this.#act(step.action);
        break;
      case "react":
        this.#reactions.set(step.event, step.action);
        break;
      case "icmp":
        this.#icmp(step);
        break;
      case "link":
        this.lan.link.room = step.room;
        break;
      case "arp":
        this.lan.answersArp = step.answers;
        this.watch.isBlind = true;
        break;
      case "flood":
        this.#flood(step.count);
        break;
    }
    this.lan.flush();
    this.drain(hadConnection || step.do === "open");
    this.checkStack();
    this.coverage.steps++;
  }

  react(event: keyof TcpHandler, flow: TcpFlow): void {
    this.note();
    if (event === "closed" && this.owner !== null) this.#checkReason(this.owner);
    const action = this.#reactions.get(event);
    if (action === undefined) return;
    this.#reactions.delete(event);
    this.coverage.seen.add(`${action.act} within ${event}`);
    this.#actOn(flow, action);
  }

  /** @throws {Error} when a connection has ended for a reason that is none. */
  #checkReason({ reason, isEstablished }: SegmentOwner): void {
    if (reason === null) return;
    this.coverage.reasons.add(reason);
    const { current, isEnding, expected } = this;
    if (reason === "aborted" && !isEnding) throw new Error("aborted, and nobody has");
    // Only who knows the next sequence number can reset (RFC 5961, 3.2).
    const isReset = current?.flags.includes("R") === true && current.sequence === expected;
    if (reason === "reset" && !isReset) throw new Error("reset by a segment that may not");
    const wait = this.lan.now - Math.min(this.heardAt, this.progressAt);
    if (reason === "timeout" && isEstablished && !this.#isImpatient && wait < SHORTEST_TIMEOUT_MS) {
      throw new Error(`given up after ${wait} ms`);
    }
  }

  /** Opens a connection when there is none: one side does, or both at once. */
  open(by: Scenario["open"]): void {
    if (this.connection !== null) return;
    if (by !== "peer") {
      this.#begin();
      const owner = new SegmentOwner(this, this.scenario.consumes);
      this.owner = owner;
      this.initial = this.scenario.peerSequence;
      owner.flow = this.lan.stack.tcpDial(
        { localAddress: OUTSIDE, localPort: STACK_PORT, remoteAddress: GUEST, remotePort: PORT },
        owner,
      );
      this.lan.flush();
      this.drain(true);
    }
    if (by !== "stack") this.sendSyn(this.scenario.peerSequence, "S");
  }

  /** Goes through the handshake of an opened connection. */
  establish(): void {
    for (let turn = 0; turn < 3; turn++) this.#answer({ losses: [false], reversed: false, each: true, window: null });
  }

  /** Lets time go on, stopping wherever the stack says that it is due. */
  wait(ms: number): void {
    const { stack } = this.lan;
    const end = this.lan.now + ms;
    let polls = 0;
    let pollsAtOnce = 0;
    for (;;) {
      const deadline = Math.min(stack.nextDeadline, this.companion.stack.nextDeadline);
      if (Number.isNaN(deadline)) throw new Error("the next deadline is not a number");
      if (deadline > end) break;
      pollsAtOnce = deadline > this.lan.now ? 0 : pollsAtOnce + 1;
      if (pollsAtOnce > MAX_POLLS_AT_ONCE) throw new Error("the stack is due again and again at the same time");
      if (++polls > 100 + ms / 10) throw new Error(`the stack was due ${polls} times in ${ms} ms`);
      this.lan.now = Math.max(this.lan.now, deadline);
      // ARP goes unheard where nothing leaves.
      if (this.lan.link.room <= 0) this.watch.isBlind = true;
      const hadConnection = this.connection !== null;
      stack.poll();
      this.companion.stack.poll();
      this.companion.settle();
      this.causes++;
      this.drain(hadConnection);
      this.checkStack();
    }
    this.lan.now = Math.max(this.lan.now, end);
  }

  /** Whether a connection is there that a peer of good behaviour could go on with. */
  get isRecoverable(): boolean {
    const { connection } = this;
    return connection?.isSynchronized === true && connection.state !== State.timeWait && this.isHeard;
  }

  /** Has the owner read everything, and do nothing else any more. */
  calmOwner(): void {
    this.#reactions.clear();
    this.owner?.consumeAll();
  }

  waitForDeadline(): void {
    this.wait(Math.max(0, this.lan.stack.nextDeadline - this.lan.now));
  }

  /** Takes in everything that has come, and has everything acknowledged that it ever acknowledged. */
  answerAll(): void {
    const { connection } = this;
    if (connection !== null) this.reception.skipTo(connection.sendUnacknowledged);
    this.#answer({ losses: [false], reversed: false, each: true, window: 65535 });
  }

  /** Acknowledges what it has, with a large window. */
  acknowledge(): void {
    const { connection } = this;
    if (connection !== null) this.reception.skipTo(connection.sendUnacknowledged);
    this.#acknowledge(65535);
  }

  /** Sends the next bytes of its stream, as the window allows. */
  sendInOrder(length: number): void {
    for (let left = length; left > 0; ) {
      const { connection } = this;
      if (connection === null || connection.finSeen) return;
      const part = Math.min(
        left,
        1000,
        this.scenario.mtu - 100,
        sequenceDistance(connection.receiveEdge, connection.receiveNext),
      );
      if (part <= 0) return;
      const before = connection.receiveNext;
      const sequence = this.next();
      const payload = pattern(sequenceDistance(sequence, this.origin) - 1, part);
      this.sendUsual("PA", sequence, this.reception.expected ?? this.watch.maximum, 65535, payload);
      left -= Math.max(part, sequenceDistance(connection.receiveNext, before));
    }
  }

  /**
   * Sends data until its segments are no older than the one that set the stack's idea of its window: the stack does not
   * listen to older ones (RFC 9293, 3.10.7.4).
   *
   * @returns false when that cannot be.
   */
  passWindowUpdate(): boolean {
    const { connection } = this;
    if (connection === null) return false;
    const behind = sequenceDistance(connection.windowUpdateSequence, connection.receiveNext);
    if (behind <= 0) return true;
    if (connection.finSeen || connection.state > State.finWait2) return false;
    this.sendInOrder(behind);
    return (
      connection.state !== State.closed &&
      sequenceDistance(connection.windowUpdateSequence, connection.receiveNext) <= 0
    );
  }

  /** Ends every connection of the guest's. */
  abort(): void {
    this.isEnding = true;
    for (const each of [...this.lan.stack.tcp.connections()]) if (each.remoteAddress === GUEST) each.abort();
    this.lan.flush();
    this.drain(true);
  }

  /** Ends everything, and looks at what is left. */
  finish(): void {
    const { stack } = this.lan;
    const { tcp } = stack;
    this.isEnding = true;
    tcp.abortAll();
    this.lan.flush();
    this.drain(true);
    if (tcp.size !== 0) throw new Error(`${tcp.size} connections after the end of all`);
    if (tcp.reservedBytes !== 0) throw new Error(`${tcp.reservedBytes} bytes are still promised`);
    if (tcp.nextDeadline !== Number.POSITIVE_INFINITY) throw new Error("timers go on after the end of all");
    if (this.owner !== null && this.owner.flow !== null && this.owner.reason === null) {
      throw new Error("the owner was not told of the end");
    }
    this.wait(10_000);
    for (const [name, value] of Object.entries(stack.statistics)) {
      this.coverage.statistics[name] = (this.coverage.statistics[name] ?? 0) + value;
    }
    this.#collectSeen();
    this.coverage.runs++;
  }

  #begin(): void {
    this.#collectSeen();
    this.watch = new SegmentWatch(this.scenario.mtu, this.watch.isBlind);
    this.sentEnd = 0;
    this.hasLied = false;
    this.arrived.length = 0;
    this.reception.expected = null;
    this.first = null;
    this.clockIsSpoilt = false;
  }

  #collectSeen(): void {
    for (const each of this.watch.seen) this.coverage.seen.add(each);
  }

  #receiveRequest(request: TcpRequest): void {
    if (request.remotePort !== PORT || request.localPort !== STACK_PORT) return;
    this.#request = request;
    // What was sent before belongs to the connection before.
    const causes = this.causes;
    this.drain(true);
    this.causes = causes;
    this.#begin();
    this.owner = null;
    const segment = this.current;
    if (segment === null) throw new Error("a request without a SYN");
    this.initial = segment.sequence;
    this.tellWatch(segment);
    this.hasLied = this.isLying;
    if (this.scenario.answers === "accept") this.#accept();
  }

  #accept(): void {
    const request = this.#request;
    if (request === null) return;
    this.#request = null;
    const owner = new SegmentOwner(this, this.scenario.consumes);
    const { cancelled } = request;
    owner.flow = request.accept(owner);
    if (cancelled !== (owner.flow === null)) throw new Error("a cancelled request was accepted, or another was not");
    if (owner.flow !== null) this.owner = owner;
  }

  #act(action: OwnerAction): void {
    if (action.act === "accept") this.#accept();
    if (action.act === "reject") {
      this.#request?.reject(action.reason);
      this.#request = null;
    }
    const flow = this.owner?.flow;
    if (flow) this.#actOn(flow, action);
  }

  #actOn(flow: TcpFlow, action: OwnerAction): void {
    if (action.act === "keepAlive" || action.act === "userTimeout") this.#isImpatient = true;
    if (flow.sendQueued === 0) this.progressAt = this.lan.now;
    const wasEnding = this.isEnding;
    this.isEnding ||= action.act === "abort";
    this.owner?.act(flow, action);
    this.isEnding = wasEnding;
    if (action.act !== "abort" || this.owner === null) return;
    if (flow.send(new Uint8Array(1), 0, 1) !== 0 && this.owner.reason !== null)
      throw new Error("bytes taken after abort");
  }

  #segment(step: SegmentStep): void {
    const isSyn = step.flags.includes("S");
    const copies = step.length > this.scenario.mtu ? Math.min(step.copies, 2) : step.copies;
    for (let copy = 0; copy < copies; copy++) {
      const sequence = this.sequenceAt(step.sequence);
      const acknowledgment = this.acknowledgmentAt(step.acknowledgment);
      const position = isSyn ? 0 : sequenceDistance(sequence, this.origin) - 1;
      const payload = pattern(position, Math.min(step.length, 65_000));
      // A wrong header length makes data of options, or options of data.
      const lies = (step.lies && payload.length > 0) || step.headerLength !== null;
      if (lies && payload.length > 0) payload[0] ^= 0xff;
      const options = step.options === "usual" ? this.usualOptions(isSyn) : this.builtOptions(step.options);
      const { flags, window, headerLength } = step;
      const isUsual = step.options === "usual" && headerLength === null;
      this.sendSegment({ flags, sequence, acknowledgment, window, payload, options, headerLength, isUsual, lies });
      if (!step.atOnce) {
        this.lan.flush();
        this.drain(true);
      }
    }
  }

  /** Takes in what the stack sent, as a TCP does whose link loses some, and acknowledges it. */
  #answer(step: { losses: readonly boolean[]; reversed: boolean; each: boolean; window: number | null }): void {
    const arrived = this.arrived.splice(0).filter((_, index) => !step.losses[index % step.losses.length]);
    if (step.reversed) arrived.reverse();
    let owes = false;
    for (const segment of arrived) {
      if (segment.flags.includes("R")) continue;
      if (segment.flags.includes("S")) {
        this.reception.start((segment.sequence + 1) | 0);
        if (segment.flags === "S") this.sendSyn(this.scenario.peerSequence, "SA");
        else this.#acknowledge(step.window ?? this.scenario.window);
        continue;
      }
      const bytes = segment.payload.length + (segment.flags.includes("F") ? 1 : 0);
      if (bytes === 0 || this.reception.expected === null) continue;
      this.reception.takeIn(segment.sequence, (segment.sequence + bytes) | 0);
      if (step.each) this.#acknowledge(step.window ?? this.scenario.window);
      else owes = true;
    }
    if (owes) this.#acknowledge(step.window ?? this.scenario.window);
  }

  #acknowledge(window: number): void {
    const { expected } = this.reception;
    if (expected === null) return;
    this.sendUsual("A", this.next(), expected, window, EMPTY);
    this.reception.reported();
  }

  #icmp(step: Extract<Step, { do: "icmp" }>): void {
    const about = step.quote === "first" ? this.first : this.last;
    if (about !== null) this.hand(unreachableFrame(step, about));
  }

  #flood(count: number): void {
    for (let index = 1; index <= count; index++) {
      const segment = { flags: "S", sequence: index, acknowledgment: 0, window: 65535, payload: EMPTY, options: EMPTY };
      this.hand(segmentFrame({ ...segment, headerLength: null }, PORT + index));
    }
  }
}
