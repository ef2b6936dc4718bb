import { type Ipv4, isMulticast } from "../address.ts";
import type { Ipv4Output } from "../ipv4/output.ts";
import { copyBytes } from "../memory/packet-memory.ts";
import type { StackStatistics } from "../statistics.ts";
import { TokenBucket } from "../token-bucket.ts";
import {
  ICMP_DESTINATION_UNREACHABLE,
  ICMP_ECHO_REPLY,
  ICMP_ECHO_REQUEST,
  ICMP_HEADER_LENGTH,
  ICMP_TIME_EXCEEDED,
  isIcmpMessage,
  readEchoIdentifier,
  readEchoSequence,
  readIcmpCode,
  readIcmpType,
  writeIcmpHeader,
} from "../wire/icmpv4.ts";
import {
  IPV4_HEADER_LENGTH,
  IPV4_MAX_LENGTH,
  PROTOCOL_ICMP,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  readDestination,
  readFragmentOffset,
  readHeaderLength,
  readProtocol,
  readSource,
  readTotalLength,
  readTtl,
  writeIpv4Header,
} from "../wire/ipv4.ts";
import type { EchoHandler, EchoRequest } from "./echo.ts";
import { FRAGMENTATION_NEEDED, type UnreachableCode } from "./unreachable.ts";

/** An error quotes so much of the packet it is about that it stays within 576 bytes (RFC 1812, 4.3.2.3). */
const MAX_QUOTE = 576 - IPV4_HEADER_LENGTH - ICMP_HEADER_LENGTH;
/** Errors per second, and in one burst, so that a flood from the guest is not doubled (RFC 1812, 4.3.2.8). */
const ERRORS_PER_SECOND = 200;
const ERROR_BURST = 200;

/** A UDP datagram, TCP segment or echo request by its addresses: what an error that comes later is about. */
export interface QuotedFlow {
  readonly source: Ipv4;
  readonly destination: Ipv4;
}

/** The destination-unreachable errors a guest sent us, by what they quote. */
export interface ReceivedUnreachable {
  readonly code: number;
  /** The MTU of the next link, with fragmentation needed; 0 from a router that does not say (RFC 1191, 4). */
  readonly mtu: number;
  readonly protocol: number;
  /** The addresses and ports of our own packet that the error quotes. */
  readonly source: Ipv4;
  readonly sourcePort: number;
  readonly destination: Ipv4;
  readonly destinationPort: number;
  /** The sequence number, when the quoted packet was TCP. */
  readonly sequence: number;
}

export interface IcmpOptions {
  readonly output: Ipv4Output;
  readonly statistics: StackStatistics;
  readonly now: () => number;
  /** The address that errors come from. */
  readonly address: () => Ipv4;
  /** Whether echo requests for an address are answered here. */
  readonly answersFor: (address: Ipv4) => boolean;
  /** Takes echo requests for every other address. */
  readonly echoRequest: EchoHandler;
  /** Takes the answers to {@link Icmp.sendEchoRequest}. */
  readonly echoReply: EchoHandler;
  readonly unreachable: (error: ReceivedUnreachable) => void;
}

/** ICMP (RFC 792): answers echo requests, sends errors at a bounded rate, and takes in the guest's. */
export class Icmp {
  readonly #options: IcmpOptions;
  readonly #errorLimit = new TokenBucket(ERRORS_PER_SECOND, ERROR_BURST);

  constructor(options: IcmpOptions) {
    this.#options = options;
  }

  /** Takes in a message of `length` bytes at `message`, of the packet at `packet`. */
  receive(bytes: Uint8Array, view: DataView, packet: number, message: number, length: number): void {
    const { statistics } = this.#options;
    if (length < ICMP_HEADER_LENGTH) {
      statistics.dropMalformed++;
      return;
    }
    if (!isIcmpMessage(view, message, length)) {
      statistics.dropChecksum++;
      return;
    }
    statistics.icmpReceived++;
    switch (readIcmpType(view, message)) {
      case ICMP_ECHO_REQUEST: {
        const request = readEcho(bytes, view, packet, message, length);
        if (!this.#options.answersFor(request.destination)) {
          this.#options.echoRequest(request);
          return;
        }
        const { source, destination, identifier, sequence, offset, length: dataLength } = request;
        this.sendEchoReply(destination, source, identifier, sequence, bytes, offset, dataLength);
        return;
      }
      case ICMP_ECHO_REPLY:
        this.#options.echoReply(readEcho(bytes, view, packet, message, length));
        return;
      case ICMP_DESTINATION_UNREACHABLE:
        this.#receiveUnreachable(view, message, length);
        return;
      default:
        statistics.dropUnhandled++;
    }
  }

  /** Sends an echo reply from `source` to `destination` with the given data. */
  sendEchoReply(
    source: Ipv4,
    destination: Ipv4,
    identifier: number,
    sequence: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
    ttl?: number,
  ): void {
    this.#sendEcho(ICMP_ECHO_REPLY, source, destination, identifier, sequence, bytes, offset, length, ttl);
  }

  /** Sends an echo request; the answer goes to {@link IcmpOptions.echoReply}. */
  sendEchoRequest(
    source: Ipv4,
    destination: Ipv4,
    identifier: number,
    sequence: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
    ttl?: number,
  ): void {
    this.#sendEcho(ICMP_ECHO_REQUEST, source, destination, identifier, sequence, bytes, offset, length, ttl);
  }

  /**
   * Sends time exceeded about the packet of `available` bytes at `packet` (RFC 792; RFC 1812, 5.2.7.3), unless errors
   * about it are forbidden or the rate limit holds it back.
   */
  timeExceeded(bytes: Uint8Array, view: DataView, packet: number, code: number): void {
    if (this.#mayReport(view, packet)) this.#sendError(ICMP_TIME_EXCEEDED, code, 0, null, bytes, view, packet);
  }

  /** Sends destination unreachable about the packet at `packet`, from `from` or, when null, from the gateway. */
  unreachable(
    bytes: Uint8Array,
    view: DataView,
    packet: number,
    code: UnreachableCode,
    from: Ipv4 | null = null,
  ): void {
    if (this.#mayReport(view, packet))
      this.#sendError(ICMP_DESTINATION_UNREACHABLE, code, 0, from, bytes, view, packet);
  }

  /** Sends "fragmentation needed and DF set" with the MTU that would fit (RFC 1191, 4). */
  fragmentationNeeded(bytes: Uint8Array, view: DataView, packet: number, mtu: number): void {
    if (!this.#mayReport(view, packet)) return;
    this.#sendError(ICMP_DESTINATION_UNREACHABLE, FRAGMENTATION_NEEDED, mtu, null, bytes, view, packet);
  }

  /**
   * Sends destination unreachable about a packet that is no longer at hand.
   *
   * @param first - bytes 0 to 3, and `second` bytes 4 to 7, of the quoted packet's payload: what a sender needs to find
   *   the flow (RFC 792).
   */
  unreachableFlow(
    flow: QuotedFlow,
    protocol: number,
    first: number,
    second: number,
    code: UnreachableCode,
    from: Ipv4 | null,
  ): void {
    const packet = QUOTE.view;
    writeIpv4Header(packet, 0, QUOTE.bytes.length, 0, true, false, 0, 64, protocol, flow.source, flow.destination);
    packet.setInt32(IPV4_HEADER_LENGTH, first);
    packet.setInt32(IPV4_HEADER_LENGTH + 4, second);
    this.unreachable(QUOTE.bytes, packet, 0, code, from);
  }

  #sendEcho(
    type: number,
    source: Ipv4,
    destination: Ipv4,
    identifier: number,
    sequence: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
    ttl?: number,
  ): void {
    const { output, statistics } = this.#options;
    if (length > IPV4_MAX_LENGTH - IPV4_HEADER_LENGTH - ICMP_HEADER_LENGTH) {
      statistics.dropMalformed++;
      return;
    }
    const message = output.beginDatagram(source, destination, PROTOCOL_ICMP, ICMP_HEADER_LENGTH + length, ttl);
    if (message < 0) return;
    copyBytes(bytes, offset, output.bytes, message + ICMP_HEADER_LENGTH, length);
    writeIcmpHeader(output.view, message, type, 0, (identifier << 16) | sequence, length);
    if (output.commitDatagram()) statistics.icmpSent++;
  }

  /** Whether an error may be sent about a packet at all (RFC 1122, 3.2.2; RFC 1812, 4.3.2.7). */
  #mayReport(view: DataView, packet: number): boolean {
    if (readFragmentOffset(view, packet) !== 0) return false;
    const source = readSource(view, packet);
    const destination = readDestination(view, packet);
    if (source === 0 || source === -1 || isMulticast(source)) return false;
    if (destination === -1 || isMulticast(destination)) return false;
    if (readProtocol(view, packet) === PROTOCOL_ICMP) {
      const message = packet + readHeaderLength(view, packet);
      if (readTotalLength(view, packet) <= readHeaderLength(view, packet)) return false;
      const type = readIcmpType(view, message);
      if (type !== ICMP_ECHO_REQUEST && type !== ICMP_ECHO_REPLY) return false;
    }
    if (this.#errorLimit.take(this.#options.now())) return true;
    this.#options.statistics.dropRateLimit++;
    return false;
  }

  #sendError(
    type: number,
    code: number,
    rest: number,
    from: Ipv4 | null,
    bytes: Uint8Array,
    view: DataView,
    packet: number,
  ): void {
    const { output, statistics } = this.#options;
    const quoted = Math.min(readTotalLength(view, packet), MAX_QUOTE);
    const source = from ?? this.#options.address();
    const length = ICMP_HEADER_LENGTH + quoted;
    const message = output.beginDatagram(source, readSource(view, packet), PROTOCOL_ICMP, length);
    if (message < 0) return;
    copyBytes(bytes, packet, output.bytes, message + ICMP_HEADER_LENGTH, quoted);
    writeIcmpHeader(output.view, message, type, code, rest, quoted);
    if (output.commitDatagram()) statistics.icmpSent++;
  }

  #receiveUnreachable(view: DataView, message: number, length: number): void {
    const { statistics } = this.#options;
    const packet = message + ICMP_HEADER_LENGTH;
    const available = length - ICMP_HEADER_LENGTH;
    if (available < IPV4_HEADER_LENGTH || view.getUint8(packet) >>> 4 !== 4) {
      statistics.dropMalformed++;
      return;
    }
    const headerLength = readHeaderLength(view, packet);
    const protocol = readProtocol(view, packet);
    if (headerLength < IPV4_HEADER_LENGTH || available < headerLength + 8) {
      statistics.dropMalformed++;
      return;
    }
    if (protocol !== PROTOCOL_TCP && protocol !== PROTOCOL_UDP) {
      statistics.dropUnhandled++;
      return;
    }
    const segment = packet + headerLength;
    this.#options.unreachable({
      code: readIcmpCode(view, message),
      mtu: view.getUint16(message + 6),
      protocol,
      source: readSource(view, packet),
      sourcePort: view.getUint16(segment),
      destination: readDestination(view, packet),
      destinationPort: view.getUint16(segment + 2),
      sequence: view.getInt32(segment + 4),
    });
  }
}

/** A header and eight bytes of payload, in which {@link Icmp.unreachableFlow} rebuilds what it quotes. */
const QUOTE = (() => {
  const bytes = new Uint8Array(IPV4_HEADER_LENGTH + 8);
  return { bytes, view: new DataView(bytes.buffer) };
})();

function readEcho(bytes: Uint8Array, view: DataView, packet: number, message: number, length: number): EchoRequest {
  return {
    source: readSource(view, packet),
    destination: readDestination(view, packet),
    identifier: readEchoIdentifier(view, message),
    sequence: readEchoSequence(view, message),
    ttl: readTtl(view, packet),
    bytes,
    offset: message + ICMP_HEADER_LENGTH,
    length: length - ICMP_HEADER_LENGTH,
  };
}
