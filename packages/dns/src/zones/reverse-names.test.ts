import { parseIpv4 } from "@hostd/stack";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { canonicalAddress, reverseAddress } from "./reverse-names.ts";

const address = (name: string) => reverseAddress(name.split("."));

describe("the address of a name below in-addr.arpa", () => {
  test("has its labels from the right", () => {
    expect(address("4.3.2.1.in-addr.arpa")).toBe("1.2.3.4");
    expect(address("255.0.0.0.in-addr.arpa")).toBe("0.0.0.255");
  });

  test.each([
    "in-addr.arpa",
    "3.2.1.in-addr.arpa",
    "5.4.3.2.1.in-addr.arpa",
    "256.0.0.1.in-addr.arpa",
    "04.3.2.1.in-addr.arpa",
    "-1.3.2.1.in-addr.arpa",
    "+4.3.2.1.in-addr.arpa",
    "0x4.3.2.1.in-addr.arpa",
    "1e1.3.2.1.in-addr.arpa",
    "4\\046.3.2.1.in-addr.arpa",
    "4.3.2.1.in-addr.arpa.example",
    "4.3.2.1.in-addr",
    "4.3.2.1.ip6.arpa",
    "4.3.2.1.arpa",
    "arpa",
  ])("is none for %s", (name) => {
    expect(address(name)).toBeNull();
  });
});

describe("the address of a name below ip6.arpa", () => {
  const name = (digits: string) => `${digits.split("").reverse().join(".")}.ip6.arpa`;

  test("has its digits from the right", () => {
    // RFC 3596, section 2.5.
    expect(address("b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa")).toBe(
      "4321:0:1:2:3:4:567:89ab",
    );
    expect(address(name(`${"0".repeat(31)}1`))).toBe("::1");
    expect(address(name("0".repeat(32)))).toBe("::");
  });

  test("is none for other labels", () => {
    expect(address(name("0".repeat(31)))).toBeNull();
    expect(address(name("0".repeat(33)))).toBeNull();
    expect(address(name(`${"0".repeat(31)}g`))).toBeNull();
    expect(address(`00.${name("0".repeat(31))}`)).toBeNull();
    expect(address(name("0".repeat(32)).replace("ip6", "in-addr"))).toBeNull();
  });
});

test("an address has one form, however it is written", () => {
  expect(canonicalAddress(parseIpv4("192.168.65.254"))).toBe("192.168.65.254");
  expect(canonicalAddress("192.168.65.254")).toBe("192.168.65.254");
  for (const text of ["2001:DB8:0:0:0:0:0:1", "2001:db8::0.0.0.1", "2001:0db8::0001"]) {
    expect(canonicalAddress(text)).toBe("2001:db8::1");
  }
  // The longest run of zeros is shortened, the first of several (RFC 5952, 4.2.3), and one zero is not (4.2.2).
  expect(canonicalAddress("1:0:0:2:0:0:0:3")).toBe("1:0:0:2::3");
  expect(canonicalAddress("1:0:0:2:3:0:0:4")).toBe("1::2:3:0:0:4");
  expect(canonicalAddress("1:0:2:3:4:5:6:7")).toBe("1:0:2:3:4:5:6:7");
});

test("the name of every address stands for it", () => {
  fc.assert(
    fc.property(fc.ipV4(), (text) => {
      expect(address(`${text.split(".").reverse().join(".")}.in-addr.arpa`)).toBe(text);
    }),
    { seed: 1 },
  );
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 15 }), { minLength: 32, maxLength: 32 }), (digits) => {
      const hex = digits.map((digit) => digit.toString(16));
      const written = hex.join("").match(/.{4}/g) ?? [];
      expect(reverseAddress([...hex.toReversed(), "ip6", "arpa"])).toBe(canonicalAddress(written.join(":")));
    }),
    { seed: 1 },
  );
});
