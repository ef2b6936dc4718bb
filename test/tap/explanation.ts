import type { AnalysisFlag, CapturedSegment } from "./tshark.ts";

/** hostd's MAC. */
const STACK_MAC = "02:68:6f:73:74:64";
/** What hostd may take to acknowledge what it acknowledges at once, in milliseconds of its own clock. */
const AT_ONCE_MS = 3;
/** What it may let an acknowledgment wait for a second segment. */
const DELAYED_ACK_MS = 45;
/** What Linux waits at least before it sends a single segment again, whose acknowledgment may be delayed. */
const PATIENCE_MS = 150;

/** What hostd waits at least before it sends the last segment again. */
const OWN_PATIENCE_MS = 50;
/** What passes at most between what belongs to one moment. */
const MOMENT_MS = 5;

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
  {
    flag: "lost_segment",
    because: "the byte that hostd has asked with was taken in, and tshark has not counted it",
    holds: (segment, connection) => {
      const probe = probedByte(segment, connection);
      return isStack(segment) && probe !== undefined && segment.sequence === endOf(probe);
    },
  },
  {
    flag: "ack_lost_segment",
    because: "the same byte is acknowledged, or what came next",
    holds: (segment, connection) => {
      const probe = probedByte(segment, connection);
      if (!isGuest(segment) || probe === undefined) return false;
      const next = connection.find((each) => isStack(each) && each.sequence === endOf(probe) && each.length > 0);
      return segment.acknowledgment >= endOf(probe) && segment.acknowledgment <= endOf(next ?? probe);
    },
  },
];

/** The last segment that hostd has asked for the window with. */
function probedByte(segment: CapturedSegment, connection: readonly CapturedSegment[]): CapturedSegment | undefined {
  return lastBefore(segment, connection, ({ analysis }) => analysis.includes("zero_window_probe"));
}

/**
 * What a machine that stops for some milliseconds looks like: the last segment is sent again (RFC 8985, 7), by Linux
 * although hostd has acknowledged it in time, by hostd although Linux was about to acknowledge it.
 */
export const LATE_ACKNOWLEDGMENTS: readonly Explanation[] = [
  ...explanationsOf(isLateProbe),
  ...explanationsOf(isOwnProbe),
];

type Test = Explanation["holds"];

function explanationsOf(isProbe: Test): Explanation[] {
  return [
    { flag: "retransmission", because: "the acknowledgment was still under way", holds: isProbe },
    { flag: "spurious_retransmission", because: "the acknowledgment was still under way", holds: isProbe },
    {
      flag: "duplicate_ack",
      because: "the segment that came again is reported (RFC 2883)",
      holds: (segment, connection) => {
        const isAnswered = (probe: CapturedSegment) =>
          probe.source !== segment.source &&
          (isReported(probe, segment) || isAnsweredUnreported(probe, segment, connection)) &&
          isProbe(probe, connection);
        return lastBefore(segment, connection, isAnswered) !== undefined;
      },
    },
  ];
}

/** Whether an acknowledgment reports that a segment came again (RFC 2883). */
function isReported(probe: CapturedSegment, { reported }: CapturedSegment): boolean {
  return reported !== null && probe.sequence >= reported[0] && endOfOld(probe) <= reported[1];
}

/** A FIN takes no byte that could be reported, and in TIME-WAIT it is answered alone (RFC 9293, 3.10.7.4). */
function isAnsweredUnreported(
  probe: CapturedSegment,
  { frame, source, reported, acknowledgment }: CapturedSegment,
  connection: readonly CapturedSegment[],
): boolean {
  if (reported !== null || endOf(probe) !== acknowledgment) return false;
  const hasClosed = connection.some((each) => each.frame < frame && each.source === source && each.flags.includes("F"));
  return probe.length === 0 || (probe.flags.includes("F") && hasClosed);
}

/** Whether hostd has sent the last segment again, after it has waited for an acknowledgment as long as it has to. */
function isOwnProbe(probe: CapturedSegment, connection: readonly CapturedSegment[]): boolean {
  if (!isStack(probe) || probe.timestamps === null || isBare(probe)) return false;
  const original = lastBefore(probe, connection, (each) => isStack(each) && endOf(each) > each.sequence);
  if (original === undefined || original.timestamps === null) return false;
  const isLast = original.sequence <= probe.sequence && endOf(original) === endOf(probe);
  const isAcknowledged = (each: CapturedSegment) => isGuest(each) && each.acknowledgment >= endOf(original);
  if (!isLast || lastBefore(probe, connection, isAcknowledged) !== undefined) return false;
  return ((probe.timestamps[0] - original.timestamps[0]) | 0) >= OWN_PATIENCE_MS;
}

function isLateProbe(probe: CapturedSegment, connection: readonly CapturedSegment[]): boolean {
  if (!isGuest(probe) || probe.timestamps === null || isBare(probe)) return false;
  const end = endOfOld(probe);
  const covers = (each: CapturedSegment) =>
    isGuest(each) && each.sequence <= probe.sequence && endOf(each) >= end && endOf(each) > each.sequence;
  const original = lastBefore(probe, connection, covers);
  if (original === undefined || original.timestamps === null) return false;
  const answer = connection.find((each) => isStack(each) && each.frame > original.frame && each.acknowledgment >= end);
  if (answer === undefined || answer.timestamps === null) return false;
  const [[sentAt, echo], [firstSentAt], [answeredAt]] = [probe.timestamps, original.timestamps, answer.timestamps];
  const waited = (sentAt - firstSentAt) | 0;
  const delay = answeredAt + clockOffset(connection) - original.time;
  const isInTime = delay <= AT_ONCE_MS || (delay <= DELAYED_ACK_MS && waited >= PATIENCE_MS);
  // Nor can hostd acknowledge in time what itself was under way for longer than what followed it.
  if (waited - (probe.time - original.time) > AT_ONCE_MS) return true;
  // The guest has not seen the acknowledgment, or its time would be in the echo.
  return isInTime && ((echo - answeredAt) | 0) <= 0;
}

/** The time of the capture at 0 of hostd's clock of timestamps: no segment leaves before it is made. */
function clockOffset(connection: readonly CapturedSegment[]): number {
  let offset = Number.POSITIVE_INFINITY;
  for (const segment of connection) {
    if (isStack(segment) && segment.timestamps !== null) {
      offset = Math.min(offset, segment.time - segment.timestamps[0]);
    }
  }
  return offset;
}

function endOf({ sequence, length, flags }: CapturedSegment): number {
  return sequence + length + (flags.includes("F") ? 1 : 0);
}

/** Whether a segment has nothing that could be sent again, as an acknowledgment alone. */
function isBare(segment: CapturedSegment): boolean {
  return endOf(segment) === segment.sequence;
}

/** The end of what may have been sent before: Linux adds a FIN to data that it sends again. */
function endOfOld(segment: CapturedSegment): number {
  return segment.length > 0 ? segment.sequence + segment.length : endOf(segment);
}

function lastBefore(
  segment: CapturedSegment,
  connection: readonly CapturedSegment[],
  matches: (each: CapturedSegment) => boolean,
): CapturedSegment | undefined {
  return connection.findLast((each) => each.frame < segment.frame && matches(each));
}

/** A flag that no explanation holds for. */
interface OpenFlag {
  readonly flag: AnalysisFlag;
  readonly segment: CapturedSegment;
}

function openFlags(segments: readonly CapturedSegment[], explanations: readonly Explanation[]): OpenFlag[] {
  const connections = Map.groupBy(segments, ({ stream }) => stream);
  return segments.flatMap((segment) => {
    const connection = connections.get(segment.stream) ?? [];
    const isOpen = (flag: AnalysisFlag) =>
      !explanations.some((each) => each.flag === flag && each.holds(segment, connection));
    return segment.analysis.filter(isOpen).map((flag) => ({ flag, segment }));
  });
}

/** The flags that none of the explanations holds for, one line each. */
export function unexplained(segments: readonly CapturedSegment[], explanations: readonly Explanation[]): string[] {
  return openFlags(segments, explanations).map(({ flag, segment }) => {
    return `${flag} by ${isStack(segment) ? "hostd" : "the guest"}: ${describe(segment)}`;
  });
}

/**
 * At how many moments there are flags that none of the explanations holds for. A machine that stops once is late on every
 * connection that is busy then, so what follows one another closely is one moment.
 *
 * @param segments - in their order.
 */
export function unexplainedMoments(segments: readonly CapturedSegment[], explanations: readonly Explanation[]): number {
  let moments = 0;
  let last = Number.NEGATIVE_INFINITY;
  for (const { segment } of openFlags(segments, explanations)) {
    if (segment.time - last > MOMENT_MS) moments++;
    last = segment.time;
  }
  return moments;
}

/**
 * Resets that are no answer of an end that has closed to the second acknowledgment of a segment that it had sent again,
 * since the first was late.
 */
export function strayResets(segments: readonly CapturedSegment[]): string[] {
  const connections = Map.groupBy(segments, ({ stream }) => stream);
  return segments
    .filter(({ flags }) => flags.includes("R"))
    .filter((reset) => {
      const connection = connections.get(reset.stream) ?? [];
      const isProbe = isStack(reset) ? isOwnProbe : isLateProbe;
      return !connection.some((each) => isProbe(each, connection));
    })
    .map(describe);
}

function describe({ frame, stream, flags, sequence, length, acknowledgment, window }: CapturedSegment): string {
  const numbers = `sequence ${sequence}, ${length} bytes, acknowledgment ${acknowledgment}, window ${window}`;
  return `frame ${frame}, connection ${stream}, ${flags}, ${numbers}`;
}
