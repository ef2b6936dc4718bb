/** What a Docker engine in the VM has to be told, so that hostd reaches its containers and they reach this host. */
import type { Reach } from "../config/docker-schema.ts";
import { PROXY_URL } from "../proxy/guest-environment.ts";

/** The release of an engine. */
export interface EngineVersion {
  readonly major: number;
  readonly minor: number;
}

/** The first release that knows `host-gateway` (moby/moby#40007), and whose keys are known here. */
export const OLDEST_ENGINE: EngineVersion = { major: 20, minor: 10 };

/**
 * The first release that knows each key, where it is not {@link OLDEST_ENGINE}: an engine does not start with a key that it
 * does not know. From the release notes of Docker Engine, with the change.
 */
const KNOWN_SINCE = {
  // moby/moby#42835
  proxies: { major: 23, minor: 0 },
  // moby/moby#43197
  "default-network-opts": { major: 24, minor: 0 },
  // moby/moby#48807; host-gateway-ip before
  "host-gateway-ips": { major: 28, minor: 0 },
  // moby/moby#49832
  "allow-direct-routing": { major: 28, minor: 2 },
} as const satisfies Readonly<Record<string, EngineVersion>>;

/** The first release that drops packets to containers' own addresses that come from outside of the VM (moby/moby#49325). */
const DIRECT_ROUTING_BLOCKED_SINCE: EngineVersion = { major: 28, minor: 0 };

/** The release from which on nothing of this is known to have changed. */
export const NEWEST_ENGINE: EngineVersion = KNOWN_SINCE["allow-direct-routing"];

/** What an engine assumes when its configuration has no `mtu`. */
const DEFAULT_MTU = 1500;

/** Ports for the engine to choose from that neither Linux (32768 to 60999) nor macOS (from 49152 on) chooses on its own. */
const CHOSEN_PORTS = "20000 32767";

/** What of hostd's configuration concerns the engine. */
export interface EngineNetwork {
  /** hostd's own address, which is the name server. */
  readonly gateway: string;
  /** The address that leads to this host's loopback. */
  readonly host: string;
  readonly mtu: number;
  /** `egress.sources`. */
  readonly sources: string;
  /** `docker.reach`: whether hostd connects to the containers' own addresses. */
  readonly reach: Reach;
  /** `docker.upstream`. */
  readonly upstream: string;
  /** What is reached without a proxy. */
  readonly noProxy: string;
}

/** How the engine listens on TCP. */
export interface EngineListener {
  /** The VM's. */
  readonly address: string;
  readonly port: number;
  /** The VM's network interface. */
  readonly link: string;
}

export interface EngineConfigOptions {
  readonly version: EngineVersion;
  readonly network: EngineNetwork;
  /** Whether containers have the VM's address outside of it. */
  readonly masquerade: boolean;
  /** The URL of the proxy over which it pulls images. */
  readonly proxy?: string | undefined;
  readonly listener?: EngineListener | undefined;
}

/** A key of `daemon.json`. */
export interface EngineSetting {
  readonly key: string;
  readonly value: unknown;
  readonly reason: string;
}

/** Another file of the VM. */
export interface VmFile {
  readonly path: string;
  readonly text: string;
  readonly reason: string;
}

export interface EngineConfig {
  readonly settings: readonly EngineSetting[];
  readonly files: readonly VmFile[];
  /** What else there is to know, as sentences. */
  readonly notes: readonly string[];
}

/**
 * Reads the version of an engine, which begins with that of its release: `28.2.2`, `20.10.24+dfsg1`.
 *
 * @returns null when it does not, as in an engine that somebody has built.
 */
export function readEngineVersion(text: string): EngineVersion | null {
  const match = /^v?(\d{1,4})\.(\d{1,4})(?!\d)/.exec(text);
  return match === null ? null : { major: Number(match[1]), minor: Number(match[2]) };
}

export function formatEngineVersion({ major, minor }: EngineVersion): string {
  return `${major}.${String(minor).padStart(major < 23 ? 2 : 1, "0")}`;
}

/** Whether a release is another one or came after it. */
export function isSince({ major, minor }: EngineVersion, first: EngineVersion): boolean {
  return major > first.major || (major === first.major && minor >= first.minor);
}

/** Whether an engine can be told of a proxy in `daemon.json`. */
export function knowsProxies(version: EngineVersion): boolean {
  return knows(version, "proxies");
}

/** What an engine is to be configured with. It has no key that the engine does not know. */
export function engineConfig(options: EngineConfigOptions): EngineConfig {
  const unit = unitFile(options);
  return {
    settings: [...networkSettings(options), ...proxySettings(options), ...listenerSettings(options)],
    files: [SYSCTL_FILE, ...(unit === null ? [] : [unit])],
    notes: notesOf(options),
  };
}

/** `daemon.json`. */
export function daemonJson({ settings }: EngineConfig): Readonly<Record<string, unknown>> {
  return Object.fromEntries(settings.map(({ key, value }) => [key, value]));
}

function networkSettings({ version, network, masquerade }: EngineConfigOptions): EngineSetting[] {
  const { gateway, host, mtu, reach } = network;
  const bridge = bridgeOptions({ network, masquerade });
  const gatewayReason = "host-gateway, as in --add-host x:host-gateway, is this host and not the VM";
  return [
    { key: "dns", value: [gateway], reason: "containers ask hostd for names, whatever the VM itself asks" },
    knows(version, "host-gateway-ips")
      ? { key: "host-gateway-ips", value: [host], reason: gatewayReason }
      : { key: "host-gateway-ip", value: host, reason: gatewayReason },
    ...(reach === "container" && knows(version, "allow-direct-routing")
      ? [
          {
            key: "allow-direct-routing",
            value: true,
            reason: "hostd connects to published ports at the containers' own addresses, which are dropped otherwise",
          },
        ]
      : []),
    { key: "mtu", value: mtu, reason: "the largest packet on the VM's link, for the default network" },
    ...(masquerade
      ? []
      : [
          {
            key: "ip-masq",
            value: false,
            reason: "hostd sees containers of the default network at their own addresses, not at the VM's",
          },
        ]),
    ...(knows(version, "default-network-opts") && Object.keys(bridge).length > 0
      ? [{ key: "default-network-opts", value: { bridge }, reason: "the same for networks made from now on" }]
      : []),
  ];
}

/** What networks other than the default one are made with. */
function bridgeOptions({ network, masquerade }: Pick<EngineConfigOptions, "network" | "masquerade">) {
  return {
    ...(network.mtu === DEFAULT_MTU ? {} : { "com.docker.network.driver.mtu": String(network.mtu) }),
    ...(masquerade ? {} : { "com.docker.network.bridge.enable_ip_masquerade": "false" }),
  };
}

function proxySettings({ version, network, proxy }: EngineConfigOptions): EngineSetting[] {
  if (proxy === undefined || !knows(version, "proxies")) return [];
  const value = { "http-proxy": proxy, "https-proxy": proxy, "no-proxy": network.noProxy };
  const reason =
    proxy === PROXY_URL
      ? "images are pulled by way of hostd, which takes the proxy of this host, if there is one; containers are not told of it"
      : "images are pulled through it; containers are not told of it";
  return [{ key: "proxies", value, reason }];
}

function listenerSettings({ listener }: EngineConfigOptions): EngineSetting[] {
  if (listener === undefined) return [];
  const { address, port } = listener;
  return [
    {
      key: "hosts",
      value: ["fd://", `tcp://${address}:${port}`],
      reason: "the socket that systemd opens, as before, and TCP for hostd",
    },
    { key: "tls", value: false, reason: "said outright, or the engine waits 15 seconds at each start to warn of it" },
  ];
}

const SYSCTL_FILE: VmFile = {
  path: "/etc/sysctl.d/90-hostd.conf",
  text: `net.ipv4.ip_nonlocal_bind = 1\nnet.ipv4.ip_local_port_range = ${CHOSEN_PORTS}\n`,
  reason:
    "-p ADDRESS:80:80 works with addresses that only this host has, since the engine listens on them too; and the ports that " +
    "the engine chooses (-P, -p 80) are none that this host gives its own programs",
};

/** What systemd has to be told of the engine's service; null for nothing. */
function unitFile({ version, network, proxy, listener }: EngineConfigOptions): VmFile | null {
  const parts: { readonly lines: readonly string[]; readonly reason: string }[] = [];
  const isBlocked = isSince(version, DIRECT_ROUTING_BLOCKED_SINCE) && !knows(version, "allow-direct-routing");
  if (isBlocked && network.reach === "container") {
    parts.push({
      lines: ["Environment=DOCKER_INSECURE_NO_IPTABLES_RAW=1"],
      reason:
        "hostd connects to published ports at the containers' own addresses, which this engine drops unless it is told not to " +
        "(28.0.2 and newer take that from here; before that, docker.reach has to be vm); from 28.2 on there is the key " +
        "allow-direct-routing",
    });
  }
  if (proxy !== undefined && !knows(version, "proxies")) {
    parts.push({
      lines: Object.entries({ HTTP_PROXY: proxy, HTTPS_PROXY: proxy, NO_PROXY: network.noProxy }).map(
        ([name, value]) => {
          return `Environment="${name}=${value.replaceAll("%", "%%")}"`;
        },
      ),
      reason: "images are pulled through the proxy; daemon.json has it from 23.0 on",
    });
  }
  if (listener !== undefined) {
    const { port, link } = listener;
    const rule = (match: string) => {
      const words = `INPUT ${match} -p tcp --dport ${port} -j DROP`;
      return `ExecStartPre=sh -c 'iptables -w -C ${words} 2>/dev/null || iptables -w -I ${words}'`;
    };
    parts.push({
      lines: [
        rule(`! -i ${link}`),
        rule(`! -s ${network.gateway}`),
        "ExecStart=",
        "ExecStart=dockerd --containerd=/run/containerd/containerd.sock $DOCKER_OPTS",
      ],
      reason:
        "nobody but hostd may connect: whoever can is root of the VM, and containers reach all of its addresses, but not by way " +
        `of ${link}; ExecStart is that of Docker's and Debian's packages (systemctl cat docker) without -H, with which the ` +
        "engine does not take the key hosts",
    });
  }
  if (parts.length === 0) return null;
  return {
    path: "/etc/systemd/system/docker.service.d/hostd.conf",
    text: ["[Service]", ...parts.flatMap(({ lines }) => lines), ""].join("\n"),
    reason: parts.map(({ reason }) => reason).join("; "),
  };
}

function notesOf({ version, network, masquerade, proxy, listener }: EngineConfigOptions): string[] {
  const { gateway, upstream, sources, reach } = network;
  const opts = Object.entries(bridgeOptions({ network, masquerade })).map(([name, value]) => `-o ${name}=${value}`);
  const isTcp = upstream.startsWith("tcp:");
  return [
    ...(isTcp && listener === undefined
      ? [
          `hostd reaches the engine over TCP (docker.upstream is ${upstream}), on which it has to listen: --tcp says how, ` +
            "without opening it to containers. Over SSH (ssh://USER@vm/var/run/docker.sock) it need not listen at all.",
        ]
      : []),
    ...(listener === undefined
      ? []
      : [
          `The VM's interface is taken to be ${listener.link}: ip route in the VM shows it, --interface says otherwise.`,
        ]),
    ...(!isTcp && listener !== undefined
      ? [`docker.upstream is ${upstream}, so hostd does not use the port: it would with tcp://vm:${listener.port}.`]
      : []),
    ...(proxy === PROXY_URL
      ? [
          "http.docker.internal is a name that only hostd knows: the VM has to ask it for names, as DHCP tells it to. Where it " +
            `asks somebody else: --proxy http://${gateway}:3128, or --proxy none.`,
        ]
      : []),
    ...(sources === "leased" && reach === "container"
      ? [
          "egress.sources is leased, so hostd drops what comes from containers' own addresses: their published ports cannot be " +
            "reached. It has to be shown, or docker.reach vm.",
        ]
      : []),
    ...(opts.length > 0 && !knows(version, "default-network-opts")
      ? [
          `Networks other than the default one are to be made with docker network create ${opts.join(" ")}: the configuration ` +
            "can say so from 24.0 on.",
        ]
      : []),
    ...(opts.length > 0 ? ["Networks that are there already stay as they are until they are made anew."] : []),
  ];
}

function knows(version: EngineVersion, key: keyof typeof KNOWN_SINCE): boolean {
  return isSince(version, KNOWN_SINCE[key]);
}
