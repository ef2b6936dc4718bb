import type { Ipv4 } from "../address.ts";
import {
  IPV4_HEADER_LENGTH,
  IPV4_MAX_LENGTH,
  readDestination,
  readFragmentOffset,
  readHeaderLength,
  readIdentification,
  readMoreFragments,
  readProtocol,
  readSource,
  readTotalLength,
  readTtl,
  writeIpv4Header,
} from "../wire/ipv4.ts";

/** How long the fragments of a datagram are waited for, from the first that arrives (RFC 791, 3.2; Linux's value). */
const REASSEMBLY_TIMEOUT_MS = 30_000;
/** Datagrams under reassembly at once; each holds one buffer of 64 KiB, so this bounds the memory. */
const MAX_DATAGRAMS = 64;
/** Fragments of one datagram; 64 KiB in fragments of the smallest common MTU, 576. */
const MAX_FRAGMENTS = 128;

/** A datagram under reassembly. The buffer begins with room for a header, so the whole can be read as a packet. */
class PartialDatagram {
  source: Ipv4 = 0;
  destination: Ipv4 = 0;
  identification = 0;
  protocol = 0;
  deadline = 0;
  /** Bytes of payload, once the last fragment told; -1 before. */
  totalPayload = -1;
  receivedPayload = 0;
  /** The time to live of the first fragment, which stands for the datagram's. */
  ttl = 0;
  hasFirst = false;
  readonly bytes = new Uint8Array(IPV4_MAX_LENGTH);
  readonly view = new DataView(this.bytes.buffer);
  /** The ranges that have arrived, as start and end one after the other, in no order. */
  readonly ranges: number[] = [];

  matches(source: Ipv4, destination: Ipv4, identification: number, protocol: number): boolean {
    return (
      this.identification === identification &&
      this.source === source &&
      this.destination === destination &&
      this.protocol === protocol
    );
  }
}

/** A datagram that is whole again: a packet with a header without options at offset 0, valid until the next call. */
export interface ReassembledPacket {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/** Takes the head of a datagram that expired, as a packet at offset 0, for ICMP time exceeded. */
export type ReassemblyTimeoutHandler = (bytes: Uint8Array, view: DataView) => void;

/**
 * Puts fragmented datagrams together (RFC 791, 3.2).
 *
 * A datagram with overlapping fragments is dropped as a whole, as RFC 5722 has it for IPv6 and RFC 8900, 3.8 advises:
 * no honest sender makes them. Duplicates of a whole fragment are ignored. When too many datagrams are under way the
 * oldest is given up.
 */
export class Reassembler {
  /** Oldest first. */
  readonly #partial: PartialDatagram[] = [];
  readonly #spare: PartialDatagram[] = [];

  /** Datagrams under reassembly. */
  get size(): number {
    return this.#partial.length;
  }

  /** Buffers held, in use or spare; each of 64 KiB. */
  get buffers(): number {
    return this.#partial.length + this.#spare.length;
  }

  get nextDeadline(): number {
    return this.#partial.length === 0 ? Number.POSITIVE_INFINITY : this.#partial[0].deadline;
  }

  /**
   * Takes in one fragment, whose header has been checked.
   *
   * @returns the datagram when this fragment completes it, or `invalid` when the fragment or its datagram was dropped.
   */
  add(bytes: Uint8Array, view: DataView, packet: number, now: number): ReassembledPacket | "incomplete" | "invalid" {
    const headerLength = readHeaderLength(view, packet);
    const length = readTotalLength(view, packet) - headerLength;
    const start = readFragmentOffset(view, packet);
    const more = readMoreFragments(view, packet);
    const end = start + length;
    if (length === 0 || (more && (length & 7) !== 0) || end > IPV4_MAX_LENGTH - IPV4_HEADER_LENGTH) return "invalid";

    const datagram = this.#find(view, packet) ?? this.#begin(view, packet, now);
    const { ranges } = datagram;
    for (let index = 0; index < ranges.length; index += 2) {
      if (ranges[index] === start && ranges[index + 1] === end) return "incomplete";
      if (start < ranges[index + 1] && ranges[index] < end) return this.#giveUp(datagram);
    }
    if (ranges.length >= 2 * MAX_FRAGMENTS) return this.#giveUp(datagram);
    if (!more) {
      if (datagram.totalPayload >= 0) return this.#giveUp(datagram);
      datagram.totalPayload = end;
    }
    const from = packet + headerLength;
    datagram.bytes.set(bytes.subarray(from, from + length), IPV4_HEADER_LENGTH + start);
    ranges.push(start, end);
    datagram.receivedPayload += length;
    if (start === 0) {
      datagram.hasFirst = true;
      datagram.ttl = readTtl(view, packet);
    }
    // A range beyond the end that the last fragment told can never be part of the datagram.
    if (datagram.totalPayload >= 0) {
      for (let index = 1; index < ranges.length; index += 2) {
        if (ranges[index] > datagram.totalPayload) return this.#giveUp(datagram);
      }
    }
    // Ranges do not overlap and lie within the total, so their sum says whether there is a hole.
    if (datagram.receivedPayload !== datagram.totalPayload) return "incomplete";
    this.#remove(datagram);
    this.#writeHeader(datagram, datagram.totalPayload);
    return datagram;
  }

  /** Gives up the datagrams that waited too long, and returns how many. */
  expire(now: number, timedOut: ReassemblyTimeoutHandler): number {
    let expired = 0;
    while (this.#partial.length > 0 && this.#partial[0].deadline <= now) {
      const datagram = this.#partial[0];
      this.#remove(datagram);
      expired++;
      if (datagram.hasFirst) {
        // The first fragment alone: the head of the payload is what an error has to quote.
        const { ranges } = datagram;
        let first = 0;
        for (let index = 0; index < ranges.length; index += 2) if (ranges[index] === 0) first = ranges[index + 1];
        this.#writeHeader(datagram, first);
        timedOut(datagram.bytes, datagram.view);
      }
    }
    return expired;
  }

  #find(view: DataView, packet: number): PartialDatagram | null {
    const source = readSource(view, packet);
    const destination = readDestination(view, packet);
    const identification = readIdentification(view, packet);
    const protocol = readProtocol(view, packet);
    // The datagram in question is nearly always the newest.
    for (let index = this.#partial.length - 1; index >= 0; index--) {
      if (this.#partial[index].matches(source, destination, identification, protocol)) return this.#partial[index];
    }
    return null;
  }

  #begin(view: DataView, packet: number, now: number): PartialDatagram {
    if (this.#partial.length >= MAX_DATAGRAMS) this.#remove(this.#partial[0]);
    const datagram = this.#spare.pop() ?? new PartialDatagram();
    datagram.source = readSource(view, packet);
    datagram.destination = readDestination(view, packet);
    datagram.identification = readIdentification(view, packet);
    datagram.protocol = readProtocol(view, packet);
    datagram.deadline = now + REASSEMBLY_TIMEOUT_MS;
    datagram.totalPayload = -1;
    datagram.receivedPayload = 0;
    datagram.hasFirst = false;
    datagram.ranges.length = 0;
    this.#partial.push(datagram);
    return datagram;
  }

  #remove(datagram: PartialDatagram): void {
    const index = this.#partial.indexOf(datagram);
    if (index < 0) return;
    this.#partial.splice(index, 1);
    // A few spare buffers serve a steady stream of datagrams; more would only hold memory.
    if (this.#spare.length < 4) this.#spare.push(datagram);
  }

  #giveUp(datagram: PartialDatagram): "invalid" {
    this.#remove(datagram);
    return "invalid";
  }

  #writeHeader(datagram: PartialDatagram, payload: number): void {
    writeIpv4Header(
      datagram.view,
      0,
      IPV4_HEADER_LENGTH + payload,
      datagram.identification,
      false,
      false,
      0,
      datagram.ttl,
      datagram.protocol,
      datagram.source,
      datagram.destination,
    );
  }
}
