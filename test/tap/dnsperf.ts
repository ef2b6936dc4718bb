import { findCommand } from "../vm/host-packages.ts";

/** What `dnsperf` has found. */
export interface DnsperfResult {
  readonly sent: number;
  readonly lost: number;
  readonly perSecond: number;
  /** How long an answer took on average, in milliseconds. */
  readonly mean: number;
  /** The slowest answer, in milliseconds. */
  readonly slowest: number;
  /** How many answers had each response code, by its name. */
  readonly codes: ReadonlyMap<string, number>;
}

export interface DnsperfOptions {
  readonly server: string;
  readonly port?: number;
  /** A file with a name and a type in each line. */
  readonly names: string;
  readonly seconds: number;
  /** How many queries are outstanding at most. */
  readonly outstanding: number;
  /** How many queries are sent in a second at most. */
  readonly perSecond?: number;
}

/** For how long an answer is waited for, in milliseconds. */
export const DNSPERF_TIMEOUT_MS = 2000;

/** Whether this host has dnsperf, of Debian's package of that name. */
export function hasDnsperf(): boolean {
  return findCommand("dnsperf") !== undefined;
}

/** The command line of a run. */
export function dnsperfCommand(options: DnsperfOptions): string[] {
  const { server, port = 53, names, seconds, outstanding, perSecond } = options;
  const run = ["-s", server, "-p", String(port), "-d", names, "-l", String(seconds), "-q", String(outstanding)];
  const timeout = ["-t", String(DNSPERF_TIMEOUT_MS / 1000)];
  return ["dnsperf", ...run, ...timeout, ...(perSecond === undefined ? [] : ["-Q", String(perSecond)])];
}

/** The lines of a file of names: `prefix`, a number, and the domain. */
export function dnsperfNames(prefix: string, domain: string, count: number): string {
  return Array.from({ length: count }, (_, index) => `${prefix}${index}.${domain} A\n`).join("");
}

/**
 * Reads what dnsperf prints at its end.
 *
 * @throws Error if it is something else
 */
export function parseDnsperf(output: string): DnsperfResult {
  const figure = (pattern: RegExp): number => {
    const text = pattern.exec(output)?.[1];
    if (text === undefined) throw new Error(`dnsperf printed no ${pattern.source}: ${output.slice(-500)}`);
    return Number(text);
  };
  const codes = /Response codes:(.*)/.exec(output)?.[1] ?? "";
  return {
    sent: figure(/Queries sent:\s+(\d+)/),
    lost: figure(/Queries lost:\s+(\d+)/),
    perSecond: figure(/Queries per second:\s+([\d.]+)/),
    mean: 1000 * figure(/Average Latency \(s\):\s+([\d.]+)/),
    slowest: 1000 * figure(/Average Latency .*max ([\d.]+)/),
    codes: new Map(Array.from(codes.matchAll(/(\w+) (\d+) \(/g), ([, code, count]) => [code, Number(count)])),
  };
}
