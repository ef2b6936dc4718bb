/**
 * Readers of single configuration values. Each takes the text as written and returns the value, or throws a
 * {@link ValueError} whose message is the reason alone: the caller knows the key and what is allowed there.
 */
import { parseServerAddress, type ServerAddress } from "@hostd/dns";
import { formatIpv4, formatMac, type Ipv4, type Ipv4Network, type Mac, parseIpv4, parseMac } from "@hostd/stack";
import { Address4, Address6 } from "ip-address";

/** A value that does not fit. The message is the reason, or empty where "is not X" says it all. */
export class ValueError extends Error {
  override readonly name = "ValueError";
}

/** A host name or address, and a port. `bracketed` says that the host stood in square brackets. */
interface HostPort {
  readonly host: string;
  readonly bracketed: boolean;
  readonly port: number;
}

/** The shortest and longest prefix a subnet may have: a /29 has room for the gateway, the host and three guests. */
export const SUBNET_PREFIX = { min: 8, max: 29 } as const;

/** Networks no guest can live in: "this network", loopback, multicast, reserved (RFC 6890). */
const UNUSABLE_NETWORKS = ["0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4"];

const PORT = /^(?:0|[1-9][0-9]{0,4})$/;
const LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/i;

/** Reads an IPv4 address in dotted decimal. */
export function readIpv4(text: string): Ipv4 {
  try {
    return parseIpv4(text);
  } catch {
    throw new ValueError("");
  }
}

/** Reads a network in CIDR form whose host bits are zero. */
export function readSubnet(text: string): Ipv4Network {
  let parsed: Address4;
  try {
    parsed = new Address4(text);
  } catch {
    throw new ValueError(text.includes(":") ? "only IPv4 is supported" : "");
  }
  if (parsed.parsedSubnet === "") throw new ValueError("the prefix length is missing");
  const prefixLength = parsed.subnetMask;
  if (prefixLength < SUBNET_PREFIX.min || prefixLength > SUBNET_PREFIX.max) {
    throw new ValueError(`the prefix length is ${prefixLength}`);
  }
  const start = parsed.startAddress().correctForm();
  if (start !== parsed.correctForm()) {
    throw new ValueError(`host bits are set; the network is ${start}/${prefixLength}`);
  }
  for (const network of UNUSABLE_NETWORKS) {
    if (parsed.isInSubnet(new Address4(network))) throw new ValueError(`no host can have an address of ${network}`);
  }
  return { address: parseIpv4(start), prefixLength };
}

/** Writes a network in CIDR form. */
export function formatNetwork(network: Ipv4Network): string {
  return `${formatIpv4(network.address)}/${network.prefixLength}`;
}

/** Reads the MAC address of one interface: not a group address (IEEE 802, the lowest bit of the first byte), not zero. */
export function readMac(text: string): Mac {
  let mac: Mac;
  try {
    mac = parseMac(text);
  } catch {
    throw new ValueError("");
  }
  if ((mac[0] & 1) === 1) throw new ValueError("it is a group address: the first byte is odd");
  if (mac.every((byte) => byte === 0)) throw new ValueError("it is all zeros");
  return mac;
}

/** The canonical text of a MAC address, by which two spellings compare equal. */
export function macText(mac: Mac): string {
  return formatMac(mac);
}

/** Reads an IPv6 address; returns it in canonical form with its zone, or undefined when `text` is none. */
export function readIpv6(text: string): string | undefined {
  try {
    const parsed = new Address6(text);
    return parsed.parsedSubnet === "" ? parsed.correctForm() + parsed.zone : undefined;
  } catch {
    return undefined;
  }
}

/** Reads `HOST:PORT` or `[IPV6]:PORT`; the host may be empty. */
export function readHostPort(text: string): HostPort {
  const { host, bracketed, port } = splitHostPort(text);
  if (!PORT.test(port) || Number(port) > 65535) throw new ValueError(`the port is ${JSON.stringify(port)}`);
  return { host, bracketed, port: Number(port) };
}

/** Takes `HOST:PORT` or `[IPV6]:PORT` apart; the host may be empty, and the port is left as it is written. */
export function splitHostPort(text: string): { host: string; bracketed: boolean; port: string } {
  const match = /^(?:\[([^[\]]*)\]|([^[\]:]*)):([^:]*)$/.exec(text);
  if (match === null) {
    const missing = text.includes("[") || !/:.*:/.test(text) ? "the port is missing" : "an IPv6 address needs [ ]";
    throw new ValueError(missing);
  }
  const [, bracketed, plain, port] = match;
  return { host: bracketed ?? plain, bracketed: bracketed !== undefined, port };
}

/** Reads the address of a name server: `IPV4`, `IPV4:PORT`, `IPV6` or `[IPV6]:PORT`; the port is 53 if not given. */
export function readServer(text: string): ServerAddress {
  try {
    return parseServerAddress(text);
  } catch {
    throw new ValueError("");
  }
}

/** Whether `text` is an IPv4 address in dotted decimal. */
export function isIpv4(text: string): boolean {
  try {
    parseIpv4(text);
    return true;
  } catch {
    return false;
  }
}

/**
 * Reads a domain name (RFC 1035, 2.3.4: labels of 1 to 63 characters, 253 or `longest` in all), with `_` allowed as in RFC 2782;
 * a dot at the end is dropped.
 */
export function readDomainName(text: string, longest = 253): string {
  const name = text.endsWith(".") ? text.slice(0, -1) : text;
  if (name === "") throw new ValueError("it is empty");
  if (name.length > longest) throw new ValueError(`it has ${name.length} characters; ${longest} is the most`);
  for (const label of name.split(".")) {
    if (label.length > 63) throw new ValueError(`the label ${JSON.stringify(label)} has more than 63 characters`);
    if (!LABEL.test(label)) throw new ValueError(`the label ${JSON.stringify(label)} does not fit`);
  }
  return name;
}

/** Reads the name of a record: relative to its zone, `@` for the zone itself, with `*` as the first label a wildcard. */
export function readRecordName(text: string): string {
  if (text === "@" || text === "*") return text;
  return text.startsWith("*.") ? `*.${readDomainName(text.slice(2))}` : readDomainName(text);
}

/** Reads the absolute name that a record leads to; `.` for the root. */
export function readTargetName(text: string): string {
  return text === "." ? text : readDomainName(text);
}

/** Reads an IPv4 address, or an IPv6 address without a zone; returns it in canonical form. */
export function readAddress(text: string): string {
  const address = isIpv4(text) ? text : readIpv6(text);
  if (address === undefined || address.includes("%")) throw new ValueError("");
  return address;
}

/** Reads the path of a file, or `none` for none. */
export function readPathOrNone(text: string): string | null {
  return text === "none" ? null : readPath(text);
}

/** Reads an absolute path, of whatever machine. */
export function readAbsolutePath(text: string): string {
  if (!text.startsWith("/")) throw new ValueError("it is not absolute");
  return readPath(text);
}

/** Reads the path of a file or folder. */
export function readPath(text: string): string {
  if (text === "") throw new ValueError("it is empty");
  if (text.includes("\0")) throw new ValueError("it holds a NUL character");
  return text;
}
