import { describe, expect, test } from "vitest";
import { EXCLUSION_TABLE } from "../testing/exclusion-table.ts";
import { ExclusionList, type ExclusionListOptions } from "./exclusion-list.ts";

function match(list: string | readonly string[], host: string, port = 80, options?: ExclusionListOptions) {
  return ExclusionList.parse(list, options).match(host, port);
}

/** The reason why an entry does not hold. */
function reasonFor(entry: string): string {
  const { problems, size } = ExclusionList.parse([entry]);
  expect(problems).toHaveLength(1);
  expect(size).toBe(0);
  return problems[0].reason;
}

describe.each(EXCLUSION_TABLE)("$about", ({ cases }) => {
  test.each(cases)("$list for $authority", ({ list, host, port, direct }) => {
    expect(match(list, host, port) !== null).toBe(direct.hostd);
  });
});

describe("with strictDot and exactNames", () => {
  const options = { strictDot: true, exactNames: true };
  // IPv4-mapped addresses are IPv4 addresses here, whatever the options are.
  const known = EXCLUSION_TABLE.flatMap(({ cases }) => cases).filter(
    ({ list, host, direct: { macOS, hostd } }) =>
      macOS !== null && hostd && !list.includes(":") && !list.includes("<") && !host.startsWith("::ffff:"),
  );

  // What macOS has no syntax for is left to the union: ports, <local>, and stars but at a dot at one end.
  const isSyntax = (list: string) => list === list.trim() && /^(?:\*?\.)?[^*]+(?:\.\*)?$/.test(list);

  test.each(known.filter(({ list }) => isSyntax(list)))("$list for $authority is as on macOS", (one) => {
    expect(match(one.list, one.host, one.port, options) !== null).toBe(one.direct.macOS);
  });

  test("a name is that host alone, and a dot in front leaves it out", () => {
    expect(match("example.com", "example.com", 80, options)).toBe("example.com");
    expect(match("example.com", "www.example.com", 80, options)).toBeNull();
    for (const entry of [".example.com", "*.example.com"]) {
      expect(match(entry, "example.com", 80, options)).toBeNull();
      expect(match(entry, "www.example.com", 80, options)).toBe(entry);
    }
  });

  test("each stands for itself", () => {
    expect(match("example.com", "www.example.com", 80, { strictDot: true })).toBe("example.com");
    expect(match(".example.com", "example.com", 80, { exactNames: true })).toBe(".example.com");
  });
});

test("gives the entry as it was written", () => {
  const list = ExclusionList.parse(
    "*.Corp.Example.:8443, 10/8;[2001:DB8:0::1] <LOCAL>\n192.168.1* b*.TEST,bücher.example",
  );
  expect(list.match("git.corp.example", 8443)).toBe("*.Corp.Example.:8443");
  expect(list.match("10.1.2.3", 80)).toBe("10/8");
  expect(list.match("2001:db8::1", 80)).toBe("[2001:DB8:0::1]");
  expect(list.match("printer", 80)).toBe("<LOCAL>");
  expect(list.match("192.168.17.1", 80)).toBe("192.168.1*");
  expect(list.match("build.test", 80)).toBe("b*.TEST");
  expect(list.match("www.xn--bcher-kva.example", 80)).toBe("bücher.example");
  expect(list).toMatchObject({ size: 7, problems: [] });
});

test("gives the most telling of several entries: the host itself, then the longest domain, then patterns", () => {
  const list = ExclusionList.parse("*b*, example.com, .b.example.com, a.b.example.com");
  expect(list.match("a.b.example.com", 80)).toBe("a.b.example.com");
  expect(list.match("x.b.example.com", 80)).toBe(".b.example.com");
  expect(list.match("x.example.com", 80)).toBe("example.com");
  expect(list.match("b.test", 80)).toBe("*b*");
});

test("an entry for one port does not hide one for all, nor one for another port", () => {
  const list = ExclusionList.parse("a.test:1 a.test:2 10.0.0.0/8 10.1.2.3:1 .a.test:3 test:4");
  expect([1, 2, 3, 4, 5].map((port) => list.match("a.test", port))).toEqual([
    "a.test:1",
    "a.test:2",
    ".a.test:3",
    "test:4",
    null,
  ]);
  expect(list.match("10.1.2.3", 2)).toBe("10.0.0.0/8");
});

test("the first of two equal entries is the one that is given", () => {
  expect(match("example.com,Example.COM,.example.com", "example.com")).toBe("example.com");
  expect(match("10/8 10.0.0.0/8", "10.1.2.3")).toBe("10/8");
  expect(match("example.com:1,Example.COM:1", "example.com", 1)).toBe("example.com:1");
});

test("a list of several texts is all of their entries, as the systems that have lists give them", () => {
  const list = ["*.local", "169.254/16", " a.test , b.test", ""];
  expect(match(list, "printer.local")).toBe("*.local");
  expect(match(list, "169.254.169.254")).toBe("169.254/16");
  expect(match(list, "b.test")).toBe("b.test");
  expect(match([], "b.test")).toBeNull();
});

test("knows whether it has everything", () => {
  expect(ExclusionList.parse("a.test,*").hasAll).toBe(true);
  expect(ExclusionList.parse("**").hasAll).toBe(true);
  for (const list of ["", "*:443", "*.", "*.*", "0.0.0.0/0 ::/0"]) expect(ExclusionList.parse(list).hasAll).toBe(false);
});

test("networks of all lengths hold, with and without bits of the host", () => {
  for (let length = 0; length <= 32; length++) {
    const mask = length === 0 ? 0 : (0xffffffff << (32 - length)) >>> 0;
    const outside = (0x0a010203 ^ (length === 0 ? 0 : (1 << (32 - length)) >>> 0)) >>> 0;
    const dotted = (value: number) => [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join(".");
    for (const start of [0x0a010203, (0x0a010203 & mask) >>> 0]) {
      const list = ExclusionList.parse(`${dotted(start)}/${length}`);
      expect(list.match("10.1.2.3", 80), `/${length}`).not.toBeNull();
      if (length > 0) expect(list.match(dotted(outside), 80), `/${length}`).toBeNull();
    }
  }
  for (let length = 1; length <= 128; length++) {
    const list = ExclusionList.parse(`ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/${length}`);
    const groups = (value: bigint) =>
      Array.from({ length: 8 }, (_, at) => ((value >> BigInt(112 - 16 * at)) & 0xffffn).toString(16));
    const all = (1n << 128n) - 1n;
    const bit = 1n << BigInt(128 - length);
    expect(list.match(groups(all).join(":"), 80), `/${length}`).not.toBeNull();
    expect(list.match(groups(all ^ (bit - 1n)).join(":"), 80), `/${length}`).not.toBeNull();
    expect(list.match(groups(all ^ bit).join(":"), 80), `/${length}`).toBeNull();
  }
});

test("a pattern of IPv4 addresses has no IPv6 address, whose last bits may be like one", () => {
  expect(match("192.168.1*", "192.168.1.1")).toBe("192.168.1*");
  expect(match("192.168.1*", "::ffff:c0a8:101")).toBe("192.168.1*");
  expect(match("192.168.1*", "::c0a8:101")).toBeNull();
});

test("a network of IPv6 has IPv4 addresses when it is one of IPv4-mapped addresses", () => {
  expect(match("::ffff:0:0/96", "10.1.2.3")).toBe("::ffff:0:0/96");
  for (const list of ["::ffff:0:0/95", "::/0", "::/64"]) expect(match(list, "10.1.2.3"), list).toBeNull();
  expect(match("0.0.0.0/0", "2001:db8::1")).toBeNull();
});

test("a zone of an address is left out", () => {
  expect(match("fe80::/10", "fe80::1%eth0")).toBe("fe80::/10");
  expect(match("fe80::1%eth0", "fe80::1")).toBe("fe80::1%eth0");
});

test("entries that are none are told with their reasons, and the others hold", () => {
  const list = ExclusionList.parse("10.0.0.0/33, a..test, example.com, host:0, 10.1.2.3");
  expect(list.problems).toEqual([
    { entry: "10.0.0.0/33", reason: "what is after the / is no number from 0 to 32" },
    { entry: "a..test", reason: "it has an empty label" },
    { entry: "host:0", reason: "the port is no number from 1 to 65535" },
  ]);
  expect(list.size).toBe(2);
  expect(list.match("example.com", 80)).toBe("example.com");
  expect(list.match("10.1.2.3", 80)).toBe("10.1.2.3");
});

test.each([
  [".", "there is no host"],
  ["*.", "there is no host"],
  ["..", "there is no host"],
  ["...", "an empty label"],
  ["*..test", "an empty label"],
  ["a.*..test", "an empty label"],
  ["10.1.2", "no address"],
  ["300.1.2.3", "no address"],
  ["1.2.3.4.5", "no address"],
  ["300.*", "no address"],
  ["10.*.*.*.*", "no address"],
  ["10.1.2.1-10.1.2.9", "a range"],
  ["10.0.0.0/", "number from 0 to 32"],
  ["10.0.0.0/x", "number from 0 to 32"],
  ["10.0.0.0/255.0.0.0", "number from 0 to 32"],
  ["10.0.0.0/8/8", "number from 0 to 32"],
  ["10.0.0.0/8:80", "number from 0 to 32"],
  ["2001:db8::/129", "number from 0 to 128"],
  ["example.com/8", "before the / is no address"],
  ["/8", "before the / is no address"],
  ["fe80::1%a/64", "before the / is no address"],
  ["[fe80::]/10", "before the / is no address"],
  ["host:", "the port"],
  ["host:65536", "the port"],
  ["host:https", "the port"],
  ["host:-1", "the port"],
  ["[::1]:", "the port"],
  ["[::1", "no IPv6 address"],
  ["[]", "in brackets"],
  ["[example.com]", "in brackets"],
  ["[10.1.2.3]:80", "in brackets"],
  ["::1::2", "no IPv6 address"],
  ["<loopback>", "<local>"],
  ["http://example.com", "it is a URL"],
  ["a@b", "neither a name nor an address"],
  ["exa$mple.com", "neither a name nor an address"],
  ["exa$mple*", "neither a name nor an address"],
  ["b*ücher.example", "ASCII"],
  ["xn--a.ü", "IDNA"],
  [`${"a".repeat(64)}.test`, "neither a name nor an address"],
  [Array(130).fill("a").join("."), "neither a name nor an address"],
  ["a".repeat(301), "longer than 300"],
])("%s does not hold", (entry, reason) => {
  expect(reasonFor(entry)).toContain(reason);
});

test("a password that is put in a list is not in the problem", () => {
  const { problems } = ExclusionList.parse("http://me:secret@proxy:3128 me:secret@host http://me:secret");
  expect(JSON.stringify(problems)).not.toContain("secret");
  expect(problems.map(({ entry }) => entry)).toEqual(["http://***@proxy:3128", "***@host", "http://me:***"]);
});

test("what no host can be called matches nothing but the star", () => {
  const odd = ["", ".", "exa mple", "\0", "ü/..x", "a@ü", "[::1]", "::1::", "10.1.2.3.4", "a".repeat(10_000)];
  const list = ExclusionList.parse("<local>, ::1, 10.1.2.3, ü, xn--tda, a");
  const withoutLocal = ExclusionList.parse("::1, 10.1.2.3, ü, xn--tda, a, 4.test");
  for (const host of odd) expect(withoutLocal.match(host, 80), host).toBeNull();
  for (const host of ["", ".", "ü/..x", "a@ü", "a".repeat(10_000)]) expect(list.match(host, 80), host).toBeNull();
  for (const host of odd) expect(match("*", host)).toBe("*");
});

test("a list has a largest size, and what is beyond it is told once", () => {
  const entries = Array.from({ length: 20_005 }, (_, at) => `host-${at}.test`);
  const list = ExclusionList.parse(entries.join(","));
  expect(list.size).toBe(20_000);
  expect(list.problems).toEqual([
    { entry: "host-20000.test", reason: expect.stringContaining("at most 20000 entries") },
  ]);
  expect(list.match("host-19999.test", 80)).toBe("host-19999.test");
  expect(list.match("host-20000.test", 80)).toBeNull();
});

test("a list has a largest number of patterns; suffixes and networks are none", () => {
  const suffixes = Array.from({ length: 300 }, (_, at) => `*.s${at}.test 10.${at % 256}.*`);
  const patterns = Array.from({ length: 257 }, (_, at) => `*p${at}.test`);
  const list = ExclusionList.parse([...suffixes, ...patterns]);
  expect(list.problems).toEqual([{ entry: "*p256.test", reason: "a list has at most 256 patterns" }]);
  expect(list.match("xp255.test", 80)).toBe("*p255.test");
});

describe("a large list", () => {
  const kinds = [
    (at: number) => `h${at}.corp.test`,
    (at: number) => `.d${at}.test`,
    (at: number) => `10.${at >> 8}.${at & 255}.0/24`,
  ];
  const list = ExclusionList.parse(
    Array.from({ length: 10_000 }, (_, at) => kinds[at % 3](at)).concat(
      Array.from({ length: 33 }, (_, length) => `203.0.113.0/${length > 8 ? length : 32}`),
      Array.from({ length: 129 }, (_, length) => `2001:db8::/${length > 32 ? length : 128}`),
    ),
  );

  test.each([
    ["a name", "www.somewhere.example", null],
    ["an excluded name", "a.b.d9997.test", ".d9997.test"],
    ["an address", "192.0.2.1", null],
    ["an IPv6 address", "2001:db9::1", null],
    ["a name as long as names are", `${"a.".repeat(124)}test`, null],
  ])("takes microseconds for %s", (_, host, expected) => {
    const rounds = 2000;
    for (let round = 0; round < rounds; round++) list.match(host, 443);
    const start = performance.now();
    for (let round = 0; round < rounds; round++) list.match(host, 443);
    const microseconds = ((performance.now() - start) / rounds) * 1000;
    expect(list.match(host, 443)).toBe(expected);
    // Looking at 10,000 entries one by one takes some 500.
    expect(microseconds).toBeLessThan(200);
  });
});

test("no pattern and no host make it slow", () => {
  const patterns = Array.from({ length: 256 }, (_, at) => `${"*a".repeat(100)}*b${at}`);
  const list = ExclusionList.parse(patterns);
  const host = "a".repeat(253);
  expect(list.size).toBe(256);
  const start = performance.now();
  for (let round = 0; round < 20; round++) expect(list.match(host, 80)).toBeNull();
  expect((performance.now() - start) / 20).toBeLessThan(50);
});
