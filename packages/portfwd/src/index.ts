export type { AttachedVm, ForwardVm } from "./attached-vm.ts";
export { BindError } from "./bind-error.ts";
export {
  type ForwardRule,
  formatGuestTarget,
  formatListenAddress,
  type GuestTarget,
  type ListenAddress,
} from "./forward-rule.ts";
export {
  type ForwardLimits,
  type ForwardStatistics,
  MAX_FORWARDED_CONNECTIONS,
  PortForwarder,
  type PortForwarderOptions,
} from "./port-forwarder.ts";
export type { TcpForward, TcpForwardStatistics } from "./tcp-forward.ts";
