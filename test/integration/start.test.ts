import { execFile } from "node:child_process";
import { stat } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { beforeAll, describe, expect, it } from "vitest";
import { MeasuredHostd } from "../../bench/start.ts";

const BUILD = fileURLToPath(new URL("../../scripts/build-bundle.mjs", import.meta.url));
const INPUTS = fileURLToPath(new URL("../../apps/hostd/bundle/inputs.json", import.meta.url));

const buildBundle = () => promisify(execFile)(process.execPath, [BUILD]);

beforeAll(async () => {
  await buildBundle();
});

describe("hostd's bundle", () => {
  it("is not built again while it is current", async () => {
    const before = await stat(INPUTS);
    await buildBundle();
    expect((await stat(INPUTS)).mtimeMs).toBe(before.mtimeMs);
  });
});

// Several times what it takes on a machine with nothing else to do, and less than it took from source.
describe("hostd up", () => {
  it("serves a VM within 2 seconds of its start, in less than 90 MB", async () => {
    const hostd = await MeasuredHostd.start();
    try {
      const { guest, times } = await hostd.attach();
      await guest.ping("192.168.65.1");
      const memory = process.platform === "linux" ? await hostd.memory() : null;
      await guest.kill();
      expect(times.accepting).toBeLessThan(2);
      expect(times.leased).toBeLessThan(2);
      if (memory !== null) expect(memory.total, JSON.stringify(memory)).toBeLessThan(90);
    } finally {
      await hostd.stop();
    }
  });
});
