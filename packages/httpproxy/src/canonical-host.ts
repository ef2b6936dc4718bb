import { isIP } from "node:net";

/**
 * A host as the address that it is, where it ends in a number: `2130706433` and `127.1` are 127.0.0.1 to browsers and C
 * libraries (WHATWG URL, 3.5), and are no names. Another host as it is.
 *
 * @returns null for one that ends in a number and is no address, which is nothing at all.
 */
export function canonicalHost(host: string): string | null {
  if (isIP(host) !== 0 || !/(?:^|\.)(?:\d+|0x[\da-f]*)\.?$/i.test(host)) return host;
  return URL.parse(`http://${host}/`)?.hostname ?? null;
}
