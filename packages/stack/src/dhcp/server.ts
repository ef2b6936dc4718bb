/** The DHCP server of one subnet (RFC 2131), over UDP payloads. */

import {
  formatIpv4,
  IPV4_ANY,
  IPV4_BROADCAST,
  type Ipv4,
  type Ipv4Network,
  type Mac,
  networkBroadcast,
  prefixMask,
} from "../address.ts";
import {
  BOOTREPLY,
  BOOTREQUEST,
  DHCP_CLIENT_PORT,
  DHCP_FLAG_BROADCAST,
  DHCP_HEADERS_LENGTH,
  DHCP_MINIMUM_MAXIMUM_SIZE,
  DHCP_OPTION,
  DHCP_SERVER_PORT,
  DHCP_TYPE,
  type DhcpMessage,
  type DhcpMessageType,
  DhcpOptions,
  encodeDhcpMessage,
  encodeDomainSearch,
  HTYPE_ETHERNET,
  parseDhcpMessage,
} from "../wire/dhcpv4.ts";
import { AddressPool, formatNetwork, isHostAddress } from "./address-pool.ts";
import { HOST_NAME, type Lease, type LeaseTable } from "./lease-table.ts";

/** How long an offered address waits for its request. */
export const DHCP_OFFER_HOLD_MS = 60_000;
/** How long an address that a client found in use is given to no one. */
export const DHCP_DECLINE_HOLD_MS = 600_000;

// With these all parameters but the search list fit the shortest message that a client may ask for.
const DNS_SERVER_LIMIT = 16;
const DOMAIN_NAME_LIMIT = 128;
const SEARCH_DOMAIN_LIMIT = 64;
/** As many as there are options; a longer parameter request list is cut. */
const PARAMETER_REQUEST_LIMIT = 255;

/** What a {@link DhcpServer} tells its owner. None may throw. */
export interface DhcpServerEvents {
  /** An acknowledgement was sent: for an address the client did not have till now, or for one it keeps. */
  leased?(lease: Lease, kind: "new" | "renewed"): void;
  /** The client gave up a lease, which is on record as ended. */
  released?(lease: Lease): void;
  /** The client found the address in use by another host. */
  declined?(mac: Mac, address: Ipv4): void;
  /** No address was left for a client, which got no answer. As frequent as its messages. */
  exhausted?(mac: Mac): void;
  /** A client's address was refused, with a DHCPNAK. As frequent as its messages. */
  refused?(mac: Mac, requested: Ipv4, reason: string): void;
}

/** What a {@link DhcpServer} is made of. */
export interface DhcpServerOptions {
  /** The server identifier: the address of the gateway, at which the server gets unicast messages. */
  readonly serverAddress: Ipv4;
  readonly subnet: Ipv4Network;
  readonly router: Ipv4;
  /** At most 16. */
  readonly dnsServers: readonly Ipv4[];
  /**
   * At most 64, or a function that is asked before each reply, of whose domains what does not fit is left out. A client
   * that takes too short a message for them gets the first ones.
   */
  readonly searchDomains: readonly string[] | (() => readonly string[]);
  /** At most 128 characters. */
  readonly domainName?: string;
  /** Bytes, 68 to 65535 (RFC 2132, 5.1). */
  readonly mtu: number;
  /** Seconds, 60 to 2^32 - 2; a day unless given. */
  readonly leaseTimeSeconds?: number;
  readonly firstAddress: Ipv4;
  /** At most 4096 addresses from the first. */
  readonly lastAddress: Ipv4;
  /** Addresses of the range that are never given out; `serverAddress` and `router` never are in any case. */
  readonly reserved?: readonly Ipv4[];
  /** MAC addresses as text, each with the address that it always gets and no other client ever. */
  readonly reservations?: ReadonlyMap<string, Ipv4>;
  readonly leases: LeaseTable;
  readonly events?: DhcpServerEvents;
  /** Unix-epoch milliseconds, since leases outlive the process. */
  readonly clock: () => number;
}

/** How a message arrived. */
export interface DhcpContext {
  /** The source of its Ethernet frame. */
  readonly sourceMac?: Uint8Array;
  readonly source: Ipv4;
  readonly destination: Ipv4;
}

/** A message to send from the server's address and port 67. */
export interface DhcpReply {
  /** The UDP payload. */
  readonly message: Uint8Array;
  readonly destination: Ipv4;
  /** 68, or 67 where the destination is a relay. */
  readonly destinationPort: number;
  /**
   * The destination of the Ethernet frame, null for the broadcast address. A client that has no address yet cannot
   * answer ARP, so this is not to be resolved.
   */
  readonly destinationMac: Mac | null;
}

/** What came in and went out, since the server was made. */
export interface DhcpServerCounters {
  received: number;
  /** Of those received: no DHCP message of an Ethernet client. */
  malformed: number;
  replied: number;
}

/**
 * The only, and so authoritative, DHCP server of a subnet.
 *
 * A client is known by its MAC address alone. RFC 2131, 4.2 would have its client identifier (option 61) come first,
 * but that one changes where the machine does not: a boot loader, an initial RAM disk and an installed system each
 * send their own, and many derive it from a machine id that is made anew with each image. The MAC address is what a
 * VM is configured with, and the same MAC address is to get the same address after any restart. The identifier is
 * returned as RFC 6842 wants.
 */
export class DhcpServer {
  readonly counters: DhcpServerCounters = { received: 0, malformed: 0, replied: 0 };

  readonly #options: DhcpServerOptions;
  readonly #leaseTime: number;
  readonly #leases: LeaseTable;
  readonly #events: DhcpServerEvents;
  readonly #pool: AddressPool;
  /** The configuration parameters in the order they are sent to a client that asks for none in particular. */
  readonly #parameters = new DhcpOptions();
  readonly #searchDomains: () => readonly string[];
  /** What {@link #searchLists} were made from. */
  #listedDomains: readonly string[] = [];
  /** The search list with its last domains left out, from none left out to all. */
  #searchLists: readonly Uint8Array[] = searchLists([]);

  /** @throws {RangeError} when the options contradict each other or cannot be said in a DHCP message. */
  constructor(options: DhcpServerOptions) {
    this.#options = options;
    this.#leaseTime = options.leaseTimeSeconds ?? 86_400;
    this.#leases = options.leases;
    this.#events = options.events ?? {};
    check(options, this.#leaseTime);
    this.#pool = new AddressPool({
      ...options,
      reserved: [...(options.reserved ?? []), options.serverAddress, options.router],
      reservations: options.reservations ?? new Map(),
    });
    // RFC 2132, 3.3: the subnet mask comes before the router.
    this.#parameters
      .setIpv4(DHCP_OPTION.subnetMask, prefixMask(options.subnet.prefixLength))
      .setIpv4(DHCP_OPTION.router, options.router);
    if (options.dnsServers.length > 0) {
      this.#parameters.setIpv4(DHCP_OPTION.domainNameServer, ...options.dnsServers);
    }
    if (options.domainName !== undefined) {
      this.#parameters.setText(DHCP_OPTION.domainName, options.domainName);
    }
    this.#parameters
      .setUint16(DHCP_OPTION.interfaceMtu, options.mtu)
      .setIpv4(DHCP_OPTION.broadcastAddress, networkBroadcast(options.subnet));
    const { searchDomains } = options;
    this.#searchDomains = typeof searchDomains === "function" ? searchDomains : () => searchDomains;
  }

  /**
   * Takes the payload of a datagram that came to port 67. Never throws, and keeps nothing of `payload`.
   *
   * @returns the reply, or null when there is none.
   */
  handle(payload: Uint8Array, offset: number, length: number, context: DhcpContext): DhcpReply | null {
    this.counters.received += 1;
    const request = parseDhcpMessage(payload, offset, length);
    if (request === null || request.op !== BOOTREQUEST || !isEthernetClient(request)) {
      this.counters.malformed += 1;
      return null;
    }
    // Another server's, or of a relay in a subnet that this server knows nothing about.
    if (!this.#isForThisServer(context.destination) || !this.#isLocal(request.giaddr)) {
      return null;
    }
    const message = this.#answer(request, context);
    if (message === null) {
      return null;
    }
    this.counters.replied += 1;
    return { message: message.bytes, ...route(request, message, context) };
  }

  #isForThisServer(destination: Ipv4): boolean {
    const { serverAddress, subnet } = this.#options;
    return destination === IPV4_BROADCAST || destination === serverAddress || destination === networkBroadcast(subnet);
  }

  #isLocal(giaddr: Ipv4): boolean {
    return giaddr === IPV4_ANY || isHostAddress(this.#options.subnet, giaddr);
  }

  #answer(request: DhcpMessage, context: DhcpContext): Answer | null {
    switch (request.type) {
      case DHCP_TYPE.discover:
        return this.#discover(request);
      case DHCP_TYPE.request:
        return this.#request(request);
      case DHCP_TYPE.inform:
        return this.#inform(request, context);
      case DHCP_TYPE.release:
        this.#release(request, context);
        return null;
      case DHCP_TYPE.decline:
        this.#decline(request, context);
        return null;
      default:
        return null;
    }
  }

  /** RFC 2131, 4.3.1. */
  #discover(request: DhcpMessage): Answer | null {
    const now = this.#options.clock();
    const requested = request.options.ipv4(DHCP_OPTION.requestedAddress);
    const address = this.#pool.choose(request.chaddr, requested, now);
    if (address === null) {
      this.#events.exhausted?.(request.chaddr);
      return null;
    }
    const offer = this.#encode(request, DHCP_TYPE.offer, address);
    if (offer !== null) {
      this.#pool.offer(request.chaddr, address, now + DHCP_OFFER_HOLD_MS);
    }
    return offer;
  }

  /** RFC 2131, 4.3.2. */
  #request(request: DhcpMessage): Answer | null {
    const { chaddr, ciaddr, options } = request;
    const now = this.#options.clock();
    const server = options.ipv4(DHCP_OPTION.serverIdentifier);
    if (server !== null && server !== this.#options.serverAddress) {
      this.#pool.forgetOffer(chaddr);
      return null;
    }
    // Without ciaddr the client is in SELECTING or, where it names no server, in INIT-REBOOT; with it, in RENEWING or
    // REBINDING.
    const address = ciaddr !== IPV4_ANY ? ciaddr : options.ipv4(DHCP_OPTION.requestedAddress);
    if (address === null || address === IPV4_ANY) {
      return null;
    }
    const rebooting = ciaddr === IPV4_ANY && server === null;
    const reason = this.#pool.refusal(chaddr, address, now) ?? this.#correction(chaddr, address, rebooting, now);
    if (reason !== null) {
      this.#pool.forgetOffer(chaddr);
      this.#events.refused?.(chaddr, address, reason);
      return this.#refuse(request, reason);
    }
    // A client without a lease on record has its address too where it is free, though RFC 2131 would leave that to
    // another server: there is none, and so a VM keeps its address after the leases were lost.
    const acknowledgement = this.#encode(request, DHCP_TYPE.ack, address);
    if (acknowledgement !== null) {
      this.#lease(request, address, now);
    }
    return acknowledgement;
  }

  /** Why a client must move to another address, though no one else has the one it asks for. */
  #correction(mac: Mac, address: Ipv4, rebooting: boolean, now: number): string | null {
    const reserved = this.#pool.reservation(mac, now);
    if (reserved !== null && reserved !== address) {
      return `${formatIpv4(reserved)} is reserved for this client`;
    }
    // RFC 2131, 4.3.2: in INIT-REBOOT the server's record counts, in RENEWING and REBINDING the client's address.
    const former = this.#leases.byMac(mac);
    if (rebooting && former !== null && former.address !== address) {
      return this.#pool.refusal(mac, former.address, now) === null
        ? `${formatIpv4(former.address)} is leased to this client`
        : null;
    }
    return null;
  }

  #lease(request: DhcpMessage, address: Ipv4, now: number): void {
    const mac = request.chaddr;
    const former = this.#leases.byMac(mac);
    const text = request.options.text(DHCP_OPTION.hostName);
    // Not every client repeats its name as it renews.
    const hostName = text !== null && HOST_NAME.test(text) ? text : former?.hostName;
    const expires = now + this.#leaseTime * 1000;
    const lease: Lease = { mac, address, expires, ...(hostName === undefined ? {} : { hostName }) };
    this.#pool.forgetOffer(mac);
    this.#leases.set(lease);
    const kept = former !== null && former.address === address && former.expires > now;
    this.#events.leased?.(lease, kept ? "renewed" : "new");
  }

  /** RFC 2131, 4.3.5: parameters for a client that has its address from elsewhere. */
  #inform(request: DhcpMessage, context: DhcpContext): Answer | null {
    // Some clients leave ciaddr out and are known by where the datagram came from.
    const direct = request.ciaddr === IPV4_ANY && request.giaddr === IPV4_ANY;
    const address = direct ? context.source : request.ciaddr;
    if (!isHostAddress(this.#options.subnet, address)) {
      return null;
    }
    return this.#encode({ ...request, ciaddr: address }, DHCP_TYPE.ack, IPV4_ANY);
  }

  /** RFC 2131, 4.3.4. The lease stays on record, so that the client gets the same address again where it can. */
  #release(request: DhcpMessage, context: DhcpContext): void {
    const now = this.#options.clock();
    const lease = this.#leases.byMac(request.chaddr);
    if (!this.#isFromClient(request, context) || lease?.address !== request.ciaddr || lease.expires <= now) {
      return;
    }
    const released = { ...lease, expires: now };
    this.#leases.set(released);
    this.#events.released?.(released);
  }

  /** RFC 2131, 4.3.3. */
  #decline(request: DhcpMessage, context: DhcpContext): void {
    const mac = request.chaddr;
    const now = this.#options.clock();
    const address = request.options.ipv4(DHCP_OPTION.requestedAddress);
    if (address === null || !this.#isFromClient(request, context)) {
      return;
    }
    const leased = this.#leases.byMac(mac)?.address === address;
    if (!leased && !this.#pool.isOffered(mac, address, now)) {
      return;
    }
    this.#pool.forgetOffer(mac);
    if (leased) {
      this.#leases.delete(address);
    }
    this.#pool.quarantine(address, now + DHCP_DECLINE_HOLD_MS);
    this.#events.declined?.(mac, address);
  }

  /**
   * Whether a message that takes an address from a client is that client's, as far as its frame tells, and is meant
   * for this server. One VM must not end the lease of another.
   */
  #isFromClient(request: DhcpMessage, context: DhcpContext): boolean {
    const server = request.options.ipv4(DHCP_OPTION.serverIdentifier);
    const { sourceMac } = context;
    return (
      (server === null || server === this.#options.serverAddress) &&
      (request.giaddr !== IPV4_ANY ||
        sourceMac === undefined ||
        request.chaddr.every((byte, index) => sourceMac[index] === byte))
    );
  }

  #refuse(request: DhcpMessage, reason: string): Answer | null {
    const options = new DhcpOptions()
      .setIpv4(DHCP_OPTION.serverIdentifier, this.#options.serverAddress)
      .setText(DHCP_OPTION.message, reason);
    // RFC 2131, 4.3.2: a relay is to broadcast it, since the client may not have the address it would unicast to.
    const flags = request.giaddr !== IPV4_ANY ? request.flags | DHCP_FLAG_BROADCAST : request.flags;
    const header = { ...replyHeader(request, DHCP_TYPE.nak), ciaddr: IPV4_ANY, flags };
    return this.#send(request, header, echo(request, options));
  }

  /** An offer, or an acknowledgement; of no lease where `yiaddr` is 0.0.0.0. Null when it is too long for the client. */
  #encode(request: DhcpMessage, type: DhcpMessageType, yiaddr: Ipv4): Answer | null {
    const header = {
      ...replyHeader(request, type),
      ciaddr: type === DHCP_TYPE.ack ? request.ciaddr : IPV4_ANY,
      yiaddr,
    };
    for (const searchList of this.#currentSearchLists()) {
      const options = new DhcpOptions().setIpv4(DHCP_OPTION.serverIdentifier, this.#options.serverAddress);
      if (yiaddr !== IPV4_ANY) {
        options
          .setUint32(DHCP_OPTION.leaseTime, this.#leaseTime)
          .setUint32(DHCP_OPTION.renewalTime, Math.floor(this.#leaseTime / 2))
          .setUint32(DHCP_OPTION.rebindingTime, Math.floor((this.#leaseTime * 7) / 8));
      }
      this.#setParameters(request, options, searchList);
      const answer = this.#send(request, header, echo(request, options));
      if (answer !== null) {
        return answer;
      }
    }
    return null;
  }

  /**
   * Sets all configuration parameters, those that the client lists first and in its order (RFC 2131, 4.3.1). The
   * others follow since clients that configure themselves by them do not all list them: the MTU above all.
   */
  #setParameters(request: DhcpMessage, options: DhcpOptions, searchList: Uint8Array): void {
    const listed = request.options.bytes(DHCP_OPTION.parameterRequestList)?.subarray(0, PARAMETER_REQUEST_LIMIT) ?? [];
    const all = [...this.#parameters].map(([code]) => code);
    for (const code of [DHCP_OPTION.subnetMask, ...listed, ...all]) {
      const value = this.#parameters.bytes(code);
      if (value !== null) {
        options.set(code, value);
      }
    }
    if (searchList.length > 0) {
      options.set(DHCP_OPTION.domainSearch, searchList);
    }
  }

  #currentSearchLists(): readonly Uint8Array[] {
    const domains = this.#searchDomains();
    if (domains !== this.#listedDomains) {
      this.#searchLists = searchLists(domains.filter(isDomain).slice(0, SEARCH_DOMAIN_LIMIT));
      this.#listedDomains = domains;
    }
    return this.#searchLists;
  }

  #send(request: DhcpMessage, header: Omit<DhcpMessage, "options">, options: DhcpOptions): Answer | null {
    // What the client takes, within what its link takes; RFC 2131, section 2 has every client take 576.
    const accepted = request.options.uint16(DHCP_OPTION.maximumMessageSize) ?? 0;
    const size = Math.max(Math.min(accepted, this.#options.mtu), DHCP_MINIMUM_MAXIMUM_SIZE);
    const message = { ...header, options };
    const bytes = encodeDhcpMessage(message, size - DHCP_HEADERS_LENGTH);
    return bytes === null ? null : { ...message, bytes };
  }
}

/** A reply with the bytes it is sent as. */
interface Answer extends DhcpMessage {
  readonly bytes: Uint8Array;
}

/** What RFC 2131, table 3 has a reply take from its request. */
function replyHeader(request: DhcpMessage, type: DhcpMessageType): Omit<DhcpMessage, "options"> {
  return { ...request, op: BOOTREPLY, hops: 0, secs: 0, yiaddr: IPV4_ANY, siaddr: IPV4_ANY, type };
}

/** Adds what is returned to a client as it came: RFC 6842, and for its relay RFC 3046, 2.2, which is to come last. */
function echo(request: DhcpMessage, options: DhcpOptions): DhcpOptions {
  for (const code of [DHCP_OPTION.clientIdentifier, DHCP_OPTION.relayAgentInformation]) {
    const value = request.options.bytes(code);
    if (value !== null && (code === DHCP_OPTION.clientIdentifier || request.giaddr !== IPV4_ANY)) {
      options.set(code, value);
    }
  }
  return options;
}

/** Where a reply goes (RFC 2131, 4.1). */
function route(request: DhcpMessage, reply: DhcpMessage, context: DhcpContext): Omit<DhcpReply, "message"> {
  if (reply.giaddr !== IPV4_ANY) {
    return {
      destination: reply.giaddr,
      destinationPort: DHCP_SERVER_PORT,
      destinationMac: context.sourceMac?.slice() ?? null,
    };
  }
  const destinationPort = DHCP_CLIENT_PORT;
  const known = reply.ciaddr !== IPV4_ANY;
  if (reply.type === DHCP_TYPE.nak || (!known && (reply.flags & DHCP_FLAG_BROADCAST) !== 0)) {
    return { destination: IPV4_BROADCAST, destinationPort, destinationMac: null };
  }
  return { destination: known ? reply.ciaddr : reply.yiaddr, destinationPort, destinationMac: request.chaddr };
}

/** Whether a message is of a client with a unicast Ethernet address. */
function isEthernetClient({ htype, chaddr }: DhcpMessage): boolean {
  return htype === HTYPE_ETHERNET && chaddr.length === 6 && (chaddr[0] & 1) === 0 && chaddr.some((byte) => byte !== 0);
}

/** The search list of all domains, of all but the last, and so on to that of none. */
function searchLists(domains: readonly string[]): Uint8Array[] {
  const lists = domains.map((_, index) => encodeDomainSearch(domains.slice(0, domains.length - index)));
  return [...lists, new Uint8Array(0)];
}

function isDomain(name: string): boolean {
  try {
    return encodeDomainSearch([name]).length > 0;
  } catch {
    return false;
  }
}

function check(options: DhcpServerOptions, leaseTime: number): void {
  const { serverAddress, subnet, router, dnsServers, searchDomains, domainName, mtu } = options;
  for (const [name, address] of [
    ["server address", serverAddress],
    ["router", router],
  ] as const) {
    if (!isHostAddress(subnet, address)) {
      throw new RangeError(`the DHCP ${name} ${formatIpv4(address)} must be a host of ${formatNetwork(subnet)}`);
    }
  }
  if (!Number.isInteger(mtu) || mtu < 68 || mtu > 65_535) {
    throw new RangeError(`the MTU must be a whole number from 68 to 65535, not ${mtu}`);
  }
  if (!Number.isInteger(leaseTime) || leaseTime < 60 || leaseTime > 0xfffffffe) {
    throw new RangeError(
      `the DHCP lease time must be a whole number of seconds from 60 to 4294967294, not ${leaseTime}`,
    );
  }
  const domains = typeof searchDomains === "function" ? [] : searchDomains;
  if (dnsServers.length > DNS_SERVER_LIMIT || domains.length > SEARCH_DOMAIN_LIMIT) {
    throw new RangeError(
      `DHCP takes at most ${DNS_SERVER_LIMIT} DNS servers and ${SEARCH_DOMAIN_LIMIT} search domains, ` +
        `not ${dnsServers.length} and ${domains.length}`,
    );
  }
  encodeDomainSearch(domains);
  if (domainName !== undefined) {
    encodeDomainSearch([domainName]);
    if (domainName.length > DOMAIN_NAME_LIMIT) {
      throw new RangeError(`DHCP takes a domain name of at most ${DOMAIN_NAME_LIMIT} characters, not ${domainName}`);
    }
  }
}
