/** What the tests of the server talk to it with: messages in a line each, and answers in words. */

import { formatIpv4, formatMac, parseIpv4, parseMac } from "../address.ts";
import {
  BOOTREQUEST,
  DHCP_OPTION,
  DHCP_TYPE,
  type DhcpMessage,
  type DhcpMessageType,
  DhcpOptions,
  encodeDhcpMessage,
  parseDhcpMessage,
} from "../wire/dhcpv4.ts";
import { LeaseTable } from "./lease-table.ts";
import { type DhcpReply, DhcpServer, type DhcpServerOptions } from "./server.ts";

export const A = "52:54:00:00:00:0a";
export const B = "52:54:00:00:00:0b";
export const C = "52:54:00:00:00:0c";
export const GATEWAY = "192.168.65.1";
export const DAY = 86_400_000;

/** What a test says of a client's message; the rest is 0, and the MAC address A's. */
export interface Fields {
  readonly mac?: string;
  readonly ciaddr?: string;
  readonly giaddr?: string;
  readonly flags?: number;
  readonly requested?: string;
  readonly server?: string;
  readonly parameters?: number[];
  readonly hostName?: string;
  readonly size?: number;
  readonly more?: DhcpOptions;
}

/** A client's message as the payload of a datagram. */
export function request(type: DhcpMessageType, fields: Fields): Uint8Array {
  const options = new DhcpOptions();
  if (fields.requested !== undefined) {
    options.setIpv4(DHCP_OPTION.requestedAddress, parseIpv4(fields.requested));
  }
  if (fields.server !== undefined) {
    options.setIpv4(DHCP_OPTION.serverIdentifier, parseIpv4(fields.server));
  }
  if (fields.parameters !== undefined) {
    options.set(DHCP_OPTION.parameterRequestList, Uint8Array.from(fields.parameters));
  }
  if (fields.hostName !== undefined) {
    options.setText(DHCP_OPTION.hostName, fields.hostName);
  }
  if (fields.size !== undefined) {
    options.setUint16(DHCP_OPTION.maximumMessageSize, fields.size);
  }
  for (const [code, value] of fields.more ?? []) {
    options.set(code, value);
  }
  const message = {
    op: BOOTREQUEST,
    htype: 1,
    hops: 0,
    xid: 0x3903f326,
    secs: 0,
    flags: fields.flags ?? 0,
    ciaddr: parseIpv4(fields.ciaddr ?? "0.0.0.0"),
    yiaddr: 0,
    siaddr: 0,
    giaddr: parseIpv4(fields.giaddr ?? "0.0.0.0"),
    chaddr: parseMac(fields.mac ?? A),
    type,
    options,
  };
  return encodeDhcpMessage(message, 1472) ?? new Uint8Array(0);
}

/** A server of 192.168.65.3 to .5 with a record of what it told its owner, at a time that the test moves. */
export class Lan {
  now = 1_763_000_000_000;
  readonly events: string[] = [];
  readonly server: DhcpServer;
  readonly leases: LeaseTable;

  constructor(options: Partial<DhcpServerOptions> = {}) {
    this.leases = options.leases ?? new LeaseTable();
    this.server = new DhcpServer({
      serverAddress: parseIpv4(GATEWAY),
      subnet: { address: parseIpv4("192.168.65.0"), prefixLength: 24 },
      router: parseIpv4(GATEWAY),
      dnsServers: [parseIpv4(GATEWAY)],
      searchDomains: ["corp.example"],
      mtu: 1500,
      firstAddress: parseIpv4("192.168.65.3"),
      lastAddress: parseIpv4("192.168.65.5"),
      leases: this.leases,
      clock: () => this.now,
      events: {
        leased: ({ mac, address }, kind) => this.events.push(`${kind} ${formatMac(mac)} ${formatIpv4(address)}`),
        released: ({ mac, address }) => this.events.push(`released ${formatMac(mac)} ${formatIpv4(address)}`),
        declined: (mac, address) => this.events.push(`declined ${formatMac(mac)} ${formatIpv4(address)}`),
        exhausted: (mac) => this.events.push(`exhausted ${formatMac(mac)}`),
        refused: (mac, address, reason) =>
          this.events.push(`refused ${formatMac(mac)} ${formatIpv4(address)}: ${reason}`),
      },
      ...options,
    });
  }

  deliver(payload: Uint8Array, from: { mac?: string; source?: string; destination?: string } = {}): DhcpReply | null {
    return this.server.handle(payload, 0, payload.length, {
      ...(from.mac === undefined ? {} : { sourceMac: parseMac(from.mac) }),
      source: parseIpv4(from.source ?? "0.0.0.0"),
      destination: parseIpv4(from.destination ?? "255.255.255.255"),
    });
  }

  /** What the reply to a message says, in words, or "silence". */
  send(type: DhcpMessageType, fields: Fields): string {
    return words(this.deliver(request(type, fields)));
  }

  discover(fields: Fields): string {
    return this.send(DHCP_TYPE.discover, fields);
  }

  request(fields: Fields): string {
    return this.send(DHCP_TYPE.request, fields);
  }

  /** DISCOVER and REQUEST, as a client without an address has them; the address that it then has. */
  acquire(mac: string): string {
    const offer = this.discover({ mac });
    const offered = offer.replace("OFFER ", "");
    const answer = offer.startsWith("OFFER ") ? this.request({ mac, requested: offered, server: GATEWAY }) : offer;
    if (answer !== `ACK ${offered}`) {
      throw new Error(`${mac} got ${answer} for ${offered}`);
    }
    return offered;
  }
}

/** The message that a reply is. */
export function read(reply: DhcpReply | null): DhcpMessage {
  const message = reply === null ? null : parseDhcpMessage(reply.message, 0, reply.message.length);
  if (message === null) {
    throw new Error("no reply");
  }
  return message;
}

/** What a reply says in words, or "silence". */
export function words(reply: DhcpReply | null): string {
  if (reply === null) {
    return "silence";
  }
  const message = read(reply);
  const name = { [DHCP_TYPE.offer]: "OFFER", [DHCP_TYPE.ack]: "ACK", [DHCP_TYPE.nak]: "NAK" }[Number(message.type)];
  return message.yiaddr === 0 ? `${name}` : `${name} ${formatIpv4(message.yiaddr)}`;
}

/** Where a reply goes. */
export function route(reply: DhcpReply | null): string {
  if (reply === null) {
    return "nowhere";
  }
  const { destination, destinationPort, destinationMac } = reply;
  return `${formatIpv4(destination)}:${destinationPort} at ${destinationMac === null ? "all" : formatMac(destinationMac)}`;
}
