/** What the control API tells of the name server, as JSON. */
import type {
  CacheStatistics,
  DnsStatistics,
  Origin,
  RecordData,
  RecordOwner,
  RouteReport,
  ShownMessage,
} from "@hostd/dns";

/** The answer to `GET /dns`. */
export interface DnsReport {
  /** In the order in which they are asked. */
  readonly zones: readonly DnsZoneReport[];
  /** Who is asked for addresses and for names of addresses: `servers`, or the system's own call. */
  readonly resolver: "servers" | "system";
  /** Which servers a domain is asked of, and how they have been doing. */
  readonly upstreams: readonly RouteReport[];
  /** The search domains that DHCP hands out. */
  readonly search: readonly string[];
  readonly cache: CacheStatistics & { readonly maxEntries: number; readonly maxBytes: number };
  /** Null when there is no hosts file. */
  readonly hosts: { readonly path: string; readonly names: number } | null;
  /** What each VM that is attached has asked. */
  readonly vms: readonly { readonly name: string; readonly statistics: DnsStatistics }[];
}

/** A zone that is answered here. */
export interface DnsZoneReport {
  readonly name: string;
  /** The VM that alone has it; all have it when it is not given. */
  readonly vm?: string;
  readonly defaultAddress?: string;
  readonly records: readonly DnsRecordReport[];
}

/** A record of a zone. */
export type DnsRecordReport = RecordOwner & { readonly ttl?: number } & (
    | Exclude<RecordData, { type: "A" }>
    /** Null is the address of the VM that asks. */
    | { readonly type: "A"; readonly address: string | null }
  );

/** The answer to `GET /dns/query`. */
export interface DnsQueryReport extends ShownMessage {
  readonly name: string;
  readonly type: string;
  /** For which VM it was resolved; null when none is attached. */
  readonly vm: string | null;
  /** Where the answer is from. */
  readonly origin: Origin;
  /** Which zone, file or server that is. */
  readonly source: string;
  /** Which servers are asked for the name; null when none is. An empty domain is that of every name. */
  readonly route: { readonly domain: string; readonly from: string; readonly servers: readonly string[] } | null;
  readonly milliseconds: number;
}
