import { closeSync } from "node:fs";
import { getSystemErrorName } from "node:util";
import { loadSystemCalls, type SystemCalls, type SystemCallsUnavailable } from "./system-calls.ts";

const AF_INET = 2;
const SOCK_DGRAM = 2;
const IPPROTO_ICMP = 1;

/** <asm-generic/fcntl.h>; the same on every architecture that Node supports on Linux. */
const LINUX_SOCK_NONBLOCK = 0o4000;
const LINUX_SOCK_CLOEXEC = 0o2000000;

/** <sys/fcntl.h> of Darwin. */
const DARWIN_F_SETFD = 2;
const DARWIN_F_SETFL = 4;
const DARWIN_FD_CLOEXEC = 1;
const DARWIN_O_NONBLOCK = 4;

/** An ICMP echo socket, or why there is none. */
export type PingSocketResult =
  | { readonly descriptor: number }
  | {
      readonly descriptor: null;
      /** `errno` by name when the kernel refused; null when the call could not be made at all. */
      readonly code: string | null;
      /** What happened and what to do about it: a sentence for the operator's log. */
      readonly reason: string;
    };

export interface PingSocketOptions {
  /** For tests; {@link loadSystemCalls} unless given. */
  readonly systemCalls?: SystemCalls | SystemCallsUnavailable;
  /** For tests; `process.platform` unless given. */
  readonly platform?: NodeJS.Platform;
}

/**
 * Opens a datagram socket for ICMP echo (icmp(7)), non-blocking and closed on exec. The caller owns the descriptor;
 * `dgram.Socket.bind({ fd })` takes it over.
 *
 * A datagram sent there is an ICMP message from its type on, and only echo requests are allowed. On Linux the kernel
 * fills in identifier and checksum and delivers the replies to that identifier, from their type on. On macOS identifier
 * and checksum are the caller's, and a datagram received begins with its IP header.
 *
 * Linux permits this to the groups in the sysctl `net.ipv4.ping_group_range`. There is no second way through a raw
 * socket: libuv, and so dgram, takes over no descriptor of that type.
 */
export function openPingSocket(options: PingSocketOptions = {}): PingSocketResult {
  const calls = options.systemCalls ?? loadSystemCalls();
  if ("reason" in calls) return { descriptor: null, code: null, reason: `no ICMP echo socket: ${calls.reason}` };
  const onLinux = (options.platform ?? process.platform) === "linux";
  const flags = onLinux ? LINUX_SOCK_NONBLOCK | LINUX_SOCK_CLOEXEC : 0;
  const descriptor = calls.socket(AF_INET, SOCK_DGRAM | flags, IPPROTO_ICMP);
  if (descriptor < 0) return refusal("socket", calls.errno());
  if (!onLinux) {
    const failed =
      calls.fcntl(descriptor, DARWIN_F_SETFD, DARWIN_FD_CLOEXEC) < 0 ||
      calls.fcntl(descriptor, DARWIN_F_SETFL, DARWIN_O_NONBLOCK) < 0;
    if (failed) {
      const errno = calls.errno();
      closeSync(descriptor);
      return refusal("fcntl", errno);
    }
  }
  return { descriptor };
}

function refusal(call: string, errno: number): PingSocketResult {
  const code = errno > 0 ? getSystemErrorName(-errno) : "unknown";
  const advice =
    code === "EACCES" || code === "EPERM"
      ? "; the kernel allows it to the groups in a sysctl: " +
        'sysctl -w net.ipv4.ping_group_range="0 2147483647" allows it to all'
      : "";
  return { descriptor: null, code, reason: `no ICMP echo socket: ${call} failed with ${code}${advice}` };
}
