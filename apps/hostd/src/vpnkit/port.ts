/** A forward as vpnkit's API has it. */
import { isIPv4, isIPv6, SocketAddress } from "node:net";
import type { DatagramRule, StreamRule } from "@hostd/portfwd";
import { type Ipv4, isLoopback, parseIpv4 } from "@hostd/stack";
import { type GatewayAddresses, whyNoGuest } from "../forwards/guest-address.ts";
import { type GoType, goString, goStruct, goText, goUint16 } from "../gvproxy/go-json.ts";
import { GoJsonError } from "../gvproxy/go-json-syntax.ts";

/** What is empty or 0 is not given. */
export interface Port {
  readonly proto: string;
  readonly out_ip: string;
  readonly out_port: number;
  readonly out_path: string;
  readonly in_ip: string;
  readonly in_port: number;
  readonly in_path: string;
  readonly annotation: string;
}

/** A forward that cannot be. The message says why. */
export class PortError extends Error {
  override readonly name = "PortError";
}

const ip: GoType<string> = goText("net.IP", "", (text) => {
  if (text === "" || isIPv4(text)) return text;
  if (!isIPv6(text) || text.includes("%")) throw new GoJsonError(`invalid IP address: ${text}`);
  return new SocketAddress({ address: text, family: "ipv6" }).address.replace(/^::ffff:(?=[0-9.]+$)/, "");
});

export const portType: GoType<Port> = goStruct("vpnkit.Port", {
  proto: goString("vpnkit.Protocol"),
  out_ip: ip,
  out_port: goUint16,
  out_path: goString(),
  in_ip: ip,
  in_port: goUint16,
  in_path: goString(),
  annotation: goString(),
});

/** What a forward is known by, as vpnkit writes it. */
export function formatPort({ proto, annotation, ...port }: Port): string {
  const name = `${annotation === "" ? "" : `${annotation} `}${proto}`;
  if (proto === "unix") return `${name} forward from ${port.out_path} to ${port.in_path}`;
  const address = (text: string) => (text === "" ? "<nil>" : text);
  return `${name} forward from ${address(port.out_ip)}:${port.out_port} to ${address(port.in_ip)}:${port.in_port}`;
}

/** A port as it is listed: without what is not given. */
export function listPort(port: Port): Partial<Port> {
  return Object.fromEntries(Object.entries(port).filter(([, value]) => value !== "" && value !== 0));
}

/**
 * The rule by which a port of TCP or UDP is forwarded. An address inside of the VM that is its own, or none, is that of the
 * VM that is attached.
 *
 * @throws {PortError} when there can be none.
 */
export function ruleOf(port: Port, network: GatewayAddresses): StreamRule | DatagramRule {
  const { proto, out_ip, out_port, in_ip, in_port } = port;
  if (in_port === 0) throw new PortError("in_port is missing: the port in the VM, from 1 to 65535");
  const to = { address: guestAddress(in_ip, network), port: in_port };
  return { protocol: proto === "udp" ? "udp" : "tcp", listen: { host: out_ip, port: out_port }, to };
}

function guestAddress(text: string, network: GatewayAddresses): Ipv4 | null {
  if (text === "" || text === "::" || text === "::1") return null;
  if (!isIPv4(text)) throw new PortError(`in_ip ${text}: only IPv4 is supported in the VM`);
  const address = parseIpv4(text);
  if (address === 0 || isLoopback(address)) return null;
  const reason = whyNoGuest(address, network);
  if (reason !== undefined) throw new PortError(`in_ip: ${reason}`);
  return address;
}
