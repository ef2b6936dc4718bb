import { closeSync, constants, openSync } from "node:fs";
import { getSystemErrorName } from "node:util";
import { loadSystemCalls, type SystemCalls, type SystemCallsUnavailable } from "./system-calls.ts";

/** <linux/if_tun.h>: `_IOW('T', 202, int)`, of which PowerPC has an encoding of its own. */
const TUNSETIFF = process.arch === "ppc64" ? 0x800454ca : 0x400454ca;
const IFF_TAP = 0x0002;
/** Without it four bytes of flags and EtherType go before each frame. */
const IFF_NO_PI = 0x1000;

/** `struct ifreq`: the name with its terminating zero, then a union that begins with the flags. */
const IFNAMSIZ = 16;
const IFREQ_SIZE = 40;

/** A TAP device, or why there is none. */
export type TapDeviceResult =
  | { readonly descriptor: number }
  | {
      readonly descriptor: null;
      /** `errno` by name when the kernel refused; null when the call could not be made at all. */
      readonly code: string | null;
      /** What happened and what to do about it: a sentence for the operator's log. */
      readonly reason: string;
    };

export interface TapDeviceOptions {
  /** For tests; {@link loadSystemCalls} unless given. */
  readonly systemCalls?: SystemCalls | SystemCallsUnavailable;
  /** For tests; `/dev/net/tun` unless given. */
  readonly cloneDevice?: string;
  /** For tests; `process.platform` unless given. */
  readonly platform?: NodeJS.Platform;
}

/**
 * Opens a TAP device of Linux in the network namespace of this process, making it unless it is there. Takes
 * CAP_NET_ADMIN, or a device that was made for this user.
 *
 * The descriptor is in blocking mode and closed on exec; the caller owns it. Each read takes one Ethernet frame that the
 * kernel sends, without its frame check sequence, and each write hands the kernel one (Linux's
 * Documentation/networking/tuntap.rst). A device made here goes when the descriptor is closed; it begins down, with an
 * MTU of 1500. libuv cannot poll the descriptor for a stream, so `fs.read` it.
 *
 * @param name - the interface's name: 1 to 15 bytes, without slash, colon, percent sign or white space
 * @throws RangeError if it is another name
 */
export function openTapDevice(name: string, options: TapDeviceOptions = {}): TapDeviceResult {
  if (!/^[!-~]{1,15}$/.test(name) || /[/:%]/.test(name) || name === "." || name === "..") {
    throw new RangeError(
      `TAP device "${name}": a name has 1 to ${IFNAMSIZ - 1} visible ASCII characters, without "/", ":" or "%"`,
    );
  }
  const platform = options.platform ?? process.platform;
  if (platform !== "linux") {
    return { descriptor: null, code: null, reason: `no TAP device: implemented for linux, this is ${platform}` };
  }
  const calls = options.systemCalls ?? loadSystemCalls();
  if ("reason" in calls) return { descriptor: null, code: null, reason: `no TAP device: ${calls.reason}` };
  const cloneDevice = options.cloneDevice ?? "/dev/net/tun";
  let descriptor: number;
  try {
    descriptor = openSync(cloneDevice, constants.O_RDWR);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "unknown";
    return refusal(`open of ${cloneDevice}`, code);
  }
  const request = new Uint8Array(IFREQ_SIZE);
  new TextEncoder().encodeInto(name, request);
  new Uint16Array(request.buffer)[IFNAMSIZ / 2] = IFF_TAP | IFF_NO_PI;
  if (calls.ioctl(descriptor, TUNSETIFF, request) < 0) {
    const errno = calls.errno();
    closeSync(descriptor);
    return refusal(`TUNSETIFF of "${name}"`, errno > 0 ? getSystemErrorName(-errno) : "unknown");
  }
  return { descriptor };
}

/** What to do about the refusals that an operator can meet. */
const ADVICE: Readonly<Record<string, string>> = {
  EPERM: "; it takes CAP_NET_ADMIN, or a device made for this user: ip tuntap add mode tap user NAME",
  EBUSY: "; another process has the device open",
  EINVAL: "; there is an interface of that name that is no such TAP device",
  ENOENT: "; the kernel has no TUN driver loaded: modprobe tun",
  ENODEV: "; the kernel has no TUN driver loaded: modprobe tun",
};

function refusal(call: string, code: string): TapDeviceResult {
  return { descriptor: null, code, reason: `no TAP device: ${call} failed with ${code}${ADVICE[code] ?? ""}` };
}
