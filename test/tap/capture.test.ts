import { execFile, execFileSync } from "node:child_process";
import { copyFileSync, existsSync, readFileSync, rmSync } from "node:fs";
import { setPriority } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
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
  unexplainedMoments,
} from "./explanation.ts";
import { TapGuest, tapGuestsAreAvailable } from "./tap-guest.ts";
import { Traffic, type Transfer } from "./traffic.ts";
import { type CapturedSegment, expertMessages, tcpSegments } from "./tshark.ts";
import { whileUndisturbed } from "./undisturbed.ts";

const isAvailable = tapGuestsAreAvailable();
const MB = 1_000_000;
const HIGHEST_PRIORITY = -20;
const TRANSFER_TIMEOUT_MS = 240_000;
const SHORTEN = join(import.meta.dirname, "shorten-capture.ts");
const execFileAsync = promisify(execFile);
/** At how many moments only a slow machine may explain flags at most: for each segment, and in any case. */
const LATE_SHARE = 0.001;
const LATE_MOMENTS = 6;

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

  /** Runs the exchanges with a capture, one set after the other. */
  async function run(name: string, mtu: number, capture: string, sets: readonly Plans[]): Promise<Transfer[]> {
    const socket = join(folder, `${name}.sock`);
    const args = ["--qemu", `unix://${socket}`, "--state", join(folder, name), "--capture", capture];
    const hostd = await HostdProcess.start(`tap-capture-${name}`, [...args, "--mtu", String(mtu)]);
    const transfers: Transfer[] = [];
    try {
      const guest = await TapGuest.create({ socket, name: name.replaceAll("-", "") });
      try {
        for (const plans of sets) transfers.push(await traffic.run(guest, plans, { timeoutMs: TRANSFER_TIMEOUT_MS }));
      } finally {
        await guest.destroy();
      }
      await expect.poll(() => hostd.log).toContain("VM detached");
    } finally {
      await hostd.stop();
    }
    expect(transfers.flatMap(({ failures }) => failures)).toEqual([]);
    return transfers;
  }

  /** Where a capture is written, which stays in test/output when the test fails. */
  function captureOf(name: string): string {
    const capture = join(folder, `${name}.pcap`);
    onTestFailed(() => {
      if (existsSync(capture)) copyFileSync(capture, join(ARTIFACTS, `tap-capture-${name}.pcap`));
    });
    return capture;
  }

  /** Checks what holds of every capture, and returns its segments. */
  async function read(capture: string, mtu: number): Promise<CapturedSegment[]> {
    const isWrong = ["ip", "udp", "icmp"].map((protocol) => `${protocol}.checksum.status == 0`).join(" || ");
    // Where the sum is zero, Linux in software sends its other form, 0xffff, which tshark calls bad.
    const isWrongSegment = "tcp.checksum.status == 0 && (tcp.checksum != 0xffff || eth.src == 02:68:6f:73:74:64)";
    const isMalformed = '_ws.malformed || _ws.expert.severity == "Error"';
    const filter = `${isWrong} || (${isWrongSegment}) || (${isMalformed} && !(tcp.checksum == 0xffff))`;
    expect(await expertMessages(capture, filter)).toEqual([]);
    const segments = await tcpSegments(capture);
    expectOptions(segments, mtu);
    return segments;
  }

  /** No flag but those that are explained; and few that only a slow machine explains. */
  function expectExplained(what: string, segments: readonly CapturedSegment[], usual: readonly Explanation[]): void {
    const counts: Record<string, number> = {};
    for (const segment of segments) {
      const side = isStack(segment) ? "hostd" : "guest";
      for (const flag of segment.analysis) counts[`${flag} by ${side}`] = (counts[`${flag} by ${side}`] ?? 0) + 1;
    }
    process.stderr.write(`tap: the capture of ${what}: ${segments.length} segments, ${JSON.stringify(counts)}\n`);
    expect(unexplained(segments, [...usual, ...LATE_ACKNOWLEDGMENTS])).toEqual([]);
    expect(strayResets(segments)).toEqual([]);
    const most = Math.max(LATE_MOMENTS, LATE_SHARE * segments.length);
    expect(unexplainedMoments(segments, usual)).toBeLessThanOrEqual(most);
  }

  it("shows nothing that TCP had to repair while one connection carries more each way than there are sequence numbers", async () => {
    const mtu = 65520;
    const length = 2 ** 32 + 50 * MB;
    const transfer = async () => {
      const capture = captureOf("wrap");
      const pipe = join(folder, "wrap.pipe");
      rmSync(pipe, { force: true });
      execFileSync("mkfifo", ["-m", "666", pipe]);
      const shortened = execFileAsync(process.execPath, [SHORTEN, pipe, capture]);
      const [{ seconds }] = await run("wrap", mtu, pipe, [[{ up: length, down: length }]]);
      await shortened;
      const rate = ((2 * length * 8) / seconds / 1e9).toFixed(2);
      process.stderr.write(`tap: ${length} bytes each way at once in ${seconds.toFixed(1)} s, ${rate} Gbit/s in all\n`);
      const segments = await read(capture, mtu);
      expect(segments.length).toBeGreaterThan((2 * length) / mtu);
      return segments;
    };
    await whileUndisturbed(transfer, (segments) => {
      expectExplained("the wrap of the sequence numbers", segments, PAUSES);
    });
  });

  describe.each([1500, 65520])("with an MTU of %i", (mtu) => {
    async function record(name: string, sets: readonly Plans[]): Promise<CapturedSegment[]> {
      const capture = captureOf(`${name}-${mtu}`);
      await run(`${name}-${mtu}`, mtu, capture, sets);
      expect((await expertMessages(capture, "tcp.checksum.status == 1")).length).toBeGreaterThan(100);
      return await read(capture, mtu);
    }

    it("shows nothing that TCP had to repair in transfers each way and at once, and in half-closed connections", async () => {
      const transfers = async () => {
        const segments = await record("transfers", [
          [{ up: 0, down: 4 * MB }],
          [{ up: 4 * MB, down: 0 }],
          [{ up: 2 * MB, down: 2 * MB }],
          [{ up: 100_000, down: 100_000, first: "client" }],
          [{ up: 100_000, down: 100_000, first: "server" }],
        ]);
        expect(segments.length).toBeGreaterThan((12 * MB) / mtu);
        return segments;
      };
      await whileUndisturbed(transfers, (segments) => {
        expectExplained(`transfers with an MTU of ${mtu}`, segments, FLOW_CONTROL);
      });
    });

    it("shows nothing that TCP had to repair on many connections at once", async () => {
      const connections = async () => {
        const segments = await record("many", [
          new Array(40).fill({ up: 20_000, down: 20_000 }),
          new Array(40).fill({ up: 100, down: 1000 }),
          new Array(10).fill({ up: 1000, down: 1000, first: "server" }),
        ]);
        expect(new Set(segments.map(({ stream }) => stream)).size).toBe(90);
        return segments;
      };
      await whileUndisturbed(connections, (segments) => {
        expectExplained(`many connections with an MTU of ${mtu}`, segments, FLOW_CONTROL);
      });
    });

    it("shows only probes of a closed window where a reader stops", async () => {
      const length = moreThanBuffers();
      const pauses = async () => {
        const segments = await record("pauses", [
          [{ up: length, down: 0, serverPause: { afterBytes: MB, ms: 1500 } }],
          [{ up: 0, down: length, clientPause: { afterBytes: MB, ms: 3500 } }],
        ]);
        // Both ends have closed their windows, and both have asked.
        const zeroWindows = segments.filter(({ analysis }) => analysis.includes("zero_window"));
        expect(new Set(zeroWindows.map(isStack))).toEqual(new Set([true, false]));
        const probes = segments.filter(({ analysis }) =>
          analysis.some((flag) => /zero_window_probe$|keep_alive$/.test(flag)),
        );
        expect(new Set(probes.map(isStack))).toEqual(new Set([true, false]));
        return segments;
      };
      await whileUndisturbed(pauses, (segments) => {
        expectExplained(`pauses with an MTU of ${mtu}`, segments, PAUSES);
      });
    });
  });
});

/** More bytes than Linux's buffers of a connection grow to at both ends, with those of hostd beside them. */
function moreThanBuffers(): number {
  const [receive, send] = ["rmem", "wmem"].map((name) =>
    Number(readFileSync(`/proc/sys/net/ipv4/tcp_${name}`, "utf8").trim().split("\t").at(-1)),
  );
  return (receive ?? 0) + (send ?? 0) + 10 * MB;
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
