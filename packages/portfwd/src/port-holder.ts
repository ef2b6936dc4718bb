import { readFileSync, readlinkSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { isIPv4, isIPv6 } from "node:net";
import { basename } from "node:path";
import { setImmediate } from "node:timers/promises";
import { promisify } from "node:util";
import type { ListenAddress } from "./forward-rule.ts";
import { canonicalHost, isEveryHost } from "./host-address.ts";
import { findInternetSockets, type SocketTableOptions } from "./socket-table.ts";

export interface PortHolderOptions extends SocketTableOptions {
  /** For tests; that of the process unless given. */
  readonly platform?: NodeJS.Platform;
  /** For tests; `/etc/passwd` unless given. */
  readonly passwd?: string;
  /** For tests; `lsof` unless given. */
  readonly lsof?: string;
  /** How long may be looked, in milliseconds; 2 s unless given. */
  readonly timeout?: number;
}

/** Descriptors that are looked at before others of the event loop have their turn. */
const TURN_LINKS = 256;

/**
 * Finds out which process of this host keeps `listen` from being listened on, as `nginx (process 1234)`, or as
 * `a process of user root` when it may not be looked at.
 *
 * @returns null when the system does not tell, or not in time.
 */
export async function findPortHolder(
  protocol: "tcp" | "udp",
  listen: ListenAddress,
  options: PortHolderOptions = {},
): Promise<string | null> {
  const { platform = process.platform } = options;
  try {
    if (platform === "linux") return await findInProc(protocol, listen, options);
    return platform === "darwin" ? await findByLsof(protocol, listen, options) : null;
  } catch {
    // What cannot be read is not known; the error is that of listening.
    return null;
  }
}

/**
 * How surely a socket on `held` keeps another of the same port from `wanted`: 0 for not at all, more is surer. Both are in
 * canonical form.
 */
function conflict(wanted: string, held: string): number {
  if (held === wanted) return 3;
  const isOfFamily = wanted === "" || isIPv6(wanted) === isIPv6(held);
  if (isOfFamily && (isEveryHost(wanted) || isEveryHost(held))) return 2;
  // It may be for IPv6 only, which the system does not say.
  return held === "::" && isIPv4(wanted) ? 1 : 0;
}

async function findInProc(
  protocol: "tcp" | "udp",
  { host, port }: ListenAddress,
  options: PortHolderOptions,
): Promise<string | null> {
  const { proc = "/proc", passwd = "/etc/passwd", timeout = 2000 } = options;
  const wanted = canonicalHost(host);
  // A connection is in the way too when its socket was not made to share its port.
  const surety = (socket: { readonly host: string; readonly isListening: boolean }) =>
    conflict(wanted, socket.host) + (socket.isListening ? 10 : 0);
  const [socket] = (await findInternetSockets(protocol, port, options))
    .filter((candidate) => candidate.inode !== 0 && conflict(wanted, candidate.host) > 0)
    .sort((one, other) => surety(other) - surety(one));
  if (socket === undefined) return null;
  const pid = await findProcess(proc, `socket:[${socket.inode}]`, performance.now() + timeout);
  if (pid === process.pid) return `hostd itself (process ${pid})`;
  if (pid !== null) return `${printable(processName(proc, pid))} (process ${pid})`;
  return `a process of user ${userName(passwd, socket.uid)}`;
}

/** The process that has a descriptor which links to `target`, of those that may be looked at. */
async function findProcess(proc: string, target: string, until: number): Promise<number | null> {
  const pids = (await readdir(proc)).filter((name) => /^\d+$/.test(name)).map(Number);
  let links = 0;
  for (const pid of pids.sort((one, other) => one - other)) {
    const folder = `${proc}/${pid}/fd`;
    // Another user's process, or one that has ended, shows none.
    const descriptors = await readdir(folder).catch(() => []);
    for (const descriptor of descriptors) {
      if (readLink(`${folder}/${descriptor}`) === target) return pid;
      if (++links % TURN_LINKS === 0) await setImmediate();
    }
    if (performance.now() > until) return null;
  }
  return null;
}

function readLink(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch {
    return null;
  }
}

/** The name of a process's program; a process may call itself anything, and Node calls itself `node-MainThread`. */
function processName(proc: string, pid: number): string {
  const program = readLink(`${proc}/${pid}/exe`);
  if (program !== null) return basename(program).replace(/ \(deleted\)$/, "");
  return readFileSync(`${proc}/${pid}/comm`, "utf8").trim();
}

function userName(passwd: string, uid: number): string {
  try {
    const users = readFileSync(passwd, "utf8").split("\n");
    const fields = users.map((line) => line.split(":")).find(([, , id]) => id === String(uid));
    return fields === undefined ? String(uid) : printable(fields[0]);
  } catch {
    return String(uid);
  }
}

/** Another process chose it, and it goes to a terminal. */
function printable(name: string): string {
  return name.replace(/[^\x20-\x7e]/g, "?");
}

/** An address that a process holds, in the words of lsof. */
interface LsofSocket {
  readonly pid: number;
  readonly command: string;
  /** `*:80`, `127.0.0.1:80`, or `[::1]:80`, with `->` and the peer behind that of a connection. */
  readonly name: string;
}

/** Reads what `lsof -F pcn` writes: one field to a line, those of a process before those of its files. */
export function parseLsof(output: string): LsofSocket[] {
  const sockets: LsofSocket[] = [];
  let pid = 0;
  let command = "";
  for (const line of output.split("\n")) {
    const value = line.slice(1);
    if (line.startsWith("p")) [pid, command] = [Number(value), ""];
    else if (line.startsWith("c")) command = value;
    else if (line.startsWith("n")) sockets.push({ pid, command, name: value });
  }
  return sockets;
}

async function findByLsof(
  protocol: "tcp" | "udp",
  { host, port }: ListenAddress,
  { lsof = "lsof", timeout = 2000 }: PortHolderOptions,
): Promise<string | null> {
  const selection = protocol === "tcp" ? ["-iTCP", "-sTCP:LISTEN"] : ["-iUDP"];
  selection[0] += `:${port}`;
  const { execFile } = await import("node:child_process");
  const { stdout } = await promisify(execFile)(lsof, ["-nP", ...selection, "-Fpcn"], { timeout });
  const wanted = canonicalHost(host);
  const [held] = parseLsof(stdout)
    .map((socket) => ({ ...socket, surety: lsofConflict(wanted, port, socket.name) }))
    .filter(({ surety }) => surety > 0)
    .sort((one, other) => other.surety - one.surety);
  if (held === undefined) return null;
  if (held.pid === process.pid) return `hostd itself (process ${held.pid})`;
  return `${printable(held.command)} (process ${held.pid})`;
}

function lsofConflict(wanted: string, port: number, name: string): number {
  const [local] = name.split("->");
  const colon = local.lastIndexOf(":");
  if (local.slice(colon + 1) !== String(port)) return 0;
  const host = local.slice(0, colon);
  // lsof writes every address of either family so.
  return host === "*" ? 2 : conflict(wanted, canonicalHost(host.replace(/^\[|\]$/g, "")));
}
