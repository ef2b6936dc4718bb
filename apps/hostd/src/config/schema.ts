/**
 * The one schema of the configuration: what the file may hold, what the flags are called, what every key means and
 * what it is when it is not given. The error messages, `--help` and docs/configuration.md are all read from here and
 * from the parts in `network-schema.ts`, `dns-schema.ts`, `publish-schema.ts`, `proxy-schema.ts` and
 * `docker-schema.ts`.
 *
 * The schema yields {@link Settings}: the values that were given, parsed. Defaults that follow from other keys, and
 * checks across keys, are in `resolve.ts`.
 */
import * as z from "zod";
import { DEFAULTS } from "./defaults.ts";
import { dnsSchema } from "./dns-schema.ts";
import { dockerSchema } from "./docker-schema.ts";
import { readEndpoint } from "./endpoint.ts";
import { PUBLISH_FORM, readPublishedPort } from "./forward.ts";
import { integer, key, oneOf, text } from "./key-schema.ts";
import { dhcpSchema, egressSchema, tcpSchema } from "./network-schema.ts";
import { proxySchema } from "./proxy-schema.ts";
import { forwardSchema, guestApiSchema, publishSchema } from "./publish-schema.ts";
import { FLAG_GROUPS, ipv4, path, socketOrNone } from "./schema-values.ts";
import { readMac, readSubnet, SUBNET_PREFIX } from "./values.ts";

export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;
export const LOG_FORMATS = ["auto", "pretty", "json"] as const;

/** How detailed the log is; `silent` writes nothing. */
export type LogLevel = (typeof LOG_LEVELS)[number];
/** How the log is written; `auto` is `pretty` on a terminal and `json` elsewhere. */
export type LogFormat = (typeof LOG_FORMATS)[number];

const log = z.strictObject({
  level: key(oneOf(LOG_LEVELS), {
    description: "The least important message that is written",
    default: DEFAULTS.logLevel,
    flag: { flags: "--log-level <level>", group: FLAG_GROUPS.running },
  }),
  format: key(oneOf(LOG_FORMATS), {
    description: "How messages are written to standard error; `auto` is `pretty` on a terminal and `json` elsewhere",
    default: DEFAULTS.logFormat,
    flag: { flags: "--log-format <format>", group: FLAG_GROUPS.running },
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
      flag: { flags: "--qemu <url>", group: FLAG_GROUPS.attaching },
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
      flag: { flags: "--subnet <cidr>", group: FLAG_GROUPS.network },
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
    flag: { flags: "--mtu <bytes>", group: FLAG_GROUPS.network },
  }),
  dhcp: key(dhcpSchema, { description: "How guests get their addresses", default: "as below" }),
  dns: key(dnsSchema, { description: "The name server on the gateway", default: "as below" }),
  tcp: key(tcpSchema, { description: "The TCP between hostd and the guest", default: "as below" }),
  egress: key(egressSchema, { description: "Traffic from the guest to the host and beyond", default: "as below" }),
  forwards: key(z.array(forwardSchema), {
    description: "Ports of this host that lead into the VM",
    default: "none",
    flag: {
      flags: "-p, --publish <ports>",
      group: FLAG_GROUPS.network,
      item: { form: PUBLISH_FORM, example: "8080:80", read: readPublishedPort },
    },
  }),
  publish: key(publishSchema, { description: "How published ports behave", default: "as below" }),
  proxy: key(proxySchema, { description: "The HTTP proxy on the gateway", default: "as below" }),
  docker: key(dockerSchema, { description: "The Docker engine in the VM", default: "as below" }),
  guestApi: key(guestApiSchema, { description: "What a VM itself may ask of hostd", default: "as below" }),
  state: key(path("folder"), {
    description: "The folder for what outlives a restart",
    default: "$XDG_STATE_HOME/hostd, without that variable ~/.local/state/hostd",
    flag: { flags: "--state <folder>", group: FLAG_GROUPS.running },
  }),
  api: key(socketOrNone("/run/hostd/api.sock"), {
    description: "Where the control API listens",
    default: "api.sock beside the default endpoint; none where `qemu` is given",
    flag: { flags: "--api <url>", group: FLAG_GROUPS.running },
  }),
  vpnkitApi: key(socketOrNone("/run/hostd/vpnkit.sock"), {
    description: "Where vpnkit's API for exposing ports listens",
    default: "none",
    flag: { flags: "--vpnkit-api <url>", group: FLAG_GROUPS.running },
  }),
  capture: key(path("file"), {
    description: "Write every frame to this pcap file, readable by Wireshark",
    default: "no capture",
    flag: { flags: "--capture <file>", group: FLAG_GROUPS.running },
  }),
  log: key(log, { description: "The log", default: "as below" }),
});

/** A configuration as written: the values that were given, parsed, and nothing else. */
export type Settings = z.output<typeof settingsSchema>;

/** What a program may write for {@link Settings}, before it is read. */
export type SettingsInput = z.input<typeof settingsSchema>;
