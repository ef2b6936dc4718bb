/**
 * Sequence numbers of TCP: 32 bits that wrap (RFC 9293, 3.4).
 *
 * They are kept as signed 32-bit integers, which V8 holds unboxed, and are only ever compared by the sign of their
 * difference. Use these functions and no arithmetic of your own: `<` on two sequence numbers is always wrong.
 */

/** A sequence number, as a signed 32-bit integer. */
export type Sequence = number;

/** `sequence` advanced by `count` bytes. */
export function sequenceAdd(sequence: Sequence, count: number): Sequence {
  return (sequence + count) | 0;
}

/** How far `a` is ahead of `b`, negative when it is behind; right while they are within 2^31 of each other. */
export function sequenceDistance(a: Sequence, b: Sequence): number {
  return (a - b) | 0;
}

/** Whether `a` comes before `b`. */
export function sequenceBefore(a: Sequence, b: Sequence): boolean {
  return ((a - b) | 0) < 0;
}

/** Whether `a` comes after `b`. */
export function sequenceAfter(a: Sequence, b: Sequence): boolean {
  return ((a - b) | 0) > 0;
}
