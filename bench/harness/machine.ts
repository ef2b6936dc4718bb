import { readFileSync } from "node:fs";
import { availableParallelism, cpus, loadavg, release, totalmem } from "node:os";
import { congestionControl } from "./sandbox.ts";

/** What the figures were taken on. */
export interface Machine {
  readonly processor: string;
  /** Processors that programs may use. */
  readonly processors: number;
  readonly memoryBytes: number;
  readonly kernel: string;
  readonly system: string;
  readonly node: string;
  /** Of the TCP in the guests and of the host's sockets. */
  readonly congestionControl: string;
  /** How many files, and so how many sockets, a process may have open; some peers take two for a flow. */
  readonly openFiles: number;
  /** How many processes wanted a processor in the minute before (the load average). */
  readonly load: number;
}

export function describeMachine(): Machine {
  return {
    processor: cpus()[0]?.model ?? "unknown",
    processors: availableParallelism(),
    memoryBytes: totalmem(),
    kernel: release(),
    system: systemName(),
    node: process.version,
    congestionControl: congestionControl(),
    openFiles: openFiles(readFileSync("/proc/self/limits", "utf8")),
    load: Number(loadavg()[0]?.toFixed(2)),
  };
}

/** The hard limit of open files in the text of /proc/PID/limits; infinite if there is none. */
export function openFiles(limits: string): number {
  const limit = /^Max open files +\S+ +(\d+)/m.exec(limits)?.[1];
  return limit === undefined ? Number.POSITIVE_INFINITY : Number(limit);
}

function systemName(): string {
  try {
    return /^PRETTY_NAME="?([^"\n]*)/m.exec(readFileSync("/etc/os-release", "utf8"))?.[1] ?? "Linux";
  } catch {
    return "Linux";
  }
}
