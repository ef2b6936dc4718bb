import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { measureCell } from "../netem/measure.ts";
import { cellName, selectCells } from "../netem/paths.ts";
import { summary } from "../netem/report.ts";
import { NetemTestbed } from "../netem/testbed.ts";
import { ensureVm, imageOf } from "./image.ts";

const availability = await ensureVm();

/** `npm run netem` measures the table of docs/tcp.md; these are the cells of it that differ least from run to run. */
const CELLS = selectCells("1%-10ms,0%-100ms-down,reorder1%-10ms-down").map((cell) => ({ name: cellName(cell), cell }));

describe.skipIf(!availability.available)("a VM on a bad link, compared with two Linux kernels on the same link", () => {
  let testbed: NetemTestbed;

  beforeAll(async () => {
    testbed = await NetemTestbed.create({ image: imageOf(availability), name: "netem" });
  });

  afterAll(() => testbed?.close());

  it.each(CELLS)("has at least half of Linux's goodput at $name", async ({ cell }) => {
    const result = await measureCell(testbed, cell, { bytes: 10e6, seconds: 3, budgetMs: 0, precision: 0, pairs: 2 });
    expect(result.failures).toEqual([]);
    expect(result.ratio, summary(result)).toBeGreaterThan(0.5);
  });
});
