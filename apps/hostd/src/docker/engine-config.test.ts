import { describe, expect, it } from "vitest";
import {
  daemonJson,
  type EngineConfigOptions,
  type EngineNetwork,
  type EngineVersion,
  engineConfig,
  formatEngineVersion,
  isSince,
  NEWEST_ENGINE,
  readEngineVersion,
} from "./engine-config.ts";

const NETWORK: EngineNetwork = {
  gateway: "192.168.65.1",
  host: "192.168.65.254",
  mtu: 1500,
  sources: "shown",
  reach: "container",
  upstream: "ssh://core@vm/run/docker.sock",
  noProxy: "localhost,.docker.internal,10.0.0.0/8",
};
const LISTENER = { address: "192.168.65.3", port: 2375, link: "eth0" };
const SYSCTL = "/etc/sysctl.d/90-hostd.conf";
const UNIT = "/etc/systemd/system/docker.service.d/hostd.conf";

function version(text: string): EngineVersion {
  const read = readEngineVersion(text);
  if (read === null) throw new Error(`${text} is no version`);
  return read;
}

function configFor(engine: string, options: Partial<EngineConfigOptions> = {}) {
  return engineConfig({ version: version(engine), network: NETWORK, masquerade: true, ...options });
}

function daemonFor(engine: string, options: Partial<EngineConfigOptions> = {}) {
  return daemonJson(configFor(engine, options));
}

describe("the version of an engine", () => {
  it.each([
    ["28.2.2", 28, 2],
    ["20.10.24+dfsg1", 20, 10],
    ["v29.0.0-rc.1", 29, 0],
    ["24.0", 24, 0],
    ["17.06.0-ce", 17, 6],
  ])("%s is read", (text, major, minor) => {
    expect(readEngineVersion(text)).toEqual({ major, minor });
  });

  it.each(["", "28", "dev", "x28.2", "28.", "28.12345", "library-import"])("%j is none", (text) => {
    expect(readEngineVersion(text)).toBeNull();
  });

  it("is written as Docker writes it", () => {
    expect(["28.2.2", "20.10.24", "17.06.0"].map((text) => formatEngineVersion(version(text)))).toEqual([
      "28.2",
      "20.10",
      "17.06",
    ]);
  });

  it("is compared by its numbers", () => {
    expect(isSince(version("28.2"), version("28.2"))).toBe(true);
    expect(isSince(version("28.10"), version("28.2"))).toBe(true);
    expect(isSince(version("29.0"), version("28.2"))).toBe(true);
    expect(isSince(version("28.1"), version("28.2"))).toBe(false);
    expect(isSince(version("20.10"), version("23.0"))).toBe(false);
  });
});

describe("daemon.json", () => {
  it("has names asked of the gateway, host-gateway be this host, and packets to containers let through", () => {
    expect(daemonFor("28.2")).toEqual({
      dns: ["192.168.65.1"],
      "host-gateway-ips": ["192.168.65.254"],
      "allow-direct-routing": true,
      mtu: 1500,
    });
    expect(daemonFor("29.1")).toEqual(daemonFor("28.2"));
    expect(daemonJson(engineConfig({ version: NEWEST_ENGINE, network: NETWORK, masquerade: true }))).toEqual(
      daemonFor("28.2"),
    );
  });

  it("lets nothing through to containers when hostd does not connect to them", () => {
    const network: EngineNetwork = { ...NETWORK, reach: "vm" };
    expect(daemonFor("28.2", { network })).not.toHaveProperty("allow-direct-routing");
    expect(configFor("28.1", { network }).files.map(({ path }) => path)).toEqual([SYSCTL]);
  });

  it("has no key that is newer than the engine", () => {
    const everything = {
      network: { ...NETWORK, mtu: 4000 },
      masquerade: false,
      proxy: "http://proxy:3128",
      listener: LISTENER,
    };
    const always = ["dns", "hosts", "ip-masq", "mtu", "tls"];
    const keysOf = (engine: string) => Object.keys(daemonFor(engine, everything)).sort();
    expect(keysOf("20.10")).toEqual([...always, "host-gateway-ip"].sort());
    expect(keysOf("23.0")).toEqual([...always, "host-gateway-ip", "proxies"].sort());
    expect(keysOf("24.0")).toEqual([...always, "default-network-opts", "host-gateway-ip", "proxies"].sort());
    expect(keysOf("27.5")).toEqual(keysOf("24.0"));
    expect(keysOf("28.0")).toEqual([...always, "default-network-opts", "host-gateway-ips", "proxies"].sort());
    expect(keysOf("28.1")).toEqual(keysOf("28.0"));
    expect(keysOf("28.2")).toEqual([...keysOf("28.0"), "allow-direct-routing"].sort());
  });

  it("has the only address of this host under the older key too", () => {
    expect(daemonFor("27.5")).toMatchObject({ "host-gateway-ip": "192.168.65.254" });
  });

  it("has no masquerade in any network when it is not to be", () => {
    expect(daemonFor("24.0", { masquerade: false })).toMatchObject({
      "ip-masq": false,
      "default-network-opts": { bridge: { "com.docker.network.bridge.enable_ip_masquerade": "false" } },
    });
    const { notes } = configFor("23.0", { masquerade: false });
    expect(notes.join()).toContain(
      "docker network create -o com.docker.network.bridge.enable_ip_masquerade=false: the configuration can say so from 24.0 on",
    );
  });

  it("has the size of packets for every network when it is not the engine's own", () => {
    const network = { ...NETWORK, mtu: 4000 };
    expect(daemonFor("24.0", { network })).toMatchObject({
      mtu: 4000,
      "default-network-opts": { bridge: { "com.docker.network.driver.mtu": "4000" } },
    });
    expect(configFor("20.10", { network }).notes.join()).toContain("-o com.docker.network.driver.mtu=4000");
    expect(configFor("20.10").notes).toEqual([]);
  });

  it("has a proxy, but not for what is beside it", () => {
    const proxy = "http://proxy:3128";
    expect(daemonFor("23.0", { proxy })).toMatchObject({
      proxies: { "http-proxy": proxy, "https-proxy": proxy, "no-proxy": NETWORK.noProxy },
    });
  });

  it("says of hostd's own proxy what the VM has to know for it", () => {
    const { settings, notes } = configFor("28.2", { proxy: "http://http.docker.internal:3128" });
    expect(settings.find(({ key }) => key === "proxies")?.reason).toContain("by way of hostd");
    expect(notes.join()).toContain("--proxy http://192.168.65.1:3128, or --proxy none");
    expect(configFor("28.2", { proxy: "http://proxy:3128" }).notes).toEqual([]);
  });

  it("has a reason for every key", () => {
    const { settings } = configFor("28.2", { masquerade: false, proxy: "http://proxy:3128", listener: LISTENER });
    for (const { key, reason } of settings) expect(reason.length, key).toBeGreaterThan(20);
  });
});

describe("what else the VM needs", () => {
  const fileOf = (engine: string, path: string, options: Partial<EngineConfigOptions> = {}) =>
    configFor(engine, options).files.find((file) => file.path === path);

  it("is that foreign addresses can be bound, and ports that this host does not choose", () => {
    expect(fileOf("28.2", SYSCTL)?.text).toBe(
      "net.ipv4.ip_nonlocal_bind = 1\nnet.ipv4.ip_local_port_range = 20000 32767\n",
    );
  });

  it("is nothing of systemd where daemon.json can say everything", () => {
    for (const engine of ["20.10", "27.5", "28.2", "29.0"]) expect(fileOf(engine, UNIT), engine).toBeUndefined();
    expect(fileOf("23.0", UNIT, { proxy: "http://proxy:3128" })).toBeUndefined();
  });

  it("is a variable for engines that drop packets to containers and have no key for it", () => {
    for (const engine of ["28.0", "28.1"]) {
      expect(fileOf(engine, UNIT)?.text).toBe("[Service]\nEnvironment=DOCKER_INSECURE_NO_IPTABLES_RAW=1\n");
    }
  });

  it("is a variable for engines that know a proxy only from there", () => {
    expect(fileOf("20.10", UNIT, { proxy: "http://u%40x:p@proxy:3128" })?.text).toBe(
      [
        "[Service]",
        'Environment="HTTP_PROXY=http://u%%40x:p@proxy:3128"',
        'Environment="HTTPS_PROXY=http://u%%40x:p@proxy:3128"',
        'Environment="NO_PROXY=localhost,.docker.internal,10.0.0.0/8"',
        "",
      ].join("\n"),
    );
  });

  it("is a port that only hostd reaches, and a service that does not say on its command line where it listens", () => {
    const listener = { address: "192.168.65.9", port: 12_375, link: "enp0s2" };
    expect(daemonFor("28.2", { listener })).toMatchObject({
      hosts: ["fd://", "tcp://192.168.65.9:12375"],
      tls: false,
    });
    expect(fileOf("28.2", UNIT, { listener })?.text.split("\n")).toEqual([
      "[Service]",
      "ExecStartPre=sh -c 'iptables -w -C INPUT ! -i enp0s2 -p tcp --dport 12375 -j DROP 2>/dev/null || " +
        "iptables -w -I INPUT ! -i enp0s2 -p tcp --dport 12375 -j DROP'",
      "ExecStartPre=sh -c 'iptables -w -C INPUT ! -s 192.168.65.1 -p tcp --dport 12375 -j DROP 2>/dev/null || " +
        "iptables -w -I INPUT ! -s 192.168.65.1 -p tcp --dport 12375 -j DROP'",
      "ExecStart=",
      "ExecStart=dockerd --containerd=/run/containerd/containerd.sock $DOCKER_OPTS",
      "",
    ]);
  });
});

describe("the notes", () => {
  const notesOf = (network: Partial<typeof NETWORK>, options: Partial<EngineConfigOptions> = {}) =>
    configFor("28.2", { network: { ...NETWORK, ...network }, ...options }).notes.join("\n");

  it("say that an engine that is reached over TCP has to listen there", () => {
    expect(notesOf({ upstream: "tcp://vm:2375" })).toMatch(/docker\.upstream is tcp:\/\/vm:2375.*--tcp says how/);
    expect(notesOf({ upstream: "tcp://vm:2375" }, { listener: LISTENER })).not.toContain("--tcp says how");
    expect(notesOf({})).toBe("");
  });

  it("say that a port is of no use to a hostd that takes another way", () => {
    expect(notesOf({}, { listener: LISTENER })).toContain("it would with tcp://vm:2375");
  });

  it("say that containers are not heard when only leased addresses are", () => {
    expect(notesOf({ sources: "leased" })).toContain("egress.sources is leased");
    expect(notesOf({ sources: "leased", reach: "vm" })).not.toContain("egress.sources");
  });
});
