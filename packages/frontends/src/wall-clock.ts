/**
 * Makes a clock that tells the time of the wall clock in milliseconds since the Unix epoch, with fractions.
 *
 * `Date.now` has whole milliseconds only. `performance.now` has fractions, but does not notice that the clock was set,
 * and stands still while the machine sleeps: it is held within the millisecond that `Date.now` says.
 *
 * @param milliseconds - the wall clock, in whole milliseconds.
 * @param elapsed - milliseconds with fractions, from any beginning.
 */
export function makeWallClock(
  milliseconds: () => number = Date.now,
  elapsed: () => number = () => performance.now(),
): () => number {
  let offset = milliseconds() - elapsed();
  return () => {
    const time = offset + elapsed();
    const earliest = milliseconds();
    const held = Math.min(Math.max(time, earliest), earliest + LAST_FRACTION);
    offset += held - time;
    return held;
  };
}

/** The last microsecond of a millisecond. */
const LAST_FRACTION = 0.999;
