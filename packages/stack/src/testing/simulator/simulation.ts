import { Random } from "../random.ts";

/** Something that acts at times of its own choosing. */
export interface Participant {
  /** When it is due next, in milliseconds of the simulation; Infinity for never. */
  readonly nextAt: number;
  /** Does what is due. */
  turn(): void;
}

/** The clock's first value, in milliseconds: not zero, which code may take for "never". */
const START_MS = 1000;
/** What a run may take at most, unless told otherwise: many times what TCP waits before it gives a silent peer up. */
const LIMIT_MS = 24 * 60 * 60_000;
/** Turns at one instant after which time counts as standing still. */
const MAXIMUM_TURNS_AT_ONCE = 10_000;

/** Virtual time: it jumps from one participant's deadline to the next, so that the same seed does the same again. */
export class Simulation {
  /** Milliseconds, with fractions. */
  now: number;
  readonly random: Random;
  readonly #participants: Participant[] = [];
  readonly #alarms: { readonly at: number; readonly action: () => void }[] = [];

  constructor(seed: number, startAt = START_MS) {
    this.now = startAt;
    this.random = new Random(seed);
  }

  add(participant: Participant): void {
    this.#participants.push(participant);
  }

  /** Has something done once `milliseconds` have gone by. */
  after(milliseconds: number, action: () => void): void {
    this.#alarms.push({ at: this.now + milliseconds, action });
  }

  /**
   * Lets time go on until `done`, which is asked after each instant at which something happened.
   *
   * @throws {Error} when that takes longer than `limit` milliseconds, or when nothing is left that could happen.
   */
  run(done: () => boolean, limit: number = LIMIT_MS): void {
    const end = this.now + limit;
    let turns = 0;
    while (!done()) {
      const next = this.#nextAt();
      if (next > end) throw new Error(`the simulation does not come to an end within ${limit} ms`);
      if (next > this.now) {
        this.now = next;
        turns = 0;
      } else if (++turns > MAXIMUM_TURNS_AT_ONCE) {
        throw new Error(`the simulation stands still at ${this.now} ms`);
      }
      this.#soundAlarms();
      for (const participant of this.#participants) if (participant.nextAt <= this.now) participant.turn();
    }
  }

  /** Lets `milliseconds` go by. */
  pass(milliseconds: number): void {
    const end = this.now + milliseconds;
    this.run(() => this.#nextAt() > end);
    this.now = end;
  }

  #nextAt(): number {
    let next = Number.POSITIVE_INFINITY;
    for (const participant of this.#participants) next = Math.min(next, participant.nextAt);
    for (const { at } of this.#alarms) next = Math.min(next, at);
    return next;
  }

  #soundAlarms(): void {
    for (let index = 0; index < this.#alarms.length; ) {
      if (this.#alarms[index].at > this.now) index++;
      else this.#alarms.splice(index, 1)[0].action();
    }
  }
}
