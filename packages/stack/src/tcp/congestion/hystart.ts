/** RFC 9406, 4.3. The bounds of the delay increase are in milliseconds. */
const MINIMUM_INCREASE = 4;
const MAXIMUM_INCREASE = 16;
const INCREASE_DIVISOR = 8;
const SAMPLES = 8;
const CONSERVATIVE_ROUNDS = 5;

const UNKNOWN = Number.POSITIVE_INFINITY;

/**
 * HyStart++ (RFC 9406): ends the first slow start once round trips take longer, before the queue that they wait in
 * overflows.
 *
 * A longer round trip begins the conservative slow start, which ends the slow start after five rounds; when round trips
 * shorten in between, the increase was jitter and the ordinary slow start resumes.
 */
export class HyStart {
  /** The shortest round trip of the round before and of this one. */
  #lastRound = UNKNOWN;
  #currentRound = UNKNOWN;
  #samples = 0;
  /** The shortest round trip of the round that began the conservative slow start. */
  #baseline = UNKNOWN;
  #conservativeRounds = 0;

  /** Whether the window grows at a quarter of the rate (conservative slow start, CSS). */
  get conservative(): boolean {
    return this.#baseline !== UNKNOWN;
  }

  /**
   * An acknowledgment came during the first slow start.
   *
   * @param roundTrip - its sample in milliseconds, or -1.
   * @returns whether the slow start is over.
   */
  acknowledged(roundTrip: number, newRound: boolean): boolean {
    if (newRound) {
      this.#lastRound = this.#currentRound;
      this.#currentRound = UNKNOWN;
      this.#samples = 0;
      // The rest of the round in which the conservative slow start began counts as a round.
      if (this.conservative && ++this.#conservativeRounds >= CONSERVATIVE_ROUNDS) return true;
    }
    if (roundTrip < 0) return false;
    if (roundTrip < this.#currentRound) this.#currentRound = roundTrip;
    if (++this.#samples < SAMPLES) return false;
    if (this.conservative) {
      if (this.#currentRound < this.#baseline) this.#baseline = UNKNOWN;
    } else {
      const increase = Math.min(MAXIMUM_INCREASE, Math.max(MINIMUM_INCREASE, this.#lastRound / INCREASE_DIVISOR));
      if (this.#currentRound >= this.#lastRound + increase) {
        this.#baseline = this.#currentRound;
        this.#conservativeRounds = 0;
      }
    }
    return false;
  }
}
