/** Published ports: where this host listens, and where in the VM that leads, as text. */
import type { GuestTarget, ListenAddress } from "@hostd/portfwd";
import { isLoopback, isMulticast } from "@hostd/stack";
import { isIpv4, readHostPort, readIpv4, readIpv6, ValueError } from "./values.ts";

/** Where a port is listened on when no address is given: this machine only. */
const DEFAULT_HOST = "127.0.0.1";

/** How a published port is written on the command line, for messages. */
export const PUBLISH_FORM = "[address:]port:[guest-address:]guest-port";

/**
 * Reads where this host listens: `PORT`, `IPV4:PORT` or `[IPV6]:PORT`.
 *
 * @throws {ValueError} with the reason.
 */
export function readListenAddress(text: string): ListenAddress {
  const { host, bracketed, port } = readHostPort(isPort(text) ? `${DEFAULT_HOST}:${text}` : text);
  if (bracketed) {
    const address = readIpv6(host);
    if (address === undefined) throw new ValueError(`${JSON.stringify(host)} is not an IPv6 address`);
    return { host: address, port };
  }
  if (host === "") {
    throw new ValueError("the address is missing: 127.0.0.1 is this machine only, 0.0.0.0 is every interface");
  }
  if (!isIpv4(host)) throw new ValueError(`${JSON.stringify(host)} is not an IP address`);
  return { host, port };
}

/**
 * Reads where a published port leads: `PORT` of the VM, or `IPV4:PORT` for an address of it or behind it.
 *
 * @throws {ValueError} with the reason.
 */
export function readGuestTarget(text: string): GuestTarget {
  const { host, bracketed, port } = readHostPort(isPort(text) ? `:${text}` : text);
  if (port === 0) throw new ValueError("the port is 0");
  if (isPort(text)) return { address: null, port };
  if (bracketed) throw new ValueError("only IPv4 is supported in the VM");
  if (!isIpv4(host)) throw new ValueError(`${JSON.stringify(host)} is not an IPv4 address`);
  const address = readIpv4(host);
  if (isLoopback(address)) throw new ValueError("a VM is not reached at its loopback address: leave the address out");
  if (address >>> 24 === 0 || isMulticast(address) || address >>> 28 === 15) {
    throw new ValueError(`no VM can have the address ${host}`);
  }
  return { address, port };
}

/**
 * Reads a published port as it is written on the command line, in the manner of `docker run -p`.
 *
 * @returns what the configuration file says for it.
 * @throws {ValueError} with the reason.
 */
export function readPublishedPort(text: string): { readonly listen: string; readonly to: string } {
  // Colons in brackets belong to an IPv6 address.
  const parts = text.split(/:(?![^[]*\])/);
  if (parts.length < 2) throw new ValueError("the port of the guest is missing");
  if (parts.length > 4) throw new ValueError("it has too many parts; an IPv6 address needs [ ]");
  const addresses = parts.length - 2;
  const hasHost = addresses === 2 || (addresses === 1 && !/^[0-9]+$/.test(parts[0]));
  const listen = parts.slice(0, hasHost ? 2 : 1).join(":");
  const to = parts.slice(hasHost ? 2 : 1).join(":");
  readListenAddress(listen);
  readGuestTarget(to);
  return { listen, to };
}

/** Whether `text` can only be meant as a port. */
function isPort(text: string): boolean {
  return text !== "" && !text.includes(":") && !isIpv4(text);
}
