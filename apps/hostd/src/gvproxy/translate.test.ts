/** Command lines and configuration files, and the configuration that each becomes. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { configToData } from "../config/print.ts";
import { readCommandLine } from "./command-line.ts";
import { readGvproxyFile } from "./config-file.ts";
import { UnsupportedError } from "./endpoint-url.ts";
import { type GvproxySettings, logSettings, mergeSettings } from "./settings.ts";
import { type Translation, translate } from "./translate.ts";

let folder: string;
let key: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "hostd-gvproxy-"));
  key = join(folder, "key");
  writeFileSync(key, "");
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

function read(args: readonly string[], yaml?: string) {
  const line = readCommandLine(args);
  if (line === "help") throw new Error("help was asked for");
  const path = join(folder, "config.yaml");
  if (yaml !== undefined) writeFileSync(path, yaml);
  return { line, file: yaml === undefined ? undefined : readGvproxyFile(path) };
}

function settingsOf(args: readonly string[], yaml?: string): GvproxySettings {
  const { line, file } = read(args, yaml);
  return mergeSettings(file, line);
}

const translated = (args: readonly string[], yaml?: string): Translation => translate(settingsOf(args, yaml));

/** The configuration as it would be written, a key a line. */
function flat({ config }: Translation): Record<string, unknown> {
  const sections = ["dhcp", "dns", "publish", "guestApi", "log"];
  return Object.fromEntries(
    Object.entries(configToData(config)).flatMap(([name, value]) =>
      sections.includes(name) && typeof value === "object"
        ? Object.entries(value).map(([inner, each]) => [`${name}.${inner}`, each])
        : [[name, value]],
    ),
  );
}

/** What is other than without arguments, or than with an empty file. */
function changes(args: readonly string[], yaml?: string): Record<string, unknown> {
  const standard = flat(translated([], yaml === undefined ? undefined : ""));
  const changed = flat(translated(args, yaml));
  return Object.fromEntries(
    [...new Set([...Object.keys(standard), ...Object.keys(changed)])]
      .filter((name) => JSON.stringify(standard[name]) !== JSON.stringify(changed[name]))
      .map((name) => [name, changed[name]]),
  );
}

/** What is wrong, and whether hostd just cannot do it. */
function fault(args: readonly string[], yaml?: string): string {
  try {
    return `accepted: ${JSON.stringify(flat(translated(args, yaml)))}`;
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return error instanceof UnsupportedError ? `unsupported: ${error.message}` : error.message;
  }
}

/** The zones that are there without a configuration file. */
const zones = (gateway: string, host: string) =>
  ["containers.internal", "docker.internal"].map((name) => ({
    name,
    records: [
      { name: "gateway", type: "A", address: gateway },
      { name: "host", type: "A", address: host },
    ],
  }));

describe("no arguments", () => {
  it("are gvproxy's network: one VM with a lease of its own, and its SSH server", () => {
    const translation = translated([]);
    expect(translation.apis).toEqual([]);
    expect(translation.notification).toBeUndefined();
    expect(flat(translation)).toMatchObject({
      qemu: [],
      subnet: "192.168.127.0/24",
      gateway: "192.168.127.1",
      host: "192.168.127.254",
      mac: "5a:94:ef:e4:0c:dd",
      mtu: 1500,
      "dhcp.first": "192.168.127.2",
      "dhcp.last": "192.168.127.253",
      "dhcp.static": { "5a:94:ef:e4:0c:ee": "192.168.127.2" },
      "dns.zones": zones("192.168.127.1", "192.168.127.254"),
      forwards: [{ listen: "127.0.0.1:2222", to: "192.168.127.2:22", protocol: "tcp" }],
      "publish.allow": ["any"],
      "publish.waitSeconds": 120,
      "guestApi.enabled": true,
      "guestApi.allow": ["any"],
      api: "none",
      vpnkitApi: "none",
    });
    // Those of the host.
    expect(flat(translation)).not.toHaveProperty("dhcp.search");
    expect(flat(translation)).not.toHaveProperty("capture");
  });

  it("have no HTTP proxy, explicit or not, as gvproxy has none", () => {
    expect(translated([]).config.proxy).toMatchObject({
      ...{ enabled: false, transparentPorts: "none" },
      upstream: { setting: { kind: "direct" } },
    });
  });

  it("are the same as the file that says so", () => {
    const yaml = `
log-level: info
stack:
  mtu: 1500
  subnet: 192.168.127.0/24
  gatewayIP: 192.168.127.1
  deviceIP: 192.168.127.2
  hostIP: 192.168.127.254
  gatewayMacAddress: 5a:94:ef:e4:0c:dd
  dns:
    - name: containers.internal.
      records: [{ name: gateway, ip: 192.168.127.1 }, { name: host, ip: 192.168.127.254 }]
    - name: docker.internal.
      records: [{ name: gateway, ip: 192.168.127.1 }, { name: host, ip: 192.168.127.254 }]
  forwards: { 127.0.0.1:2222: 192.168.127.2:22 }
  nat: { 192.168.127.254: 127.0.0.1 }
  gatewayVirtualIPs: [192.168.127.254]
  dhcpStaticLeases: { 192.168.127.2: 5a:94:ef:e4:0c:ee }
  vpnKitUUIDMacAddresses: { c3d68012-0208-11ea-9fd7-f2189899ab08: 5a:94:ef:e4:0c:ee }
`;
    expect(flat(translated([], yaml))).toEqual({ ...flat(translated([])), "dhcp.search": [] });
  });
});

describe("an empty file", () => {
  it("leaves out what only the file may say", () => {
    const {
      "dhcp.static": leases,
      "dns.zones": names,
      forwards,
      "dhcp.search": search,
      ...rest
    } = flat(translated([], ""));
    expect({ leases, names, forwards, search }).toEqual({ leases: {}, names: [], forwards: [], search: [] });
    expect(flat(translated([]))).toMatchObject(rest);
  });
});

describe("the flag", () => {
  it("-listen adds an API on which VMs may attach", () => {
    expect(translated(["-listen", `unix://${folder}/a.sock`, "-listen", "tcp://127.0.0.1:5555"]).apis).toEqual([
      { address: { transport: "unix", path: `${folder}/a.sock` }, canConnect: true },
      { address: { transport: "tcp", host: "127.0.0.1", port: 5555 }, canConnect: true },
    ]);
  });

  it("-services adds one on which they may not, the last that was given", () => {
    expect(translated(["-services", "unix:///a", "-services", "tcp://[::1]:0", "-listen", "tcp://:80"]).apis).toEqual([
      { address: { transport: "tcp", host: "::", port: 80 }, canConnect: true },
      { address: { transport: "tcp", host: "::1", port: 0 }, canConnect: false },
    ]);
  });

  it("-listen-qemu says where VMs attach", () => {
    expect(changes(["-listen-qemu", `unix://${folder}/vm%20a.sock`])).toEqual({ qemu: [`unix://${folder}/vm a.sock`] });
    expect(changes(["-listen-qemu", "tcp://127.0.0.1:1234"])).toEqual({ qemu: ["tcp://127.0.0.1:1234"] });
  });

  it("-mtu is the MTU, and 0 is none given", () => {
    expect(changes(["-mtu", "4000"])).toEqual({ mtu: 4000 });
    expect(changes(["-mtu", "0"])).toEqual({});
  });

  it("-ssh-port is where the SSH server of the VM is, or is not", () => {
    const forwards = [{ listen: "127.0.0.1:41117", to: "192.168.127.2:22", protocol: "tcp" }];
    expect(changes(["-ssh-port", "41117"])).toEqual({ forwards });
    expect(changes(["-ssh-port", "-1"])).toEqual({ forwards: [] });
  });

  it("-forward-sock and its like lead to sockets in the VM, in the order in which each was given", () => {
    const args = [
      ...["-forward-sock", `${folder}/a.sock`, "-forward-identity", key, "-forward-sock", `unix://${folder}/b.sock`],
      ...["-forward-dest", "/run/a.sock", "-forward-dest", "/run/b.sock", "-forward-user", "core"],
      ...["-forward-identity", key, "-forward-user", "root", "-ssh-port", "-1"],
    ];
    expect(changes(args)).toEqual({
      forwards: [
        {
          listen: `unix://${folder}/a.sock`,
          to: "ssh://core@192.168.127.2:22/run/a.sock",
          protocol: "tcp",
          identity: key,
        },
        {
          listen: `unix://${folder}/b.sock`,
          to: "ssh://root@192.168.127.2:22/run/b.sock",
          protocol: "tcp",
          identity: key,
        },
      ],
    });
  });

  it("-forward-sock takes a path that is relative to the current folder", () => {
    const args = ["-forward-sock", "a.sock", "-forward-dest", "/b", "-forward-user", "c", "-forward-identity", key];
    const [{ listen }] = translated([...args, "-ssh-port", "-1"]).config.forwards;
    expect(listen).toEqual({ path: join(process.cwd(), "a.sock") });
  });

  it("-pcap is the capture", () => {
    expect(changes(["-pcap", "/tmp/a.pcap"])).toEqual({ capture: "/tmp/a.pcap" });
    expect(changes(["-pcap", "a.pcap"])).toEqual({ capture: join(process.cwd(), "a.pcap") });
  });

  it("-notification is the path of a socket", () => {
    expect(translated(["-notification", "unix:///run/events.sock"]).notification).toBe("/run/events.sock");
  });

  it("-subnet moves all addresses, and may have host bits", () => {
    expect(changes(["-subnet", "10.0.5.7/16"])).toEqual({
      subnet: "10.0.0.0/16",
      gateway: "10.0.0.1",
      host: "10.0.255.254",
      "dhcp.first": "10.0.0.2",
      "dhcp.last": "10.0.16.1",
      "dhcp.static": { "5a:94:ef:e4:0c:ee": "10.0.0.2" },
      "dns.zones": zones("10.0.0.1", "10.0.255.254"),
      forwards: [{ listen: "127.0.0.1:2222", to: "10.0.0.2:22", protocol: "tcp" }],
    });
  });

  it("-gatewayIP is the gateway, which is not leased", () => {
    expect(changes(["-gatewayIP", "192.168.127.100"])).toEqual({
      gateway: "192.168.127.100",
      "dhcp.first": "192.168.127.101",
      "dns.zones": zones("192.168.127.100", "192.168.127.254"),
    });
    expect(changes(["-gatewayIP", "192.168.127.2"])).toMatchObject({
      gateway: "192.168.127.2",
      "dhcp.static": { "5a:94:ef:e4:0c:ee": "192.168.127.3" },
    });
  });

  it("-hostIP is the host", () => {
    expect(changes(["-hostIP", "192.168.127.3"])).toEqual({
      host: "192.168.127.3",
      "dhcp.first": "192.168.127.4",
      "dhcp.last": "192.168.127.254",
      "dns.zones": zones("192.168.127.1", "192.168.127.3"),
    });
  });

  it("-deviceIP is the VM", () => {
    expect(changes(["-deviceIP", "192.168.127.77"])).toEqual({
      "dhcp.static": { "5a:94:ef:e4:0c:ee": "192.168.127.77" },
      forwards: [{ listen: "127.0.0.1:2222", to: "192.168.127.77:22", protocol: "tcp" }],
    });
  });

  it("-ec2-metadata-access lets VMs reach link-local addresses", () => {
    expect(changes(["-ec2-metadata-access"])).toMatchObject({ egress: { linkLocal: true } });
  });

  it("-pid-file, -log-file and -debug are of the process", () => {
    expect(settingsOf(["-pid-file", "pid"]).pidFile).toBe("pid");
    expect(settingsOf([]).pidFile).toBeUndefined();
    const logs = (...args: string[]) => logSettings(undefined, read(args).line);
    expect(logs()).toEqual({ level: "info", file: undefined });
    expect(logs("-log-file", "log", "-debug")).toEqual({ level: "debug", file: "log" });
    expect(logs("-debug=false")).toEqual({ level: "info", file: undefined });
  });
});

describe("the key", () => {
  it("listen and services are APIs", () => {
    expect(translated([], "listen: [tcp://127.0.0.1:1]\nservices: tcp://127.0.0.1:2").apis).toEqual([
      { address: { transport: "tcp", host: "127.0.0.1", port: 1 }, canConnect: true },
      { address: { transport: "tcp", host: "127.0.0.1", port: 2 }, canConnect: false },
    ]);
  });

  it("log-level is a level of logrus, and info where there is none of it", () => {
    const logs = (yaml: string, ...args: string[]) => {
      const { line, file } = read(args, yaml);
      return logSettings(file, line);
    };
    expect(logs("log-level: WARNING")).toEqual({ level: "warning", file: undefined });
    expect(logs("log-level: loud\nlog-file: a")).toEqual({ level: "info", file: "a", unknownLevel: "loud" });
    expect(logs("log-level: error\nlog-file: a", "-debug", "-log-file", "b")).toEqual({ level: "debug", file: "b" });
  });

  it("stack.mtu is the MTU, and 0 is none given", () => {
    expect(changes([], "stack: { mtu: 4000 }")).toEqual({ mtu: 4000 });
    expect(changes([], "stack: { mtu: 0 }")).toEqual({});
  });

  it("stack.subnet moves gateway and host", () => {
    expect(changes([], "stack: { subnet: 10.0.0.0/24 }")).toEqual({
      subnet: "10.0.0.0/24",
      gateway: "10.0.0.1",
      host: "10.0.0.254",
      "dhcp.first": "10.0.0.2",
      "dhcp.last": "10.0.0.253",
    });
  });

  it("stack.gatewayIP and stack.gatewayMacAddress are the gateway", () => {
    expect(changes([], "stack: { gatewayIP: 192.168.127.3, gatewayMacAddress: 10:11:11:11:11:00 }")).toEqual({
      gateway: "192.168.127.3",
      mac: "10:11:11:11:11:00",
      "dhcp.first": "192.168.127.4",
    });
  });

  it("stack.hostIP is the host", () => {
    expect(changes([], "stack: { hostIP: 192.168.127.253 }")).toEqual({
      host: "192.168.127.253",
      "dhcp.last": "192.168.127.252",
    });
  });

  it("stack.nat names the host too, with itself among the addresses of the gateway", () => {
    const yaml = "stack: { nat: { 192.168.127.253: 127.0.0.1 }, gatewayVirtualIPs: [192.168.127.253, 192.168.127.1] }";
    expect(changes([], yaml)).toEqual({ host: "192.168.127.253", "dhcp.last": "192.168.127.252" });
    expect(changes([], "stack: { nat: {}, gatewayVirtualIPs: [] }")).toEqual({});
  });

  it("stack.dns has zones, with records for names, for what an expression matches, and for all others", () => {
    const yaml = `
stack:
  dns:
    - name: crc.testing.
      records:
        - { name: host, ip: 192.168.127.254 }
        - { regexp: 'crc-(.*?)-master-0', ip: 192.168.126.11 }
        - { name: both, regexp: '^b', ip: 1.2.3.4 }
    - { name: apps-crc.testing., defaultIP: 192.168.127.2 }
`;
    expect(changes([], yaml)).toEqual({
      "dns.zones": [
        {
          name: "crc.testing",
          records: [
            { name: "host", type: "A", address: "192.168.127.254" },
            { regexp: "crc-(.*?)-master-0", type: "A", address: "192.168.126.11" },
            { name: "both", type: "A", address: "1.2.3.4" },
            { regexp: "^b", type: "A", address: "1.2.3.4" },
          ],
        },
        { name: "apps-crc.testing", records: [], defaultAddress: "192.168.127.2" },
      ],
    });
  });

  it("stack.dnsSearchDomains has the search domains", () => {
    expect(changes([], "stack: { dnsSearchDomains: [a.test, b.test] }")).toEqual({
      "dhcp.search": ["a.test", "b.test"],
    });
  });

  it("stack.forwards has ports of TCP and of UDP, on one address or on all", () => {
    const yaml = `
stack:
  forwards:
    127.0.0.1:2222: 192.168.127.2:22
    :8080: 192.168.127.3:80
    "[::1]:8080": 192.168.127.3:80
    localhost:8081: 192.168.127.3:80
    "udp::1053": 192.168.127.2:53
    udp:0.0.0.0:1054: 192.168.127.2:53
`;
    expect(changes([], yaml)).toEqual({
      forwards: [
        { listen: "127.0.0.1:2222", to: "192.168.127.2:22", protocol: "tcp" },
        { listen: "*:8080", to: "192.168.127.3:80", protocol: "tcp" },
        { listen: "[::1]:8080", to: "192.168.127.3:80", protocol: "tcp" },
        { listen: "127.0.0.1:8081", to: "192.168.127.3:80", protocol: "tcp" },
        { listen: "*:1053", to: "192.168.127.2:53", protocol: "udp" },
        { listen: "0.0.0.0:1054", to: "192.168.127.2:53", protocol: "udp" },
      ],
    });
  });

  it("stack.dhcpStaticLeases has leases", () => {
    expect(
      changes(
        [],
        "stack: { dhcpStaticLeases: { 192.168.127.2: 5A-94-EF-E4-0C-EE, 192.168.127.9: 10:11:11:11:11:02 } }",
      ),
    ).toEqual({ "dhcp.static": { "5a:94:ef:e4:0c:ee": "192.168.127.2", "10:11:11:11:11:02": "192.168.127.9" } });
  });

  it("stack.capture-file is the capture", () => {
    expect(changes([], "stack: { capture-file: /tmp/a.pcap }")).toEqual({ capture: "/tmp/a.pcap" });
  });

  it("stack.deviceIP is where the SSH server of forwards is", () => {
    const yaml = `
stack: { deviceIP: 192.168.127.9 }
forwards: [{ socket: /run/a.sock, dest: /run/b.sock, user: core, identity: ${JSON.stringify(key)} }]
`;
    expect(changes([], yaml)).toEqual({
      forwards: [
        {
          listen: "unix:///run/a.sock",
          to: "ssh://core@192.168.127.9:22/run/b.sock",
          protocol: "tcp",
          identity: key,
        },
      ],
    });
  });

  it("stack.vpnKitUUIDMacAddresses changes nothing", () => {
    const yaml = "stack: { vpnKitUUIDMacAddresses: { c3d68012-0208-11ea-9fd7-f2189899ab08: 5a:94:ef:e4:0c:ee } }";
    expect(changes([], yaml)).toEqual({});
  });

  it.each(["stack: { ec2MetadataAccess: true }", "ec2-metadata-access: true"])(
    "%s lets VMs reach link-local addresses",
    (yaml) => {
      expect(changes([], yaml)).toMatchObject({ egress: { linkLocal: true } });
    },
  );

  it("stack.debug has no effect, which is said", () => {
    expect(changes([], "stack: { debug: true }")).toEqual({});
    expect(settingsOf([], "stack: { debug: true }").notes).toEqual([
      "stack.debug has no effect: stack.capture-file has every packet written to a file",
    ]);
  });

  it("interfaces.qemu says where VMs attach", () => {
    expect(changes([], `interfaces: { qemu: unix://${folder}/vm.sock }`)).toEqual({
      qemu: [`unix://${folder}/vm.sock`],
    });
  });

  it("pid-file and log-file are of the process", () => {
    expect(settingsOf([], "pid-file: a").pidFile).toBe("a");
    expect(settingsOf(["-pid-file", "b"], "pid-file: a").pidFile).toBe("b");
  });

  it("notification is the path of a socket", () => {
    expect(translated([], "notification: /run/events.sock").notification).toBe("/run/events.sock");
    expect(translated(["-notification", "unix:///b"], "notification: /a").notification).toBe("/b");
  });
});

describe("the command line over a file", () => {
  it("replaces what the file says, and adds forwards", () => {
    const yaml = `
listen: [tcp://127.0.0.1:1]
services: tcp://127.0.0.1:2
stack: { mtu: 4000, subnet: 10.0.0.0/24 }
interfaces: { qemu: tcp://127.0.0.1:3 }
forwards: [{ socket: /run/a.sock, dest: /a, user: core, identity: ${JSON.stringify(key)} }]
`;
    const args = [
      ...["-listen", "tcp://127.0.0.1:4", "-services", "tcp://127.0.0.1:5", "-listen-qemu", "tcp://127.0.0.1:6"],
      ...["-mtu", "9000", "-subnet", "10.1.0.0/24"],
      ...["-forward-sock", "/run/b.sock", "-forward-dest", "/b", "-forward-user", "core", "-forward-identity", key],
    ];
    const { apis, config } = translated(args, yaml);
    expect(apis.map(({ address }) => "port" in address && address.port)).toEqual([4, 5]);
    expect(configToData(config)).toMatchObject({ qemu: ["tcp://127.0.0.1:6"], mtu: 9000, subnet: "10.1.0.0/24" });
    expect(config.forwards.map(({ listen }) => "path" in listen && listen.path)).toEqual([
      "/run/a.sock",
      "/run/b.sock",
    ]);
  });

  it("has no effect where only the file may say it, which is said", () => {
    const args = ["-ssh-port", "3333", "-pcap", "a.pcap"];
    expect(changes(args, "")).toEqual({});
    expect(settingsOf(args, "").notes).toEqual([
      "-ssh-port has no effect together with -config: write the port into stack.forwards",
      "-pcap has no effect together with -config: write the file into stack.capture-file",
    ]);
  });
});

describe("what hostd cannot do", () => {
  it.each(["vpnkit", "bess", "stdio", "vfkit"])("refuses -listen-%s, on the command line and in the file", (name) => {
    const message =
      `unsupported: -listen-${name} (interfaces.${name}) is not supported yet: have the VM attach with QEMU's stream ` +
      "framing at -listen-qemu, or by /connect of the API at -listen";
    expect(fault([`-listen-${name}`, "unix:///tmp/x"])).toBe(message);
    expect(fault([], `interfaces: { ${name}: x }`)).toBe(message);
  });

  it.each(["vsock://:1024", "unixgram:///a", "unixpacket:///a", "npipe:////./pipe/a"])("refuses %s", (url) => {
    const message = `${url.split(":")[0]}:// is not supported yet: use unix:///PATH or tcp://HOST:PORT`;
    expect(fault(["-listen", url])).toBe(`unsupported: -listen: ${message}`);
    expect(fault(["-services", url])).toBe(`unsupported: -services: ${message}`);
    expect(fault(["-listen-qemu", url])).toBe(`unsupported: -listen-qemu: ${message}`);
  });

  it("refuses a named pipe that leads to a socket in the VM", () => {
    const rest = ["-forward-dest", "/b", "-forward-user", "c", "-forward-identity", key];
    expect(fault(["-forward-sock", "npipe:////./pipe/podman", ...rest])).toBe(
      "unsupported: -forward-sock npipe:////./pipe/podman: npipe:// is not supported yet: use the path of a Unix socket",
    );
  });

  it.each([
    "{ 192.168.127.254: 127.0.0.2 }",
    "{ 192.168.127.254: 127.0.0.1, 192.168.127.253: 127.0.0.1 }",
    "{ 192.168.127.1: 127.0.0.1 }",
    "{ 10.0.0.1: 127.0.0.1 }",
  ])("refuses the translation %s", (nat) => {
    expect(fault([], `stack: { nat: ${nat} }`)).toMatch(
      /^unsupported: stack\.nat: \{.*\} is not supported yet: one address of the subnet that is not the gateway's may lead to 127\.0\.0\.1$/,
    );
  });

  it("refuses further addresses of the gateway", () => {
    expect(fault([], "stack: { gatewayVirtualIPs: [192.168.127.254, 192.168.127.9] }")).toBe(
      "unsupported: stack.gatewayVirtualIPs: 192.168.127.9 is not supported yet: the gateway has 192.168.127.1 and the " +
        "address in stack.nat, 192.168.127.254",
    );
  });
});

describe("what does not fit", () => {
  it("is a socket of QEMU's that is there already", () => {
    expect(fault(["-listen-qemu", `unix://${key}`])).toBe(`"${key}" already exists`);
    mkdirSync(join(folder, "folder"));
    expect(fault([], `interfaces: { qemu: unix://${folder}/folder }`)).toBe(`"${folder}/folder" already exists`);
  });

  it.each(["80", "1023", "65536", "-2", "0"])("is the SSH port %s", (port) => {
    expect(fault(["-ssh-port", port])).toBe("ssh-port value must be between 1024 and 65535");
  });

  it("is a notification that is no Unix socket", () => {
    for (const url of ["/run/events.sock", "tcp://127.0.0.1:5"])
      expect(fault(["-notification", url])).toBe("notification listen address must be unix:// address");
  });

  it("is a forward of which something is missing", () => {
    const message =
      "--forward-sock, --forward-dest, --forward-user, and --forward-identity must all be specified together, the same " +
      "number of times, or not at all";
    expect(fault(["-forward-sock", "/a"])).toBe(message);
    expect(fault(["-forward-user", "/a"])).toBe(message);
    const all = ["-forward-sock", "/a", "-forward-dest", "/b", "-forward-user", "c", "-forward-identity", key];
    expect(fault([...all, "-forward-dest", "/d"])).toBe(message);
    expect(fault([], "forwards: [{ socket: /a, dest: /b, identity: c }]")).toBe("-forward-sock /a: user is missing");
    expect(fault([], "forwards: [{ dest: /b }]")).toBe("forwards[0]: socket is missing");
  });

  it("is an identity that cannot be read", () => {
    const all = ["-forward-sock", "/a", "-forward-dest", "/b", "-forward-user", "c", "-forward-identity"];
    expect(fault([...all, `${folder}/none`])).toBe(
      `identity file "${folder}/none" can't be loaded: stat ${folder}/none: no such file or directory`,
    );
    expect(fault([...all, `${key}/none`])).toBe(
      `identity file "${key}/none" can't be loaded: stat ${key}/none: not a directory`,
    );
  });

  it("is a socket in the VM without an absolute path", () => {
    const args = ["-forward-sock", "/a", "-forward-dest", "b", "-forward-user", "c", "-forward-identity", key];
    expect(fault(args)).toBe('-forward-sock /a: "b" is not an absolute path in the VM');
  });

  it.each([
    ["foo:///a", 'cannot listen on "foo:///a"'],
    ["/a", 'cannot listen on "/a"'],
    ["", 'cannot listen on ""'],
    ["tcp://127.0.0.1", 'cannot listen on "tcp://127.0.0.1": the port is missing'],
    ["tcp://example.com:5", 'cannot listen on "tcp://example.com:5": "example.com" is not an IP address'],
    ["unix://a", 'cannot listen on "unix://a": the path is not absolute: three slashes follow unix:'],
    ["unix:///a%", 'cannot listen on "unix:///a%": the path is not percent-encoded as in a URL'],
  ])("is the address %j to listen on", (url, message) => {
    expect(fault(["-listen", url])).toBe(`-listen: ${message}; allowed: unix:///PATH or tcp://HOST:PORT`);
  });

  it("is an address outside the subnet, or one that is taken", () => {
    const range = "allowed: 192.168.127.1 to 192.168.127.254";
    expect(fault(["-gatewayIP", "192.168.127.0"])).toBe(
      `-gatewayIP (stack.gatewayIP): 192.168.127.0 is not in the subnet 192.168.127.0/24; ${range}`,
    );
    expect(fault(["-hostIP", "192.168.127.255"])).toBe(
      `-hostIP (stack.hostIP): 192.168.127.255 is not in the subnet 192.168.127.0/24; ${range}`,
    );
    expect(fault(["-deviceIP", "10.0.0.1"])).toBe(
      `-deviceIP (stack.deviceIP): 10.0.0.1 is not in the subnet 192.168.127.0/24; ${range}`,
    );
    expect(fault(["-hostIP", "192.168.127.1"])).toBe(
      "-hostIP (stack.hostIP): 192.168.127.1 is that of the gateway already",
    );
    expect(fault(["-deviceIP", "192.168.127.254"])).toBe(
      "-deviceIP (stack.deviceIP): 192.168.127.254 is that of the host already",
    );
    expect(fault(["-gatewayIP", "here"])).toBe('-gatewayIP (stack.gatewayIP): "here" is not an IPv4 address');
    expect(fault([], "stack: { hostIP: 192.168.127.3, nat: { 192.168.127.4: 127.0.0.1 } }")).toBe(
      "-hostIP (stack.hostIP): 192.168.127.3 is not the address in stack.nat, 192.168.127.4; give one",
    );
    expect(fault([], "stack: { nat: { host: 127.0.0.1 } }")).toBe('stack.nat: "host" is not an IPv4 address');
  });

  it.each([
    ["10.0.0.0/30", " (the prefix length is 30)"],
    ["10.0.0.0/33", ""],
    ["10.0.0.300/24", ""],
    ["fd00::/64", " (only IPv4 is supported)"],
    ["10.0.0.0", " (the prefix length is missing)"],
  ])("is the subnet %s", (subnet, reason) => {
    const message = `"${subnet}" is not an IPv4 network such as 192.168.127.0/24, /8 to /29${reason}`;
    expect(fault(["-subnet", subnet])).toBe(`-subnet (stack.subnet): ${message}`);
  });

  it("is called by gvproxy's names where hostd's configuration finds it", () => {
    expect(fault(["-mtu", "5"])).toBe("-mtu (stack.mtu): 5 is not a whole number of bytes from 576 to 65520");
    expect(fault([], "stack: { gatewayMacAddress: x }")).toMatch(
      /^stack\.gatewayMacAddress: "x" is not the MAC address/,
    );
    expect(fault([], "stack: { dnsSearchDomains: [a b] }")).toMatch(
      /^stack\.dnsSearchDomains\[0\]: "a b" is not a domain/,
    );
    expect(fault([], "stack: { dhcpStaticLeases: { 192.168.127.1: 10:11:11:11:11:02 } }")).toMatch(
      /^stack\.dhcpStaticLeases\.10:11:11:11:11:02: 192\.168\.127\.1 is already the address of the gateway/,
    );
    expect(fault([], "stack: { dhcpStaticLeases: { 192.168.127.2: a, 192.168.127.3: a } }")).toBe(
      "stack.dhcpStaticLeases: a has 192.168.127.2 and 192.168.127.3; give one",
    );
    expect(
      fault([], "stack: { dns: [{ name: a., records: [{ name: b, ip: c }], defaultIP: d }, {}] }").split("\n"),
    ).toEqual([
      expect.stringMatching(/^stack\.dns\[0\]\.records\[0\]\.ip: "c" is not an IPv4/),
      expect.stringMatching(/^stack\.dns\[0\]\.defaultIP: "d" is not an IPv4/),
      expect.stringMatching(/^stack\.dns\[1\]\.name: "" is not a domain name/),
    ]);
    expect(
      fault([], 'stack: { forwards: { "here:1": "192.168.127.2:2", "127.0.0.1:2": "there:2" } }').split("\n"),
    ).toEqual([
      expect.stringMatching(/^stack\.forwards\["here:1"\]: "here:1" is not a port of this host/),
      expect.stringMatching(/^stack\.forwards\["127\.0\.0\.1:2"\]: "there:2" is not a port of the VM/),
    ]);
    expect(fault([], "stack: { forwards: { 127.0.0.1:2: 192.168.127.1:2 } }")).toMatch(
      /^stack\.forwards\["127\.0\.0\.1:2"\]: 192\.168\.127\.1 is the address of the gateway/,
    );
  });
});
