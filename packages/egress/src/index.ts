export {
  classifyDestination,
  type Destination,
  type DestinationConfig,
  type RejectedDestination,
} from "./destination.ts";
export { Egress, type EgressOptions, type EgressStatistics, noEgressStatistics } from "./egress.ts";
export type { GuestFlow } from "./guest-flow.ts";
export type { EchoEgressStatistics, EchoLimits } from "./icmp.ts";
export type { EchoFlow, EgressStack, UdpFlow } from "./stack-port.ts";
export type { TcpEgressStatistics, TcpLimits } from "./tcp.ts";
export type { UdpEgressStatistics, UdpLimits } from "./udp.ts";
