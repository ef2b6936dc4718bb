import { describe, expect, it } from "vitest";
import { whileUndisturbed } from "./undisturbed.ts";

/** Runs a check that fails so often, with such shares stolen; tells how often it ran, and what was thrown. */
async function run(failures: number, shares: readonly number[], broken?: Error) {
  let runs = 0;
  const attempt = async () => {
    runs++;
    if (broken !== undefined) throw broken;
    return runs;
  };
  const check = (number: number) => {
    if (number <= failures) throw new Error(`failure ${number}`);
  };
  const measure = () => ({ share: () => shares[runs - 1] ?? 0 });
  const thrown = await whileUndisturbed(attempt, check, measure).then(
    () => null,
    (error: Error) => error.message,
  );
  return { runs, thrown };
}

describe("whileUndisturbed", () => {
  it("lets a check that fails count at once when next to nothing was stolen", async () => {
    expect(await run(1, [0])).toEqual({ runs: 1, thrown: "failure 1" });
    expect(await run(2, [0.3, 0.04])).toEqual({ runs: 2, thrown: "failure 2" });
  });

  it("tries three times at most while time was stolen", async () => {
    expect(await run(2, [0.3, 0.05])).toEqual({ runs: 3, thrown: null });
    expect(await run(3, [0.3, 0.3, 0.3])).toEqual({ runs: 3, thrown: "failure 3" });
  });

  it("lets an attempt that fails itself count, whatever was stolen", async () => {
    expect(await run(0, [0.9], new Error("broken"))).toEqual({ runs: 1, thrown: "broken" });
  });

  it("does nothing more when all is well", async () => {
    expect(await run(0, [0.9])).toEqual({ runs: 1, thrown: null });
  });
});
