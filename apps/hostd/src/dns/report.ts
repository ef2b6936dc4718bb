/** What the control API tells of the name server, as JSON. */
import type { Reported } from "../control/report-schema.ts";
import type { dnsQuerySchema, dnsSchema, zoneSchema } from "./schemas.ts";

/** The answer to `GET /v1/dns`. */
export type DnsReport = Reported<typeof dnsSchema>;

/** A zone that is answered here. */
export type DnsZoneReport = Reported<typeof zoneSchema>;

/** A record of a zone. */
export type DnsRecordReport = DnsZoneReport["records"][number];

/** The answer to `GET /v1/dns/query`. */
export type DnsQueryReport = Reported<typeof dnsQuerySchema>;
