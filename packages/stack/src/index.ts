export * from "./address.ts";
export { DhcpClient, type DhcpClientLease, type DhcpClientMessage } from "./dhcp/client.ts";
export { type Lease, LeaseTable } from "./dhcp/lease-table.ts";
export { DhcpServer, type DhcpServerEvents, type DhcpServerOptions } from "./dhcp/server.ts";
export type { EchoHandler, EchoRequest } from "./icmp/echo.ts";
export type { ReceivedUnreachable } from "./icmp/icmp.ts";
export * from "./icmp/unreachable.ts";
export * from "./link.ts";
export { LinkedList, ListEntry } from "./linked-list.ts";
export { copyBytes, giveRegion, type PacketRegion, takeRegion } from "./memory/packet-memory.ts";
export { Stack, type StackHandlers, type StackOptions } from "./stack.ts";
export { StackStatistics } from "./statistics.ts";
export type { TcpConnection } from "./tcp/connection.ts";
export type {
  CloseReason,
  FourTuple,
  RejectReason,
  TcpFlow,
  TcpHandler,
  TcpRequest,
  TcpRequestHandler,
} from "./tcp/flow.ts";
export type { SendSpace } from "./tcp/send-buffer.ts";
export { type CongestionAlgorithm, DEFAULT_TCP_SETTINGS, type TcpSettings } from "./tcp/settings.ts";
export { TokenBucket } from "./token-bucket.ts";
export type { UdpDatagram, UdpHandler } from "./udp/datagram.ts";
export { type MacHalves, macFromHalves, macHalves } from "./wire/ethernet.ts";
