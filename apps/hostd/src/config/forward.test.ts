import { parseIpv4 } from "@hostd/stack";
import { describe, expect, it } from "vitest";
import { readGuestTarget, readListenAddress, readPublishedPort } from "./forward.ts";

describe("where this host listens", () => {
  it.each([
    ["8080", "127.0.0.1", 8080],
    ["0", "127.0.0.1", 0],
    ["0.0.0.0:80", "0.0.0.0", 80],
    ["192.0.2.1:65535", "192.0.2.1", 65_535],
    ["[::]:80", "::", 80],
    ["[0:0::1]:80", "::1", 80],
    ["[fe80::1%eth0]:80", "fe80::1%eth0", 80],
  ])("is read of %s", (text, host, port) => {
    expect(readListenAddress(text)).toEqual({ host, port });
  });

  it.each([
    ["", "the port is missing"],
    ["127.0.0.1", "the port is missing"],
    ["http", 'the port is "http"'],
    ["65536", 'the port is "65536"'],
    ["080", 'the port is "080"'],
    ["127.0.0.1:", 'the port is ""'],
    ["127.0.0.1:-1", 'the port is "-1"'],
    [":80", "the address is missing: 127.0.0.1 is this machine only, 0.0.0.0 is every interface"],
    ["localhost:80", '"localhost" is not an IP address'],
    ["::1:80", "an IPv6 address needs [ ]"],
    ["[1.2.3.4]:80", '"1.2.3.4" is not an IPv6 address'],
  ])("is not read of %j", (text, reason) => {
    expect(() => readListenAddress(text)).toThrow(expect.objectContaining({ name: "ValueError", message: reason }));
  });
});

describe("where a published port leads", () => {
  it("is a port of the VM, or an address and a port", () => {
    expect(readGuestTarget("80")).toEqual({ address: null, port: 80 });
    expect(readGuestTarget("172.17.0.2:443")).toEqual({ address: parseIpv4("172.17.0.2"), port: 443 });
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
  ])("is not %j", (text, reason) => {
    expect(() => readGuestTarget(text)).toThrow(expect.objectContaining({ name: "ValueError", message: reason }));
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
  ])("%s is read as its two ends", (text, listen, to) => {
    expect(readPublishedPort(text)).toEqual({ listen, to });
  });

  it.each([
    ["80", "the port of the guest is missing"],
    ["", "the port of the guest is missing"],
    ["8080:", "the port is missing"],
    ["8080:0", "the port is 0"],
    ["8080:80/udp", 'the port is "80/udp"'],
    [":8080:80", "the address is missing: 127.0.0.1 is this machine only, 0.0.0.0 is every interface"],
    ["localhost:8080:80", '"localhost" is not an IP address'],
    ["8080:127.0.0.1:80", "a VM is not reached at its loopback address: leave the address out"],
    ["::1:8080:80", "it has too many parts; an IPv6 address needs [ ]"],
  ])("%j is refused", (text, reason) => {
    expect(() => readPublishedPort(text)).toThrow(expect.objectContaining({ name: "ValueError", message: reason }));
  });
});
