import type { Ipv4 } from "../address.ts";
import type { Neighbor } from "../arp/neighbor-table.ts";
import type { Ipv4Output } from "../ipv4/output.ts";
import { copyAndSum } from "../memory/packet-memory.ts";
import type { StackStatistics } from "../statistics.ts";
import { PROTOCOL_UDP, readDestination, readSource, readTtl } from "../wire/ipv4.ts";
import {
  checkUdpDatagram,
  readUdpDestinationPort,
  readUdpLength,
  readUdpSourcePort,
  UDP_HEADER_LENGTH,
  UDP_MAX_PAYLOAD,
  writeUdpHeader,
} from "../wire/udp.ts";
import type { UdpDatagram, UdpHandler } from "./datagram.ts";

export interface UdpOptions {
  readonly output: Ipv4Output;
  readonly statistics: StackStatistics;
  /**
   * Takes datagrams that no listener claims.
   *
   * @returns false when nobody is there, so that ICMP port unreachable is sent.
   */
  readonly forward: (datagram: UdpDatagram) => boolean;
}

/** What arrived, in one object that serves every datagram: it is valid only during the call that hands it over. */
class ReceivedDatagram implements UdpDatagram {
  source: Ipv4 = 0;
  sourcePort = 0;
  destination: Ipv4 = 0;
  destinationPort = 0;
  ttl = 0;
  bytes: Uint8Array = new Uint8Array(0);
  offset = 0;
  length = 0;
}

/** UDP (RFC 768): listeners on the stack's own addresses, and everything else to the owner. */
export class Udp {
  readonly #options: UdpOptions;
  /** By port, then by address; address 0 listens on every address. */
  readonly #listeners = new Map<number, Map<Ipv4, UdpHandler>>();
  readonly #received = new ReceivedDatagram();

  constructor(options: UdpOptions) {
    this.#options = options;
  }

  /**
   * Hands the datagrams for an address and port to `handler`; address 0 stands for every address, broadcast included.
   *
   * @throws {Error} when the pair is taken.
   * @returns a function that ends the listening.
   */
  listen(address: Ipv4, port: number, handler: UdpHandler): () => void {
    let byAddress = this.#listeners.get(port);
    if (byAddress === undefined) {
      byAddress = new Map();
      this.#listeners.set(port, byAddress);
    }
    if (byAddress.has(address)) throw new Error(`UDP port ${port} is taken`);
    byAddress.set(address, handler);
    return () => {
      if (byAddress.get(address) !== handler) return;
      byAddress.delete(address);
      if (byAddress.size === 0 && this.#listeners.get(port) === byAddress) this.#listeners.delete(port);
    };
  }

  /**
   * Takes in a datagram of `length` bytes at `segment`, of the packet at `packet`.
   *
   * @returns false when there is nobody for it.
   */
  receive(bytes: Uint8Array, view: DataView, packet: number, segment: number, length: number): boolean {
    const { statistics } = this.#options;
    const source = readSource(view, packet);
    const destination = readDestination(view, packet);
    const fault = checkUdpDatagram(view, segment, length, source, destination);
    if (fault !== null) {
      if (fault === "malformed") statistics.dropMalformed++;
      else statistics.dropChecksum++;
      return true;
    }
    statistics.udpReceived++;
    const received = this.#received;
    received.source = source;
    received.sourcePort = readUdpSourcePort(view, segment);
    received.destination = destination;
    received.destinationPort = readUdpDestinationPort(view, segment);
    received.ttl = readTtl(view, packet);
    received.bytes = bytes;
    received.offset = segment + UDP_HEADER_LENGTH;
    received.length = readUdpLength(view, segment) - UDP_HEADER_LENGTH;
    const byAddress = this.#listeners.get(received.destinationPort);
    if (byAddress !== undefined) {
      const handler = byAddress.get(destination) ?? byAddress.get(0);
      if (handler !== undefined && handler(received) !== false) return true;
    }
    return this.#options.forward(received);
  }

  /**
   * Sends a datagram, in fragments when it is larger than the MTU.
   *
   * @param length - bytes of payload, at most 65507; a longer one is dropped and counted.
   * @param neighbor - who it is sent to, when not by the route to `destination`.
   * @returns whether all of it was sent or waits for ARP.
   */
  send(
    source: Ipv4,
    sourcePort: number,
    destination: Ipv4,
    destinationPort: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
    ttl?: number,
    neighbor?: Neighbor,
  ): boolean {
    const { output, statistics } = this.#options;
    if (length > UDP_MAX_PAYLOAD) {
      statistics.dropMalformed++;
      return false;
    }
    const total = UDP_HEADER_LENGTH + length;
    const segment = output.beginDatagram(source, destination, PROTOCOL_UDP, total, ttl, neighbor);
    if (segment < 0) return false;
    const { view } = output;
    const payloadSum = copyAndSum(bytes, offset, output.bytes, view, segment + UDP_HEADER_LENGTH, length);
    writeUdpHeader(view, segment, source, sourcePort, destination, destinationPort, length, payloadSum);
    if (!output.commitDatagram()) return false;
    statistics.udpSent++;
    return true;
  }
}
