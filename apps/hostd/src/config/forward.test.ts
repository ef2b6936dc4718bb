import { parseIpv4 } from "@hostd/stack";
import { describe, expect, it } from "vitest";
import {
  expandForward,
  forwardToData,
  readBindRange,
  readDefaultHost,
  readListen,
  readPublishedPort,
  readTarget,
} from "./forward.ts";

const one = (port: number) => ({ first: port, last: port });

describe("where this host listens", () => {
  it.each([
    ["8080", undefined, one(8080)],
    ["0", undefined, one(0)],
    ["8000-8010", undefined, { first: 8000, last: 8010 }],
    ["0.0.0.0:80", "0.0.0.0", one(80)],
    ["192.0.2.1:65535", "192.0.2.1", one(65_535)],
    ["127.0.0.1:1-4096", "127.0.0.1", { first: 1, last: 4096 }],
    ["*:80", "", one(80)],
    ["[::]:80", "::", one(80)],
    ["[0:0::1]:80-81", "::1", { first: 80, last: 81 }],
    ["[fe80::1%eth0]:80", "fe80::1%eth0", one(80)],
  ])("is read of %s", (text, host, ports) => {
    expect(readListen(text)).toEqual({ host, ports });
  });

  it("may be a Unix socket", () => {
    expect(readListen("unix:///run/web.sock")).toEqual({ path: "/run/web.sock" });
    expect(readListen("/run/web.sock")).toEqual({ path: "/run/web.sock" });
  });

  it.each([
    ["", "the port is missing"],
    ["127.0.0.1", "the port is missing"],
    ["http", 'the port is "http"'],
    ["65536", 'the port is "65536"'],
    ["080", 'the port is "080"'],
    ["127.0.0.1:", 'the port is ""'],
    ["127.0.0.1:-1", 'the port is "-1"'],
    ["80-", 'the port is ""'],
    ["80-79", "the range 80-79 ends before it begins"],
    ["0-5", "port 0 has the system choose, so it begins no range"],
    ["1-4097", "the range has 4097 ports; 4096 is the most"],
    ["1-2-3", 'the port is "2-3"'],
    [":80", "the address is missing: 127.0.0.1 is this machine only, * is every interface"],
    ["localhost:80", '"localhost" is not an IP address'],
    ["::1:80", "an IPv6 address needs [ ]"],
    ["[1.2.3.4]:80", '"1.2.3.4" is not an IPv6 address'],
    ["unix:run", ""],
    ["unix:///run/", "the path ends in a slash: name the socket, not its folder"],
  ])("is not read of %j", (text, reason) => {
    expect(() => readListen(text)).toThrow(expect.objectContaining({ name: "ValueError", message: reason }));
  });

  it.each([
    ["loopback", "127.0.0.1"],
    ["all", ""],
    ["192.0.2.1", "192.0.2.1"],
    ["0:0::1", "::1"],
  ])("has %s as a default address", (text, host) => {
    expect(readDefaultHost(text)).toBe(host);
  });

  it("has no default address that is none", () => {
    expect(() => readDefaultHost("eth0")).toThrow(expect.objectContaining({ name: "ValueError" }));
  });
});

describe("where a published port leads", () => {
  it("is a port of the VM, or an address and a port", () => {
    expect(readTarget("80")).toEqual({ address: null, ports: one(80) });
    expect(readTarget("8000-8010")).toEqual({ address: null, ports: { first: 8000, last: 8010 } });
    expect(readTarget("172.17.0.2:443")).toEqual({ address: parseIpv4("172.17.0.2"), ports: one(443) });
  });

  it("may be a Unix socket of the guest", () => {
    const user = "core";
    const path = "/run/podman/podman.sock";
    expect(readTarget(`ssh://core@vm${path}`)).toEqual({ server: { address: null, port: 22 }, user, path });
    const server = { address: parseIpv4("10.0.0.5"), port: 2222 };
    expect(readTarget(`ssh://core@10.0.0.5:2222${path}`)).toEqual({ server, user, path });
  });

  it.each([
    ["0", "the port is 0"],
    ["10.0.0.5:0", "the port is 0"],
    ["10.0.0.5", "the port is missing"],
    ["99999", 'the port is "99999"'],
    ["vm:80", '"vm" is not an IPv4 address'],
    [":80", '"" is not an IPv4 address'],
    ["[fd00::1]:80", "only IPv4 is supported in the VM"],
    ["127.0.0.1:80", "a VM is not reached at its loopback address: leave the address out"],
    ["0.0.0.0:80", "no VM can have the address 0.0.0.0"],
    ["224.0.0.1:80", "no VM can have the address 224.0.0.1"],
    ["255.255.255.255:80", "no VM can have the address 255.255.255.255"],
    ["ssh://vm/run/a.sock", "it is not of the form ssh://USER@vm/PATH"],
    ["ssh://@vm/run/a.sock", "the user is missing"],
    ["ssh://a b@vm/run/a.sock", '"a b" is no name of a user'],
    ["ssh://core@vm", "the path of the socket is missing"],
    ["ssh://core@vm/", "the path of the socket is missing"],
    ["ssh://core@host/run/a.sock", '"host" is not an IPv4 address'],
    ["ssh://core@vm:x/run/a.sock", 'the port is "x"'],
  ])("is not %j", (text, reason) => {
    expect(() => readTarget(text)).toThrow(expect.objectContaining({ name: "ValueError", message: reason }));
  });
});

describe("what may be listened on", () => {
  it.each([
    ["any", null, 0, 65_535],
    ["any:8080", null, 8080, 8080],
    ["any:1024-65535", null, 1024, 65_535],
    ["127.0.0.1", "127.0.0.1", 0, 65_535],
    ["10.0.0.0/8:80-90", "10.0.0.0/8", 80, 90],
    ["[0:0::1]", "::1", 0, 65_535],
    ["[fd00::]:443", "fd00::", 443, 443],
    ["[fd00::/8]:443", "fd00::/8", 443, 443],
  ])("is read of %s", (text, address, firstPort, lastPort) => {
    expect(readBindRange(text)).toEqual({ address, firstPort, lastPort });
  });

  it.each([
    ["", '"" is not an IP address'],
    ["localhost", '"localhost" is not an IP address'],
    ["::1", "an IPv6 address needs [ ]"],
    ["10.0.0.0/33", 'the prefix length is "33"'],
    ["[fd00::/129]", 'the prefix length is "129"'],
    ["any:9-8", "the range 9-8 ends before it begins"],
    ["any:http", 'the port is "http"'],
  ])("is not read of %j", (text, reason) => {
    expect(() => readBindRange(text)).toThrow(expect.objectContaining({ name: "ValueError", message: reason }));
  });
});

describe("a range of ports", () => {
  it("is as many forwards, each to the port of its place", () => {
    const listen = { host: "127.0.0.1", ports: { first: 8000, last: 8002 } };
    const to = { address: null, ports: { first: 9000, last: 9002 } };
    expect(expandForward({ protocol: "udp", listen, to })).toEqual(
      [0, 1, 2].map((index) => ({
        protocol: "udp",
        listen: { host: "127.0.0.1", port: 8000 + index },
        to: { address: null, port: 9000 + index },
      })),
    );
    expect(forwardToData({ protocol: "udp", listen, to })).toEqual({
      listen: "127.0.0.1:8000-8002",
      to: "9000-9002",
      protocol: "udp",
    });
  });
});

describe("a published port in one word", () => {
  it.each([
    ["8080:80", "8080", "80"],
    ["0.0.0.0:8080:80", "0.0.0.0:8080", "80"],
    ["[::1]:8080:80", "[::1]:8080", "80"],
    ["8080:172.17.0.2:80", "8080", "172.17.0.2:80"],
    ["127.0.0.1:8080:172.17.0.2:80", "127.0.0.1:8080", "172.17.0.2:80"],
    ["[::]:0:172.17.0.2:80", "[::]:0", "172.17.0.2:80"],
    ["*:8080:80", "*:8080", "80"],
    ["8000-8010:9000-9010", "8000-8010", "9000-9010"],
    ["8000-8001:172.17.0.2:80-81", "8000-8001", "172.17.0.2:80-81"],
  ])("%s is read as its two ends", (text, listen, to) => {
    expect(readPublishedPort(text)).toEqual({ listen, to });
    expect(readPublishedPort(`${text}/udp`)).toEqual({ listen, to, protocol: "udp" });
    expect(readPublishedPort(`${text}/tcp`)).toEqual({ listen, to, protocol: "tcp" });
  });

  it.each([
    ["8080:ssh://core@vm:2222/run/x", "8080", "ssh://core@vm:2222/run/x"],
    ["/run/y.sock:ssh://core@10.0.0.5/run/x", "/run/y.sock", "ssh://core@10.0.0.5/run/x"],
    ["[::1]:8080:ssh://core@vm/run/x", "[::1]:8080", "ssh://core@vm/run/x"],
  ])("%s leads to a socket of the guest", (text, listen, to) => {
    expect(readPublishedPort(text)).toEqual({ listen, to });
  });

  it.each([
    ["80", "the port of the guest is missing"],
    ["", "the port of the guest is missing"],
    ["8080:", "the port is missing"],
    ["8080:0", "the port is 0"],
    ["8080:80/sctp", 'the port is "80/sctp"'],
    ["8000-8010:80", "11 ports of this host cannot lead to 1 of the guest; allowed: as many ports at both ends"],
    ["80:8000-8001", "1 port of this host cannot lead to 2 of the guest; allowed: as many ports at both ends"],
    [":8080:80", "the address is missing: 127.0.0.1 is this machine only, * is every interface"],
    ["localhost:8080:80", '"localhost" is not an IP address'],
    ["8080:127.0.0.1:80", "a VM is not reached at its loopback address: leave the address out"],
    ["::1:8080:80", "it has too many parts; an IPv6 address needs [ ]"],
  ])("%j is refused", (text, reason) => {
    expect(() => readPublishedPort(text)).toThrow(expect.objectContaining({ name: "ValueError", message: reason }));
  });
});
