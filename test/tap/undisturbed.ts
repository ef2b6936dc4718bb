import { StolenTime } from "../../bench/harness/stolen-time.ts";

/** How often something is tried. */
const ATTEMPTS = 3;
/** From which stolen part of the time on a failure may be due to it: of two processors and two seconds, 40 ms of one. */
const DISTURBED = 0.01;

/**
 * Runs what holds only while every program gets a processor when it wants one, and once more where it fails while a
 * hypervisor gave the processors to others. On a machine of its own nothing is stolen, and the first failure counts.
 *
 * @param body - leaves nothing behind that its next run would find.
 * @param measure - begins to measure how much is stolen.
 * @throws what `body` throws undisturbed, or for the last time.
 */
export async function whileUndisturbed(
  body: () => Promise<void>,
  measure: () => Pick<StolenTime, "share"> = () => new StolenTime(),
): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const stolen = measure();
    try {
      await body();
      return;
    } catch (error) {
      const share = stolen.share();
      if (share < DISTURBED || attempt === ATTEMPTS) throw error;
      process.stderr.write(
        `failed while ${(share * 100).toFixed(1)} % of the time was stolen, so once more: ${error}\n`,
      );
    }
  }
}
