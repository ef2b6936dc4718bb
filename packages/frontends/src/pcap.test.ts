import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { PcapWriter } from "./pcap.ts";
import { patternFrame, randomFrames, seededRandom } from "./testing/random.ts";
import { readPcap } from "./testing/read-pcap.ts";

const tshark = (process.env.PATH ?? "")
  .split(delimiter)
  .map((folder) => join(folder, "tshark"))
  .find(existsSync);

let folder: string;
let path: string;
let faults: Error[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hostd-pcap-"));
  path = join(folder, "test.pcap");
  faults = [];
});

afterEach(async () => {
  await rm(folder, { recursive: true });
});

function open(file = path, now?: () => number): PcapWriter {
  return new PcapWriter(file, (error) => faults.push(error), now);
}

describe("PcapWriter", () => {
  it("writes a file without frames that can be read", () => {
    const capture = open();
    expect(readPcap(readFileSync(path))).toEqual([]);
    capture.close();
    expect(readPcap(readFileSync(path))).toEqual([]);
  });

  it("is readable for its owner alone", () => {
    open().close();
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it("replaces a file that is there", async () => {
    await writeFile(path, "x".repeat(1000));
    open().close();
    expect(statSync(path).size).toBe(24);
  });

  it("writes each frame with its time, whole and in order", () => {
    let now = 1_700_000_000_000.25;
    const capture = open(path, () => now);
    const frames = [patternFrame(60, 1), patternFrame(1514, 2), patternFrame(1, 3)];
    for (const [index, frame] of frames.entries()) {
      const memory = Buffer.concat([new Uint8Array(index * 3), frame, new Uint8Array(7)]);
      capture.frame(memory, index * 3, frame.length);
      memory.fill(0);
      now += 999.5;
    }
    capture.close();
    const records = readPcap(readFileSync(path));
    expect(records.map(({ data }) => new Uint8Array(data))).toEqual(frames);
    expect(records.map(({ length }) => length)).toEqual([60, 1514, 1]);
    expect(records.map(({ time }) => time)).toEqual([
      1_700_000_000_000_250, 1_700_000_000_999_750, 1_700_000_001_999_250,
    ]);
  });

  it("has on disk after a flush what it was given", () => {
    const capture = open();
    capture.frame(patternFrame(100, 1), 0, 100);
    expect(readPcap(readFileSync(path))).toHaveLength(0);
    capture.flush();
    expect(readPcap(readFileSync(path))).toHaveLength(1);
    capture.close();
  });

  it("keeps more frames than its buffer holds, and frames as long as any", () => {
    const frames = [
      ...randomFrames(seededRandom(1), 3000, 1, 2000),
      ...randomFrames(seededRandom(2), 20, 65000, 128 * 1024),
    ];
    const capture = open();
    for (const frame of frames) capture.frame(frame, 0, frame.length);
    capture.close();
    const records = readPcap(readFileSync(path));
    expect(records).toHaveLength(frames.length);
    expect(Buffer.compare(Buffer.concat(records.map(({ data }) => data)), Buffer.concat(frames))).toBe(0);
  });

  it("keeps the head and the length of a frame that is longer than the format allows", () => {
    const capture = open();
    const frame = patternFrame(300_000, 1);
    capture.frame(frame, 0, frame.length);
    capture.close();
    const [record] = readPcap(readFileSync(path));
    expect(record.length).toBe(300_000);
    expect(Buffer.compare(record.data, frame.subarray(0, 262_144))).toBe(0);
  });

  it("takes nothing once it is closed", () => {
    const capture = open();
    capture.close();
    capture.frame(patternFrame(60, 1), 0, 60);
    capture.flush();
    capture.close();
    expect(readPcap(readFileSync(path))).toEqual([]);
    expect(faults).toEqual([]);
  });

  it("fails at once where the file cannot be made", () => {
    expect(() => open(join(folder, "missing", "test.pcap"))).toThrow("ENOENT");
  });

  it.runIf(existsSync("/dev/full"))("says once that the disk is full, and disturbs nothing", () => {
    const capture = open("/dev/full");
    for (let count = 0; count < 3000; count++) capture.frame(patternFrame(1514, count), 0, 1514);
    capture.flush();
    capture.close();
    expect(faults.map(({ message }) => message)).toEqual([expect.stringContaining("ENOSPC")]);
  });

  it.runIf(tshark !== undefined)("is read by tshark as Ethernet frames with their times", () => {
    const capture = open(path, () => 1_700_000_000_123.456);
    const arp = Buffer.from(
      "ffffffffffff02000000000108060001080006040001020000000001c0a84103000000000000c0a84101",
      "hex",
    );
    capture.frame(arp, 0, arp.length);
    capture.close();
    const fields = ["frame.time_epoch", "frame.len", "arp.src.proto_ipv4", "arp.dst.proto_ipv4"];
    const output = execFileSync(tshark ?? "", ["-r", path, "-T", "fields", ...fields.flatMap((name) => ["-e", name])], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
    const [time, ...rest] = output.trim().split("\t");
    expect(rest).toEqual(["42", "192.168.65.3", "192.168.65.1"]);
    expect(Date.parse(time) || Number(time) * 1000).toBeCloseTo(1_700_000_000_123.456, 0);
  });
});
