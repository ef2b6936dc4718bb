import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { hostSearchDomains, parseResolvConf } from "./resolv-conf.ts";

const addresses = (text: string) => parseResolvConf(text).nameservers.map((server) => server.address);

describe("parseResolvConf", () => {
  test("reads servers, search domains and options", () => {
    const text = [
      "# made by a program",
      "; another comment",
      "",
      "nameserver 127.0.0.53",
      "nameserver\t2001:db8::1  # by hand",
      "  nameserver fe80::1%eth0",
      "search corp.example. lab.example",
      "options edns0 timeout:3 trust-ad attempts:4",
    ].join("\n");
    expect(parseResolvConf(text)).toEqual({
      nameservers: [
        { address: "127.0.0.53", family: 4, port: 53 },
        { address: "2001:db8::1", family: 6, port: 53 },
        { address: "fe80::1%eth0", family: 6, port: 53 },
      ],
      search: ["corp.example", "lab.example"],
      timeout: 3,
      attempts: 4,
      problems: [],
    });
  });

  test("reads an empty file as nothing", () => {
    expect(parseResolvConf("")).toEqual({ nameservers: [], search: [], timeout: null, attempts: null, problems: [] });
  });

  test("reads lines that end in CR LF", () => {
    expect(addresses("nameserver 192.0.2.1\r\nnameserver 192.0.2.2\r\n")).toEqual(["192.0.2.1", "192.0.2.2"]);
  });

  test("takes the last of several search and domain lines, and one name of domain", () => {
    expect(parseResolvConf("search a.example b.example\nsearch c.example").search).toEqual(["c.example"]);
    expect(parseResolvConf("search a.example\ndomain b.example c.example").search).toEqual(["b.example"]);
  });

  test("takes the root as no search domain", () => {
    expect(parseResolvConf("search .")).toMatchObject({ search: [], problems: [] });
  });

  test("limits timeout and attempts as libc does", () => {
    expect(parseResolvConf("options timeout:99 attempts:99")).toMatchObject({ timeout: 30, attempts: 5, problems: [] });
  });

  test("uses three servers and reports the others", () => {
    const text = ["1", "2", "3", "4"].map((last) => `nameserver 192.0.2.${last}`).join("\n");
    expect(addresses(text)).toEqual(["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    expect(parseResolvConf(text).problems).toEqual([{ line: 4, reason: "only the first 3 servers are used" }]);
  });

  test.each([
    ["nameserver", '"" is not an IP address'],
    ["nameserver dns.example", '"dns.example" is not an IP address'],
    ["nameserver 192.0.2.1:53", '"192.0.2.1:53" is not an IP address'],
    ["nameserver [::1]", '"[::1]" is not an IP address'],
    ["search a..b", '"a..b" is not a domain name'],
    ["options timeout:0", '"timeout:0" needs a whole number from 1 up'],
    ["options attempts:x", '"attempts:x" needs a whole number from 1 up'],
    ["nameservers 192.0.2.1", '"nameservers" is not a keyword of resolv.conf'],
  ])("leaves out and reports %j", (line, reason) => {
    const conf = parseResolvConf(`nameserver 192.0.2.9\n${line}\n`);
    expect(conf.problems).toEqual([{ line: 2, reason }]);
    expect(conf).toMatchObject({ nameservers: [{ address: "192.0.2.9" }], search: [], timeout: null, attempts: null });
  });
});

describe("hostSearchDomains", () => {
  const folder = () => {
    const path = mkdtempSync(join(tmpdir(), "hostd-dns-"));
    onTestFinished(() => rmSync(path, { recursive: true }));
    return path;
  };

  test("reads the domains of a file", () => {
    const path = join(folder(), "resolv.conf");
    writeFileSync(path, "search corp.example lab.example\n");
    expect(hostSearchDomains(path)).toEqual(["corp.example", "lab.example"]);
  });

  test("gives none for a file that is not there, and reports one that cannot be read", () => {
    const path = folder();
    expect(hostSearchDomains(join(path, "missing"))).toEqual([]);
    expect(() => hostSearchDomains(path)).toThrow(/EISDIR/);
  });
});
