import { isIPv6 } from "node:net";
import { Address4, Address6 } from "ip-address";
import { isHostName, normalizeName, parseIpLiteral } from "./host-names.ts";
import type { Network } from "./network-table.ts";

/** The longest entry, in characters: a name with what may be around it. */
const MAX_ENTRY = 300;

/** What an entry of an exclusion list means. A port of null is any port. */
export type ExclusionRule =
  | { readonly kind: "all"; readonly port: number | null }
  /** Names without a dot. */
  | { readonly kind: "local" }
  /** Understood, but there is nothing to do. */
  | { readonly kind: "nothing" }
  | { readonly kind: "name"; readonly form: "bare" | "dotted"; readonly name: string; readonly port: number | null }
  | { readonly kind: "network"; readonly network: Network; readonly port: number | null }
  /** A pattern for names, or for IPv4 addresses in dotted decimal. */
  | {
      readonly kind: "glob";
      readonly of: "names" | "addresses";
      readonly pattern: string;
      readonly port: number | null;
    };

/** An entry that means nothing. */
export class EntryError extends Error {
  override readonly name = "EntryError";
}

/**
 * Reads an entry of an exclusion list.
 *
 * @throws {EntryError} when it is none; the message is the reason.
 */
export function parseExclusion(entry: string): ExclusionRule {
  if (entry.length > MAX_ENTRY) throw new EntryError(`it is longer than ${MAX_ENTRY} characters`);
  if (entry.startsWith("<")) return parseToken(entry);
  if (entry.includes("://")) throw new EntryError("it is a URL; what is allowed is a host, or a host and a port");
  if (entry.includes("/")) return { kind: "network", network: parseNetwork(entry), port: null };
  const { host, port } = splitPort(entry);
  return parseHost(host, port);
}

/** Reads what Windows has for what no host can be called. */
function parseToken(entry: string): ExclusionRule {
  switch (entry.toLowerCase()) {
    case "<local>":
      return { kind: "local" };
    case "<-loopback>":
      // It takes back that loopback is excluded without an entry, which it is not here.
      return { kind: "nothing" };
    default:
      throw new EntryError("of these only <local> and <-loopback> are known");
  }
}

function parseNetwork(entry: string): Network {
  const slash = entry.indexOf("/");
  const address = entry.slice(0, slash);
  const length = entry.slice(slash + 1);
  const isIpv4 = !address.includes(":");
  // macOS writes as many octets as it needs: 169.254/16.
  const full = isIpv4 ? padOctets(address) : address;
  if (full.includes("%") || parseIpLiteral(full) === null) throw new EntryError("what is before the / is no address");
  const width = isIpv4 ? 32 : 128;
  if (!/^[0-9]{1,3}$/.test(length) || Number(length) > width) {
    throw new EntryError(`what is after the / is no number from 0 to ${width}`);
  }
  const prefixLength = Number(length);
  const parsed = isIpv4 ? new Address4(`${full}/${prefixLength}`) : new Address6(`${full}/${prefixLength}`);
  const start = parsed.startAddress().bigInt();
  // A network of IPv4-mapped addresses is one of IPv4 addresses; these 96 bits are in its prefix, or they were not all there.
  return width === 128 && start >> 32n === 0xffffn
    ? { width: 32, prefixLength: prefixLength - 96, start: start & 0xffff_ffffn }
    : { width, prefixLength, start };
}

function padOctets(text: string): string {
  const count = text.split(".").length;
  return count < 4 ? text + ".0".repeat(4 - count) : text;
}

/** A host, and a port after it where there is one. IPv6 addresses stand in brackets before a port. */
function splitPort(entry: string): { readonly host: string; readonly port: number | null } {
  const bracketed = /^\[([^\]]*)\](?::(.*))?$/.exec(entry);
  if (bracketed !== null) {
    if (!isIPv6(bracketed[1])) throw new EntryError("what is in brackets is no IPv6 address");
    return { host: bracketed[1], port: bracketed[2] === undefined ? null : parsePort(bracketed[2]) };
  }
  const colon = entry.indexOf(":");
  if (colon === -1 || entry.includes(":", colon + 1)) return { host: entry, port: null };
  return { host: entry.slice(0, colon), port: parsePort(entry.slice(colon + 1)) };
}

function parsePort(text: string): number {
  if (!/^[0-9]{1,5}$/.test(text) || Number(text) < 1 || Number(text) > 0xffff) {
    throw new EntryError("the port is no number from 1 to 65535");
  }
  return Number(text);
}

function parseHost(text: string, port: number | null): ExclusionRule {
  if (text.split(".").some((label) => label.includes("*") && /[^ -~]/.test(label))) {
    throw new EntryError("a label with a * in it can have ASCII characters only");
  }
  const host = normalizeName(text);
  const literal = parseIpLiteral(host);
  if (literal !== null) {
    const { width, value } = literal;
    return { kind: "network", network: { width, prefixLength: width, start: value }, port };
  }
  if (/^\*+$/.test(text)) return { kind: "all", port };
  // Not everything: it would be below the root.
  if (/^\*+$/.test(host)) throw new EntryError("there is no host after the *");
  // Patterns of addresses first: of `*.1` the rest is no name.
  if (/^[0-9.*]*\*[0-9.*]*$/.test(host) && /[0-9]/.test(host)) return parseAddressGlob(host, port);
  const dotted = /^\*?\.(.*)$/s.exec(host);
  const name = dotted === null ? host : dotted[1];
  if (name.includes("*")) return parseNameGlob(dotted === null ? host : `*.${name}`, port);
  if (!isHostName(name)) throw new EntryError(whyNoName(name));
  return { kind: "name", form: dotted === null ? "bare" : "dotted", name, port };
}

/** A pattern of digits, dots and stars is for addresses, and has no name like `10.example` in it. */
function parseAddressGlob(pattern: string, port: number | null): ExclusionRule {
  if (pattern.includes("..") || pattern.split(".").length > 4) throw new EntryError("no address is like that");
  const octets = /^((?:[0-9]+\.)+)\*(?:\.\*)*$/.exec(pattern);
  if (octets === null) return { kind: "glob", of: "addresses", pattern, port };
  const written = octets[1].split(".").length - 1;
  const start = parseIpLiteral(padOctets(octets[1].slice(0, -1)));
  if (start === null) throw new EntryError("no address is like that");
  return { kind: "network", network: { width: 32, prefixLength: 8 * written, start: start.value }, port };
}

function parseNameGlob(pattern: string, port: number | null): ExclusionRule {
  if (/[^a-z0-9_.*-]/.test(pattern) || pattern.includes("..")) throw new EntryError(whyNoName(pattern));
  return { kind: "glob", of: "names", pattern, port };
}

function whyNoName(name: string): string {
  if (name === "") return "there is no host, or none that IDNA takes";
  if (name.includes("..") || name.startsWith(".") || name.endsWith(".")) return "it has an empty label";
  if (name.includes(":")) return "it is no IPv6 address; a port comes after an address in brackets";
  if (/^[0-9.]+$/.test(name)) return "it is no address; networks are written like 10.0.0.0/8, 10/8 or 10.*";
  if (/^[0-9.]+-[0-9.]+$/.test(name))
    return "a range of addresses is not understood; networks are written like 10.0.0.0/8";
  return "it is neither a name nor an address";
}
