export type { QueryContext, Transport } from "./context.ts";
export { Forwarder, type ForwarderOptions } from "./forwarder.ts";
export type { DnsLogger } from "./logger.ts";
export type { Edns, Query, Question } from "./message.ts";
export { hostSearchDomains, parseResolvConf, type ResolvConf, type ResolvConfProblem } from "./resolv-conf.ts";
export { type QueryResolver, type Resolution, Resolver, type ResolverOptions } from "./resolver.ts";
export { DnsServer, type DnsServerOptions, DnsStatistics } from "./server.ts";
export { formatServerAddress, parseServerAddress, type ServerAddress } from "./server-address.ts";
export {
  fixedServers,
  ResolvConfFile,
  type ResolvConfFileOptions,
  type ServerSet,
  type ServerSource,
} from "./server-source.ts";
export { type StandardAddresses, standardZones } from "./standard-zones.ts";
export { type RecordAddress, type Zone, type ZoneRecord, Zones } from "./zones.ts";
