/** A DHCP client (RFC 2131, 4.4) as a state machine over UDP payloads. */

import { formatMac, IPV4_ANY, IPV4_BROADCAST, type Ipv4, type Mac, prefixMask } from "../address.ts";
import {
  BOOTREPLY,
  BOOTREQUEST,
  DHCP_FLAG_BROADCAST,
  DHCP_HEADERS_LENGTH,
  DHCP_MINIMUM_MAXIMUM_SIZE,
  DHCP_OPTION,
  DHCP_TYPE,
  type DhcpMessage,
  type DhcpMessageType,
  DhcpOptions,
  decodeDomainSearch,
  encodeDhcpMessage,
  HTYPE_ETHERNET,
  parseDhcpMessage,
} from "../wire/dhcpv4.ts";
import { HOST_NAME } from "./lease-table.ts";

/** The states of RFC 2131, figure 5. INIT-REBOOT and REBOOTING are one here, as are INIT and stopped. */
export type DhcpClientState = "init" | "selecting" | "requesting" | "rebooting" | "bound" | "renewing" | "rebinding";

/** What a {@link DhcpClient} is made of. */
export interface DhcpClientOptions {
  readonly mac: Mac;
  /** A number from 0 to below 1. */
  readonly random: () => number;
  /** Sent as option 12: a host name of at most 63 characters. */
  readonly hostName?: string;
  /** Sent as option 61: 2 to 64 bytes. */
  readonly clientIdentifier?: Uint8Array;
  /** The address of an earlier lease, asked for without a discovery (INIT-REBOOT). */
  readonly formerAddress?: Ipv4;
  /** Asks for replies as broadcasts, for a client that takes no unicast before it has its address. */
  readonly broadcast?: boolean;
}

/** What a server gave. */
export interface DhcpClientLease {
  readonly address: Ipv4;
  readonly prefixLength: number;
  readonly router: Ipv4 | null;
  readonly dnsServers: readonly Ipv4[];
  readonly domainName: string | null;
  readonly searchDomains: readonly string[];
  readonly mtu: number | null;
  readonly leaseSeconds: number;
  readonly serverId: Ipv4;
}

/** A message to send from port 68 to port 67. */
export interface DhcpClientMessage {
  /** The UDP payload. */
  readonly message: Uint8Array;
  readonly source: Ipv4;
  /** 255.255.255.255, which is the broadcast address of the link too, or the server. */
  readonly destination: Ipv4;
}

// RFC 2131, 4.1: 4 seconds, doubled up to 64, each give or take one.
const FIRST_TIMEOUT_MS = 4_000;
const LAST_TIMEOUT_MS = 64_000;
const JITTER_MS = 1_000;
/** How often a DHCPREQUEST is sent before the client starts over: about a minute, as in RFC 2131, 3.1.5. */
const REQUEST_ATTEMPTS = 4;
/** The least between retransmissions in RENEWING and REBINDING (RFC 2131, 4.4.5). */
const RENEWAL_TIMEOUT_MS = 60_000;
/** The first pause between refusals; the very first one is answered at once. */
const REFUSAL_PAUSE_MS = 1_000;
const INFINITE_LEASE = 0xffffffff;
/** What option 57 says: the frames of any Ethernet. */
const MAXIMUM_SIZE = 1500;

const PARAMETERS = Uint8Array.of(
  DHCP_OPTION.subnetMask,
  DHCP_OPTION.router,
  DHCP_OPTION.domainNameServer,
  DHCP_OPTION.domainName,
  DHCP_OPTION.interfaceMtu,
  DHCP_OPTION.broadcastAddress,
  DHCP_OPTION.domainSearch,
);

/**
 * The client of one interface. All times are milliseconds of one clock with any origin.
 *
 * After {@link start}, {@link handle} and whenever {@link nextDeadline} is reached, call {@link poll} until it returns
 * null. An address is not probed before its use (RFC 2131, 4.4.1 leaves that open).
 */
export class DhcpClient {
  readonly #options: DhcpClientOptions;
  #state: DhcpClientState = "init";
  #deadline = Number.POSITIVE_INFINITY;
  #lease: DhcpClientLease | null = null;
  /** What REQUESTING and REBOOTING ask for; the server is null in REBOOTING. */
  #wanted: { address: Ipv4; serverId: Ipv4 | null } = { address: IPV4_ANY, serverId: null };
  #xid = 0;
  #attempts = 0;
  #refusals = 0;
  #began = 0;
  #secs = 0;
  /** When the state asked first, from which its lease counts: no later than the server's count (RFC 2131, 4.4.1). */
  #askedAt = 0;
  #renewAt = 0;
  #rebindAt = 0;
  #expireAt = 0;

  /** @throws {RangeError} when the host name or the client identifier cannot be sent. */
  constructor(options: DhcpClientOptions) {
    const { hostName, clientIdentifier } = options;
    if (hostName !== undefined && (hostName.length > 63 || !HOST_NAME.test(hostName))) {
      throw new RangeError(`not a host name of at most 63 characters: ${JSON.stringify(hostName)}`);
    }
    if (clientIdentifier !== undefined && (clientIdentifier.length < 2 || clientIdentifier.length > 64)) {
      throw new RangeError(`a DHCP client identifier must have 2 to 64 bytes, not ${clientIdentifier.length}`);
    }
    this.#options = options;
    this.#wanted = { address: options.formerAddress ?? IPV4_ANY, serverId: null };
  }

  get state(): DhcpClientState {
    return this.#state;
  }

  /** The lease while there is one: in BOUND, RENEWING and REBINDING. */
  get lease(): DhcpClientLease | null {
    return this.#lease;
  }

  /** When {@link poll} is to be called next; infinite when nothing is to be waited for. */
  get nextDeadline(): number {
    return this.#deadline;
  }

  /** Starts over: with the former address where there is one (INIT-REBOOT), else with a discovery. */
  start(now: number): void {
    const former = this.#lease?.address ?? this.#wanted.address;
    this.#refusals = 0;
    this.#lease = null;
    this.#wanted = { address: former, serverId: null };
    this.#enter(former === IPV4_ANY ? "selecting" : "rebooting", now);
  }

  /** Takes the payload of a datagram that came to port 68. Never throws. */
  handle(payload: Uint8Array, offset: number, length: number, now: number): void {
    const reply = parseDhcpMessage(payload, offset, length);
    if (
      reply === null ||
      reply.op !== BOOTREPLY ||
      reply.xid !== this.#xid ||
      reply.chaddr.length !== 6 ||
      formatMac(reply.chaddr) !== formatMac(this.#options.mac)
    ) {
      return;
    }
    const serverId = reply.options.ipv4(DHCP_OPTION.serverIdentifier);
    if (this.#state === "selecting") {
      if (reply.type === DHCP_TYPE.offer && serverId !== null && reply.yiaddr !== IPV4_ANY) {
        this.#wanted = { address: reply.yiaddr, serverId };
        this.#enter("requesting", now);
      }
      return;
    }
    // A state that has not asked yet has no answer to get.
    const asking = this.#state !== "init" && this.#state !== "bound" && this.#attempts > 0;
    if (asking && reply.type === DHCP_TYPE.nak) {
      this.#refused(now);
    } else if (asking && reply.type === DHCP_TYPE.ack) {
      const lease = readLease(reply);
      if (lease !== null) {
        this.#bind(lease, reply.options);
      }
    }
  }

  /** The message that is due, or null when none is. */
  poll(now: number): DhcpClientMessage | null {
    if (now < this.#deadline) {
      return null;
    }
    if (this.#lease !== null && now >= this.#expireAt) {
      this.#discover(now);
    } else if (this.#state === "init") {
      this.#enter("selecting", now);
    } else if ((this.#state === "bound" || this.#state === "renewing") && now >= this.#rebindAt) {
      this.#enter("rebinding", now);
    } else if (this.#state === "bound") {
      this.#enter("renewing", now);
    } else if ((this.#state === "requesting" || this.#state === "rebooting") && this.#attempts === REQUEST_ATTEMPTS) {
      this.#discover(now);
    }
    this.#deadline = now + this.#timeout(now);
    this.#attempts += 1;
    return this.#message(now);
  }

  /**
   * Gives the lease back and stops.
   *
   * @returns the message to send, or null when there was no lease.
   */
  release(now: number): DhcpClientMessage | null {
    const lease = this.#lease;
    this.#enter("init", now);
    this.#deadline = Number.POSITIVE_INFINITY;
    this.#lease = null;
    this.#wanted = { address: IPV4_ANY, serverId: null };
    if (lease === null) {
      return null;
    }
    this.#secs = 0;
    const options = new DhcpOptions().setIpv4(DHCP_OPTION.serverIdentifier, lease.serverId);
    return this.#send(DHCP_TYPE.release, lease.address, lease.serverId, this.#identify(options));
  }

  /** Begins a transaction, whose first message is due at once. */
  #enter(state: DhcpClientState, now: number): void {
    // RFC 2131, 4.4.1: the request that takes an offer has the transaction id of the discovery.
    if (state !== "requesting") {
      this.#xid = Math.floor(this.#options.random() * 0x1_0000_0000);
      this.#began = now;
    }
    this.#askedAt = now;
    this.#state = state;
    this.#attempts = 0;
    this.#deadline = now;
  }

  #discover(now: number): void {
    this.#lease = null;
    this.#enter("selecting", now);
  }

  /** Starts over after a DHCPNAK: at once the first time, later with growing pauses, so that no loop runs hot. */
  #refused(now: number): void {
    this.#lease = null;
    this.#wanted = { address: IPV4_ANY, serverId: null };
    this.#enter("init", now);
    if (this.#refusals > 0) {
      this.#deadline = now + Math.min(REFUSAL_PAUSE_MS * 2 ** (this.#refusals - 1), LAST_TIMEOUT_MS);
    }
    this.#refusals += 1;
  }

  #bind(lease: DhcpClientLease, options: DhcpOptions): void {
    const { leaseSeconds } = lease;
    const infinite = leaseSeconds === INFINITE_LEASE;
    let renewal = options.uint32(DHCP_OPTION.renewalTime) ?? leaseSeconds * 0.5;
    let rebinding = options.uint32(DHCP_OPTION.rebindingTime) ?? leaseSeconds * 0.875;
    if (renewal < 1 || renewal > rebinding || rebinding > leaseSeconds) {
      renewal = leaseSeconds * 0.5;
      rebinding = leaseSeconds * 0.875;
    }
    const at = (seconds: number) => (infinite ? Number.POSITIVE_INFINITY : this.#askedAt + seconds * 1000);
    this.#renewAt = at(renewal);
    this.#rebindAt = at(rebinding);
    this.#expireAt = at(leaseSeconds);
    this.#state = "bound";
    this.#lease = lease;
    this.#wanted = { address: lease.address, serverId: null };
    this.#refusals = 0;
    this.#attempts = 0;
    this.#deadline = this.#renewAt;
  }

  /** Milliseconds until the message that is sent now is due again. */
  #timeout(now: number): number {
    if (this.#state === "renewing" || this.#state === "rebinding") {
      // RFC 2131, 4.4.5: half of what remains of the state, a minute at the least.
      const end = this.#state === "renewing" ? this.#rebindAt : this.#expireAt;
      return Math.min(Math.max((end - now) / 2, RENEWAL_TIMEOUT_MS), end - now);
    }
    const timeout = Math.min(FIRST_TIMEOUT_MS * 2 ** this.#attempts, LAST_TIMEOUT_MS);
    return timeout + (this.#options.random() * 2 - 1) * JITTER_MS;
  }

  #message(now: number): DhcpClientMessage | null {
    const options = new DhcpOptions();
    const { address, serverId } = this.#wanted;
    const lease = this.#lease;
    // RFC 2131, table 5: which message names the address and the server in an option, and which in ciaddr.
    if (lease === null && address !== IPV4_ANY) {
      options.setIpv4(DHCP_OPTION.requestedAddress, address);
    }
    if (this.#state === "requesting" && serverId !== null) {
      options.setIpv4(DHCP_OPTION.serverIdentifier, serverId);
    } else {
      // RFC 2131, 3.1.3: the request that takes an offer has the seconds of the discovery.
      this.#secs = Math.min(Math.floor((now - this.#began) / 1000), 0xffff);
    }
    this.#identify(options)
      .setUint16(DHCP_OPTION.maximumMessageSize, MAXIMUM_SIZE)
      .set(DHCP_OPTION.parameterRequestList, PARAMETERS);
    if (this.#options.hostName !== undefined) {
      options.setText(DHCP_OPTION.hostName, this.#options.hostName);
    }
    const type = this.#state === "selecting" ? DHCP_TYPE.discover : DHCP_TYPE.request;
    const destination = this.#state === "renewing" && lease !== null ? lease.serverId : IPV4_BROADCAST;
    return this.#send(type, lease?.address ?? IPV4_ANY, destination, options);
  }

  #identify(options: DhcpOptions): DhcpOptions {
    const { clientIdentifier } = this.#options;
    return clientIdentifier === undefined ? options : options.set(DHCP_OPTION.clientIdentifier, clientIdentifier);
  }

  #send(type: DhcpMessageType, ciaddr: Ipv4, destination: Ipv4, options: DhcpOptions): DhcpClientMessage | null {
    const message = encodeDhcpMessage(
      {
        op: BOOTREQUEST,
        htype: HTYPE_ETHERNET,
        hops: 0,
        xid: this.#xid,
        secs: this.#secs,
        flags: this.#options.broadcast === true && ciaddr === IPV4_ANY ? DHCP_FLAG_BROADCAST : 0,
        ciaddr,
        yiaddr: IPV4_ANY,
        siaddr: IPV4_ANY,
        giaddr: IPV4_ANY,
        chaddr: this.#options.mac,
        type,
        options,
      },
      DHCP_MINIMUM_MAXIMUM_SIZE - DHCP_HEADERS_LENGTH,
    );
    return message === null ? null : { message, source: ciaddr, destination };
  }
}

/** The lease that an acknowledgement gives, or null when it lacks what an interface cannot be configured without. */
function readLease({ yiaddr, options }: DhcpMessage): DhcpClientLease | null {
  const serverId = options.ipv4(DHCP_OPTION.serverIdentifier);
  const leaseSeconds = options.uint32(DHCP_OPTION.leaseTime);
  const mask = options.ipv4(DHCP_OPTION.subnetMask);
  const prefixLength = mask === null ? 0 : Math.clz32(~mask);
  if (
    yiaddr === IPV4_ANY ||
    serverId === null ||
    leaseSeconds === null ||
    leaseSeconds === 0 ||
    prefixLength === 0 ||
    prefixMask(prefixLength) !== mask
  ) {
    return null;
  }
  const mtu = options.uint16(DHCP_OPTION.interfaceMtu);
  const search = options.bytes(DHCP_OPTION.domainSearch);
  return {
    address: yiaddr,
    prefixLength,
    router: options.ipv4List(DHCP_OPTION.router).at(0) ?? null,
    dnsServers: options.ipv4List(DHCP_OPTION.domainNameServer),
    domainName: options.text(DHCP_OPTION.domainName),
    searchDomains: (search === null ? null : decodeDomainSearch(search)) ?? [],
    mtu: mtu !== null && mtu >= 68 ? mtu : null,
    leaseSeconds,
    serverId,
  };
}
