/** The keys of the name server on the gateway. */
import { DEFAULT_TTL, NAME_ALIASES } from "@hostd/dns";
import * as z from "zod";
import { DEFAULTS } from "./defaults.ts";
import { DNS_RULE_FORM, readDnsRule } from "./dns-rule.ts";
import { expecting, integer, key, oneOf, requiredKey, text } from "./key-schema.ts";
import { domainName, FLAG_GROUPS, path, yesOrNo } from "./schema-values.ts";
import { readAddress, readPathOrNone, readRecordName, readServer, readTargetName } from "./values.ts";

/** Who knows the names that are not hostd's own: name servers, or the system's own call. */
export const RESOLVERS = ["servers", "system"] as const;
/** The types of the records of a zone. */
export const RECORD_TYPES = ["A", "AAAA", "CNAME", "PTR", "TXT", "MX", "SRV"] as const;

export type RecordType = (typeof RECORD_TYPES)[number];
export type ResolverKind = (typeof RESOLVERS)[number];

const ipAddress = () => text("an IPv4 or IPv6 address such as 192.168.65.9 or fd00::9", readAddress);
const target = () => text('an absolute domain name such as db.example, or "." for none', readTargetName);
const number16 = () => integer(0, 65_535);
const server = () =>
  text(
    "the address of a name server such as 192.0.2.53, 192.0.2.53:5353, 2001:db8::53 or [2001:db8::53]:5353",
    readServer,
  );

const record = z.strictObject({
  name: key(
    text('a domain name relative to the zone such as "db" or "*.db", or "@" for the zone itself', readRecordName),
    {
      description:
        'The name, relative to the zone: "@" is the zone itself, and "*" as the first label stands for every name below ' +
        "that does not exist",
      default: "`regexp` says which names",
    },
  ),
  regexp: key(expecting("a regular expression in the syntax of RE2", z.string()), {
    description:
      "In place of `name`: the record is for every name of the zone with a match in the part before the zone's name",
    default: "`name` says which name",
  }),
  type: key(oneOf(RECORD_TYPES), {
    description: "The type of the record; which of the keys below it takes follows from it",
    default: "A or AAAA, as `address` is",
  }),
  address: key(ipAddress(), { description: "A and AAAA: the address the name stands for", default: "required there" }),
  target: key(target(), {
    description: "CNAME, PTR and SRV: the name it leads to, as a whole and not relative to the zone",
    default: "required there",
  }),
  text: key(expecting("a text, or a list of texts", z.union([z.string(), z.array(z.string())])), {
    description: "TXT: what it says; a text of more than 255 bytes is cut into several strings",
    default: "required there",
  }),
  preference: key(number16(), { description: "MX: the lowest is used first", default: "required there" }),
  exchange: key(target(), { description: "MX: the mail server", default: "required there" }),
  priority: key(number16(), { description: "SRV: the lowest is used first", default: "required there" }),
  weight: key(number16(), {
    description: "SRV: its share among those of the same priority",
    default: "required there",
  }),
  port: key(number16(), { description: "SRV: the port of the service", default: "required there" }),
  ttl: key(integer(0, 2_147_483_647, "of seconds "), {
    description: "How long an answer may be kept",
    default: String(DEFAULT_TTL),
  }),
});

const zone = z.strictObject({
  name: requiredKey(domainName(), { description: "The domain hostd answers for itself, without asking a server" }),
  records: key(z.array(record), { description: "The names of the zone", default: "none" }),
  defaultAddress: key(ipAddress(), {
    description: "The address of every name of the zone that no record is for",
    default: "such a name does not exist",
  }),
});

const rule = z.strictObject({
  domain: requiredKey(domainName(), { description: "The domain, with all that is below it" }),
  servers: requiredKey(z.array(server()), { description: "The name servers that are asked for its names" }),
});

const cache = z.strictObject({
  entries: key(integer(0, 1_000_000), {
    description: "How many answers are kept; 0 for none",
    default: String(DEFAULTS.cacheEntries),
  }),
  megabytes: key(integer(1, 1024, "of megabytes "), {
    description: "How much memory they may take",
    default: String(DEFAULTS.cacheMegabytes),
  }),
  staleSeconds: key(integer(0, 604_800, "of seconds "), {
    description: "For how long after its time an answer is given while no server answers (RFC 8767); 0 for not at all",
    default: String(DEFAULTS.cacheStaleSeconds),
  }),
});

/** `dns`: the name server on the gateway. */
export const dnsSchema = z.strictObject({
  servers: key(z.array(server()), {
    description: "The name servers that hostd asks on behalf of the guest",
    default: "those of the host",
    flag: { flags: "--dns-server <address>", group: FLAG_GROUPS.network },
  }),
  rules: key(z.array(rule), {
    description: "Domains whose names are asked of other servers; the longest domain that a name is in holds",
    default: "none",
    flag: {
      flags: "--dns-rule <rule>",
      group: FLAG_GROUPS.network,
      item: { form: DNS_RULE_FORM, example: "corp.example=10.0.0.53", read: readDnsRule },
    },
  }),
  resolver: key(oneOf(RESOLVERS), {
    description:
      "Who is asked for addresses and for names of addresses: name servers, or the system's own call (getaddrinfo), " +
      "which also knows what only this host can resolve",
    default: DEFAULTS.resolver,
  }),
  resolvConf: key(path("file"), {
    description: "The file that names the host's own name servers",
    default: DEFAULTS.resolvConf,
  }),
  hosts: key(text('the path of a file, or "none"', readPathOrNone), {
    description: "The hosts file whose names are answered, also after it has changed",
    default: DEFAULTS.hosts,
  }),
  zones: key(z.array(zone), {
    description: "Further domains hostd answers for itself; the first that a name is in holds",
    default: "none",
  }),
  aliases: key(z.array(oneOf(NAME_ALIASES)), {
    description: "Programs whose names for the host are answered too",
    default: "none",
  }),
  cache: key(cache, { description: "What is kept of the answers of servers", default: "as below" }),
  randomizeCase: key(yesOrNo(), {
    description:
      "Whether letters of the names that servers are asked for change their case at random, which makes answers harder " +
      "to forge; some servers do not take it",
    default: String(DEFAULTS.randomizeCase),
  }),
  maxQueriesPerSecond: key(integer(1, 1_000_000), {
    description: "How many queries of one VM per second are asked of servers; those beyond get SERVFAIL",
    default: String(DEFAULTS.maxQueriesPerSecond),
  }),
});

/** A zone as written. */
export type ZoneSettings = z.output<typeof zone>;

/** A record of a zone as written. */
export type RecordSettings = z.output<typeof record>;
