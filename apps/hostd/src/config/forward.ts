/** What of this host leads into the VM: where this host listens, and where in the VM that leads, as text. */
import {
  type BindRange,
  type ForwardRule,
  formatListen,
  formatTarget,
  type GuestSocket,
  isGuestSocket,
  isSocketPath,
  type SocketPath,
} from "@hostd/portfwd";
import { type Ipv4, isLoopback, isMulticast } from "@hostd/stack";
import { readUnixListener } from "./endpoint.ts";
import { isIpv4, readHostPort, readIpv4, readIpv6, splitHostPort, ValueError } from "./values.ts";

/** Ports one after the other; of one alone both ends are the same. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** Addresses and ports of the host. */
export interface ListenPorts {
  /** As {@link ForwardRule} has it, empty for every address. */
  readonly host: string;
  readonly ports: PortRange;
}

/** Ports in the guest. */
export interface GuestPorts {
  /** Null for the address of the VM that is attached. */
  readonly address: Ipv4 | null;
  readonly ports: PortRange;
}

/** What the configuration says of one or several ports, each of which is a {@link ForwardRule}. */
export interface ForwardSpec {
  readonly protocol: "tcp" | "udp";
  readonly listen: ListenPorts | SocketPath;
  readonly to: GuestPorts | GuestSocket;
}

/** A socket in the guest as it is written, without the key that opens it. */
export type GuestSocketPath = Omit<GuestSocket, "identity" | "passphrase" | "knownHosts">;

/** The most ports of one forward. */
export const MAX_RANGE = 4096;

/** How a published port is written on the command line, for messages. */
export const PUBLISH_FORM = "[address:]port[-port]:[guest-address:]guest-port[-port][/udp]";

/** The word for every address of the host, IPv4 and IPv6. */
const EVERY_ADDRESS = "*";
const SSH_PORT = 22;

/**
 * Reads where this host listens: `PORT`, `IPV4:PORT`, `[IPV6]:PORT` or `*:PORT`, with a range of ports as `FIRST-LAST`; or
 * `unix:///PATH`.
 *
 * @returns a host that is undefined for the default address.
 * @throws {ValueError} with the reason.
 */
export function readListen(text: string): { host: string | undefined; ports: PortRange } | SocketPath {
  if (text.startsWith("/") || text.startsWith("unix:")) return { path: readUnixListener(text).path };
  if (isPorts(text)) return { host: undefined, ports: readForwardPorts(text) };
  const { host, bracketed, port } = splitHostPort(text);
  const ports = readForwardPorts(port);
  if (bracketed) {
    const address = readIpv6(host);
    if (address === undefined) throw new ValueError(`${JSON.stringify(host)} is not an IPv6 address`);
    return { host: address, ports };
  }
  if (host === EVERY_ADDRESS) return { host: "", ports };
  if (host === "") {
    throw new ValueError("the address is missing: 127.0.0.1 is this machine only, * is every interface");
  }
  if (!isIpv4(host)) throw new ValueError(`${JSON.stringify(host)} is not an IP address`);
  return { host, ports };
}

/**
 * Reads where that leads: `PORT` of the VM, or `IPV4:PORT` for an address of it or behind it, with ranges as
 * `FIRST-LAST`; or `ssh://USER@vm/PATH` for a Unix socket in the guest, `vm` being the VM or an IPv4 address.
 *
 * @throws {ValueError} with the reason.
 */
export function readTarget(text: string): GuestPorts | GuestSocketPath {
  if (text.startsWith("ssh:")) return readGuestSocket(text);
  if (isPorts(text)) return { address: null, ports: readGuestPorts(text) };
  const { host, bracketed, port } = splitHostPort(text);
  const ports = readGuestPorts(port);
  if (bracketed) throw new ValueError("only IPv4 is supported in the VM");
  return { address: readGuestAddress(host), ports };
}

/**
 * Reads a published port as it is written on the command line, in the manner of `docker run -p`.
 *
 * @returns what the configuration file says for it.
 * @throws {ValueError} with the reason.
 */
export function readPublishedPort(written: string): { listen: string; to: string; protocol?: "tcp" | "udp" } {
  const [, text, protocol] = /^(.*?)(?:\/(tcp|udp))?$/s.exec(written) ?? [];
  const socket = text.indexOf(":ssh:");
  if (socket >= 0) {
    const [listen, to] = [text.slice(0, socket), text.slice(socket + 1)];
    const reason = whyMismatched(readListen(listen), readTarget(to), protocol);
    if (reason !== undefined) throw new ValueError(reason);
    return { listen, to };
  }
  // Colons in brackets belong to an IPv6 address.
  const parts = text.split(/:(?![^[]*\])/);
  if (parts.length < 2) throw new ValueError("the port of the guest is missing");
  if (parts.length > 4) throw new ValueError("it has too many parts; an IPv6 address needs [ ]");
  const addresses = parts.length - 2;
  const hasHost = addresses === 2 || (addresses === 1 && !/^[0-9-]+$/.test(parts[0]));
  const listen = parts.slice(0, hasHost ? 2 : 1).join(":");
  const to = parts.slice(hasHost ? 2 : 1).join(":");
  const reason = whyMismatched(readListen(listen), readTarget(to), protocol);
  if (reason !== undefined) throw new ValueError(reason);
  return { listen, to, ...(protocol === "udp" || protocol === "tcp" ? { protocol } : {}) };
}

/** Why two ends do not go together, or undefined when they do. */
export function whyMismatched(
  listen: ReturnType<typeof readListen>,
  to: ReturnType<typeof readTarget>,
  protocol = "tcp",
): string | undefined {
  if (protocol === "udp" && "path" in listen) return "a Unix socket carries streams, not datagrams";
  if (protocol === "udp" && "path" in to) return "a Unix socket of the guest takes streams, not datagrams";
  const { first, last } = "path" in listen ? { first: 0, last: 0 } : listen.ports;
  const count = last - first + 1;
  if ("path" in to) return count > 1 ? `${count} ports cannot lead to one socket` : undefined;
  const guestCount = to.ports.last - to.ports.first + 1;
  if (count === guestCount) return undefined;
  return `${count} ${count === 1 ? "port" : "ports"} of this host cannot lead to ${guestCount} of the guest; allowed: as many ports at both ends`;
}

/** The single forwards of a {@link ForwardSpec}. */
export function expandForward({ protocol, listen, to }: ForwardSpec): ForwardRule[] {
  if (isSocketPath(listen)) {
    return [{ protocol: "tcp", listen, to: isGuestSocket(to) ? to : { address: to.address, port: to.ports.first } }];
  }
  const { host, ports } = listen;
  return Array.from({ length: ports.last - ports.first + 1 }, (_, index): ForwardRule => {
    const from = { host, port: ports.first + index };
    if (isGuestSocket(to)) return { protocol: "tcp", listen: from, to };
    return { protocol, listen: from, to: { address: to.address, port: to.ports.first + index } };
  });
}

/** Writes a forward as the configuration has it. */
export function forwardToData({ protocol, listen, to }: ForwardSpec) {
  return {
    listen: formatListenPorts(listen),
    to: formatGuestPorts(to),
    protocol,
    ...(isGuestSocket(to) ? keyToData(to) : {}),
  };
}

/** Writes how a socket of the guest is opened. */
export function keyToData({ identity, passphrase, knownHosts }: GuestSocket) {
  return {
    identity,
    ...(passphrase === undefined ? {} : { passphrase }),
    ...(knownHosts === undefined ? {} : { knownHosts }),
  };
}

/** Writes where this host listens, as {@link readListen} reads it. */
export function formatListenPorts(listen: ListenPorts | SocketPath): string {
  if (isSocketPath(listen)) return formatListen(listen);
  const { host, ports } = listen;
  const text = formatListen({ host: host === "" ? EVERY_ADDRESS : host, port: ports.first });
  return `${text}${rangeEnd(ports)}`;
}

function formatGuestPorts(to: GuestPorts | GuestSocket): string {
  if (isGuestSocket(to)) return formatTarget(to);
  return `${formatTarget({ address: to.address, port: to.ports.first })}${rangeEnd(to.ports)}`;
}

function rangeEnd({ first, last }: PortRange): string {
  return first === last ? "" : `-${last}`;
}

/**
 * Reads the address that is listened on when none is given: `loopback`, `all`, or an IP address.
 *
 * @throws {ValueError} with the reason.
 */
export function readDefaultHost(text: string): string {
  if (text === "loopback") return "127.0.0.1";
  if (text === "all") return "";
  const address = isIpv4(text) ? text : readIpv6(text);
  if (address === undefined) throw new ValueError("");
  return address;
}

/**
 * Reads addresses and ports that may be listened on: `any`, an address or a network in CIDR form, IPv6 in brackets,
 * alone or with `:PORT` or `:FIRST-LAST`.
 *
 * @throws {ValueError} with the reason.
 */
export function readBindRange(text: string): BindRange {
  const match = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::([^:]*))?$/.exec(text);
  if (match === null) throw new ValueError(/:.*:/.test(text) ? "an IPv6 address needs [ ]" : "");
  const [, bracketed, plain, portText] = match;
  const ports = portText === undefined ? { first: 0, last: 65_535 } : readPorts(portText);
  const range = (address: string | null) => ({ address, firstPort: ports.first, lastPort: ports.last });
  if (plain === "any") return range(null);
  const [address, prefix] = (bracketed ?? plain).split("/");
  const canonical = bracketed === undefined ? (isIpv4(address) ? address : undefined) : readIpv6(address);
  if (canonical === undefined) throw new ValueError(`${JSON.stringify(address)} is not an IP address`);
  if (prefix === undefined) return range(canonical);
  const longest = bracketed === undefined ? 32 : 128;
  if (!/^(?:0|[1-9][0-9]{0,2})$/.test(prefix) || Number(prefix) > longest) {
    throw new ValueError(`the prefix length is ${JSON.stringify(prefix)}`);
  }
  return range(`${canonical}/${prefix}`);
}

/**
 * Reads a Unix socket of the guest, `ssh://USER@HOST[:PORT]/PATH`.
 *
 * @throws {ValueError} with the reason.
 */
export function readGuestSocket(text: string): GuestSocketPath {
  const match = /^ssh:\/\/([^@/]*)@([^/]*)(\/.*)?$/.exec(text);
  if (match === null) throw new ValueError("it is not of the form ssh://USER@vm/PATH");
  const [, user, server, path = ""] = match;
  if (user === "") throw new ValueError("the user is missing");
  if (!/^[\w.-]+$/.test(user)) throw new ValueError(`${JSON.stringify(user)} is no name of a user`);
  if (path.length < 2 || path.endsWith("/")) throw new ValueError("the path of the socket is missing");
  const { host, port } = server.includes(":") ? readHostPort(server) : { host: server, port: SSH_PORT };
  if (port === 0) throw new ValueError("the port is 0");
  return { server: { address: host === "vm" ? null : readGuestAddress(host), port }, user, path };
}

/**
 * Reads an address that a guest can have.
 *
 * @throws {ValueError} with the reason.
 */
export function readGuestAddress(host: string): Ipv4 {
  if (!isIpv4(host)) throw new ValueError(`${JSON.stringify(host)} is not an IPv4 address`);
  const address = readIpv4(host);
  if (isLoopback(address)) throw new ValueError("a VM is not reached at its loopback address: leave the address out");
  if (address >>> 24 === 0 || isMulticast(address) || address >>> 28 === 15) {
    throw new ValueError(`no VM can have the address ${host}`);
  }
  return address;
}

/** Reads a port of the guest, or a range of them. */
function readGuestPorts(text: string): PortRange {
  const ports = readForwardPorts(text);
  if (ports.first === 0) throw new ValueError("the port is 0");
  return ports;
}

/** Reads a port, or a range of them. */
function readPorts(text: string): PortRange {
  const [first, last] = (/^([^-]+)-(.*)$/.exec(text)?.slice(1) ?? [text, text]).map((port) => {
    if (!/^(?:0|[1-9][0-9]{0,4})$/.test(port) || Number(port) > 65_535) {
      throw new ValueError(`the port is ${JSON.stringify(port)}`);
    }
    return Number(port);
  });
  if (first === last) return { first, last };
  if (first > last) throw new ValueError(`the range ${text} ends before it begins`);
  return { first, last };
}

/** Checks that every port of a range can be listened on or led to. */
function readForwardPorts(text: string): PortRange {
  const ports = readPorts(text);
  const count = ports.last - ports.first + 1;
  if (count > 1 && ports.first === 0) throw new ValueError("port 0 has the system choose, so it begins no range");
  if (count > MAX_RANGE) throw new ValueError(`the range has ${count} ports; ${MAX_RANGE} is the most`);
  return ports;
}

/** Whether `text` can only be meant as ports. */
function isPorts(text: string): boolean {
  return text !== "" && !text.includes(":") && !isIpv4(text);
}
