import { describe, expect, it } from "vitest";
import { cpuSeconds, descendants, parseResidentBytes, parseStat, processTree, residentBytes } from "./process-table.ts";

/** Fields 3 to 22 of proc_pid_stat(5), with the parent, the times and something after them. */
function statLine(pid: number, name: string, parent: number, times: readonly number[]): string {
  return `${pid} (${name}) S ${parent} 1 1 0 -1 4194560 100 0 0 0 ${times.join(" ")} 20 0 1 0 24250 1000 200\n`;
}

describe("parseStat", () => {
  it("adds up the times of the process and of its ended children, in seconds", () => {
    expect(parseStat(statLine(42, "gvproxy", 7, [150, 25, 100, 5]))).toEqual({ pid: 42, parent: 7, cpuSeconds: 2.8 });
  });

  it("is not led astray by a name with parentheses, spaces and numbers", () => {
    expect(parseStat(statLine(42, "a) S 1 2 (b) 3", 7, [1, 0, 0, 0]))).toEqual({
      pid: 42,
      parent: 7,
      cpuSeconds: 0.01,
    });
  });

  it("rejects other texts", () => {
    expect(() => parseStat("")).toThrow("not a line of /proc/PID/stat");
    expect(() => parseStat("42 (short) S 7 1")).toThrow("/proc/42/stat lacks fields");
  });
});

describe("parseResidentBytes", () => {
  it("reads the resident memory", () => {
    expect(parseResidentBytes("Name:\tnode\nVmSize:\t  999 kB\nVmRSS:\t   61440 kB\nRssAnon:\t 5 kB\n")).toBe(
      62_914_560,
    );
  });

  it("is 0 for a process that has none", () => {
    expect(parseResidentBytes("Name:\tkthreadd\nThreads:\t1\n")).toBe(0);
  });
});

describe("descendants", () => {
  const entry = (pid: number, parent: number) => ({ pid, parent, cpuSeconds: 0 });

  it("are a process, its children and theirs, in any order of the list, and nobody else", () => {
    const processes = [entry(30, 20), entry(20, 10), entry(10, 1), entry(1, 0), entry(11, 1), entry(21, 10)];
    const found = descendants(processes, 10).map(({ pid }) => pid);
    expect(found.toSorted()).toEqual([10, 20, 21, 30]);
  });

  it("are none of a process that has ended", () => {
    expect(descendants([entry(2, 1)], 10)).toEqual([]);
  });
});

describe.runIf(process.platform === "linux")("of this process", () => {
  it("there are an entry, processor time and memory", () => {
    expect(processTree(process.pid)[0]).toMatchObject({ pid: process.pid, parent: process.ppid });
    expect(cpuSeconds(process.pid)).toBeGreaterThan(0);
    expect(residentBytes(process.pid)).toBeGreaterThan(1e6);
  });
});
