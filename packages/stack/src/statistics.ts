/** What the stack counted since it was made. Every dropped frame is in exactly one of the `drop…` counters. */
export class StackStatistics {
  framesReceived = 0;
  bytesReceived = 0;
  framesSent = 0;
  bytesSent = 0;

  /** A header or option with an impossible length or field. */
  dropMalformed = 0;
  /** A wrong IPv4, ICMP, UDP or TCP checksum. */
  dropChecksum = 0;
  /** A frame for another station, or an EtherType, protocol or ICMP type that nobody here handles. */
  dropUnhandled = 0;
  /** A source or destination that may not appear on this link: loopback, our own addresses, another host's address. */
  dropAddress = 0;
  /** A fragment that overlapped, came too late, or did not fit the memory for reassembly. */
  dropFragment = 0;
  /** A packet whose time to live ran out here. */
  dropTtl = 0;
  /** A frame to send that the transport, or the queue of a neighbour without a known MAC, could not take. */
  dropLinkFull = 0;
  /** A packet to a neighbour that does not answer ARP. */
  dropUnresolved = 0;
  /** An ICMP error that the rate limit held back. */
  dropRateLimit = 0;
  /** A SYN beyond the limit of connections. */
  dropConnectionLimit = 0;

  tcpSegmentsReceived = 0;
  tcpSegmentsSent = 0;
  tcpRetransmissions = 0;
  tcpFastRetransmissions = 0;
  tcpTimeouts = 0;
  /** Timeouts that turned out not to have been for a loss. */
  tcpSpuriousTimeouts = 0;
  /** Recoveries, of timeouts or not, that were undone because nothing had been lost. */
  tcpUndoneRecoveries = 0;
  tcpLossProbes = 0;
  tcpWindowProbes = 0;
  tcpKeepAlives = 0;
  /** Segments dropped as old by their timestamps, or for having none. */
  tcpTimestampRejects = 0;
  tcpOutOfOrder = 0;
  tcpChallengeAcks = 0;
  tcpAccepted = 0;
  tcpRejected = 0;
  tcpDialed = 0;
  udpReceived = 0;
  udpSent = 0;
  icmpReceived = 0;
  icmpSent = 0;
  arpReceived = 0;
  arpSent = 0;
  datagramsReassembled = 0;
}
