import fc from "fast-check";
import { expect, test } from "vitest";
import { ExclusionList, type ExclusionListOptions } from "./exclusion-list.ts";

const SEED = 0x5eed;

/** A matcher as simple as can be, for entries of the forms below. */
function matches(entry: string, host: string, port: number, options: Required<ExclusionListOptions>): boolean {
  const [, target, wanted] = /^(.*?|\[.*\])(?::([0-9]+))?$/.exec(entry)!;
  // A bare IPv6 address has no port after it.
  const isIpv6Entry = entry.startsWith("[") ? false : entry.split(":").length > 2;
  const pattern = (isIpv6Entry ? entry : target).replace(/^\[|\]$/g, "").toLowerCase();
  if (!isIpv6Entry && wanted !== undefined && Number(wanted) !== port) return false;
  if (pattern === "*") return true;
  const bits = addressBits(host);
  const [network, length = "128"] = pattern.split("/");
  const networkBits = addressBits(padded(network));
  if (networkBits !== null) {
    if (bits === null) return false;
    const isIpv4 = !network.includes(":");
    const count = pattern.includes("/") ? Number(length) + (isIpv4 ? 96 : 0) : 128;
    // IPv4 addresses are not in networks of IPv6.
    if (!isIpv4 && count < 96 && isMapped(bits)) return false;
    return bits.slice(0, count) === networkBits.slice(0, count);
  }
  const name = host.toLowerCase().replace(/\.$/, "");
  if (pattern === "<local>") return bits === null && !name.includes(".");
  if (/^[0-9.*]+$/.test(pattern)) {
    return bits !== null && isMapped(bits) && globRegExp(pattern).test(dotted(bits));
  }
  if (bits !== null) return false;
  const suffix = pattern.replace(/^\*?\./, "");
  if (suffix.includes("*")) return globRegExp(pattern.replace(/^\./, "*.")).test(name);
  const isBelow = name.endsWith(`.${suffix}`);
  if (pattern === suffix) return name === suffix || (isBelow && !options.exactNames);
  return isBelow || (name === suffix && !options.strictDot);
}

const globRegExp = (pattern: string) => new RegExp(`^${pattern.replaceAll(".", "\\.").replaceAll("*", ".*")}$`);
const padded = (text: string) =>
  /^[0-9.]+$/.test(text) ? [...text.split("."), "0", "0", "0"].slice(0, 4).join(".") : text;
const dotted = (bits: string) => [96, 104, 112, 120].map((at) => Number.parseInt(bits.slice(at, at + 8), 2)).join(".");
const isMapped = (bits: string) => bits.startsWith("0".repeat(80) + "1".repeat(16));

/** An address as 128 digits, IPv4 as IPv4-mapped; null when it is none. Knows `::` and nothing else of RFC 4291. */
function addressBits(text: string): string | null {
  if (/^[0-9]+(?:\.[0-9]+){3}$/.test(text)) {
    const octets = text.split(".").map((octet) => Number(octet).toString(2).padStart(8, "0"));
    return "0".repeat(80) + "1".repeat(16) + octets.join("");
  }
  if (!text.includes(":")) return null;
  const [before, after] = text.split("::").map((side) => side.split(":").filter((group) => group !== ""));
  const groups = [...before, ...Array(8 - before.length - (after?.length ?? 0)).fill("0"), ...(after ?? [])];
  return groups.map((group) => Number.parseInt(group, 16).toString(2).padStart(16, "0")).join("");
}

const label = fc.constantFrom("a", "b", "ab", "corp", "A", "10", "x-1");
const top = fc.constantFrom("test", "example", "TEST");
const name = fc.tuple(fc.array(label, { maxLength: 3 }), top).map(([labels, last]) => [...labels, last].join("."));
const octet = fc.constantFrom(0, 1, 10, 127, 128, 255);
const ipv4 = fc.tuple(octet, octet, octet, octet).map((octets) => octets.join("."));
const ipv6 = fc
  .tuple(fc.constantFrom("2001:db8", "fe80", "2001:db9", ""), fc.constantFrom("1", "1:0:1", "ffff:a01:203", ""))
  .map(([start, end]) => `${start}::${end}`);
const piece = fc.constantFrom("*", "a", "b*", "*b", "corp", "*a*b*");
const entryHost = fc.oneof(
  name,
  name.map((text) => `.${text}`),
  name.map((text) => `*.${text}`),
  fc.tuple(piece, fc.constantFrom(".", ""), name).map((parts) => parts.join("")),
  name.map((text) => `${text.slice(0, 2)}*`),
  ipv4,
  fc.tuple(ipv4, fc.nat(3)).map(
    ([text, count]) =>
      `${text
        .split(".")
        .slice(0, count + 1)
        .join(".")}.*`,
  ),
  fc.constantFrom("*", "*.1.*.1", "1*.0.0.1", "*.255"),
);
const port = fc.constantFrom(80, 443, 8080);
const entry = fc.oneof(
  { weight: 4, arbitrary: entryHost },
  fc.tuple(entryHost, port).map((parts) => parts.join(":")),
  ipv6,
  fc.tuple(ipv6, port).map(([address, number]) => `[${address}]:${number}`),
  fc.tuple(ipv4, fc.nat(32)).map((parts) => parts.join("/")),
  fc.tuple(ipv6, fc.nat(128)).map((parts) => parts.join("/")),
  fc.constantFrom("10/8", "169.254/16", "127/7", "<local>"),
);
const host = fc.oneof(
  name,
  name.map((text) => `${text}.`),
  label.filter((text) => /[a-z]/i.test(text)),
  ipv4,
  ipv6,
  ipv4.map((text) => `::ffff:${text}`),
);

/** An address of IPv4-mapped form, in the form that the model reads. */
const plainHost = (text: string) => text.replace(/^::ffff:(?=[0-9]+\.)/, "");

test("a list matches a host when one of its entries does in the simplest of ways, and gives such an entry", () => {
  let matched = 0;
  fc.assert(
    fc.property(
      fc.array(entry, { minLength: 1, maxLength: 8 }),
      host,
      port,
      fc.record({ strictDot: fc.boolean(), exactNames: fc.boolean() }),
      (entries, asked, number, options) => {
        const list = ExclusionList.parse(entries.join(","), options);
        const valid = entries.filter((text) => !list.problems.some((problem) => problem.entry === text));
        const expected = valid.filter((text) => matches(text, plainHost(asked), number, options));
        const found = list.match(asked, number);
        if (expected.length === 0) expect(found).toBeNull();
        else expect(expected).toContain(found);
        if (found !== null) matched++;
      },
    ),
    { seed: SEED, numRuns: 5000 },
  );
  expect(matched).toBeGreaterThan(500);
});

test("entries of the known forms hold", () => {
  fc.assert(
    fc.property(entry, (text) => {
      // No address has more than four parts.
      fc.pre(!/^(?:[0-9]+\.){4}\*/.test(text));
      expect(ExclusionList.parse(text).problems).toEqual([]);
    }),
    { seed: SEED, numRuns: 5000 },
  );
});

test("any text is read, whatever is in it, and any host is looked up", () => {
  const odd = fc.string({ unit: fc.constantFrom(..."a1.:*/[]%<>-@ ,;\tüxn\0０。_f"), maxLength: 40 });
  const text = fc.oneof(odd, fc.string({ unit: "binary", maxLength: 40 }));
  fc.assert(
    fc.property(text, text, fc.nat(0xffff), (list, asked, number) => {
      const { size, problems } = ExclusionList.parse(list);
      expect(size + problems.length).toBe(list.split(/[\s,;]+/).filter((part) => part !== "").length);
      ExclusionList.parse(list).match(asked, number);
    }),
    { seed: SEED, numRuns: 5000 },
  );
});
