import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ConfigError } from "../config/problems.ts";
import { readGvproxyFile } from "./config-file.ts";

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "hostd-gvproxy-"));
  path = join(folder, "config.yaml");
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

function read(yaml: string) {
  writeFileSync(path, yaml);
  return readGvproxyFile(path);
}

/** What is wrong with a file, without its path. */
function faults(yaml: string): string[] {
  try {
    return [`accepted: ${JSON.stringify(read(yaml))}`];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems.map(({ message }) => message.replace(`${path}:`, ""));
  }
}

describe("readGvproxyFile", () => {
  it("reads every key", () => {
    const yaml = `
listen: [unix:///run/api.sock, "tcp://127.0.0.1:1234"]
log-level: warning
stack:
  debug: true
  capture-file: x.pcap
  mtu: 4000
  subnet: 10.0.0.0/16
  gatewayIP: 10.0.0.1
  deviceIP: 10.0.0.2
  hostIP: 10.0.255.254
  gatewayMacAddress: 5a:94:ef:e4:0c:dd
  dns:
    - name: containers.internal.
      records:
        - { name: gateway, ip: 10.0.0.1 }
        - { regexp: 'crc-(.*?)-master-0', ip: 10.0.0.2 }
      defaultIP: 1.2.3.4
  dnsSearchDomains: [a.b]
  forwards:
    127.0.0.1:2222: 10.0.0.2:22
    udp::1053: 10.0.0.2:53
    :80: 10.0.0.2:80
  nat: { 10.0.255.254: 127.0.0.1 }
  gatewayVirtualIPs: [10.0.255.254]
  dhcpStaticLeases: { 10.0.0.2: 10:11:11:11:11:02 }
  vpnKitUUIDMacAddresses: { c3d68012-0208-11ea-9fd7-f2189899ab08: 5a:94:ef:e4:0c:ee }
  ec2MetadataAccess: false
interfaces: { vpnkit: a, qemu: b, bess: c, stdio: accept, vfkit: d }
forwards:
  - { socket: /run/podman.sock, dest: /run/user/1000/podman.sock, user: core, identity: /key }
pid-file: /run/pid
log-file: /run/log
services: unix:///run/services.sock
ec2-metadata-access: true
notification: /run/events.sock
`;
    expect(read(yaml)).toEqual({
      listen: ["unix:///run/api.sock", "tcp://127.0.0.1:1234"],
      "log-level": "warning",
      stack: {
        debug: true,
        "capture-file": "x.pcap",
        mtu: 4000,
        subnet: "10.0.0.0/16",
        gatewayIP: "10.0.0.1",
        deviceIP: "10.0.0.2",
        hostIP: "10.0.255.254",
        gatewayMacAddress: "5a:94:ef:e4:0c:dd",
        dns: [
          {
            name: "containers.internal.",
            records: [
              { name: "gateway", ip: "10.0.0.1" },
              { regexp: "crc-(.*?)-master-0", ip: "10.0.0.2" },
            ],
            defaultIP: "1.2.3.4",
          },
        ],
        dnsSearchDomains: ["a.b"],
        forwards: { "127.0.0.1:2222": "10.0.0.2:22", "udp::1053": "10.0.0.2:53", ":80": "10.0.0.2:80" },
        nat: { "10.0.255.254": "127.0.0.1" },
        gatewayVirtualIPs: ["10.0.255.254"],
        dhcpStaticLeases: { "10.0.0.2": "10:11:11:11:11:02" },
        vpnKitUUIDMacAddresses: { "c3d68012-0208-11ea-9fd7-f2189899ab08": "5a:94:ef:e4:0c:ee" },
        ec2MetadataAccess: false,
      },
      interfaces: { vpnkit: "a", qemu: "b", bess: "c", stdio: "accept", vfkit: "d" },
      forwards: [{ socket: "/run/podman.sock", dest: "/run/user/1000/podman.sock", user: "core", identity: "/key" }],
      "pid-file": "/run/pid",
      "log-file": "/run/log",
      services: "unix:///run/services.sock",
      "ec2-metadata-access": true,
      notification: "/run/events.sock",
    });
  });

  it("takes an empty file, and a key with nothing after it, for nothing", () => {
    expect(read("")).toEqual({});
    expect(read("listen:\nstack:\n  mtu:\n  dns:\n    - name: a.\n      records:\n")).toEqual({
      stack: { dns: [{ name: "a." }] },
    });
  });

  it("takes a number for the text that it is", () => {
    expect(read("pid-file: 5")).toEqual({ "pid-file": "5" });
  });

  it("says where each thing is that does not fit, and what may be there", () => {
    expect(faults("stack:\n  mtu: much\n  debug: 1\n  forwards: [x]\nlisten: here\n")).toEqual([
      '5:1: listen: "here" is not a list of texts',
      "3:3: stack.debug: 1 is not true or false",
      '2:3: stack.mtu: "much" is not a whole number',
      '4:3: stack.forwards: ["x"] is not a mapping of texts',
    ]);
    expect(faults("stack: { mtu: 1.5 }")).toEqual(["1:10: stack.mtu: 1.5 is not a whole number"]);
    expect(faults("stack: { nat: { 1.2.3.4: [] } }")).toEqual(['1:17: stack.nat["1.2.3.4"]: [] is not a text']);
    expect(faults("forwards: { socket: x }")).toEqual(['1:1: forwards: {"socket":"x"} is not a list']);
    expect(faults("[]")).toEqual(["1:1: [] is not a mapping"]);
  });

  it("refuses a key that it does not know", () => {
    expect(faults("interfaces: { qemu: a, uml: b }\nforwards: [{ sock: a }]\nstack: { dns: [{ Name: a. }] }")).toEqual([
      "3:18: stack.dns[0].Name: unknown key; allowed here: name, records, defaultIP",
      "1:24: interfaces.uml: unknown key; allowed here: vpnkit, qemu, bess, stdio, vfkit",
      "2:14: forwards[0].sock: unknown key; allowed here: socket, dest, user, identity",
    ]);
  });

  it("says what is wrong with a file that is no YAML, or not there", () => {
    expect(faults("a: [")).toEqual([expect.stringMatching(/^1:5: not YAML: /)]);
    expect(() => readGvproxyFile(join(folder, "none.yaml"))).toThrow(
      `cannot read the configuration file ${join(folder, "none.yaml")}: there is no such file`,
    );
  });
});
