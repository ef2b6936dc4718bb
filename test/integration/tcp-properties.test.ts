import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { PcapWriter } from "@hostd/frontends";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { runJoinedScenario } from "../../packages/stack/src/testing/simulator/joined-scenario.ts";
import type { Pair } from "../../packages/stack/src/testing/simulator/joined-stacks.ts";
import { runModelScenario } from "../../packages/stack/src/testing/simulator/model-scenario.ts";
import type { FrameObserver } from "../../packages/stack/src/testing/simulator/station.ts";
import { anyScenario, bearableScenario, modelScenario } from "./support/tcp-scenarios.ts";

// Here and not beside the code: a counterexample leaves captures, and the stack's own tests know no files.

/** Runs of each property, and the seed that decides them; a long run sets others. */
const RUNS = numberFrom("HOSTD_PROPERTY_RUNS", 300);
const SEED = numberFrom("HOSTD_PROPERTY_SEED", 9293);
const OUTPUT = join(import.meta.dirname, "..", "output");
/** Generous, because a counterexample is made smaller by running hundreds of others. */
const TIMEOUT_MS = 60_000 + 2000 * RUNS;

function numberFrom(variable: string, otherwise: number): number {
  const value = Number(process.env[variable] ?? otherwise);
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new Error(`${variable} is ${process.env[variable]}; it has to be a whole number above 0`);
}

/** Writes what a stack sends and receives into a capture, which is made with the first frame. */
class Capture implements FrameObserver {
  readonly #path: string;
  #writer: PcapWriter | null = null;
  #now = 0;

  constructor(path: string) {
    this.#path = path;
  }

  sent(frame: Uint8Array, now: number): void {
    this.#now = now;
    this.#writer ??= new PcapWriter(
      this.#path,
      (error) => {
        throw error;
      },
      () => this.#now,
    );
    this.#writer.frame(frame, 0, frame.length);
  }

  received(frame: Uint8Array, now: number): void {
    this.sent(frame, now);
  }

  close(): void {
    this.#writer?.close();
  }
}

/**
 * Checks a property for {@link RUNS} scenarios. A counterexample, made as small as possible, is run once more with a
 * capture at each side.
 *
 * @param run - throws when the property does not hold; shows the frames at each side to `observers`.
 */
function holds<Scenario>(
  scenarios: fc.Arbitrary<Scenario>,
  run: (scenario: Scenario, observers: Pair<readonly FrameObserver[]>) => void,
): void {
  const property = fc.property(scenarios, (scenario) => {
    run(scenario, [[], []]);
  });
  const details = fc.check(property, { seed: SEED, numRuns: RUNS });
  if (!details.failed || details.counterexample === null) return;
  mkdirSync(OUTPUT, { recursive: true });
  const name = (expect.getState().currentTestName ?? "property").replaceAll(/[^A-Za-z0-9]+/g, "-").slice(0, 100);
  const path = join(OUTPUT, name);
  const captures = [new Capture(`${path}-left.pcap`), new Capture(`${path}-right.pcap`)];
  try {
    run(details.counterexample[0], [[captures[0]], [captures[1]]]);
  } catch {
    // The error that the report is about.
  }
  for (const capture of captures) capture.close();
  throw new Error(
    `${fc.defaultReportMessage(details)}\nHOSTD_PROPERTY_SEED=${SEED} HOSTD_PROPERTY_RUNS=${RUNS} finds it again. ` +
      `Captures: ${path}-*.pcap`,
    { cause: details.errorInstance },
  );
}

describe("whatever a link does to frames", { timeout: TIMEOUT_MS }, () => {
  it("two stacks exchange everything as long as it gets better", () => {
    holds(bearableScenario, (scenario, observers) => {
      const outcomes = runJoinedScenario(scenario, observers);
      // The last acknowledgment of all may be lost so often that TIME-WAIT does not last: one side knows, one does not.
      if (outcomes.some(({ reasons, isComplete }) => !isComplete || !reasons.includes("finished"))) {
        throw new Error(`not every connection ended well: ${JSON.stringify(outcomes)}`);
      }
    });
  });

  it("two stacks exchange everything, or end with an error, and keep nothing", () => {
    holds(anyScenario, (scenario, observers) => runJoinedScenario(scenario, observers));
  });

  it("a stack exchanges everything with a simple TCP, and sends nothing that it may not", () => {
    holds(modelScenario, (scenario, [observers]) => runModelScenario(scenario, observers));
  });
});
