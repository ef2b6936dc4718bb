/** The keys of the guests' network: DHCP, the TCP to the guests, and their way out. */
import * as z from "zod";
import { DEFAULTS, DHCP_RANGE_MAX } from "./defaults.ts";
import { expecting, integer, key, oneOf, text } from "./key-schema.ts";
import { domainName, ipv4, yesOrNo } from "./schema-values.ts";
import { readMac } from "./values.ts";

/** Which source addresses are accepted from a VM: any that its MAC has shown, or only what DHCP leased to that MAC. */
export const SOURCES = ["shown", "leased"] as const;
/** How the congestion window of a connection to the guest is sized. */
export const CONGESTION_ALGORITHMS = ["cubic", "reno"] as const;

export type Sources = (typeof SOURCES)[number];

/** `dhcp`: how guests get their addresses. */
export const dhcpSchema = z.strictObject({
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

/** `tcp`: the TCP between hostd and the guest. */
export const tcpSchema = z.strictObject({
  congestionControl: key(oneOf(CONGESTION_ALGORITHMS), {
    description: "How much may be under way to the guest: CUBIC (RFC 9438) or Reno (RFC 5681)",
    default: DEFAULTS.congestionControl,
  }),
  receiveRing: key(integer(16, 65_536, "of frames "), {
    description:
      "How many frames are under way unacknowledged, each way: to the guest what its network card holds and what waits for it on the way there, and so many full segments the guest may send",
    default: String(DEFAULTS.receiveRing),
  }),
  timestamps: key(yesOrNo(), {
    description: "Whether TCP timestamps (RFC 7323) are used with a guest that offers them",
    default: String(DEFAULTS.timestamps),
  }),
  selectiveAcknowledgments: key(yesOrNo(), {
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

/** `egress`: traffic from the guest to the host and beyond. */
export const egressSchema = z.strictObject({
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
  icmp: key(yesOrNo(), {
    description: "Whether the guest's pings leave the host",
    default: String(DEFAULTS.icmp),
  }),
  linkLocal: key(yesOrNo(), {
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

/** A MAC address that is the key of a mapping stays as written, so that two spellings of one are both seen. */
function readMacKey(written: string): string {
  readMac(written);
  return written;
}
