import type { Ipv4 } from "../address.ts";
import type { Neighbor, NeighborTable } from "../arp/neighbor-table.ts";
import type { FrameSink } from "../link.ts";
import { copyBytes, giveRegion, type PacketRegion, takeRegion } from "../memory/packet-memory.ts";
import type { StackStatistics } from "../statistics.ts";
import { ETHERNET_HEADER_LENGTH, ETHERTYPE_IPV4, type MacHalves, writeEthernetHeader } from "../wire/ethernet.ts";
import { DEFAULT_TTL, IPV4_HEADER_LENGTH, IPV4_MAX_LENGTH, writeIpv4Header } from "../wire/ipv4.ts";

export interface Ipv4OutputOptions {
  readonly mac: MacHalves;
  /** The largest IP packet on the link, in bytes. */
  readonly mtu: number;
  readonly link: () => FrameSink;
  readonly neighbors: NeighborTable;
  /** The neighbour that packets for an address are sent to, or null when there is no way there. */
  readonly route: (destination: Ipv4) => Neighbor | null;
  readonly statistics: StackStatistics;
  readonly now: () => number;
}

const HEADERS = ETHERNET_HEADER_LENGTH + IPV4_HEADER_LENGTH;

/** A place to build a frame that cannot go out yet, because the neighbour's MAC is not known. */
class ScratchFrame implements FrameSink {
  readonly bytes = new Uint8Array(ETHERNET_HEADER_LENGTH + IPV4_MAX_LENGTH);
  readonly view = new DataView(this.bytes.buffer);
  neighbor: Neighbor | null = null;
  readonly #neighbors: NeighborTable;

  constructor(neighbors: NeighborTable) {
    this.#neighbors = neighbors;
  }

  reserve(length: number): number {
    return length <= this.bytes.length ? 0 : -1;
  }

  commit(length: number): void {
    if (this.neighbor !== null) this.#neighbors.enqueue(this.neighbor, this.bytes.subarray(0, length));
  }
}

/** A datagram that is larger than the MTU, while its payload is built aside. */
interface LargeDatagram {
  readonly region: PacketRegion;
  readonly neighbor: Neighbor;
  readonly source: Ipv4;
  readonly destination: Ipv4;
  readonly protocol: number;
  readonly length: number;
  readonly ttl: number;
}

/**
 * Builds IPv4 packets in the link's buffer.
 *
 * {@link begin} writes the headers and tells where the payload goes, {@link commit} sends. What may be larger than the
 * MTU goes through {@link beginDatagram} and {@link commitDatagram}, which fragment where needed.
 */
export class Ipv4Output {
  /** The memory of the packet being built, from the call that begins it to the one that commits it. */
  bytes: Uint8Array;
  view: DataView;
  readonly #options: Ipv4OutputOptions;
  readonly #scratch: ScratchFrame;
  #sink: FrameSink;
  #length = 0;
  /** What was begun with {@link beginDatagram} and has to be fragmented. */
  #large: LargeDatagram | null = null;
  #identification = 0;

  constructor(options: Ipv4OutputOptions) {
    this.#options = options;
    this.#scratch = new ScratchFrame(options.neighbors);
    this.#sink = this.#scratch;
    this.bytes = this.#scratch.bytes;
    this.view = this.#scratch.view;
  }

  /** The largest payload of one packet, in bytes. */
  get maximumPayload(): number {
    return this.#options.mtu - IPV4_HEADER_LENGTH;
  }

  /**
   * Starts a packet to a known neighbour.
   *
   * @param length - bytes of payload, at most {@link maximumPayload}.
   * @returns where the payload begins in {@link bytes}, or -1 when the link can take no more for now.
   */
  begin(
    neighbor: Neighbor,
    source: Ipv4,
    destination: Ipv4,
    protocol: number,
    length: number,
    dontFragment: boolean,
    ttl: number = DEFAULT_TTL,
  ): number {
    // A packet that may not be fragmented needs no identification (RFC 6864, 4.1).
    const identification = dontFragment ? 0 : this.#nextIdentification();
    return this.#begin(neighbor, source, destination, protocol, length, identification, dontFragment, false, 0, ttl);
  }

  /** Sends the packet that was begun. */
  commit(): void {
    this.#sink.commit(this.#length);
    if (this.#sink !== this.#scratch) {
      this.#options.statistics.framesSent++;
      this.#options.statistics.bytesSent += this.#length;
    }
  }

  /**
   * Starts a datagram of any size: in the link's buffer when it fits the MTU, so that it is not copied once more, and
   * aside when it has to be fragmented.
   *
   * @param length - bytes of payload; what IPv4 cannot carry is refused.
   * @param neighbor - who it is sent to, when not by the route to `destination`.
   * @returns where the payload begins in {@link bytes}, for {@link commitDatagram} to send; -1 when the datagram is lost,
   *   which has been counted.
   */
  beginDatagram(
    source: Ipv4,
    destination: Ipv4,
    protocol: number,
    length: number,
    ttl: number = DEFAULT_TTL,
    neighbor: Neighbor | null = this.#options.route(destination),
  ): number {
    if (neighbor === null || length > IPV4_MAX_LENGTH - IPV4_HEADER_LENGTH) {
      this.#options.statistics.dropUnresolved++;
      return -1;
    }
    if (length <= this.maximumPayload) {
      const payload = this.begin(neighbor, source, destination, protocol, length, false, ttl);
      if (payload < 0) this.#options.statistics.dropLinkFull++;
      return payload;
    }
    const region = takeRegion(length);
    this.#large = { region, neighbor, source, destination, protocol, length, ttl };
    this.bytes = region.bytes;
    this.view = region.view;
    return region.offset;
  }

  /**
   * Sends the datagram that was begun with {@link beginDatagram}, in fragments when it is larger than the MTU (RFC 791,
   * 3.2).
   *
   * @returns whether every part was sent or queued.
   */
  commitDatagram(): boolean {
    const large = this.#large;
    if (large === null) {
      this.commit();
      return true;
    }
    this.#large = null;
    const sent = this.#sendFragments(large);
    giveRegion(large.region);
    return sent;
  }

  #sendFragments({ region, neighbor, source, destination, protocol, length, ttl }: LargeDatagram): boolean {
    const identification = this.#nextIdentification();
    // Every fragment but the last carries a multiple of 8 bytes.
    const step = this.maximumPayload & ~7;
    for (let at = 0; at < length; at += step) {
      const part = Math.min(step, length - at);
      const more = at + part < length;
      const payload = this.#begin(neighbor, source, destination, protocol, part, identification, false, more, at, ttl);
      if (payload < 0) {
        this.#options.statistics.dropLinkFull++;
        return false;
      }
      copyBytes(region.bytes, region.offset + at, this.bytes, payload, part);
      this.commit();
    }
    return true;
  }

  #begin(
    neighbor: Neighbor,
    source: Ipv4,
    destination: Ipv4,
    protocol: number,
    length: number,
    identification: number,
    dontFragment: boolean,
    moreFragments: boolean,
    fragmentOffset: number,
    ttl: number,
  ): number {
    const { mac, neighbors } = this.#options;
    neighbors.use(neighbor, this.#options.now());
    let sink: FrameSink;
    if (neighbor.resolved) {
      sink = this.#options.link();
    } else {
      this.#scratch.neighbor = neighbor;
      sink = this.#scratch;
    }
    const frame = sink.reserve(HEADERS + length);
    if (frame < 0) return -1;
    this.#sink = sink;
    this.#length = HEADERS + length;
    const { view } = sink;
    this.bytes = sink.bytes;
    this.view = view;
    writeEthernetHeader(view, frame, neighbor.macHigh, neighbor.macLow, mac.high, mac.low, ETHERTYPE_IPV4);
    writeIpv4Header(
      view,
      frame + ETHERNET_HEADER_LENGTH,
      IPV4_HEADER_LENGTH + length,
      identification,
      dontFragment,
      moreFragments,
      fragmentOffset,
      ttl,
      protocol,
      source,
      destination,
    );
    return frame + HEADERS;
  }

  #nextIdentification(): number {
    this.#identification = (this.#identification + 1) & 0xffff;
    return this.#identification;
  }
}
