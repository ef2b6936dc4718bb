import { readFileSync } from "node:fs";

/** The fields of the first line of /proc/stat that add up to all time; what guests of this machine took is in "user" already. */
const FIELDS = 8;
/** That for "time in which another operating system ran", of the one below this one (proc_stat(5)). */
const STEAL = 7;

/** With this part stolen and more, what was measured is not comparable. */
export const DISTURBED = 0.05;

/**
 * Measures how much of the processors' time the hypervisor below this machine gave to others. Programs stand still for it
 * wherever they are, and what is measured beside much of it says little about them.
 */
export class StolenTime {
  readonly #read: () => string;
  readonly #begin: readonly number[];

  /** Begins to measure. `read` gives the text of /proc/stat. */
  constructor(read = () => readFileSync("/proc/stat", "utf8")) {
    this.#read = read;
    this.#begin = readTimes(read());
  }

  /** The part since the beginning, from 0 to 1; 0 before the clock of these times has moved, and on a machine of its own. */
  share(): number {
    const spent = readTimes(this.#read()).map((time, index) => time - (this.#begin[index] ?? 0));
    const all = spent.reduce((sum, time) => sum + time, 0);
    return all <= 0 ? 0 : Math.max(0, spent[STEAL] ?? 0) / all;
  }
}

function readTimes(text: string): number[] {
  const fields = /^cpu +([\d ]+)$/m.exec(text)?.[1]?.split(" ");
  if (fields === undefined || fields.length < FIELDS) {
    throw new Error(
      `/proc/stat has no line of all processors with ${FIELDS} times: ${JSON.stringify(text.slice(0, 100))}`,
    );
  }
  return fields.slice(0, FIELDS).map(Number);
}
