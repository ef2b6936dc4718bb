import type { AnalysisFlag, CapturedSegment } from "./tshark.ts";

/** hostd's MAC. */
const STACK_MAC = "02:68:6f:73:74:64";
/** What hostd may take to acknowledge what it acknowledges at once, in milliseconds of its own clock. */
const AT_ONCE_MS = 3;
/** What it may let an acknowledgment wait for a second segment. */
const DELAYED_ACK_MS = 45;
/** What Linux waits at least before it sends a single segment again, whose acknowledgment may be delayed. */
const PATIENCE_MS = 150;

/** Why a flag of TCP's analysis may be there on a link that loses nothing. */
export interface Explanation {
  readonly flag: AnalysisFlag;
  readonly because: string;
  /** Whether that is so for this segment of a connection, all of which are given in their order. */
  readonly holds: (segment: CapturedSegment, connection: readonly CapturedSegment[]) => boolean;
}

export const isStack = ({ source }: CapturedSegment): boolean => source === STACK_MAC;
const isGuest = (segment: CapturedSegment): boolean => !isStack(segment);
const always = (): boolean => true;

/** What flow control looks like where nobody stops reading. */
export const FLOW_CONTROL: readonly Explanation[] = [
  { flag: "window_full", because: "a sender uses all of the window", holds: always },
  { flag: "window_update", because: "the window opens as the reader reads on", holds: always },
];

/** What flow control looks like where a reader stops for a time. */
export const PAUSES: readonly Explanation[] = [
  ...FLOW_CONTROL,
  { flag: "zero_window", because: "the reader has stopped, and its buffer is full", holds: always },
  { flag: "zero_window_probe", because: "hostd asks for the window with a byte", holds: isStack },
  { flag: "zero_window_probe_ack", because: "Linux answers that", holds: isGuest },
  {
    flag: "keep_alive",
    because: "Linux asks for a closed window with an old sequence number",
    holds: (segment, connection) => isGuest(segment) && lastBefore(segment, connection, isStack)?.window === 0,
  },
];

/**
 * What a machine that stops for some milliseconds looks like: Linux sends the last segment again (RFC 8985, 7) although
 * hostd has acknowledged it in time.
 */
export const LATE_ACKNOWLEDGMENTS: readonly Explanation[] = [
  { flag: "retransmission", because: "the acknowledgment was still under way", holds: isLateProbe },
  { flag: "spurious_retransmission", because: "the acknowledgment was still under way", holds: isLateProbe },
  {
    flag: "duplicate_ack",
    because: "hostd reports the segment that came again",
    holds: (segment, connection) => {
      const before = lastBefore(segment, connection, isGuest);
      return isStack(segment) && before !== undefined && isLateProbe(before, connection);
    },
  },
];

function isLateProbe(probe: CapturedSegment, connection: readonly CapturedSegment[]): boolean {
  if (!isGuest(probe) || probe.timestamps === null) return false;
  const end = endOf(probe);
  const original = connection.find(
    (each) => isGuest(each) && each.sequence <= probe.sequence && endOf(each) >= end && endOf(each) > each.sequence,
  );
  if (original === undefined || original === probe || original.timestamps === null) return false;
  const answer = connection.find((each) => isStack(each) && each.frame > original.frame && each.acknowledgment >= end);
  if (answer === undefined || answer.timestamps === null) return false;
  const [[sentAt, echo], [firstSentAt], [answeredAt]] = [probe.timestamps, original.timestamps, answer.timestamps];
  const waited = (sentAt - firstSentAt) | 0;
  const delay = answeredAt + clockOffset(connection) - original.time;
  const isInTime = delay <= AT_ONCE_MS || (delay <= DELAYED_ACK_MS && waited >= PATIENCE_MS);
  // The guest has not seen the acknowledgment, or its time would be in the echo.
  return isInTime && ((echo - answeredAt) | 0) <= 0;
}

/** The time of the capture at 0 of hostd's clock of timestamps: no segment leaves before it is made. */
function clockOffset(connection: readonly CapturedSegment[]): number {
  return Math.min(
    ...connection
      .filter(isStack)
      .map(({ time, timestamps }) => (timestamps === null ? Number.POSITIVE_INFINITY : time - timestamps[0])),
  );
}

function endOf({ sequence, length, flags }: CapturedSegment): number {
  return sequence + length + (flags.includes("F") ? 1 : 0);
}

function lastBefore(
  segment: CapturedSegment,
  connection: readonly CapturedSegment[],
  matches: (each: CapturedSegment) => boolean,
): CapturedSegment | undefined {
  return connection.findLast((each) => each.frame < segment.frame && matches(each));
}

/** The flags that none of the explanations holds for, one line each. */
export function unexplained(segments: readonly CapturedSegment[], explanations: readonly Explanation[]): string[] {
  const connections = Map.groupBy(segments, ({ stream }) => stream);
  return segments.flatMap((segment) => {
    const connection = connections.get(segment.stream) ?? [];
    const isOpen = (flag: AnalysisFlag) =>
      !explanations.some((each) => each.flag === flag && each.holds(segment, connection));
    return segment.analysis
      .filter(isOpen)
      .map((flag) => `${flag} by ${isStack(segment) ? "hostd" : "the guest"}: ${describe(segment)}`);
  });
}

/**
 * Resets that are no answer of a guest that has closed to the second acknowledgment of a segment that it had sent again.
 */
export function strayResets(segments: readonly CapturedSegment[]): string[] {
  const connections = Map.groupBy(segments, ({ stream }) => stream);
  return segments
    .filter(({ flags }) => flags.includes("R"))
    .filter((reset) => {
      const connection = connections.get(reset.stream) ?? [];
      return isStack(reset) || !connection.some((each) => isLateProbe(each, connection));
    })
    .map(describe);
}

function describe({ frame, stream, flags, sequence, length, acknowledgment, window }: CapturedSegment): string {
  const numbers = `sequence ${sequence}, ${length} bytes, acknowledgment ${acknowledgment}, window ${window}`;
  return `frame ${frame}, connection ${stream}, ${flags}, ${numbers}`;
}
