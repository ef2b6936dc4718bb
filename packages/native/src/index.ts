export { openPingSocket, type PingSocketOptions, type PingSocketResult } from "./ping-socket.ts";
export { loadSystemCalls, type SystemCalls, type SystemCallsUnavailable } from "./system-calls.ts";
