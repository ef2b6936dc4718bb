import { copyFileSync, existsSync, rmSync } from "node:fs";
import { setPriority } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, onTestFailed } from "vitest";
import { ARTIFACTS, HostdProcess, makeFolder } from "../vm/hostd-process.ts";
import type { Exchange } from "./exchange.ts";
import {
  type Explanation,
  FLOW_CONTROL,
  isStack,
  LATE_ACKNOWLEDGMENTS,
  PAUSES,
  strayResets,
  unexplained,
} from "./explanation.ts";
import { TapGuest, tapGuestsAreAvailable } from "./tap-guest.ts";
import { Traffic } from "./traffic.ts";
import { type CapturedSegment, expertMessages, tcpSegments } from "./tshark.ts";

const isAvailable = tapGuestsAreAvailable();
const MB = 1_000_000;
const HIGHEST_PRIORITY = -20;
/** What of all segments may be what {@link LATE_ACKNOWLEDGMENTS} explains, at most. */
const LATE_SHARE = 0.01;

/** Exchanges that begin at once. */
type Plans = readonly Omit<Exchange, "id">[];

describe.skipIf(!isAvailable)("a capture of hostd's, with Linux's own TCP as the guest's", () => {
  const folder = isAvailable ? makeFolder("tap-capture") : "";
  let traffic: Traffic;

  beforeAll(async () => {
    try {
      // Whoever waits for the processor for long sends again what was not lost. The processes started here inherit this.
      setPriority(HIGHEST_PRIORITY);
    } catch {
      // In a container root may lack the right.
    }
    traffic = await Traffic.start();
  });

  afterAll(async () => {
    await traffic?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  describe.each([1500, 65520])("with an MTU of %i", (mtu) => {
    /** Runs the exchanges, one set after the other, and reads the capture of all of them. */
    async function record(name: string, sets: readonly Plans[]): Promise<CapturedSegment[]> {
      const fullName = `${name}-${mtu}`;
      const socket = join(folder, `${fullName}.sock`);
      const capture = join(folder, `${fullName}.pcap`);
      onTestFailed(() => {
        if (existsSync(capture)) copyFileSync(capture, join(ARTIFACTS, `tap-capture-${fullName}.pcap`));
      });
      const args = ["--qemu", `unix://${socket}`, "--state", join(folder, fullName), "--capture", capture];
      const hostd = await HostdProcess.start(`tap-capture-${fullName}`, [...args, "--mtu", String(mtu)]);
      try {
        const guest = await TapGuest.create({ socket, name: fullName.replaceAll("-", "") });
        try {
          for (const plans of sets) expect((await traffic.run(guest, plans)).failures).toEqual([]);
        } finally {
          await guest.destroy();
        }
        await expect.poll(() => hostd.log).toContain("VM detached");
      } finally {
        await hostd.stop();
      }
      await expectNothingWrong(capture);
      const segments = await tcpSegments(capture);
      expectOptions(segments, mtu);
      expect(strayResets(segments)).toEqual([]);
      return segments;
    }

    function expectExplained(what: string, segments: readonly CapturedSegment[], usual: readonly Explanation[]): void {
      const counts: Record<string, number> = {};
      for (const segment of segments) {
        const side = isStack(segment) ? "hostd" : "guest";
        for (const flag of segment.analysis) counts[`${flag} by ${side}`] = (counts[`${flag} by ${side}`] ?? 0) + 1;
      }
      process.stderr.write(`tap: MTU ${mtu}, ${what}: ${segments.length} segments, ${JSON.stringify(counts)}\n`);
      expect(unexplained(segments, [...usual, ...LATE_ACKNOWLEDGMENTS])).toEqual([]);
      expect(unexplained(segments, usual).length / segments.length).toBeLessThan(LATE_SHARE);
    }

    it("shows nothing that TCP had to repair in transfers each way and at once, and in half-closed connections", async () => {
      const segments = await record("transfers", [
        [{ up: 0, down: 4 * MB }],
        [{ up: 4 * MB, down: 0 }],
        [{ up: 2 * MB, down: 2 * MB }],
        [{ up: 100_000, down: 100_000, first: "client" }],
        [{ up: 100_000, down: 100_000, first: "server" }],
      ]);
      expect(segments.length).toBeGreaterThan((12 * MB) / mtu);
      expectExplained("transfers", segments, FLOW_CONTROL);
    });

    it("shows nothing that TCP had to repair on many connections at once", async () => {
      const segments = await record("many", [
        new Array(40).fill({ up: 20_000, down: 20_000 }),
        new Array(40).fill({ up: 100, down: 1000 }),
        new Array(10).fill({ up: 1000, down: 1000, first: "server" }),
      ]);
      expect(new Set(segments.map(({ stream }) => stream)).size).toBe(90);
      expectExplained("many connections", segments, FLOW_CONTROL);
    });

    it("shows only probes of a closed window where a reader stops", async () => {
      const segments = await record("pauses", [
        [{ up: 20 * MB, down: 0, serverPause: { afterBytes: MB, ms: 1500 } }],
        [{ up: 0, down: 20 * MB, clientPause: { afterBytes: MB, ms: 1500 } }],
      ]);
      expectExplained("pauses", segments, PAUSES);
      // Both ends have closed their windows, and both have asked.
      const zeroWindows = segments.filter(({ analysis }) => analysis.includes("zero_window"));
      expect(new Set(zeroWindows.map(isStack))).toEqual(new Set([true, false]));
      const probes = segments.filter(({ analysis }) =>
        analysis.some((flag) => /zero_window_probe$|keep_alive$/.test(flag)),
      );
      expect(new Set(probes.map(isStack))).toEqual(new Set([true, false]));
    });
  });
});

/** No packet that tshark cannot read, and no wrong checksum. */
async function expectNothingWrong(capture: string): Promise<void> {
  const right = await expertMessages(capture, "tcp.checksum.status == 1");
  expect(right.length).toBeGreaterThan(100);
  // Where the sum is zero, Linux in software sends its other form, 0xffff, which tshark calls bad.
  const isWrong = "tcp.checksum.status == 0 && (tcp.checksum != 0xffff || eth.src == 02:68:6f:73:74:64)";
  const others = ["ip", "udp", "icmp"].map((protocol) => `${protocol}.checksum.status == 0`).join(" || ");
  expect(await expertMessages(capture, `(${isWrong}) || ${others}`)).toEqual([]);
  expect(await expertMessages(capture, '_ws.malformed || _ws.expert.severity == "Error"')).toEqual([]);
}

/** Both SYNs offer what Linux and hostd both have, and every segment after them carries timestamps (RFC 7323, 3.2). */
function expectOptions(segments: readonly CapturedSegment[], mtu: number): void {
  const syns = segments.filter(({ flags }) => flags.includes("S"));
  expect(syns.some(isStack)).toBe(true);
  for (const syn of syns) {
    expect(syn).toMatchObject({ sackPermitted: true, maximumSegment: mtu - 40 });
    expect(syn.timestamps).not.toBeNull();
    expect(syn.windowShift).not.toBeNull();
  }
  const bare = segments.filter(({ flags, timestamps }) => !/[SR]/.test(flags) && timestamps === null);
  expect(bare).toEqual([]);
}
