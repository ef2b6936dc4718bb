import { type Ipv4, isMulticast } from "../address.ts";
import type { Neighbor } from "../arp/neighbor-table.ts";
import type { Ipv4Output } from "../ipv4/output.ts";
import { sequenceAdd } from "../sequence.ts";
import type { StackStatistics } from "../statistics.ts";
import { PROTOCOL_TCP, readDestination, readSource } from "../wire/ipv4.ts";
import {
  ACK,
  FIN,
  RST,
  readAcknowledgment,
  readFlags,
  readSequenceNumber,
  readTcpDestinationPort,
  readTcpHeaderLength,
  readTcpSourcePort,
  SYN,
  TCP_HEADER_LENGTH,
  writeTcpChecksum,
  writeTcpHeader,
} from "../wire/tcp.ts";

export interface ResetSenderOptions {
  readonly output: Ipv4Output;
  readonly statistics: StackStatistics;
  readonly route: (address: Ipv4) => Neighbor | null;
}

/** Sends resets that belong to no connection. */
export class ResetSender {
  readonly #options: ResetSenderOptions;

  constructor(options: ResetSenderOptions) {
    this.#options = options;
  }

  /** Answers a segment that belongs nowhere (RFC 9293, 3.10.7.1). */
  answer(view: DataView, packet: number, segment: number, length: number): void {
    const flags = readFlags(view, segment);
    const source = readSource(view, packet);
    const destination = readDestination(view, packet);
    if (isMulticast(destination) || destination === -1) return;
    const remotePort = readTcpSourcePort(view, segment);
    const localPort = readTcpDestinationPort(view, segment);
    if ((flags & ACK) !== 0) {
      const sequence = readAcknowledgment(view, segment);
      this.send(destination, localPort, source, remotePort, sequence, 0, RST);
      return;
    }
    const dataLength = length - readTcpHeaderLength(view, segment);
    const advance = dataLength + ((flags & SYN) !== 0 ? 1 : 0) + ((flags & FIN) !== 0 ? 1 : 0);
    const acknowledgment = sequenceAdd(readSequenceNumber(view, segment), advance);
    this.send(destination, localPort, source, remotePort, 0, acknowledgment, RST | ACK);
  }

  /** Sends a reset of the given numbers; it is lost when the link is full, which costs the peer only time. */
  send(
    localAddress: Ipv4,
    localPort: number,
    remoteAddress: Ipv4,
    remotePort: number,
    sequence: number,
    acknowledgment: number,
    flags: number,
  ): void {
    const { output, statistics } = this.#options;
    const neighbor = this.#options.route(remoteAddress);
    if (neighbor === null) return;
    const segment = output.begin(neighbor, localAddress, remoteAddress, PROTOCOL_TCP, TCP_HEADER_LENGTH, true);
    if (segment < 0) {
      statistics.dropLinkFull++;
      return;
    }
    const { view } = output;
    writeTcpHeader(view, segment, localPort, remotePort, sequence, acknowledgment, TCP_HEADER_LENGTH, flags, 0);
    writeTcpChecksum(view, segment, TCP_HEADER_LENGTH, localAddress, remoteAddress, TCP_HEADER_LENGTH, 0);
    output.commit();
    statistics.tcpSegmentsSent++;
  }
}
