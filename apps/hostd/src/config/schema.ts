/**
 * The one schema of the configuration: what the file may hold, what the flags are called, what every key means and
 * what it is when it is not given. The error messages, `--help` and docs/configuration.md are all read from here.
 *
 * The schema yields {@link Settings}: the values that were given, parsed. Defaults that follow from other keys, and
 * checks across keys, are in `resolve.ts`.
 */
import { DEFAULT_TTL, HOSTS_PATH, NAME_ALIASES } from "@hostd/dns";
import * as z from "zod";
import { DNS_RULE_FORM, readDnsRule } from "./dns-rule.ts";
import { readEndpoint, readUnixListener, type UnixAddress } from "./endpoint.ts";
import { ENGINE_FORM, readEngine } from "./engine.ts";
import { PUBLISH_FORM, readBindRange, readDefaultHost, readListen, readPublishedPort, readTarget } from "./forward.ts";
import { expecting, integer, key, oneOf, requiredKey, text, textOrNumber } from "./key-schema.ts";
import {
  readAbsolutePath,
  readAddress,
  readDomainName,
  readIpv4,
  readMac,
  readPath,
  readPathOrNone,
  readRecordName,
  readServer,
  readSubnet,
  readTargetName,
  SUBNET_PREFIX,
} from "./values.ts";

/** The default values that are plain numbers or words; those that follow from other keys are in `resolve.ts`. */
export const DEFAULTS = {
  subnet: "192.168.65.0/24",
  mtu: 1500,
  /** Locally administered; the last five bytes read "hostd". */
  mac: "02:68:6f:73:74:64",
  leaseSeconds: 86_400,
  congestionControl: "cubic",
  receiveRing: 512,
  timestamps: true,
  selectiveAcknowledgments: true,
  keepAliveSeconds: 7200,
  userTimeoutSeconds: 0,
  logLevel: "info",
  logFormat: "auto",
  resolvConf: "/etc/resolv.conf",
  resolver: "servers",
  hosts: HOSTS_PATH,
  cacheEntries: 10_000,
  cacheMegabytes: 16,
  cacheStaleSeconds: 86_400,
  randomizeCase: false,
  maxQueriesPerSecond: 30_000,
  tcpMaxFlows: 16_384,
  tcpMaxPending: 1024,
  udpMaxFlows: 4096,
  udpIdleSeconds: 120,
  udpDnsIdleSeconds: 30,
  icmp: true,
  linkLocal: true,
  sources: "shown",
  publishAddress: "loopback",
  publishSource: "gateway",
  publishWaitSeconds: 30,
  publishMaxConnections: 16_384,
  publishMaxPending: 1024,
  publishMaxUdpFlows: 4096,
  publishUdpIdleSeconds: 120,
} as const;

export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;
/** Which source addresses are accepted from a VM: any that its MAC has shown, or only what DHCP leased to that MAC. */
export const SOURCES = ["shown", "leased"] as const;
/** How the congestion window of a connection to the guest is sized. */
export const CONGESTION_ALGORITHMS = ["cubic", "reno"] as const;
/** Who knows the names that are not hostd's own: name servers, or the system's own call. */
export const RESOLVERS = ["servers", "system"] as const;
export const LOG_FORMATS = ["auto", "pretty", "json"] as const;
/** The types of the records of a zone. */
export const RECORD_TYPES = ["A", "AAAA", "CNAME", "PTR", "TXT", "MX", "SRV"] as const;
/** What a published port carries. */
export const FORWARD_PROTOCOLS = ["tcp", "udp"] as const;
/** What the guest sees connections to published ports come from: the gateway, or the clients themselves. */
export const FORWARD_SOURCES = ["gateway", "client"] as const;

/** The most addresses the DHCP server hands out: its memory is bounded by them. */
export const DHCP_RANGE_MAX = 4096;

export type ForwardSource = (typeof FORWARD_SOURCES)[number];
export type RecordType = (typeof RECORD_TYPES)[number];
export type ResolverKind = (typeof RESOLVERS)[number];
/** How detailed the log is; `silent` writes nothing. */
export type Sources = (typeof SOURCES)[number];
export type LogLevel = (typeof LOG_LEVELS)[number];
/** How the log is written; `auto` is `pretty` on a terminal and `json` elsewhere. */
export type LogFormat = (typeof LOG_FORMATS)[number];

const ATTACHING = "Attaching a VM:";
const NETWORK = "Network:";
const DOCKER = "Docker:";
const RUNNING = "Files and logging:";

const ipv4 = () => text("an IPv4 address such as 192.168.65.1", readIpv4);
const domainName = (longest = 253) =>
  text("a domain name such as vm.internal", (written) => readDomainName(written, longest));
const path = (what: string) => text(`the path of a ${what}`, readPath);

const dhcp = z.strictObject({
  first: key(ipv4(), {
    description: "The first address handed out",
    default: "the third address of the subnet, or the first after it that is neither `host` nor `gateway`",
  }),
  last: key(ipv4(), {
    description: "The last address handed out",
    default: `the last usable address of the subnet that is neither \`host\` nor \`gateway\`, at most ${DHCP_RANGE_MAX} addresses in all`,
  }),
  leaseSeconds: key(integer(120, 4_294_967_294, "of seconds "), {
    description: "How long a guest may use its address before it asks again",
    default: String(DEFAULTS.leaseSeconds),
  }),
  // The longest name the DHCP server sends.
  domain: key(domainName(128), {
    description: "The domain name that DHCP tells the guest (option 15)",
    default: "none",
  }),
  search: key(z.array(domainName()).max(64), {
    description: "The domains in which the guest looks up a short name (option 119), at most 64",
    default: "those of the host, also after they have changed",
  }),
  static: key(
    expecting(
      "a mapping from MAC addresses to IPv4 addresses",
      z.record(text("the MAC address of one interface such as 52:54:00:12:34:56", readMacKey), ipv4()),
    ),
    {
      description: "The address a guest with this MAC address always gets; it may lie outside `first` to `last`",
      default: "none",
    },
  ),
});

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

const dns = z.strictObject({
  servers: key(z.array(server()), {
    description: "The name servers that hostd asks on behalf of the guest",
    default: "those of the host",
    flag: { flags: "--dns-server <address>", group: NETWORK },
  }),
  rules: key(z.array(rule), {
    description: "Domains whose names are asked of other servers; the longest domain that a name is in holds",
    default: "none",
    flag: {
      flags: "--dns-rule <rule>",
      group: NETWORK,
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
  randomizeCase: key(expecting("true or false", z.boolean()), {
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

const log = z.strictObject({
  level: key(oneOf(LOG_LEVELS), {
    description: "The least important message that is written",
    default: DEFAULTS.logLevel,
    flag: { flags: "--log-level <level>", group: RUNNING },
  }),
  format: key(oneOf(LOG_FORMATS), {
    description: "How messages are written to standard error; `auto` is `pretty` on a terminal and `json` elsewhere",
    default: DEFAULTS.logFormat,
    flag: { flags: "--log-format <format>", group: RUNNING },
  }),
});

const tcp = z.strictObject({
  congestionControl: key(oneOf(CONGESTION_ALGORITHMS), {
    description: "How much may be under way to the guest: CUBIC (RFC 9438) or Reno (RFC 5681)",
    default: DEFAULTS.congestionControl,
  }),
  receiveRing: key(integer(16, 65_536, "of frames "), {
    description:
      "How many frames are sent to the guest unacknowledged: what its network card holds and what waits for it on the way there",
    default: String(DEFAULTS.receiveRing),
  }),
  timestamps: key(expecting("true or false", z.boolean()), {
    description: "Whether TCP timestamps (RFC 7323) are used with a guest that offers them",
    default: String(DEFAULTS.timestamps),
  }),
  selectiveAcknowledgments: key(expecting("true or false", z.boolean()), {
    description: "Whether selective acknowledgments (RFC 2018) are used with a guest that offers them",
    default: String(DEFAULTS.selectiveAcknowledgments),
  }),
  keepAliveSeconds: key(integer(0, 1_000_000, "of seconds "), {
    description:
      "After how long without a segment from the guest a connection is probed, so that one to a container that is gone " +
      "ends; 0 for never",
    default: String(DEFAULTS.keepAliveSeconds),
  }),
  userTimeoutSeconds: key(integer(0, 1_000_000, "of seconds "), {
    description:
      "How long the guest may leave data unacknowledged before the connection ends; 0 for as long as it is retransmitted, " +
      "about a quarter of an hour",
    default: String(DEFAULTS.userTimeoutSeconds),
  }),
});

const egress = z.strictObject({
  tcp: key(
    z.strictObject({
      maxFlows: key(integer(1, 1_048_576), {
        description: "How many TCP connections out of the guest may be open at once",
        default: String(DEFAULTS.tcpMaxFlows),
      }),
      maxPending: key(integer(1, 65_536), {
        description: "How many of them may wait for the host to connect",
        default: String(DEFAULTS.tcpMaxPending),
      }),
    }),
    { description: "TCP connections out of the guest", default: "as below" },
  ),
  udp: key(
    z.strictObject({
      maxFlows: key(integer(1, 1_048_576), {
        description: "How many UDP flows out of the guest may exist at once",
        default: String(DEFAULTS.udpMaxFlows),
      }),
      idleSeconds: key(integer(120, 86_400, "of seconds "), {
        description: "How long a UDP flow is kept without traffic (RFC 4787 asks for at least 120)",
        default: String(DEFAULTS.udpIdleSeconds),
      }),
      dnsIdleSeconds: key(integer(1, 86_400, "of seconds "), {
        description: "The same for flows to port 53",
        default: String(DEFAULTS.udpDnsIdleSeconds),
      }),
    }),
    { description: "UDP flows out of the guest", default: "as below" },
  ),
  icmp: key(expecting("true or false", z.boolean()), {
    description: "Whether the guest's pings leave the host",
    default: String(DEFAULTS.icmp),
  }),
  linkLocal: key(expecting("true or false", z.boolean()), {
    description:
      "Whether 169.254.0.0/16 leads to the host's own links; there, clouds tell any program that asks what it may not know",
    default: String(DEFAULTS.linkLocal),
  }),
  sources: key(oneOf(SOURCES), {
    description:
      "Which source addresses are accepted from a VM: `shown` is any that its MAC showed first, so that containers " +
      "without masquerade work; `leased` is only the address that DHCP gave the MAC",
    default: DEFAULTS.sources,
  }),
});

const forward = z.strictObject({
  listen: requiredKey(
    textOrNumber(
      "a port of this host such as 8080 or 8000-8010, an address and a port such as 0.0.0.0:8080, *:8080 or [::1]:8080, " +
        "or a Unix socket such as unix:///run/user/1000/web.sock",
      readListen,
    ),
    {
      description:
        "Where this host listens: a port alone is on `publish.address`, 0 has the system choose a port, `*` is every " +
        "address, and a range leads to as many ports of the guest",
    },
  ),
  to: requiredKey(
    textOrNumber(
      "a port of the VM such as 80 or 8000-8010, an address and a port such as 172.17.0.2:80, or a Unix socket of the " +
        "guest such as ssh://core@vm/run/podman/podman.sock",
      readTarget,
    ),
    {
      description:
        "Where that leads: a port alone is on the address that DHCP gave the VM; a Unix socket of the guest is reached " +
        "through its SSH server, with `identity`",
    },
  ),
  protocol: key(oneOf(FORWARD_PROTOCOLS), { description: "What it carries", default: "tcp" }),
  identity: key(path("file"), {
    description: "With `ssh://`: the file of the private key that opens the SSH server of the guest",
    default: "required there",
  }),
  passphrase: key(expecting("a text", z.string()), {
    description: "With `ssh://`: what that key is encrypted with",
    default: "it is not encrypted",
  }),
  knownHosts: key(path("file"), {
    description: "With `ssh://`: the file of known hosts in which the key of the SSH server has to be",
    default: "any key of the guest is taken",
  }),
});

const bindRange = () =>
  text(
    "an address or a network, with ports or not, such as 127.0.0.1, 0.0.0.0:8000-8999, [::1]:80, 10.0.0.0/8 or any:8080",
    readBindRange,
  );

const publish = z.strictObject({
  address: key(text("loopback, all, or an IP address", readDefaultHost), {
    description:
      "Where a published port without an address listens: `loopback` is 127.0.0.1, `all` is every address of this host",
    default: DEFAULTS.publishAddress,
  }),
  allow: key(z.array(bindRange()).max(1000), {
    description:
      "The addresses and ports of this host that may be listened on, whoever asks; every address at once (`*`, `[::]`) " +
      "takes `any` or `[::]`",
    default: "any",
  }),
  source: key(oneOf(FORWARD_SOURCES), {
    description:
      "What the guest sees connections come from: the gateway, or the client's own IPv4 address (`host` for those of this " +
      "host)",
    default: DEFAULTS.publishSource,
  }),
  waitSeconds: key(integer(0, 3600, "of seconds "), {
    description: "How long a connection is held while no VM answers, as while it boots; 0 to refuse it at once",
    default: String(DEFAULTS.publishWaitSeconds),
  }),
  maxConnections: key(integer(1, 1_048_576), {
    description: "How many connections of all published ports may be open at once",
    default: String(DEFAULTS.publishMaxConnections),
  }),
  maxPending: key(integer(1, 65_536), {
    description: "How many connections of one port may wait for the guest",
    default: String(DEFAULTS.publishMaxPending),
  }),
  maxUdpFlows: key(integer(1, 1_048_576), {
    description:
      "How many clients of one UDP port are kept apart; beyond, the one that was silent for longest is forgotten",
    default: String(DEFAULTS.publishMaxUdpFlows),
  }),
  udpIdleSeconds: key(integer(1, 86_400, "of seconds "), {
    description: "How long a client of a UDP port is remembered without traffic",
    default: String(DEFAULTS.publishUdpIdleSeconds),
  }),
});

const docker = z.strictObject({
  listen: key(text('the address of a Unix socket such as unix:///run/user/1000/docker.sock, or "none"', readApi), {
    description: "Where the Docker API of the engine in the VM is served",
    default: "none",
    flag: { flags: "--docker <url>", group: DOCKER },
  }),
  upstream: key(text(ENGINE_FORM, readEngine), {
    description:
      "Where the engine listens: a port of the VM, its socket over SSH (with `identity`), or a socket of this host",
    default: "tcp://vm:2375",
    flag: { flags: "--docker-upstream <url>", group: DOCKER },
  }),
  identity: key(path("file"), {
    description: "With `ssh://`: the file of the private key that opens the SSH server of the guest",
    default: "required there",
    flag: { flags: "--docker-identity <file>", group: DOCKER },
  }),
  passphrase: key(expecting("a text", z.string()), {
    description: "With `ssh://`: what that key is encrypted with",
    default: "it is not encrypted",
  }),
  knownHosts: key(path("file"), {
    description: "With `ssh://`: the file of known hosts in which the key of the SSH server has to be",
    default: "any key of the guest is taken",
  }),
  defaultAddress: key(text("loopback, all, or an IP address", readDefaultHost), {
    description: "Where a port that a container publishes without an address listens; `all` is what Docker does",
    default: "all",
  }),
  forbiddenMounts: key(z.array(text("an absolute path such as /etc", readAbsolutePath)).max(1000), {
    description: "Paths of the VM that containers may not mount, with all that is below them and above them",
    default: "none",
  }),
  hostGateway: key(expecting("true or false", z.boolean()), {
    description: "Whether `host-gateway` in `--add-host` means this host, whatever the engine takes for it",
    default: "true",
  }),
});

const guestApi = z.strictObject({
  enabled: key(expecting("true or false", z.boolean()), {
    description:
      "Whether a VM may publish ports by itself, over gvproxy's API on port 80 of the gateway, as Podman's machines do. " +
      "Every container can reach it",
    default: "false",
  }),
  allow: key(z.array(bindRange()).max(1000), {
    description: "Which addresses and ports of this host it may publish on; `publish.allow` holds as well",
    default: "any, with ports from 1024 on",
  }),
});

/** The schema of a configuration as written. */
export const settingsSchema = z.strictObject({
  qemu: key(
    z.array(
      text(
        "an endpoint such as unix:///run/vm.sock or tcp://127.0.0.1:5555, with dial+ in front to connect there",
        readEndpoint,
      ),
    ),
    {
      description: "Where VMs attach with QEMU's stream framing: listened on, or connected to with `dial+` in front",
      default: "unix://$XDG_RUNTIME_DIR/hostd/vm.sock, without that variable unix:///tmp/hostd-UID/vm.sock",
      flag: { flags: "--qemu <url>", group: ATTACHING },
    },
  ),
  subnet: key(
    text(
      `an IPv4 network such as 192.168.65.0/24, with a prefix length from ${SUBNET_PREFIX.min} to ${SUBNET_PREFIX.max}`,
      readSubnet,
    ),
    {
      description: "The network of the guests",
      default: DEFAULTS.subnet,
      flag: { flags: "--subnet <cidr>", group: NETWORK },
    },
  ),
  gateway: key(ipv4(), {
    description: "The address of hostd in the subnet: router, DHCP server and name server",
    default: "the first address of the subnet",
  }),
  host: key(ipv4(), {
    description: "The address in the subnet that stands for the loopback address of the host",
    default: "the last usable address of the subnet that is not `gateway`",
  }),
  mac: key(text("the MAC address of one interface such as 52:54:00:12:34:56", readMac), {
    description: "The MAC address of the gateway",
    default: DEFAULTS.mac,
  }),
  mtu: key(integer(576, 65_520, "of bytes "), {
    description: "The largest IP packet on the guest's link; DHCP tells the guest",
    default: String(DEFAULTS.mtu),
    flag: { flags: "--mtu <bytes>", group: NETWORK },
  }),
  dhcp: key(dhcp, { description: "How guests get their addresses", default: "as below" }),
  dns: key(dns, { description: "The name server on the gateway", default: "as below" }),
  tcp: key(tcp, { description: "The TCP between hostd and the guest", default: "as below" }),
  egress: key(egress, { description: "Traffic from the guest to the host and beyond", default: "as below" }),
  forwards: key(z.array(forward), {
    description: "Ports of this host that lead into the VM",
    default: "none",
    flag: {
      flags: "-p, --publish <ports>",
      group: NETWORK,
      item: { form: PUBLISH_FORM, example: "8080:80", read: readPublishedPort },
    },
  }),
  publish: key(publish, { description: "How published ports behave", default: "as below" }),
  docker: key(docker, { description: "The Docker engine in the VM", default: "as below" }),
  guestApi: key(guestApi, { description: "What a VM itself may ask of hostd", default: "as below" }),
  state: key(path("folder"), {
    description: "The folder for what outlives a restart",
    default: "$XDG_STATE_HOME/hostd, without that variable ~/.local/state/hostd",
    flag: { flags: "--state <folder>", group: RUNNING },
  }),
  api: key(text('the address of a Unix socket such as unix:///run/hostd/api.sock, or "none"', readApi), {
    description: "Where the control API listens",
    default: "api.sock beside the default endpoint; none where `qemu` is given",
    flag: { flags: "--api <url>", group: RUNNING },
  }),
  vpnkitApi: key(text('the address of a Unix socket such as unix:///run/hostd/vpnkit.sock, or "none"', readApi), {
    description: "Where vpnkit's API for exposing ports listens",
    default: "none",
    flag: { flags: "--vpnkit-api <url>", group: RUNNING },
  }),
  capture: key(path("file"), {
    description: "Write every frame to this pcap file, readable by Wireshark",
    default: "no capture",
    flag: { flags: "--capture <file>", group: RUNNING },
  }),
  log: key(log, { description: "The log", default: "as below" }),
});

/** A configuration as written: the values that were given, parsed, and nothing else. */
export type Settings = z.output<typeof settingsSchema>;

/** A zone as written. */
export type ZoneSettings = z.output<typeof zone>;

/** A record of a zone as written. */
export type RecordSettings = z.output<typeof record>;

/** What a program may write for {@link Settings}, before it is read. */
export type SettingsInput = z.input<typeof settingsSchema>;

/** Null for no control API. */
function readApi(written: string): UnixAddress | null {
  return written === "none" ? null : readUnixListener(written);
}

/** A MAC address that is the key of a mapping stays as written, so that two spellings of one are both seen. */
function readMacKey(written: string): string {
  readMac(written);
  return written;
}
