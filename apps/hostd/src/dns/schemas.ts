/** What the control API tells of the name server, and takes for it. The types of what it tells are in `report.ts`. */
import type { CacheStatistics, DnsStatistics } from "@hostd/dns";
import * as z from "zod";
import { count, quantity } from "../control/report-schema.ts";

const owner = {
  name: z.string().optional().describe('The name relative to the zone; "@" is the zone itself'),
  regexp: z.string().optional().describe("In place of the name: matches the part before the zone's name"),
  ttl: count("How long an answer may be kept, in seconds").optional(),
};
const port = z.int().min(0).max(65_535);
const target = z.string().describe("The whole name that it leads to");

const recordSchema = z.discriminatedUnion("type", [
  z.strictObject({
    ...owner,
    type: z.literal("A"),
    address: z.ipv4().nullable().describe("The address; null is that of the VM that asks"),
  }),
  z.strictObject({ ...owner, type: z.literal("AAAA"), address: z.string().describe("An IPv6 address") }),
  z.strictObject({ ...owner, type: z.literal("CNAME"), target }),
  z.strictObject({ ...owner, type: z.literal("PTR"), target }),
  z.strictObject({ ...owner, type: z.literal("TXT"), text: z.union([z.string(), z.array(z.string())]) }),
  z.strictObject({
    ...owner,
    type: z.literal("MX"),
    preference: port.describe("The lowest is used first"),
    exchange: target,
  }),
  z.strictObject({
    ...owner,
    type: z.literal("SRV"),
    priority: port.describe("The lowest is used first"),
    weight: port.describe("Its share among those of the same priority"),
    port,
    target,
  }),
]);

/** A zone that is answered here. */
export const zoneSchema = z.strictObject({
  name: z.string().describe("The domain"),
  vm: z.string().optional().describe("The VM that alone has it; all have it when it is not given"),
  defaultAddress: z.string().optional().describe("The address of every name that no record is for"),
  records: z.array(recordSchema),
});

export const zoneListSchema = z.array(zoneSchema);

const number16 = z.int().min(0).max(65_535).optional();

/** A zone as the configuration writes it, which is where it is checked. */
export const zoneRequestSchema = z.strictObject({
  name: z.string().describe("The domain"),
  vm: z.string().optional().describe("The VM that alone has it"),
  records: z
    .array(
      z.strictObject({
        name: owner.name,
        regexp: owner.regexp,
        type: z.enum(["A", "AAAA", "CNAME", "PTR", "TXT", "MX", "SRV"]).optional().describe("A or AAAA unless given"),
        address: z.string().optional().describe("A and AAAA: the address"),
        target: z.string().optional().describe("CNAME, PTR and SRV: the whole name that it leads to"),
        text: z
          .union([z.string(), z.array(z.string())])
          .optional()
          .describe("TXT: what it says"),
        preference: number16.describe("MX: the lowest is used first"),
        exchange: z.string().optional().describe("MX: the mail server"),
        priority: number16.describe("SRV: the lowest is used first"),
        weight: number16.describe("SRV: its share among those of the same priority"),
        port: number16.describe("SRV: the port of the service"),
        ttl: owner.ttl,
      }),
    )
    .optional(),
  defaultAddress: z.string().optional().describe("The address of every name that no record is for"),
});

export const removedZoneSchema = z.strictObject({ removed: z.string().describe("The domain") });

export const cacheSchema = z
  .strictObject({
    entries: count("Answers that are kept"),
    bytes: count("Their memory in bytes"),
    hits: count("Queries answered with what was kept"),
    misses: count("Queries whose answer was not there, or had outlived its time"),
    stale: count("Queries answered with what had outlived its time"),
    evictions: count("Answers that were dropped for others"),
    maxEntries: count("How many answers may be kept"),
    maxBytes: count("How much memory they may take, in bytes"),
  } satisfies Record<keyof CacheStatistics | "maxEntries" | "maxBytes", z.ZodNumber>)
  .describe("What is kept of the answers of servers");

export const queryCountersSchema = z
  .strictObject({
    queries: count("Messages that were queries by their header"),
    answeredLocally: count("Queries for names of zones and of the hosts file"),
    answeredFromCache: count("Queries answered with what was kept of an earlier answer"),
    forwarded: count("Queries answered by a server of the host"),
    failures: count("Queries that got SERVFAIL: no server answered, or too many were in progress"),
    formErr: count("Queries that could not be read, or ask for something other than a look-up"),
    dropped: count("What got no answer"),
  } satisfies Record<keyof DnsStatistics, z.ZodNumber>)
  .describe("What was asked of the name server");

const serverSchema = z.strictObject({
  server: z.string().describe("Its address, with the port where that is not 53"),
  state: z.enum(["untried", "alive", "failing", "dead", "excluded"]).describe("excluded: it asks hostd in turn"),
  roundTrip: quantity("The average of its round trips in milliseconds; null before the first").nullable(),
  answers: count("Queries that it answered"),
  failures: count("Queries that it left unanswered, or could not be asked"),
});

export const dnsSchema = z.strictObject({
  zones: z.array(zoneSchema).describe("In the order in which they are asked"),
  containers: zoneSchema
    .nullable()
    .describe("The names of containers, where no zone has records for a name; null without docker.zone"),
  resolver: z.enum(["servers", "system"]).describe("Who is asked for addresses and for names of addresses"),
  upstreams: z
    .array(
      z.strictObject({
        domain: z.string().describe("Empty for every name that no other is for"),
        from: z.string().describe("What says so"),
        servers: z.array(serverSchema),
      }),
    )
    .describe("Which servers a domain is asked of, and how they have been doing"),
  search: z.array(z.string()).describe("The search domains that DHCP hands out"),
  cache: cacheSchema,
  hosts: z
    .strictObject({ path: z.string().describe("The file"), names: count("The names in it") })
    .nullable()
    .describe("Null when there is no hosts file"),
  vms: z
    .array(z.strictObject({ name: z.string().describe("The VM's name"), statistics: queryCountersSchema }))
    .describe("What each VM that is attached has asked"),
});

const shownRecords = z.array(
  z.strictObject({
    name: z.string().describe("The whole name, with the dot at the end"),
    ttl: count("How long it may be kept, in seconds"),
    class: z.string(),
    type: z.string(),
    data: z.string().describe("As a master file has it (RFC 1035, 5.1)"),
  }),
);

export const dnsQuerySchema = z.strictObject({
  name: z.string(),
  type: z.string(),
  vm: z.string().nullable().describe("For which VM it was resolved; null when none is attached"),
  origin: z
    .enum(["zone", "hosts", "special", "cache", "stale", "upstream", "failure"])
    .describe("Where the answer is from"),
  source: z.string().describe("Which zone, file or server that is"),
  route: z
    .strictObject({
      domain: z.string().describe("Empty for every name that no other is for"),
      from: z.string().describe("What says so"),
      servers: z.array(z.string()),
    })
    .nullable()
    .describe("Which servers are asked for the name; null when none is"),
  milliseconds: quantity("How long it took, in milliseconds"),
  rcode: z.string().describe("Such as NOERROR"),
  flags: z.array(z.string()).describe("Such as aa"),
  answers: shownRecords,
  authorities: shownRecords,
  additionals: shownRecords.describe("Without the OPT record"),
  isCutOff: z.boolean().describe("Whether the message ends where a record should be"),
});
