export { type AdoptOptions, adoptSocket } from "./adopt-socket.ts";
export { datagramDescriptor, readNow, receiveNow, sendNow, writeNow } from "./direct-io.ts";
export { openPingSocket, type PingSocketOptions, type PingSocketResult } from "./ping-socket.ts";
export { resetSocket } from "./reset-socket.ts";
export { setSendBuffer } from "./send-buffer.ts";
export { loadSystemCalls, type SystemCalls, type SystemCallsUnavailable } from "./system-calls.ts";
export { openTapDevice, type TapDeviceOptions, type TapDeviceResult } from "./tap-device.ts";
