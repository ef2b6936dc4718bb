export type { AnswerCacheOptions, CacheStatistics } from "./cache/answer-cache.ts";
export type { QueryContext, Transport } from "./context.ts";
export type { HostNames } from "./hosts/host-names.ts";
export { HOSTS_PATH, HostsFile, type HostsFileOptions } from "./hosts/hosts-file.ts";
export type { DnsLogger } from "./logger.ts";
export type { Edns, Query, Question } from "./message.ts";
export { type HostPolicy, type HostPolicyOptions, hostPolicy } from "./policy/host-policy.ts";
export {
  fixedPolicy,
  fixedServers,
  type Policy,
  type PolicySource,
  type Route,
  RouteTable,
  RulesFirst,
  type ServerSet,
} from "./policy/policy.ts";
export { parseResolvConf, type ResolvConf, type ResolvConfProblem } from "./policy/resolv-conf.ts";
export { ResolvConfFile, type ResolvConfFileOptions } from "./policy/resolv-conf-file.ts";
export { parseType, type ShownMessage, type ShownRecord, showMessage, typeName } from "./presentation.ts";
export { newQuery } from "./query.ts";
export {
  type AskingLimit,
  type Origin,
  type QueryResolver,
  type Resolution,
  Resolver,
  type ResolverOptions,
  type Upstream,
  type UpstreamAnswer,
} from "./resolver.ts";
export type { AnsweredQuery, QueryObserver } from "./server/query-observer.ts";
export { DnsServer, type DnsServerOptions, DnsStatistics } from "./server/server.ts";
export { formatServerAddress, parseServerAddress, type ServerAddress } from "./server-address.ts";
export { Forwarder, type ForwarderOptions, type RouteReport } from "./upstream/forwarder.ts";
export { LoopCheck } from "./upstream/loop-check.ts";
export type { ServerReport } from "./upstream/server-health.ts";
export { SystemResolver, type SystemResolverOptions } from "./upstream/system-resolver.ts";
export {
  NAME_ALIASES,
  type NameAlias,
  type StandardAddresses,
  standardZones,
} from "./zones/standard-zones.ts";
export {
  DEFAULT_TTL,
  isRecordName,
  type RecordAddress,
  type RecordData,
  type RecordOwner,
  type Zone,
  type ZoneRecord,
} from "./zones/zone.ts";
export { MAX_RECORDS, PASSING_TTL, type ZoneAnswer, Zones } from "./zones/zones.ts";
