import { DISTURBED, StolenTime } from "../../bench/harness/stolen-time.ts";

/** How often something is tried. */
const ATTEMPTS = 3;

/**
 * Checks what holds only while every program gets a processor when it wants one, on a new attempt where it does not hold and
 * a hypervisor gave {@link DISTURBED} and more of the processors' time to others meanwhile. On a machine of its own nothing
 * is stolen, and the first attempt counts.
 *
 * @param attempt - leaves nothing behind that the next one would find.
 * @param check - throws when what came of it does not hold.
 * @param measure - begins to measure how much is stolen.
 * @throws what `attempt` throws, and what `check` throws undisturbed or for the last time.
 */
export async function whileUndisturbed<Result>(
  attempt: () => Promise<Result>,
  check: (result: Result) => void,
  measure: () => Pick<StolenTime, "share"> = () => new StolenTime(),
): Promise<void> {
  for (let number = 1; ; number++) {
    const stolen = measure();
    const result = await attempt();
    const share = stolen.share();
    try {
      check(result);
      return;
    } catch (error) {
      if (share < DISTURBED || number === ATTEMPTS) throw error;
      process.stderr.write(
        `failed while ${(share * 100).toFixed(1)} % of the time was stolen, so once more: ${error}\n`,
      );
    }
  }
}
