/** hostd for programs that embed it. */
export type { Endpoint, TcpAddress, UnixAddress } from "./config/endpoint.ts";
export { formatEndpoint } from "./config/endpoint.ts";
export { type HostEnvironment, processEnvironment } from "./config/environment.ts";
export { loadConfigFile } from "./config/file.ts";
export { configToData, configToYaml } from "./config/print.ts";
export { ConfigError, type ConfigProblem } from "./config/problems.ts";
export {
  configWarnings,
  type DnsRule,
  type HostdConfig,
  parseConfig,
  type StaticLease,
} from "./config/resolve.ts";
export type { LogFormat, LogLevel, SettingsInput } from "./config/schema.ts";
export type { ConfigRecord, ConfigZone } from "./config/zones.ts";
export { startDaemon } from "./daemon.ts";
export type { Daemon, DaemonOptions, StartDaemon } from "./daemon-api.ts";
export { createLogger, type Logger } from "./logging.ts";
