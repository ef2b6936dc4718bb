import type { Ipv4 } from "../address.ts";
import type { FrameSink } from "../link.ts";
import type { StackStatistics } from "../statistics.ts";
import {
  ARP_LENGTH,
  ARP_REPLY,
  ARP_REQUEST,
  isArpPacket,
  readArpOperation,
  readArpSenderAddress,
  readArpSenderMacHigh,
  readArpSenderMacLow,
  readArpTargetAddress,
  writeArpPacket,
} from "../wire/arp.ts";
import {
  ETHERNET_HEADER_LENGTH,
  ETHERTYPE_ARP,
  isGroupMac,
  type MacHalves,
  writeEthernetHeader,
} from "../wire/ethernet.ts";

/** How long an address stays bound to a MAC without a sign of life before it is asked for again. */
const REACHABLE_MS = 60_000;
/** Time between requests, and how many are sent before the neighbour counts as gone (RFC 4861's values). */
const REQUEST_INTERVAL_MS = 1000;
const MAX_REQUESTS = 3;
/** How long an address that did not answer is not asked for again. */
const FAILED_HOLD_MS = 3000;
/** A second MAC may take an address over by plain packets only after this much silence of the first. */
const TAKEOVER_MS = 30_000;
/** How long an entry without any sign of life is kept at all. */
const FORGET_MS = 30 * 60_000;
const MAX_NEIGHBORS = 4096;
/** Bytes kept for one neighbour while its MAC is not known: a datagram of 64 KiB in fragments, and a little more. */
const MAX_PENDING_BYTES = 96 * 1024;
/** The same for all neighbours together. */
const MAX_PENDING_BYTES_IN_ALL = 4 * 1024 * 1024;

export type NeighborState = "unknown" | "incomplete" | "reachable" | "probing" | "failed";

/** What is known of an address on the link. Long-lived flows keep a reference, so that sending costs no look-up. */
export class Neighbor {
  readonly address: Ipv4;
  state: NeighborState = "unknown";
  macHigh = 0;
  macLow = 0;
  /** Whether {@link macHigh} and {@link macLow} hold a MAC that frames may be sent to. */
  resolved = false;
  /** When the address last showed its MAC, in milliseconds of the stack's clock. */
  confirmedAt = 0;
  requests = 0;
  nextRequestAt = Number.POSITIVE_INFINITY;
  /** Whole frames that wait for the MAC, oldest first. */
  readonly pending: Uint8Array[] = [];
  /** Bytes in {@link pending}. */
  pendingBytes = 0;

  constructor(address: Ipv4) {
    this.address = address;
  }

  /** A neighbour whose MAC is given and is never asked for: the broadcast address, or a host without an address yet. */
  static permanent(address: Ipv4, macHigh: number, macLow: number): Neighbor {
    const neighbor = new Neighbor(address);
    neighbor.state = "reachable";
    neighbor.macHigh = macHigh;
    neighbor.macLow = macLow;
    neighbor.resolved = true;
    neighbor.confirmedAt = Number.POSITIVE_INFINITY;
    return neighbor;
  }
}

export interface NeighborTableOptions {
  readonly mac: MacHalves;
  /** The address that asks in ARP requests. */
  readonly address: () => Ipv4;
  /** Whether ARP requests for an address are answered with {@link mac}. */
  readonly answersFor: (address: Ipv4) => boolean;
  readonly link: () => FrameSink;
  readonly statistics: StackStatistics;
}

/**
 * The table of who is where on the link: ARP (RFC 826) with the refreshing and the limits of RFC 1122, 2.3.2.
 *
 * An address is bound to the MAC that showed it, in an ARP packet or as the source of an IPv4 packet, so replies to a
 * container behind the VM find their way without ARP. Bounded in neighbours and in frames that wait.
 */
export class NeighborTable {
  readonly #options: NeighborTableOptions;
  readonly #neighbors = new Map<Ipv4, Neighbor>();
  /** The neighbours with a request under way; few at any time. */
  readonly #asking = new Set<Neighbor>();
  #lastObserved: Neighbor | null = null;
  #pendingBytes = 0;

  constructor(options: NeighborTableOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#neighbors.size;
  }

  /** When {@link poll} is next due. */
  get nextDeadline(): number {
    let deadline = Number.POSITIVE_INFINITY;
    for (const neighbor of this.#asking) deadline = Math.min(deadline, neighbor.nextRequestAt);
    return deadline;
  }

  /** Every neighbour whose MAC is known. */
  *[Symbol.iterator](): IterableIterator<Neighbor> {
    for (const neighbor of this.#neighbors.values()) if (neighbor.resolved) yield neighbor;
  }

  /** The entry for `address`, made when there is none. */
  get(address: Ipv4): Neighbor {
    let neighbor = this.#neighbors.get(address);
    if (neighbor === undefined) {
      if (this.#neighbors.size >= MAX_NEIGHBORS) this.#evictOldest();
      neighbor = new Neighbor(address);
      this.#neighbors.set(address, neighbor);
    }
    return neighbor;
  }

  /** The entry for `address`, or null when the address never showed itself and was never asked for. */
  find(address: Ipv4): Neighbor | null {
    return this.#neighbors.get(address) ?? null;
  }

  /**
   * Notes that a packet from `address` came from a MAC.
   *
   * @returns false when the address is bound to another MAC that was heard a short time ago: the packet is not to be
   *   believed.
   */
  observe(address: Ipv4, macHigh: number, macLow: number, now: number): boolean {
    const last = this.#lastObserved;
    if (last !== null && last.address === address && last.macLow === macLow && last.macHigh === macHigh) {
      // The common case, a packet from the same address again, costs no map look-up.
      if (now - last.confirmedAt < 1000) return true;
    }
    const neighbor = this.get(address);
    if (neighbor.resolved && (neighbor.macHigh !== macHigh || neighbor.macLow !== macLow)) {
      if (now - neighbor.confirmedAt < TAKEOVER_MS) return false;
    }
    this.#confirm(neighbor, macHigh, macLow, now);
    this.#lastObserved = neighbor;
    return true;
  }

  /** Prepares for sending to `neighbor`: asks for its MAC, or asks again when the last sign of life is old. */
  use(neighbor: Neighbor, now: number): void {
    switch (neighbor.state) {
      case "reachable":
        if (now - neighbor.confirmedAt > REACHABLE_MS) this.#ask(neighbor, "probing", now);
        return;
      case "unknown":
        this.#ask(neighbor, "incomplete", now);
        return;
      case "failed":
        if (now >= neighbor.nextRequestAt) this.#ask(neighbor, "incomplete", now);
        return;
      case "incomplete":
      case "probing":
        return;
    }
  }

  /** Keeps a copy of a frame until `neighbor` shows its MAC; the oldest is dropped when too many wait. */
  enqueue(neighbor: Neighbor, frame: Uint8Array): void {
    if (neighbor.state === "failed") {
      this.#options.statistics.dropUnresolved++;
      return;
    }
    if (this.#pendingBytes + frame.length > MAX_PENDING_BYTES_IN_ALL) {
      this.#options.statistics.dropLinkFull++;
      return;
    }
    while (neighbor.pendingBytes + frame.length > MAX_PENDING_BYTES && neighbor.pending.length > 0) {
      const oldest = neighbor.pending.shift() as Uint8Array;
      this.#countPending(neighbor, -oldest.length);
      this.#options.statistics.dropLinkFull++;
    }
    this.#countPending(neighbor, frame.length);
    neighbor.pending.push(frame.slice());
  }

  /** Takes in an ARP packet (RFC 826, "Packet Reception"). */
  receive(view: DataView, packet: number, length: number, now: number): void {
    const { statistics } = this.#options;
    if (!isArpPacket(view, packet, length)) {
      statistics.dropMalformed++;
      return;
    }
    statistics.arpReceived++;
    const senderAddress = readArpSenderAddress(view, packet);
    const senderHigh = readArpSenderMacHigh(view, packet);
    const senderLow = readArpSenderMacLow(view, packet);
    const targetAddress = readArpTargetAddress(view, packet);
    const operation = readArpOperation(view, packet);
    if (isGroupMac(senderHigh) || (operation !== ARP_REQUEST && operation !== ARP_REPLY)) {
      statistics.dropMalformed++;
      return;
    }
    const forUs = this.#options.answersFor(targetAddress);
    // An address probe (RFC 5227) has no sender address; one of our own addresses is no neighbour's.
    if (senderAddress !== 0 && !this.#options.answersFor(senderAddress)) {
      // Who announces by ARP takes an address over at once: that is how fail-over works. An address that is neither
      // known nor talking to us is not worth an entry.
      const known = this.#neighbors.get(senderAddress);
      if (known !== undefined || forUs || senderAddress === targetAddress) {
        this.#confirm(known ?? this.get(senderAddress), senderHigh, senderLow, now);
      }
    }
    if (operation === ARP_REQUEST && forUs && senderAddress !== targetAddress) {
      this.#send(ARP_REPLY, targetAddress, senderHigh, senderLow, senderHigh, senderLow, senderAddress);
    }
  }

  /** Sends the requests that are due and gives up on who did not answer. */
  poll(now: number): void {
    for (const neighbor of this.#asking) {
      if (neighbor.nextRequestAt > now) continue;
      if (neighbor.requests >= MAX_REQUESTS) {
        this.#asking.delete(neighbor);
        this.#dropPending(neighbor);
        neighbor.resolved = false;
        neighbor.state = "failed";
        neighbor.nextRequestAt = now + FAILED_HOLD_MS;
        continue;
      }
      this.#request(neighbor, now);
    }
  }

  #ask(neighbor: Neighbor, state: NeighborState, now: number): void {
    neighbor.state = state;
    neighbor.requests = 0;
    this.#asking.add(neighbor);
    this.#request(neighbor, now);
  }

  #request(neighbor: Neighbor, now: number): void {
    neighbor.requests++;
    neighbor.nextRequestAt = now + REQUEST_INTERVAL_MS;
    // A neighbour that was known is polled at its MAC before the whole link is asked (RFC 1122, 2.3.2.1).
    const unicast = neighbor.state === "probing" && neighbor.requests < MAX_REQUESTS;
    this.#send(
      ARP_REQUEST,
      this.#options.address(),
      unicast ? neighbor.macHigh : 0xffff,
      unicast ? neighbor.macLow : -1,
      0,
      0,
      neighbor.address,
    );
  }

  #confirm(neighbor: Neighbor, macHigh: number, macLow: number, now: number): void {
    if (now - neighbor.confirmedAt > TAKEOVER_MS) {
      // The map's order is the order of eviction: whoever shows life goes to its end.
      this.#neighbors.delete(neighbor.address);
      this.#neighbors.set(neighbor.address, neighbor);
    }
    neighbor.macHigh = macHigh;
    neighbor.macLow = macLow;
    neighbor.resolved = true;
    neighbor.state = "reachable";
    neighbor.confirmedAt = now;
    this.#asking.delete(neighbor);
    if (neighbor.pending.length > 0) this.#sendPending(neighbor);
  }

  #sendPending(neighbor: Neighbor): void {
    const link = this.#options.link();
    const { statistics } = this.#options;
    for (const frame of neighbor.pending) {
      const at = link.reserve(frame.length);
      if (at < 0) {
        statistics.dropLinkFull++;
        continue;
      }
      link.bytes.set(frame, at);
      link.view.setUint16(at, neighbor.macHigh);
      link.view.setInt32(at + 2, neighbor.macLow);
      link.commit(frame.length);
      statistics.framesSent++;
      statistics.bytesSent += frame.length;
    }
    this.#countPending(neighbor, -neighbor.pendingBytes);
    neighbor.pending.length = 0;
  }

  #dropPending(neighbor: Neighbor): void {
    this.#options.statistics.dropUnresolved += neighbor.pending.length;
    this.#countPending(neighbor, -neighbor.pendingBytes);
    neighbor.pending.length = 0;
  }

  #countPending(neighbor: Neighbor, bytes: number): void {
    neighbor.pendingBytes += bytes;
    this.#pendingBytes += bytes;
  }

  #send(
    operation: number,
    senderAddress: Ipv4,
    frameHigh: number,
    frameLow: number,
    targetHigh: number,
    targetLow: number,
    targetAddress: Ipv4,
  ): void {
    const { mac, statistics } = this.#options;
    const link = this.#options.link();
    const length = ETHERNET_HEADER_LENGTH + ARP_LENGTH;
    const frame = link.reserve(length);
    if (frame < 0) {
      statistics.dropLinkFull++;
      return;
    }
    writeEthernetHeader(link.view, frame, frameHigh, frameLow, mac.high, mac.low, ETHERTYPE_ARP);
    writeArpPacket(
      link.view,
      frame + ETHERNET_HEADER_LENGTH,
      operation,
      mac.high,
      mac.low,
      senderAddress,
      targetHigh,
      targetLow,
      targetAddress,
    );
    link.commit(length);
    statistics.arpSent++;
    statistics.framesSent++;
    statistics.bytesSent += length;
  }

  #evictOldest(): void {
    for (const [address, neighbor] of this.#neighbors) {
      this.#neighbors.delete(address);
      this.#asking.delete(neighbor);
      this.#dropPending(neighbor);
      neighbor.state = "unknown";
      if (this.#lastObserved === neighbor) this.#lastObserved = null;
      return;
    }
  }

  /** Drops entries that showed no life for a long time; called now and then by the stack's housekeeping. */
  forgetOld(now: number): void {
    for (const [address, neighbor] of this.#neighbors) {
      if (now - neighbor.confirmedAt < FORGET_MS) return;
      if (this.#asking.has(neighbor)) continue;
      this.#neighbors.delete(address);
      if (this.#lastObserved === neighbor) this.#lastObserved = null;
    }
  }
}
