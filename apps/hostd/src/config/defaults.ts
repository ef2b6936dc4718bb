import { HOSTS_PATH } from "@hostd/dns";

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
  dockerReach: "container",
  proxyUpstream: "system",
  proxyTransparentPorts: "80,443",
  proxyOther: "direct",
  proxyPacFailure: "direct",
} as const;

/** The most addresses the DHCP server hands out: its memory is bounded by them. */
export const DHCP_RANGE_MAX = 4096;
