import type { CloseReason } from "@hostd/stack";

/** Why a stream to a Unix socket in the guest could not be opened, or ended before its time. */
export class TunnelError extends Error {
  /**
   * `unreachable`: the SSH server does not answer or went away, and may come back. `refused`: it will go on like this
   * until somebody changes something. `detached`: the VM is gone. `aborted`: hostd itself ended it.
   */
  readonly reason: CloseReason;

  constructor(reason: "unreachable" | "refused" | "detached" | "aborted", message: string) {
    super(message);
    this.name = "TunnelError";
    this.reason = reason;
  }
}

/** The most characters of a guest's text that are shown. */
const MAX_TEXT = 200;

/** A text of the guest as one line of printable ASCII, because it may hold anything, such as a terminal's controls. */
export function printable(text: string): string {
  const start = text.slice(0, MAX_TEXT).replace(/[^\x20-\x7e]/g, "?");
  return text.length > MAX_TEXT ? `${start}...` : start;
}
