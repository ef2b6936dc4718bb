import { formatIpv4, formatMac, parseIpv4 } from "@hostd/stack";
import { describe, expect, it } from "vitest";
import { ENGINE_FORM } from "./engine.ts";
import type { HostEnvironment } from "./environment.ts";
import { configToData, configToYaml } from "./print.ts";
import { ConfigError } from "./problems.ts";
import { configWarnings, type HostdConfig, parseConfig } from "./resolve.ts";

const environment: HostEnvironment = { variables: {}, homeFolder: "/home/me", userId: 1000 };

function parse(input: unknown): HostdConfig {
  return parseConfig(input, "test", environment);
}

/** The messages of the problems with `input`, without the origin. */
function problems(input: unknown): string[] {
  try {
    parse(input);
  } catch (error) {
    if (error instanceof ConfigError) return error.message.split("\n").map((line) => line.replace(/^test: /, ""));
    throw error;
  }
  return [];
}

const one = (port: number) => ({ first: port, last: port });
const TOP_LEVEL =
  "qemu, subnet, gateway, host, mac, mtu, dhcp, dns, tcp, egress, forwards, publish, proxy, docker, guestApi, state, api, vpnkitApi, capture, log";

describe("defaults", () => {
  it("are all there when nothing is given", () => {
    const config = parse(undefined);
    expect(configToData(config)).toEqual({
      qemu: ["unix:///tmp/hostd-1000/vm.sock"],
      subnet: "192.168.65.0/24",
      gateway: "192.168.65.1",
      host: "192.168.65.254",
      mac: "02:68:6f:73:74:64",
      mtu: 1500,
      dhcp: { first: "192.168.65.3", last: "192.168.65.253", leaseSeconds: 86_400, static: {} },
      dns: {
        servers: [],
        rules: [],
        resolver: "servers",
        resolvConf: "/etc/resolv.conf",
        hosts: "/etc/hosts",
        zones: [],
        aliases: [],
        cache: { entries: 10_000, megabytes: 16, staleSeconds: 86_400 },
        randomizeCase: false,
        maxQueriesPerSecond: 30_000,
      },
      tcp: {
        congestionControl: "cubic",
        receiveRing: 512,
        timestamps: true,
        selectiveAcknowledgments: true,
        keepAliveSeconds: 7200,
        userTimeoutSeconds: 0,
      },
      egress: {
        tcp: { maxFlows: 16_384, maxPending: 1024 },
        udp: { maxFlows: 4096, idleSeconds: 120, dnsIdleSeconds: 30 },
        icmp: true,
        linkLocal: true,
        sources: "shown",
      },
      forwards: [],
      publish: {
        address: "127.0.0.1",
        allow: ["any"],
        source: "gateway",
        waitSeconds: 30,
        maxConnections: 16_384,
        maxPending: 1024,
        maxUdpFlows: 4096,
        udpIdleSeconds: 120,
      },
      proxy: {
        enabled: true,
        upstream: "system",
        noProxy: "",
        transparentPorts: "80,443",
        other: "direct",
        pacFailure: "direct",
      },
      docker: {
        listen: "none",
        upstream: "tcp://vm:2375",
        defaultAddress: "all",
        reach: "container",
        forbiddenMounts: [],
        hostGateway: true,
        injectProxyEnv: false,
      },
      guestApi: { enabled: false, allow: ["any:1024-65535"] },
      state: "/home/me/.local/state/hostd",
      api: "unix:///tmp/hostd-1000/api.sock",
      vpnkitApi: "none",
      log: { level: "info", format: "auto" },
    });
    expect(config.gateway).toBe(parseIpv4("192.168.65.1"));
    expect(config.mac).toEqual(Uint8Array.of(2, 104, 111, 115, 116, 100));
    expect(config.capture).toBeUndefined();
    expect(config.dhcp.search).toBeUndefined();
  });

  it("hold for keys that are null, as YAML reads a key with nothing after it", () => {
    expect(parse({ mtu: null, dhcp: null, log: { level: null } })).toEqual(parse({}));
  });

  it("follow the XDG folders, unless those are relative", () => {
    const variables = { XDG_RUNTIME_DIR: "/run/user/1000", XDG_STATE_HOME: "/var/me" };
    const config = parseConfig({}, "test", { ...environment, variables });
    expect(configToData(config)).toMatchObject({
      qemu: ["unix:///run/user/1000/hostd/vm.sock"],
      api: "unix:///run/user/1000/hostd/api.sock",
      state: "/var/me/hostd",
    });
    const relative = { XDG_RUNTIME_DIR: "run", XDG_STATE_HOME: "." };
    expect(parseConfig({}, "test", { ...environment, variables: relative })).toEqual(parse({}));
  });

  it("have a control API only beside the default endpoint", () => {
    expect(parse({ qemu: ["/run/vm.sock"] }).api).toBeUndefined();
    expect(parse({ qemu: ["/run/vm.sock"], api: "/run/a.sock" }).api?.path).toBe("/run/a.sock");
    expect(parse({ api: "none" }).api).toBeUndefined();
    expect(parse({ api: "/run/a.sock" }).api?.path).toBe("/run/a.sock");
    for (const input of [{}, { api: "none" }, { qemu: ["/run/vm.sock"] }]) {
      expect(parse(configToData(parse(input)))).toEqual(parse(input));
    }
  });

  it.each([
    [{ subnet: "10.1.2.0/29" }, "10.1.2.1", "10.1.2.6", "10.1.2.3", "10.1.2.5"],
    [{ subnet: "10.0.0.0/8" }, "10.0.0.1", "10.255.255.254", "10.0.0.3", "10.0.16.2"],
    [{ subnet: "192.168.0.0/20" }, "192.168.0.1", "192.168.15.254", "192.168.0.3", "192.168.15.253"],
    [{ gateway: "192.168.65.254" }, "192.168.65.254", "192.168.65.253", "192.168.65.3", "192.168.65.252"],
    [{ host: "192.168.65.3" }, "192.168.65.1", "192.168.65.3", "192.168.65.4", "192.168.65.254"],
    [
      { gateway: "192.168.65.4", host: "192.168.65.3" },
      "192.168.65.4",
      "192.168.65.3",
      "192.168.65.5",
      "192.168.65.254",
    ],
    [{ dhcp: { first: "192.168.65.99" } }, "192.168.65.1", "192.168.65.254", "192.168.65.99", "192.168.65.253"],
  ])("of the addresses keep clear of each other: %j", (input, gateway, host, first, last) => {
    const config = parse(input);
    expect([config.gateway, config.host, config.dhcp.first, config.dhcp.last].map(formatIpv4)).toEqual([
      gateway,
      host,
      first,
      last,
    ]);
  });
});

describe("values", () => {
  it("are all read", () => {
    const config = parse({
      qemu: ["/run/a.sock", "dial+tcp://127.0.0.1:5555"],
      subnet: "10.0.2.0/24",
      gateway: "10.0.2.2",
      host: "10.0.2.3",
      mac: "52-54-00-AA-BB-CC",
      mtu: 65_520,
      dhcp: {
        first: "10.0.2.15",
        last: "10.0.2.99",
        leaseSeconds: 120,
        domain: "vm.internal.",
        search: ["vm.internal", "corp.example"],
        static: { "52:54:00:12:34:56": "10.0.2.200" },
      },
      dns: {
        servers: ["192.0.2.53", "192.0.2.53:5353", "2001:db8::53", "[2001:db8::53]:5353"],
        resolvConf: "~/resolv.conf",
        zones: [
          {
            name: "a.b.",
            records: [
              { name: "@", address: "10.0.2.9" },
              { name: "_x.y", type: "A", address: "1.2.3.4" },
            ],
          },
        ],
      },
      egress: { tcp: { maxFlows: 1 }, udp: { idleSeconds: 600 }, icmp: false, linkLocal: false, sources: "leased" },
      forwards: [
        { listen: 8080, to: 80 },
        { listen: "[::1]:0", to: "172.17.0.2:443", protocol: "tcp" },
        { listen: "*:5000-5001", to: "6000-6001", protocol: "udp" },
        { listen: "unix:///run/web.sock", to: 80 },
        {
          listen: "/run/podman.sock",
          to: "ssh://core@vm/run/podman/podman.sock",
          identity: "~/.ssh/machine",
          passphrase: "secret",
          knownHosts: "hosts",
        },
      ],
      publish: {
        address: "all",
        allow: ["127.0.0.1:8080", "[::]", "10.0.0.0/8:1-2"],
        source: "client",
        waitSeconds: 0,
        maxConnections: 1,
        maxPending: 2,
        maxUdpFlows: 3,
        udpIdleSeconds: 4,
      },
      proxy: {
        enabled: false,
        upstream: "http://alice:s3cret@proxy.example:3128, socks5h://10.0.0.1",
        noProxy: ".corp.example,10.0.0.0/8",
        transparentPorts: "80, 8443",
        other: "refuse",
        pacFailure: "refuse",
        ca: "~/ca.pem",
        credentials: "credentials",
        via: "hostd",
        vpnkitFile: "/run/proxy.json",
      },
      docker: {
        listen: "unix:///run/docker.sock",
        upstream: "ssh://core@vm/var/run/docker.sock",
        identity: "~/key",
        knownHosts: "hosts",
        defaultAddress: "loopback",
        reach: "vm",
        forbiddenMounts: ["/etc"],
        hostGateway: false,
        injectProxyEnv: true,
        zone: "docker.internal",
      },
      guestApi: { enabled: true, allow: [] },
      state: "/var/lib/hostd",
      api: "unix:///run/api.sock",
      vpnkitApi: "/run/vpnkit.sock",
      capture: "/tmp/a.pcap",
      log: { level: "silent", format: "json" },
    });
    expect(config).toMatchObject({
      qemu: [
        { mode: "listen", transport: "unix", path: "/run/a.sock" },
        { mode: "dial", transport: "tcp", host: "127.0.0.1", port: 5555 },
      ],
      subnet: { address: parseIpv4("10.0.2.0"), prefixLength: 24 },
      mtu: 65_520,
      egress: {
        tcp: { maxFlows: 1, maxPending: 1024 },
        udp: { maxFlows: 4096, idleSeconds: 600, dnsIdleSeconds: 30 },
        icmp: false,
        linkLocal: false,
        sources: "leased",
      },
      state: "/var/lib/hostd",
      api: { transport: "unix", path: "/run/api.sock" },
      capture: "/tmp/a.pcap",
      log: { level: "silent", format: "json" },
    });
    expect(config.dhcp).toMatchObject({
      leaseSeconds: 120,
      domain: "vm.internal",
      search: ["vm.internal", "corp.example"],
    });
    expect(config.dhcp.static.map(({ mac, address }) => [formatMac(mac), formatIpv4(address)])).toEqual([
      ["52:54:00:12:34:56", "10.0.2.200"],
    ]);
    expect(config.dns.servers).toEqual([
      { address: "192.0.2.53", family: 4, port: 53 },
      { address: "192.0.2.53", family: 4, port: 5353 },
      { address: "2001:db8::53", family: 6, port: 53 },
      { address: "2001:db8::53", family: 6, port: 5353 },
    ]);
    expect(config.dns.resolvConf).toBe("/home/me/resolv.conf");
    expect(config.dns.zones).toEqual([
      {
        name: "a.b",
        records: [
          { name: "@", type: "A", address: "10.0.2.9" },
          { name: "_x.y", type: "A", address: "1.2.3.4" },
        ],
      },
    ]);
    expect(config.forwards).toEqual([
      { protocol: "tcp", listen: { host: "", ports: one(8080) }, to: { address: null, ports: one(80) } },
      {
        protocol: "tcp",
        listen: { host: "::1", ports: one(0) },
        to: { address: parseIpv4("172.17.0.2"), ports: one(443) },
      },
      {
        protocol: "udp",
        listen: { host: "", ports: { first: 5000, last: 5001 } },
        to: { address: null, ports: { first: 6000, last: 6001 } },
      },
      { protocol: "tcp", listen: { path: "/run/web.sock" }, to: { address: null, ports: one(80) } },
      {
        protocol: "tcp",
        listen: { path: "/run/podman.sock" },
        to: {
          server: { address: null, port: 22 },
          user: "core",
          path: "/run/podman/podman.sock",
          identity: "/home/me/.ssh/machine",
          passphrase: "secret",
          knownHosts: `${process.cwd()}/hosts`,
        },
      },
    ]);
    expect(config.publish).toEqual({
      address: "",
      allow: [
        { address: "127.0.0.1", firstPort: 8080, lastPort: 8080 },
        { address: "::", firstPort: 0, lastPort: 65_535 },
        { address: "10.0.0.0/8", firstPort: 1, lastPort: 2 },
      ],
      source: "client",
      waitSeconds: 0,
      maxConnections: 1,
      maxPending: 2,
      maxUdpFlows: 3,
      udpIdleSeconds: 4,
    });
    expect(config.proxy).toEqual({
      enabled: false,
      upstream: {
        setting: {
          kind: "proxies",
          servers: [
            {
              kind: "http",
              host: "proxy.example",
              port: 3128,
              credentials: { user: "alice", password: "s3cret" },
            },
            { kind: "socks5h", host: "10.0.0.1", port: 1080 },
          ],
        },
        text: "http://alice:s3cret@proxy.example:3128, socks5h://10.0.0.1",
      },
      noProxy: ".corp.example,10.0.0.0/8",
      transparentPorts: [80, 8443],
      other: "refuse",
      pacFailure: "refuse",
      ca: "/home/me/ca.pem",
      credentials: `${process.cwd()}/credentials`,
      via: "hostd",
      vpnkitFile: "/run/proxy.json",
    });
    expect(config.docker).toEqual({
      listen: { transport: "unix", path: "/run/docker.sock" },
      upstream: {
        server: { address: null, port: 22 },
        user: "core",
        path: "/var/run/docker.sock",
        identity: "/home/me/key",
        knownHosts: `${process.cwd()}/hosts`,
      },
      defaultAddress: "127.0.0.1",
      reach: "vm",
      forbiddenMounts: ["/etc"],
      hostGateway: false,
      injectProxyEnv: true,
      zone: "docker.internal",
    });
    expect(config.guestApi).toEqual({ enabled: true, allow: [] });
    expect(config.vpnkitApi).toEqual({ transport: "unix", path: "/run/vpnkit.sock" });
    expect(configToYaml(config)).toContain("5353");
    expect(parse(configToData(config))).toEqual(config);
  });

  it("keep an empty list of endpoints, for a program that attaches its guests itself", () => {
    const config = parse({ qemu: [] });
    expect(config.qemu).toEqual([]);
    expect(configWarnings(config)).toEqual(["qemu: the list is empty, so no VM can attach"]);
  });

  it("warn when a listening port is open to other machines", () => {
    const open = ["tcp://0.0.0.0:1", "tcp://[::]:1", "tcp://192.0.2.1:1"];
    const closed = ["tcp://127.0.0.1:1", "tcp://[::1]:1", "/run/vm.sock", "dial+tcp://192.0.2.1:1"];
    const warnings = configWarnings(parse({ qemu: [...open, ...closed] }));
    expect(warnings.map((warning) => warning.split(" ")[1])).toEqual(open);
    expect(warnings[0]).toBe(
      "qemu: tcp://0.0.0.0:1 is reachable from other machines, and whoever connects is on the guest network " +
        "without a password: listen on 127.0.0.1 or a Unix socket instead",
    );
  });

  it("warn when a domain is for containers that hostd does not know", () => {
    expect(configWarnings(parse({ docker: { zone: "docker.internal" } }))).toEqual([
      "docker.zone: without docker.listen hostd does not know the containers, and answers none of their names",
    ]);
    expect(configWarnings(parse({ docker: { listen: "/run/docker.sock", zone: "docker.internal" } }))).toEqual([]);
  });

  it("warn when containers' answers are dropped, and only then", () => {
    const docker = { listen: "/run/docker.sock" };
    const egress = { sources: "leased" };
    expect(configWarnings(parse({ docker, egress }))).toEqual([
      "egress.sources: with `leased` hostd drops what containers answer from their own addresses, so that their published " +
        "ports stay silent: set it to `shown`, or docker.reach to `vm`",
    ]);
    for (const input of [{ docker }, { egress }, { docker: { ...docker, reach: "vm" }, egress }]) {
      expect(configWarnings(parse(input))).toEqual([]);
    }
  });
});

describe("a value that does not fit is named with what is allowed", () => {
  const address = "an IPv4 address such as 192.168.65.1";
  const network = "an IPv4 network such as 192.168.65.0/24, with a prefix length from 8 to 29";
  const mac = "the MAC address of one interface such as 52:54:00:12:34:56";
  const listener =
    "a port of this host such as 8080 or 8000-8010, an address and a port such as 0.0.0.0:8080, *:8080 or [::1]:8080, " +
    "or a Unix socket such as unix:///run/user/1000/web.sock";
  const target =
    "a port of the VM such as 80 or 8000-8010, an address and a port such as 172.17.0.2:80, or a Unix socket of the guest " +
    "such as ssh://core@vm/run/podman/podman.sock";
  const endpoint =
    "an endpoint such as unix:///run/vm.sock or tcp://127.0.0.1:5555, with dial+ in front to connect there";
  const server =
    "the address of a name server such as 192.0.2.53, 192.0.2.53:5353, 2001:db8::53 or [2001:db8::53]:5353";
  const record = 'a domain name relative to the zone such as "db" or "*.db", or "@" for the zone itself';
  const long = "x".repeat(64);

  it.each([
    [{ mtu: 575 }, "mtu: 575 is not a whole number of bytes from 576 to 65520"],
    [{ mtu: 65_521 }, "mtu: 65521 is not a whole number of bytes from 576 to 65520"],
    [{ mtu: 1500.5 }, "mtu: 1500.5 is not a whole number of bytes from 576 to 65520"],
    [{ mtu: "1500" }, 'mtu: "1500" is not a whole number of bytes from 576 to 65520'],
    [{ mtu: Number.NaN }, "mtu: NaN is not a whole number of bytes from 576 to 65520"],
    [{ subnet: "192.168.65.0" }, `subnet: "192.168.65.0" is not ${network} (the prefix length is missing)`],
    [{ subnet: "192.168.0.0/30" }, `subnet: "192.168.0.0/30" is not ${network} (the prefix length is 30)`],
    [{ subnet: "0.0.0.0/7" }, `subnet: "0.0.0.0/7" is not ${network} (the prefix length is 7)`],
    [
      { subnet: "192.168.65.7/24" },
      `subnet: "192.168.65.7/24" is not ${network} (host bits are set; the network is 192.168.65.0/24)`,
    ],
    [
      { subnet: "127.1.0.0/16" },
      `subnet: "127.1.0.0/16" is not ${network} (no host can have an address of 127.0.0.0/8)`,
    ],
    [
      { subnet: "224.0.1.0/24" },
      `subnet: "224.0.1.0/24" is not ${network} (no host can have an address of 224.0.0.0/4)`,
    ],
    [{ subnet: "fd00::/64" }, `subnet: "fd00::/64" is not ${network} (only IPv4 is supported)`],
    [{ subnet: 10 }, `subnet: 10 is not ${network}`],
    [{ gateway: "192.168.065.1" }, `gateway: "192.168.065.1" is not ${address}`],
    [{ host: ["a"] }, `host: ["a"] is not ${address}`],
    [{ mac: "52:54:00:12:34" }, `mac: "52:54:00:12:34" is not ${mac}`],
    [
      { mac: "01:00:5e:00:00:01" },
      `mac: "01:00:5e:00:00:01" is not ${mac} (it is a group address: the first byte is odd)`,
    ],
    [{ mac: "00:00:00:00:00:00" }, `mac: "00:00:00:00:00:00" is not ${mac} (it is all zeros)`],
    [{ qemu: "/run/a" }, `qemu: "/run/a" is not a list in which each item is ${endpoint}`],
    [{ qemu: ["/a", "vm"] }, `qemu[1]: "vm" is not ${endpoint}`],
    [{ qemu: ["vhost:///a"] }, `qemu[0]: "vhost:///a" is not ${endpoint} (the scheme is "vhost")`],
    [{ qemu: [null] }, `qemu[0]: null is not ${endpoint}`],
    [
      { api: "tcp://127.0.0.1:1" },
      'api: "tcp://127.0.0.1:1" is not the address of a Unix socket such as unix:///run/hostd/api.sock, or "none"',
    ],
    [{ state: "" }, 'state: "" is not the path of a folder (it is empty)'],
    [{ capture: "a\0b" }, 'capture: "a\\u0000b" is not the path of a file (it holds a NUL character)'],
    [{ dhcp: "on" }, 'dhcp: "on" is not a mapping with the keys first, last, leaseSeconds, domain, search, static'],
    [{ dhcp: { leaseSeconds: 119 } }, "dhcp.leaseSeconds: 119 is not a whole number of seconds from 120 to 4294967294"],
    [
      { dhcp: { domain: "a_.-b" } },
      'dhcp.domain: "a_.-b" is not a domain name such as vm.internal (the label "-b" does not fit)',
    ],
    [
      { dhcp: { search: [long] } },
      `dhcp.search[0]: "${long}" is not a domain name such as vm.internal (the label "${long}" has more than 63 characters)`,
    ],
    [{ dhcp: { domain: "." } }, 'dhcp.domain: "." is not a domain name such as vm.internal (it is empty)'],
    [{ dhcp: { static: ["a"] } }, 'dhcp.static: ["a"] is not a mapping from MAC addresses to IPv4 addresses'],
    [{ dhcp: { static: { x: "10.0.0.1" } } }, `dhcp.static.x: "x" is not ${mac}`],
    [{ dhcp: { static: { "52:54:00:12:34:56": 9 } } }, `dhcp.static.52:54:00:12:34:56: 9 is not ${address}`],
    [{ dns: { servers: ["x:53"] } }, `dns.servers[0]: "x:53" is not ${server}`],
    [{ dns: { servers: ["1.1.1.1:0"] } }, `dns.servers[0]: "1.1.1.1:0" is not ${server}`],
    [{ dns: { zones: [{}] } }, "dns.zones[0].name: missing; it must be a domain name such as vm.internal"],
    [
      { dns: { zones: [{ name: "a", records: [{ name: "b..c", address: "1.2.3.4" }] }] } },
      `dns.zones[0].records[0].name: "b..c" is not ${record} (the label "" does not fit)`,
    ],
    [{ tcp: { congestionControl: "bbr" } }, 'tcp.congestionControl: "bbr" is not one of cubic, reno'],
    [{ tcp: { receiveRing: 8 } }, "tcp.receiveRing: 8 is not a whole number of frames from 16 to 65536"],
    [{ tcp: { timestamps: "on" } }, 'tcp.timestamps: "on" is not true or false'],
    [{ tcp: { keepAliveSeconds: -1 } }, "tcp.keepAliveSeconds: -1 is not a whole number of seconds from 0 to 1000000"],
    [{ egress: { sources: "any" } }, 'egress.sources: "any" is not one of shown, leased'],
    [{ egress: { icmp: "yes" } }, 'egress.icmp: "yes" is not true or false'],
    [{ egress: { tcp: { maxFlows: 0 } } }, "egress.tcp.maxFlows: 0 is not a whole number from 1 to 1048576"],
    [
      { egress: { udp: { idleSeconds: 60 } } },
      "egress.udp.idleSeconds: 60 is not a whole number of seconds from 120 to 86400",
    ],
    [
      { log: { level: "inof" } },
      'log.level: "inof" is not one of trace, debug, info, warn, error, fatal, silent (did you mean "info"?)',
    ],
    [
      { forwards: ["8080:80"] },
      'forwards[0]: "8080:80" is not a mapping with the keys listen, to, protocol, identity, passphrase, knownHosts',
    ],
    [{ forwards: [{ listen: 8080 }] }, `forwards[0].to: missing; it must be ${target}`],
    [{ forwards: [{ listen: 65_536, to: 80 }] }, `forwards[0].listen: 65536 is not ${listener} (the port is "65536")`],
    [{ forwards: [{ listen: true, to: 80 }] }, `forwards[0].listen: true is not ${listener}`],
    [{ forwards: [{ listen: 1, to: 0 }] }, `forwards[0].to: 0 is not ${target} (the port is 0)`],
    [{ forwards: [{ listen: 1, to: 1.5 }] }, `forwards[0].to: 1.5 is not ${target} (the port is "1.5")`],
    [{ forwards: [{ listen: 1, to: 1, protocol: "sctp" }] }, 'forwards[0].protocol: "sctp" is not one of tcp, udp'],
    [{ docker: { upstream: "http://vm" } }, `docker.upstream: "http://vm" is not ${ENGINE_FORM}`],
    [
      { docker: { upstream: "tcp://host:1" } },
      `docker.upstream: "tcp://host:1" is not ${ENGINE_FORM} ("host" is not an IPv4 address)`,
    ],
    [{ docker: { upstream: "tcp://vm:0" } }, `docker.upstream: "tcp://vm:0" is not ${ENGINE_FORM} (the port is 0)`],
    [
      { docker: { zone: "a..b" } },
      'docker.zone: "a..b" is not a domain name such as vm.internal (the label "" does not fit)',
    ],
    [{ docker: { reach: "host" } }, 'docker.reach: "host" is not one of container, vm'],
    [
      { docker: { forbiddenMounts: ["etc"] } },
      'docker.forbiddenMounts[0]: "etc" is not an absolute path such as /etc (it is not absolute)',
    ],
    [{ publish: { address: "eth0" } }, 'publish.address: "eth0" is not loopback, all, or an IP address'],
    [{ publish: { waitSeconds: -1 } }, "publish.waitSeconds: -1 is not a whole number of seconds from 0 to 3600"],
    [{ log: { format: "xml" } }, 'log.format: "xml" is not one of auto, pretty, json'],
  ])("%j", (input, message) => {
    expect(problems(input)).toEqual([message]);
  });

  it("names the whole when it is no mapping", () => {
    expect(problems([1])).toEqual([`[1] is not a mapping with the keys ${TOP_LEVEL}`]);
    expect(problems("text")).toEqual([`"text" is not a mapping with the keys ${TOP_LEVEL}`]);
  });

  it("counts the items of a list that is too long, and shortens what it shows", () => {
    const [message, ...others] = problems({ dhcp: { search: Array.from({ length: 65 }, (_, index) => `d${index}`) } });
    expect(others).toEqual([]);
    expect(message).toMatch(
      /^dhcp\.search: \["d0","d1",.*\.\.\. is not a list .* \(it has 65 items; 64 is the most\)$/,
    );
  });

  it("carries key and value for programs", () => {
    expect(() => parse({ dhcp: { first: "x" } })).toThrow(
      expect.objectContaining({
        name: "ConfigError",
        problems: [{ key: "dhcp.first", value: "x", message: `test: dhcp.first: "x" is not ${address}` }],
      }),
    );
  });
});

describe("an unknown key is named with the nearest one and with all that are allowed", () => {
  it.each([
    [{ mtuu: 1 }, `mtuu: unknown key; did you mean "mtu"? allowed at the top level: ${TOP_LEVEL}`],
    [{ colour: 1 }, `colour: unknown key; allowed at the top level: ${TOP_LEVEL}`],
    [
      { leaseSeconds: 1 },
      `leaseSeconds: unknown key; did you mean "dhcp.leaseSeconds"? allowed at the top level: ${TOP_LEVEL}`,
    ],
    [
      { dhcp: { "lease-seconds": 1 } },
      'dhcp.lease-seconds: unknown key; did you mean "leaseSeconds"? ' +
        "allowed in dhcp: first, last, leaseSeconds, domain, search, static",
    ],
    [
      { dns: { zones: [{ name: "a", recods: [] }] } },
      'dns.zones[0].recods: unknown key; did you mean "records"? allowed in dns.zones[0]: name, records, defaultAddress',
    ],
    [{ "a b\n": 1 }, `["a b\\n"]: unknown key; allowed at the top level: ${TOP_LEVEL}`],
    [
      JSON.parse('{"__proto__": {"mtu": 9}}'),
      `__proto__: unknown key; did you mean "proxy"? allowed at the top level: ${TOP_LEVEL}`,
    ],
  ])("%j", (input, message) => {
    expect(problems(input)).toEqual([message]);
  });
});

describe("values that do not go together", () => {
  const range = "allowed: 192.168.65.1 to 192.168.65.254";

  it.each([
    [{ gateway: "10.0.0.1" }, [`gateway: 10.0.0.1 is outside the subnet 192.168.65.0/24; ${range}`]],
    [
      { gateway: "192.168.65.0" },
      [`gateway: 192.168.65.0 is the address of the network 192.168.65.0/24 itself; ${range}`],
    ],
    [
      { host: "192.168.65.255" },
      [`host: 192.168.65.255 is the broadcast address of the subnet 192.168.65.0/24; ${range}`],
    ],
    [{ dhcp: { first: "192.168.64.9" } }, [`dhcp.first: 192.168.64.9 is outside the subnet 192.168.65.0/24; ${range}`]],
    [{ dhcp: { last: "192.168.66.9" } }, [`dhcp.last: 192.168.66.9 is outside the subnet 192.168.65.0/24; ${range}`]],
    [
      { gateway: "192.168.65.9", host: "192.168.65.9", dhcp: { first: "192.168.65.10" } },
      ["host: 192.168.65.9 is both gateway and host; allowed: two different addresses"],
    ],
    [{ host: "192.168.65.1" }, ["host: 192.168.65.1 is both gateway and host; allowed: two different addresses"]],
    [
      { dhcp: { first: "192.168.65.9", last: "192.168.65.8" } },
      [
        "dhcp.last: the range 192.168.65.9 to 192.168.65.8 is empty; " +
          "allowed: a dhcp.first that is not above dhcp.last",
      ],
    ],
    [
      { dhcp: { last: "192.168.65.2" } },
      [
        "dhcp.last: the range 192.168.65.3 to 192.168.65.2 is empty; " +
          "allowed: a dhcp.first that is not above dhcp.last",
      ],
    ],
    [
      { subnet: "10.0.0.0/16", dhcp: { last: "10.0.255.1" } },
      ["dhcp.last: the range 10.0.0.3 to 10.0.255.1 has 65279 addresses; allowed: at most 4096"],
    ],
    [
      { gateway: "192.168.65.100" },
      [
        "gateway: the range dhcp.first to dhcp.last, 192.168.65.3 to 192.168.65.253, holds the gateway address " +
          "192.168.65.100; allowed: a range without gateway and host",
      ],
    ],
    [
      { dhcp: { first: "192.168.65.1", last: "192.168.65.254" } },
      [
        "dhcp.last: the range dhcp.first to dhcp.last, 192.168.65.1 to 192.168.65.254, holds the gateway address " +
          "192.168.65.1; allowed: a range without gateway and host",
        "dhcp.last: the range dhcp.first to dhcp.last, 192.168.65.1 to 192.168.65.254, holds the host address " +
          "192.168.65.254; allowed: a range without gateway and host",
      ],
    ],
    [
      { dhcp: { static: { "52:54:00:00:00:0a": "192.168.65.9", "52-54-00-00-00-0A": "192.168.65.8" } } },
      [
        "dhcp.static.52-54-00-00-00-0A: 52:54:00:00:00:0a is already given as 52:54:00:00:00:0a; " +
          "allowed: every MAC address once",
      ],
    ],
    [
      { dhcp: { static: { "52:54:00:00:00:0a": "192.168.65.9", "52:54:00:00:00:0b": "192.168.65.9" } } },
      [
        "dhcp.static.52:54:00:00:00:0b: 192.168.65.9 is already the address of 52:54:00:00:00:0a; " +
          "allowed: every address once",
      ],
    ],
    [
      { dhcp: { static: { "52:54:00:00:00:0a": "192.168.65.1", "52:54:00:00:00:0b": "192.168.65.254" } } },
      [
        "dhcp.static.52:54:00:00:00:0a: 192.168.65.1 is already the address of the gateway; allowed: every address once",
        "dhcp.static.52:54:00:00:00:0b: 192.168.65.254 is already the address of host; allowed: every address once",
      ],
    ],
    [
      { dhcp: { static: { "02:68:6f:73:74:64": "192.168.65.9" } } },
      [
        "dhcp.static.02:68:6f:73:74:64: 02:68:6f:73:74:64 is already the gateway (mac); " +
          "allowed: every MAC address once",
      ],
    ],
    [
      { dhcp: { static: { "52:54:00:00:00:0a": "10.0.0.9" } } },
      [`dhcp.static.52:54:00:00:00:0a: 10.0.0.9 is outside the subnet 192.168.65.0/24; ${range}`],
    ],
    [{ qemu: ["/run/a", "unix:///run/a"] }, ["qemu[1]: unix:///run/a is given twice; allowed: every endpoint once"]],
    [{ qemu: ["tcp://127.0.0.1:0", "tcp://127.0.0.1:0"] }, []],
    [
      {
        forwards: [
          { listen: 80, to: 1 },
          { listen: "127.0.0.1:80", to: 2 },
        ],
      },
      ["forwards[1].listen: 127.0.0.1:80 is given twice; allowed: every address and port once"],
    ],
    [
      {
        forwards: [
          { listen: 0, to: 1 },
          { listen: 0, to: 1 },
          { listen: "[::]:80", to: 1 },
          { listen: "0.0.0.0:80", to: 1 },
        ],
      },
      [],
    ],
    [
      {
        forwards: [
          { listen: 1, to: "192.168.65.1:80" },
          { listen: 2, to: "192.168.65.254:80" },
          { listen: 3, to: "192.168.65.255:80" },
          { listen: 4, to: "192.168.66.255:80" },
        ],
      },
      [
        "forwards[0].to: 192.168.65.1 is the address of the gateway; allowed: one of the VM, or behind it",
        "forwards[1].to: 192.168.65.254 is the address of host; allowed: one of the VM, or behind it",
        `forwards[2].to: 192.168.65.255 is the broadcast address of the subnet 192.168.65.0/24; ${range}`,
      ],
    ],
    [
      { qemu: ["/run/a"], api: "/run/a" },
      ["api: unix:///run/a is also an endpoint of qemu; allowed: a socket of its own"],
    ],
    [
      { api: "/run/a", vpnkitApi: "/run/a", docker: { listen: "/run/a" } },
      [
        "vpnkitApi: unix:///run/a is also the socket of api; allowed: a socket of its own",
        "docker.listen: unix:///run/a is also the socket of vpnkitApi; allowed: a socket of its own",
      ],
    ],
    [
      { docker: { upstream: "ssh://root@vm/run/docker.sock" } },
      ["docker.identity: missing; ssh:// needs the file of a private key"],
    ],
    [
      { docker: { upstream: "unix:///run/docker.sock", identity: "/key" } },
      ["docker.identity: only for an engine that is reached over SSH, ssh://USER@vm/PATH"],
    ],
    [
      {
        forwards: [
          { listen: 80, to: 80, protocol: "udp" },
          { listen: 80, to: 80 },
          { listen: "79-81", to: "79-81" },
          { listen: "82-83", to: 82 },
          { listen: "/run/a", to: 53, protocol: "udp" },
          { listen: "/run/a", to: "ssh://core@vm/run/b" },
          { listen: "/run/b", to: 1, identity: "/key", passphrase: "x" },
        ],
      },
      [
        "forwards[2].listen: 127.0.0.1:80 is given twice; allowed: every address and port once",
        "forwards[3]: 2 ports of this host cannot lead to 1 of the guest; allowed: as many ports at both ends",
        "forwards[4]: a Unix socket carries streams, not datagrams",
        "forwards[5].identity: missing; ssh:// needs the file of a private key",
        "forwards[6].identity: only for a socket of the guest, ssh://USER@vm/PATH",
        "forwards[6].passphrase: only for a socket of the guest, ssh://USER@vm/PATH",
      ],
    ],
  ])("%j", (input, messages) => {
    expect(problems(input)).toEqual(messages);
  });

  it("are all listed, one on each line", () => {
    expect(problems({ mtu: 1, host: "x", frobnicate: true, log: { level: 3, format: 4 } })).toHaveLength(5);
  });
});
