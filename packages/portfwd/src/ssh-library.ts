import type { ClientChannel, Client as SshClient } from "ssh2";

/** The SSH library. It takes 50 ms and 15 MB, so it is loaded when the first tunnel is opened. */
export async function loadSshLibrary(): Promise<typeof import("ssh2")> {
  return (await import("ssh2")).default;
}

/**
 * What is read of the library's own fields. It gives no other way to see these, and without them a guest could have hostd
 * use up its memory or its processor. Its version is pinned, and tests of each show when a later one has them no more.
 */
interface ClientFields {
  /** What waits for the answer to a global request (RFC 4254, 4). */
  readonly _callbacks: readonly unknown[];
  /** This side's part of a key exchange (RFC 4253, 9) as long as one is under way. */
  readonly _protocol: { readonly _kexinit: Buffer | undefined };
}

interface ChannelFields {
  readonly outgoing: { readonly packetSize: number };
}

/** Whether keys are exchanged anew, while which the library keeps all that is to be sent in memory. */
export function isExchangingKeys(client: SshClient): boolean {
  return (client as unknown as ClientFields)._protocol._kexinit !== undefined;
}

/** Global requests that the server has not answered. */
export function countRequests(client: SshClient): number {
  return (client as unknown as ClientFields)._callbacks.length;
}

/** The most bytes that the server takes in one message of the channel (RFC 4254, 5.1). */
export function largestMessage(channel: ClientChannel): number {
  return (channel as unknown as ChannelFields).outgoing.packetSize;
}
