import { isIP, isIPv6, SocketAddress } from "node:net";

/**
 * Writes an address of the host in the one way in which it can be compared: IPv6 in lower case and compressed (RFC 5952).
 * What is no address is empty, which is how the engine takes it too.
 */
export function canonicalAddress(address: string): string {
  if (isIP(address) === 0) return "";
  return isIPv6(address) ? new SocketAddress({ address, family: "ipv6" }).address : address;
}

/** Whether it is every address of its family. */
export function isUnspecified(address: string): boolean {
  return address === "0.0.0.0" || address === "::";
}

/** Whether two sockets that listen on the same port of these addresses would be in each other's way. */
export function overlap(one: string, other: string): boolean {
  if (one === other || one === "" || other === "") return true;
  if (isIPv6(one) !== isIPv6(other)) return false;
  return isUnspecified(one) || isUnspecified(other);
}

/** Writes an address and a port on it. */
export function formatAddress(address: string, port: number): string {
  return isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}`;
}
