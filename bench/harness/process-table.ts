import { readdirSync, readFileSync } from "node:fs";

/** What /proc/PID/stat says of a process. */
export interface ProcessEntry {
  readonly pid: number;
  readonly parent: number;
  /** Processor time of all its threads and of its children that have ended, in seconds. */
  readonly cpuSeconds: number;
}

/** Linux shows times to programs in hundredths of a second (USER_HZ), whatever the kernel counts in. */
const TICKS_PER_SECOND = 100;

/**
 * Reads the text of /proc/PID/stat (proc_pid_stat(5)).
 *
 * @throws Error if the text is not of that form
 */
export function parseStat(text: string): ProcessEntry {
  // The name in parentheses may itself have spaces and parentheses.
  const [, pid, rest] = /^(\d+) \(.*\) (.*)$/s.exec(text) ?? [];
  if (pid === undefined || rest === undefined) throw new Error(`not a line of /proc/PID/stat: ${text.slice(0, 80)}`);
  // The first of these is field 3 (state).
  const fields = rest.trim().split(" ");
  const field = (number: number) => Number(fields[number - 3]);
  const [parent, utime, stime, cutime, cstime] = [field(4), field(14), field(15), field(16), field(17)];
  const ticks = utime + stime + cutime + cstime;
  if (!Number.isInteger(parent) || !Number.isFinite(ticks)) throw new Error(`/proc/${pid}/stat lacks fields`);
  return { pid: Number(pid), parent, cpuSeconds: ticks / TICKS_PER_SECOND };
}

/**
 * Reads the resident memory from the text of /proc/PID/status, in bytes.
 *
 * @returns 0 for a process without memory: a kernel thread or one that has just ended
 */
export function parseResidentBytes(text: string): number {
  const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(text)?.[1];
  return kilobytes === undefined ? 0 : Number(kilobytes) * 1024;
}

/** Of all processes, one and those that descend from it. */
export function descendants(processes: readonly ProcessEntry[], root: number): ProcessEntry[] {
  const found = processes.filter(({ pid }) => pid === root);
  for (const { pid } of found) found.push(...processes.filter(({ parent }) => parent === pid));
  return found;
}

/** A process and those that descend from it, as they are now. */
export function processTree(root: number): ProcessEntry[] {
  const processes = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => readProcess(pid, "stat"))
    .filter((text) => text !== undefined)
    .map(parseStat);
  return descendants(processes, root);
}

/** Processor time that a process and its descendants have used, in seconds. */
export function cpuSeconds(root: number): number {
  return processTree(root).reduce((sum, entry) => sum + entry.cpuSeconds, 0);
}

/** Resident memory of a process and its descendants, in bytes. What they share counts for each. */
export function residentBytes(root: number): number {
  return processTree(root).reduce(
    (sum, { pid }) => sum + parseResidentBytes(readProcess(String(pid), "status") ?? ""),
    0,
  );
}

function readProcess(pid: string, file: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    // It has ended meanwhile.
    return undefined;
  }
}
