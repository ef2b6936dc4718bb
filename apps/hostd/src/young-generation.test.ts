import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";

/** Allocates what survives, in a process of its own, and prints the size of the new space afterwards. */
const CHURN = `
  const kept = [];
  for (let round = 0; round < 400; round++) {
    for (let count = 0; count < 1000; count++) kept.push({ count, list: [count, round] });
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { getHeapSpaceStatistics } = await import("node:v8");
  console.log(getHeapSpaceStatistics().find(({ space_name }) => space_name === "new_space").space_size);
`;

function newSpaceAfter(prelude: string): number {
  const args = ["--input-type=module", "--eval", prelude + CHURN];
  return Number(execFileSync(process.execPath, args, { encoding: "utf8" }));
}

test("V8's new space stays at 8 MiB where it would grow further", () => {
  const module = new URL("young-generation.ts", import.meta.url).href;
  expect(newSpaceAfter("")).toBeGreaterThan(10 * 1024 * 1024);
  const limited = newSpaceAfter(`(await import(${JSON.stringify(module)})).limitYoungGeneration();`);
  expect(limited).toBeLessThanOrEqual(8 * 1024 * 1024);
});
