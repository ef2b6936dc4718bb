import { isIP, isIPv6 } from "node:net";

/** The address of a name server. An IPv6 address may carry its zone (`fe80::1%eth0`). */
export interface ServerAddress {
  readonly address: string;
  readonly family: 4 | 6;
  readonly port: number;
}

const DNS_PORT = 53;

/**
 * Reads `IPV4`, `IPV4:PORT`, `IPV6` or `[IPV6]:PORT`; the port is 53 when it is not given.
 *
 * @throws {RangeError} when `text` is anything else.
 */
export function parseServerAddress(text: string): ServerAddress {
  const match = isIPv6(text) ? null : /^(?:\[([^[\]]+)\]|([^[\]:]+))(?::([1-9][0-9]{0,4}))?$/.exec(text);
  const address = match === null ? text : (match[1] ?? match[2]);
  const port = match?.[3] === undefined ? DNS_PORT : Number(match[3]);
  const family = isIP(address);
  if ((family !== 4 && family !== 6) || port > 65_535 || (match?.[1] !== undefined && family !== 6)) {
    throw new RangeError(
      `${JSON.stringify(text)} is not the address of a name server: ` +
        "IPV4, IPV4:PORT, IPV6 or [IPV6]:PORT with a port from 1 to 65535 is",
    );
  }
  return { address, family, port };
}

/** Writes the address of a server as {@link parseServerAddress} reads it, without the port when it is 53. */
export function formatServerAddress({ address, family, port }: ServerAddress): string {
  if (port === DNS_PORT) return address;
  return family === 6 ? `[${address}]:${port}` : `${address}:${port}`;
}
