import { describe, expect, test } from "vitest";
import { testClient } from "../testing/zones.ts";
import { CompiledZone } from "./compiled-zone.ts";
import {
  isRecordName,
  ownerKey,
  ownerName,
  ownerPattern,
  targetName,
  textStrings,
  type ZoneRecord,
  zoneOrigin,
} from "./zone.ts";
import { Zones } from "./zones.ts";

const FORM = 'labels of 1 to 63 letters, digits, "-" and "_", joined by dots, 253 characters in all';
const LONG_LABEL = "x".repeat(64);
/** 253 characters. */
const LONGEST = `${`${"x".repeat(62)}.`.repeat(4)}y`;

const withRecord = (record: ZoneRecord) => new CompiledZone({ name: "lab", records: [record] });
const a = (name: string): ZoneRecord => ({ name, type: "A", address: "10.0.0.1" });

/** A record as it may come from a file, whose type says nothing of what is in it. */
const untyped = (record: object) => record as ZoneRecord;

describe("a name", () => {
  test.each([
    ["web", "lab", true],
    ["shop_web-1.a", "lab", true],
    ["a..b", "lab", false],
    ["web.", "lab", false],
    [LONG_LABEL, "lab", false],
    [LONGEST, "lab", false],
    ["web", "a lab", false],
  ])("%j of a record in the zone %j: %j", (name, zone, expected) => {
    expect(isRecordName(name, zone)).toBe(expected);
  });
});

describe("the name of a zone", () => {
  test("is absolute with or without a dot at the end, in any case", () => {
    expect(zoneOrigin({ name: "Docker.Internal." })).toBe("docker.internal");
    expect(zoneOrigin({ name: "docker.internal" })).toBe("docker.internal");
    expect(zoneOrigin({ name: LONGEST })).toBe(LONGEST);
  });

  test.each(["", ".", "a..b", ".a", "a.", "a b", "a/b", "*.a", "@", "bücher.de", LONG_LABEL, `${LONGEST}y`])(
    "is not %j",
    (name) => {
      // One dot at the end is no part of it.
      const written = name === "a." ? "a.." : name;
      expect(() => zoneOrigin({ name: written })).toThrow(
        new RangeError(`${JSON.stringify(written)} is not a zone name: ${FORM}`),
      );
    },
  );
});

describe("the name of a record", () => {
  test.each([
    ["@", "lab"],
    ["Db", "db.lab"],
    ["a.B", "a.b.lab"],
    ["_http._tcp", "_http._tcp.lab"],
    ["*", "*.lab"],
    ["*.W", "*.w.lab"],
    ["1", "1.lab"],
  ])("%j stands for %s", (name, full) => {
    expect(ownerName(name, "lab")).toBe(full);
    expect(ownerKey({ name }, "lab")).toBe(full);
  });

  test.each(["", ".", "a.", ".a", "a..b", "a b", "a@", "@.a", "a.*", "**", "*a", "*.*", "*.", LONG_LABEL, LONGEST])(
    "is not %j",
    (name) => {
      expect(() => withRecord(a(name))).toThrow(
        new RangeError(`${JSON.stringify(name)} is not a name of a record in the zone lab: ${FORM}`),
      );
    },
  );

  test("and a regular expression are given one alone", () => {
    const message = "a record in the zone lab needs a name or a regular expression, not both";
    expect(() => withRecord({ type: "A", address: "10.0.0.1" })).toThrow(new RangeError(message));
    expect(() => withRecord({ name: "a", regexp: "b", type: "A", address: "10.0.0.1" })).toThrow(
      new RangeError(message),
    );
    expect(ownerKey({ regexp: "A|b" }, "lab")).toBe("/A|b/");
  });
});

describe("a regular expression", () => {
  test("has the syntax of RE2, and matches anywhere and in any case", () => {
    const matches = (regexp: string, text: string) => ownerPattern(regexp, "lab").matcher(text).find();
    expect(matches("crc-(.*?)-master-0", "api.crc-x1-master-0.y")).toBe(true);
    expect(matches("^crc-(?P<id>[[:alnum:]]+)\\z", "crc-x1")).toBe(true);
    expect(matches("^crc-(?P<id>[[:alnum:]]+)\\z", "crc-x1.y")).toBe(false);
    expect(matches("Crc", "crc")).toBe(true);
    expect(matches("\\pL\\d", "-a1-")).toBe(true);
    expect(matches("", "")).toBe(true);
  });

  test.each([
    ["(", /^"\(" in the zone lab is not a regular expression in the syntax of RE2: .*missing closing \)/],
    ["a**", /is not a regular expression in the syntax of RE2: /],
    ["(?=a)", /is not a regular expression in the syntax of RE2: /],
    ["(a)\\1", /is not a regular expression in the syntax of RE2: /],
    ["a{1001}", /is not a regular expression in the syntax of RE2: /],
    ["a".repeat(1001), /^a regular expression in the zone lab has more than 1000 characters$/],
    [
      "a{1000}".repeat(6),
      /^"a\{1000\}.*" in the zone lab is too large: repetitions may add up to about 5000 characters$/,
    ],
  ])("is not %j", (regexp, message) => {
    expect(() => withRecord({ regexp, type: "A", address: "10.0.0.1" })).toThrow(message);
    expect(() => withRecord({ regexp, type: "A", address: "10.0.0.1" })).toThrow(RangeError);
  });

  test.each(["(a*)*(a*)*(a*)*b", "(a|aa)+$", "(.*.*.*.*){40}b"])(
    "takes no time that grows with what it tries: %s",
    (regexp) => {
      const zone = withRecord({ regexp, type: "A", address: "10.0.0.1" });
      // A matcher that goes back over what it tried would not end within the time of a test.
      expect(zone.find(`${"a".repeat(63)}.${"a".repeat(63)}.${"a".repeat(63)}.c.lab`)).toBeNull();
    },
  );
});

describe("the data of a record", () => {
  const place = (type: string) => `the ${type} record "x" in the zone lab: `;

  test.each<[ZoneRecord, string]>([
    [{ name: "x", type: "A", address: "10.0.0" }, `${place("A")}not an IPv4 address: "10.0.0"`],
    [{ name: "x", type: "A", address: "fd00::1" }, `${place("A")}not an IPv4 address: "fd00::1"`],
    [
      { name: "x", type: "A", address: 0.5 },
      `${place("A")}an address is a whole number from -2147483648 to 4294967295, not 0.5`,
    ],
    [{ name: "x", type: "AAAA", address: "10.0.0.1" }, `${place("AAAA")}not an IPv6 address (without "%"): "10.0.0.1"`],
    [
      { name: "x", type: "AAAA", address: "fe80::1%0" },
      `${place("AAAA")}not an IPv6 address (without "%"): "fe80::1%0"`,
    ],
    [{ name: "x", type: "CNAME", target: "a b" }, `${place("CNAME")}"a b" is not an absolute domain name: ${FORM}`],
    [{ name: "x", type: "PTR", target: "" }, `${place("PTR")}"" is not an absolute domain name: ${FORM}`],
    [
      { name: "x", type: "TXT", text: "t".repeat(16_384) },
      `${place("TXT")}a text has at most 16384 bytes with its length bytes, not 16449`,
    ],
    [
      { name: "x", type: "MX", preference: 65_536, exchange: "mail" },
      `${place("MX")}a preference is a whole number from 0 to 65535, not 65536`,
    ],
    [
      { name: "x", type: "MX", preference: 0, exchange: "a..b" },
      `${place("MX")}"a..b" is not an absolute domain name: ${FORM}`,
    ],
    [
      { name: "x", type: "SRV", priority: -1, weight: 0, port: 0, target: "a" },
      `${place("SRV")}a priority is a whole number from 0 to 65535, not -1`,
    ],
    [
      { name: "x", type: "SRV", priority: 0, weight: 1.5, port: 0, target: "a" },
      `${place("SRV")}a weight is a whole number from 0 to 65535, not 1.5`,
    ],
    [
      { name: "x", type: "SRV", priority: 0, weight: 0, port: Number.NaN, target: "a" },
      `${place("SRV")}a port is a whole number from 0 to 65535, not NaN`,
    ],
    [
      { name: "x", type: "SRV", priority: 0, weight: 0, port: 0, target: "@" },
      `${place("SRV")}"@" is not an absolute domain name: ${FORM}`,
    ],
    [
      { name: "x", type: "A", address: "10.0.0.1", ttl: 2 ** 31 },
      `${place("A")}a TTL is a whole number from 0 to 2147483647, not 2147483648`,
    ],
    [
      untyped({ name: "x", type: "NS", target: "a" }),
      `${place("NS")}the type is A, AAAA, CNAME, PTR, TXT, MX or SRV, not "NS"`,
    ],
  ])("is not that of %j", (record, message) => {
    expect(() => withRecord(record)).toThrow(new RangeError(message));
  });

  test("is reported with the regular expression that it is for", () => {
    expect(() => withRecord({ regexp: "^x", type: "A", address: "1" })).toThrow(
      'the A record "^x" in the zone lab: not an IPv4 address: "1"',
    );
  });

  test("may be the largest that is allowed", () => {
    const zone: ZoneRecord[] = [
      { name: "x", type: "A", address: 0xffff_ffff, ttl: 2 ** 31 - 1 },
      { name: "x", type: "A", address: -1 },
      { name: "x", type: "TXT", text: "t".repeat(255 * 64) },
      { name: "x", type: "SRV", priority: 0xffff, weight: 0xffff, port: 0xffff, target: LONGEST },
    ];
    expect(new CompiledZone({ name: "lab", records: zone }).find("x.lab")).toHaveLength(4);
    const [first] = new CompiledZone({ name: "lab", records: zone }).find("x.lab") ?? [];
    expect(first.answer("x.lab", testClient)).toEqual({
      type: "A",
      name: "x.lab",
      ttl: 2 ** 31 - 1,
      data: "255.255.255.255",
    });
  });

  test("of an alias stands alone", () => {
    const cname: ZoneRecord = { name: "x", type: "CNAME", target: "y.lab" };
    const message = '"x" in the zone lab has a CNAME record, beside which no other may stand (RFC 1034, 3.6.2)';
    for (const records of [
      [cname, a("x")],
      [a("x"), a("X"), { ...cname, name: "x" }],
      [cname, cname],
    ]) {
      expect(() => new CompiledZone({ name: "lab", records })).toThrow(new RangeError(message));
    }
    const pattern: ZoneRecord = { regexp: "x", type: "CNAME", target: "y.lab" };
    expect(() => new CompiledZone({ name: "lab", records: [pattern, pattern] })).toThrow(/has a CNAME record/);
    expect(() => new CompiledZone({ name: "lab", records: [cname, pattern, a("*.x")] })).not.toThrow();
  });
});

test.each(["10.0.0", "", "fe80::1%lo", "host.lab", "10.0.0.1/24"])("a default address is not %j", (defaultAddress) => {
  expect(() => new Zones([{ name: "lab", records: [], defaultAddress }])).toThrow(
    new RangeError(
      `the default address of the zone lab is an IPv4 or an IPv6 address, not ${JSON.stringify(defaultAddress)}`,
    ),
  );
});

test("a target is an absolute name in the case in which it is written, or the root", () => {
  expect(targetName("WWW.Example.")).toBe("WWW.Example");
  expect(targetName("www")).toBe("www");
  expect(targetName(".")).toBe(".");
  expect(() => targetName("..")).toThrow(RangeError);
});

test("the strings of a text have at most 255 bytes each, and there is always one", () => {
  const lengths = (text: string | readonly string[]) => textStrings(text).map(({ length }) => length);
  expect(lengths("")).toEqual([0]);
  expect(lengths([])).toEqual([0]);
  expect(lengths("x".repeat(255))).toEqual([255]);
  expect(lengths("x".repeat(256))).toEqual([255, 1]);
  expect(lengths(["a", "", "x".repeat(510)])).toEqual([1, 0, 255, 255]);
});
