import { describe, expect, it } from "vitest";
import { whileUndisturbed } from "./undisturbed.ts";

/** Runs a body that fails so often, with such shares stolen; tells how often it ran, and what was thrown. */
async function run(failures: number, ...shares: number[]) {
  let runs = 0;
  const body = async () => {
    if (++runs <= failures) throw new Error(`failure ${runs}`);
  };
  const measure = () => ({ share: () => shares[runs - 1] ?? 0 });
  const thrown = await whileUndisturbed(body, measure).then(
    () => null,
    (error: Error) => error.message,
  );
  return { runs, thrown };
}

describe("whileUndisturbed", () => {
  it("lets a failure count at once when nothing was stolen", async () => {
    expect(await run(1, 0)).toEqual({ runs: 1, thrown: "failure 1" });
    expect(await run(2, 0.3, 0.005)).toEqual({ runs: 2, thrown: "failure 2" });
  });

  it("tries what failed while time was stolen three times at most", async () => {
    expect(await run(2, 0.3, 0.01)).toEqual({ runs: 3, thrown: null });
    expect(await run(3, 0.3, 0.3, 0.3)).toEqual({ runs: 3, thrown: "failure 3" });
  });

  it("does nothing more when all is well", async () => {
    expect(await run(0, 0.9)).toEqual({ runs: 1, thrown: null });
  });
});
