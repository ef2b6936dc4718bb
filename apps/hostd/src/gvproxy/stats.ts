/** What is counted, under the names of gVisor's counters. */
import type { StackStatistics } from "@hostd/stack";

/** The counters of a group, all of them 0. */
function zeros<Name extends string>(...names: readonly Name[]): Record<Name, number> {
  return Object.fromEntries(names.map((name) => [name, 0])) as Record<Name, number>;
}

const MESSAGES_V4 = zeros(
  ...["DstUnreachable", "EchoReply", "EchoRequest", "InfoReply", "InfoRequest", "ParamProblem", "Redirect"],
  ...["SrcQuench", "TimeExceeded", "Timestamp", "TimestampReply"],
);
const MESSAGES_V6 = zeros(
  ...["DstUnreachable", "EchoReply", "EchoRequest", "MulticastListenerDone", "MulticastListenerQuery"],
  ...["MulticastListenerReport", "MulticastListenerReportV2", "NeighborAdvert", "NeighborSolicit", "PacketTooBig"],
  ...["ParamProblem", "RedirectMsg", "RouterAdvert", "RouterSolicit", "TimeExceeded"],
);
const MESSAGES_IGMP = zeros(
  ...["LeaveGroup", "MembershipQuery", "V1MembershipReport", "V2MembershipReport", "V3MembershipReport"],
);

/**
 * The counters as gVisor has them. What it counts and hostd does not is 0.
 *
 * @param counted - the sum over all VMs.
 * @param connections - the TCP connections that there are now.
 */
export function makeStats(counted: Readonly<StackStatistics>, connections: number) {
  const packetsDelivered = counted.tcpSegmentsReceived + counted.udpReceived + counted.icmpReceived;
  return {
    ARP: {
      ...zeros("DisabledPacketsReceived", "MalformedPacketsReceived", "OutgoingRepliesDropped", "OutgoingRepliesSent"),
      ...zeros("OutgoingRequestBadLocalAddressErrors", "OutgoingRequestInterfaceHasNoLocalAddressErrors"),
      ...zeros("OutgoingRequestsDropped", "OutgoingRequestsSent", "RepliesReceived", "RequestsReceived"),
      ...zeros("RequestsReceivedUnknownTargetAddress"),
      PacketsReceived: counted.arpReceived,
    },
    BytesReceived: counted.bytesReceived,
    BytesSent: counted.bytesSent,
    DroppedPackets: counted.dropUnhandled + counted.dropMalformed + counted.dropChecksum + counted.dropAddress,
    ICMP: {
      V4: {
        PacketsReceived: { ICMPv4PacketStats: MESSAGES_V4, Invalid: 0 },
        PacketsSent: { Dropped: 0, ICMPv4PacketStats: MESSAGES_V4, RateLimited: counted.dropRateLimit },
      },
      V6: {
        PacketsReceived: {
          ICMPv6PacketStats: MESSAGES_V6,
          ...zeros("Invalid", "RouterOnlyPacketsDroppedByHost", "Unrecognized"),
        },
        PacketsSent: { ICMPv6PacketStats: MESSAGES_V6, ...zeros("Dropped", "RateLimited") },
      },
    },
    IGMP: {
      PacketsReceived: { IGMPPacketStats: MESSAGES_IGMP, ...zeros("ChecksumErrors", "Invalid", "Unrecognized") },
      PacketsSent: { Dropped: 0, IGMPPacketStats: MESSAGES_IGMP },
    },
    IP: {
      ...zeros("DisabledPacketsReceived", "IPTablesForwardDropped", "IPTablesInputDropped", "IPTablesOutputDropped"),
      ...zeros("IPTablesPostroutingDropped", "IPTablesPreroutingDropped", "InvalidDestinationAddressesReceived"),
      ...zeros("OptionRecordRouteReceived", "OptionRouterAlertReceived", "OptionTimestampReceived"),
      ...zeros("OptionUnknownReceived"),
      Forwarding: {
        ...zeros("Errors", "ExtensionHeaderProblem", "HostUnreachable", "InitializingSource", "LinkLocalDestination"),
        ...zeros("LinkLocalSource", "NoMulticastPendingQueueBufferSpace", "OutgoingDeviceNoBufferSpace"),
        ...zeros("PacketTooBig", "UnexpectedMulticastInputInterface", "UnknownOutputEndpoint", "Unrouteable"),
        ExhaustedTTL: counted.dropTtl,
      },
      InvalidSourceAddressesReceived: counted.dropAddress,
      MalformedFragmentsReceived: counted.dropFragment,
      MalformedPacketsReceived: counted.dropMalformed,
      OutgoingPacketErrors: counted.dropLinkFull + counted.dropUnresolved,
      PacketsDelivered: packetsDelivered,
      PacketsReceived: counted.framesReceived - counted.arpReceived,
      PacketsSent: counted.framesSent - counted.arpSent,
      ValidPacketsReceived: packetsDelivered,
    },
    NICs: {
      ...zeros("MalformedL4RcvdPackets"),
      DisabledRx: zeros("Bytes", "Packets"),
      Neighbor: zeros(
        ...["DroppedConfirmationForNoninitiatedNeighbor", "DroppedInvalidLinkAddressConfirmations"],
        "UnreachableEntryLookups",
      ),
      Rx: { Bytes: counted.bytesReceived, Packets: counted.framesReceived },
      Tx: { Bytes: counted.bytesSent, Packets: counted.framesSent },
      TxPacketsDroppedNoBufferSpace: counted.dropLinkFull,
    },
    TCP: {
      ...zeros(
        "CurrentEstablished",
        "EstablishedClosed",
        "EstablishedResets",
        "EstablishedTimedout",
        "FailedPortReservations",
        "FastRecovery",
        "InvalidSegmentsReceived",
      ),
      ...zeros("ListenOverflowAckDrop", "ListenOverflowInvalidSynCookieRcvd", "ListenOverflowSynCookieRcvd"),
      ...zeros("ListenOverflowSynCookieSent", "ListenOverflowSynDrop", "ResetsReceived", "ResetsSent", "SACKRecovery"),
      ...zeros("SegmentSendErrors", "SegmentsAckedWithDSACK", "SlowStartRetransmits"),
      ActiveConnectionOpenings: counted.tcpDialed,
      ChecksumErrors: counted.dropChecksum,
      CurrentConnected: connections,
      FailedConnectionAttempts: counted.tcpRejected,
      FastRetransmit: counted.tcpFastRetransmissions,
      ForwardMaxInFlightDrop: counted.dropConnectionLimit,
      PassiveConnectionOpenings: counted.tcpAccepted,
      Retransmits: counted.tcpRetransmissions,
      SegmentsSent: counted.tcpSegmentsSent,
      SpuriousRTORecovery: counted.tcpSpuriousTimeouts,
      SpuriousRecovery: counted.tcpUndoneRecoveries,
      TLPRecovery: counted.tcpLossProbes,
      Timeouts: counted.tcpTimeouts,
      ValidSegmentsReceived: counted.tcpSegmentsReceived,
    },
    UDP: {
      ...zeros("ChecksumErrors", "MalformedPacketsReceived", "PacketSendErrors", "ReceiveBufferErrors"),
      ...zeros("UnknownPortErrors"),
      PacketsReceived: counted.udpReceived,
      PacketsSent: counted.udpSent,
    },
  };
}
