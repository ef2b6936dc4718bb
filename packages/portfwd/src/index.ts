export { ActivatedSockets } from "./activated-sockets.ts";
export type { AttachedVm, ForwardVm } from "./attached-vm.ts";
export { BindError } from "./bind-error.ts";
export { BindPolicy, type BindRange, BindRefusedError, formatBindRange, type Requester } from "./bind-policy.ts";
export { DatagramFlow } from "./datagram-flow.ts";
export type { DatagramForwardStatistics } from "./datagram-forward.ts";
export type { Forward } from "./forward.ts";
export {
  type DatagramRule,
  type ForwardRule,
  formatListen,
  formatTarget,
  type GuestSocket,
  type GuestTarget,
  isGuestSocket,
  isSocketPath,
  type ListenAddress,
  type SocketPath,
  type StreamRule,
} from "./forward-rule.ts";
export {
  type ForwardSettings,
  type ForwardStatistics,
  PortForwarder,
  type PortForwarderOptions,
} from "./port-forwarder.ts";
export { RelayedConnection } from "./relayed-connection.ts";
export { readUnixSockets, type UnixSocket } from "./socket-table.ts";
export type { StreamForwardStatistics } from "./stream-forward.ts";
