import type { Socket } from "node:net";
import { descriptorOf } from "./direct-io.ts";
import { loadSystemCalls } from "./system-calls.ts";

/** The option of the kernel's buffer for what was written and not read (socket(7), SO_SNDBUF), by platform. */
const SEND_BUFFER: Partial<Record<NodeJS.Platform, { readonly level: number; readonly name: number }>> = {
  linux: { level: 1, name: 7 },
  darwin: { level: 0xffff, name: 0x1001 },
};

/**
 * Asks the kernel to take so many bytes from a connected socket before the other side reads, which Node has no call for.
 * The kernel keeps to a limit of its own (net.core.wmem_max), silently. The first call loads koffi, some 10 ms.
 *
 * @returns whether the kernel was asked: false where there are no system calls, or the socket is closed.
 */
export function setSendBuffer(socket: Socket, bytes: number): boolean {
  const option = SEND_BUFFER[process.platform];
  const descriptor = descriptorOf(socket);
  if (option === undefined || descriptor < 0) return false;
  const calls = loadSystemCalls();
  if ("reason" in calls) return false;
  const value = new Uint8Array(Int32Array.of(bytes).buffer);
  return calls.setsockopt(descriptor, option.level, option.name, value, value.length) === 0;
}
