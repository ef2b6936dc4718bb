import type { LookupOneOptions } from "node:dns";

/**
 * The `lookup` of datagram sockets that are only ever given addresses: it answers at once, so that `bind`, `connect`
 * and `send` act before they return. Node's own waits for the next tick.
 */
export function literalLookup(
  address: string,
  _options: LookupOneOptions,
  callback: (error: null, address: string, family: number) => void,
): void {
  callback(null, address, 4);
}
