import { sequenceDistance } from "../sequence.ts";
import type { Stack } from "../stack.ts";
import type { TcpConnection } from "../tcp/connection.ts";
import { ethernet, ipv4, tcp, tcpOptions } from "./frames.ts";
import { GATEWAY, STACK_MAC } from "./lan.ts";
import { pattern } from "./random.ts";
import { COMPANION_PORT, Companion } from "./segment-companion.ts";
import { COMPANION, COMPANION_MAC, SegmentLan } from "./segment-lan.ts";
import { buildOptions } from "./segment-options.ts";
import type { AcknowledgmentBase, Forgery, Place, Scenario, SegmentStep, SequenceBase } from "./segment-steps.ts";

/** How long the two stacks may still talk after the last forgery, in milliseconds. */
const SETTLING_MS = 60_000;
const SILENCE_MS = 60_000;
/** Frames that timers may still send in that time, and what answers them: a window that is probed, some five a second. */
const MAX_FRAMES_IN_SILENCE = 700;
/** How often in a row a frame may be answered at once; the little data there is takes some five round trips. */
const MAX_ROUNDS = 60;
/** Frames that a whole run may take; the data in it takes a hundred. */
const MAX_FRAMES = 5000;

/**
 * Lets somebody forge segments on the connection of two good stacks, so that they no longer agree on where they are.
 *
 * @returns frames that the two sent from the last forgery on.
 * @throws {Error} when a stack throws, or when the two go on sending each other segments for ever.
 */
export function runForgeries(circumstances: Scenario, delayMs: number, course: readonly Forgery[]): number {
  const lan = new SegmentLan(circumstances, () => {});
  const companion = new Companion(lan);
  companion.open();
  const pair = new DelayedPair(lan, companion, delayMs);
  for (const { segment, toStack, writes, waitMs } of course) {
    if (writes > 0) for (const end of [companion.near, companion.far]) end.offer(writes);
    for (let copy = 0; copy < Math.min(segment.copies, 5); copy++) {
      const connection = connectionOf(toStack ? lan.stack : companion.stack);
      if (connection === null) return 0;
      const frame = forge(segment, connection, toStack, lan.now, toStack ? companion.near : companion.far);
      if (toStack) lan.receive(frame);
      else companion.stack.receiveFrame(frame, new DataView(frame.buffer), 0, frame.length);
    }
    pair.pass(waitMs);
  }
  const before = pair.frames;
  pair.pass(SETTLING_MS);
  const settled = pair.frames;
  pair.pass(SILENCE_MS);
  const late = pair.frames - settled;
  if (late > MAX_FRAMES_IN_SILENCE) throw new Error(`${late} frames in the second minute after the last forgery`);
  return pair.frames - before;
}

/** Two stacks at the ends of a link on which each frame takes some time. */
class DelayedPair {
  frames = 0;
  readonly #lan: SegmentLan;
  readonly #companion: Companion;
  readonly #delayMs: number;

  constructor(lan: SegmentLan, companion: Companion, delayMs: number) {
    this.#lan = lan;
    this.#companion = companion;
    this.#delayMs = delayMs;
  }

  pass(ms: number): void {
    const lan = this.#lan;
    const companion = this.#companion;
    const end = lan.now + ms;
    for (let rounds = 0; ; ) {
      lan.flush();
      companion.stack.flush();
      const toCompanion = lan.toCompanion.splice(0);
      const toStack = companion.sent.splice(0);
      const count = toCompanion.length + toStack.length;
      const deadline = Math.min(lan.stack.nextDeadline, companion.stack.nextDeadline);
      if (count === 0 && deadline > end) break;
      this.frames += count;
      rounds = count > 0 ? rounds + 1 : 0;
      if (rounds > MAX_ROUNDS || this.frames > MAX_FRAMES) {
        throw new Error(`the two stacks answer each other on and on: ${this.frames} frames`);
      }
      lan.now = count > 0 ? lan.now + this.#delayMs : Math.max(lan.now, deadline);
      for (const frame of toCompanion) companion.stack.receiveFrame(frame, new DataView(frame.buffer), 0, frame.length);
      for (const frame of toStack) lan.receive(frame);
      lan.stack.poll();
      companion.stack.poll();
    }
    lan.now = Math.max(lan.now, end);
  }
}

function connectionOf(stack: Stack): TcpConnection | null {
  for (const connection of stack.tcp.connections()) return connection;
  return null;
}

/** A frame as if the other end had sent it. */
function forge(
  step: SegmentStep,
  connection: TcpConnection,
  toStack: boolean,
  now: number,
  end: { readonly log: { readonly receivedBytes: number } },
): Uint8Array {
  const sequence = sequenceAt(step.sequence, connection);
  const at = end.log.receivedBytes + sequenceDistance(sequence, connection.receiveNext);
  const clock = connection.recentTimestamp;
  const usual = tcpOptions({ timestamps: connection.timestamps ? [clock, connection.timestamp(now)] : undefined });
  const place = (each: Place<AcknowledgmentBase>) => acknowledgmentAt(each, connection);
  const built = step.options === "usual" ? null : buildOptions(step.options, { clock, lastEcho: 0, place });
  const [source, destination] = toStack ? [COMPANION, GATEWAY] : [GATEWAY, COMPANION];
  const [sourcePort, destinationPort] = [connection.remotePort, connection.localPort];
  if ((toStack ? destinationPort : sourcePort) !== COMPANION_PORT) throw new Error("another connection");
  const segment = tcp({
    source,
    sourcePort,
    destination,
    destinationPort,
    sequence,
    acknowledgment: place(step.acknowledgment),
    flags: step.flags,
    window: step.window,
    options: built?.options ?? usual,
    payload: pattern(at, Math.min(step.length, 1000)),
  });
  const packet = ipv4({ source, destination, protocol: 6, payload: segment, dontFragment: true });
  return toStack
    ? ethernet(STACK_MAC, COMPANION_MAC, 0x0800, packet)
    : ethernet(COMPANION_MAC, STACK_MAC, 0x0800, packet);
}

function sequenceAt({ base, offset }: Place<SequenceBase>, connection: TcpConnection): number {
  const { receiveNext, receiveEdge, initialReceive } = connection;
  const from = { next: receiveNext, edge: receiveEdge, initial: initialReceive, sent: receiveNext, wrap: 0 }[base];
  return (from + offset) | 0;
}

function acknowledgmentAt({ base, offset }: Place<AcknowledgmentBase>, connection: TcpConnection): number {
  const { sendMaximum, sendUnacknowledged, sendWindow, initialSend } = connection;
  const from = {
    maximum: sendMaximum,
    unacknowledged: sendUnacknowledged,
    initial: initialSend,
    edge: sendUnacknowledged + sendWindow,
    wrap: 0,
  }[base];
  return (from + offset) | 0;
}
