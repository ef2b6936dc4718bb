import { expect, test } from "vitest";
import { canonicalAddress, formatAddress, overlap } from "./host-address.ts";

test.each([
  ["127.0.0.1", "127.0.0.1", true],
  ["127.0.0.1", "127.0.0.2", false],
  ["0.0.0.0", "127.0.0.1", true],
  ["0.0.0.0", "::1", false],
  ["0.0.0.0", "::", false],
  ["::", "::1", true],
  ["", "127.0.0.1", true],
  ["", "::1", true],
])("sockets on %j and %j are in each other's way: %s", (one, other, expected) => {
  expect(overlap(one, other)).toBe(expected);
  expect(overlap(other, one)).toBe(expected);
});

test.each([
  ["::0001", "::1"],
  ["FE80::A", "fe80::a"],
  ["10.0.0.1", "10.0.0.1"],
  ["", ""],
  ["localhost", ""],
])("%j is written %j", (address, expected) => {
  expect(canonicalAddress(address)).toBe(expected);
});

test("an IPv6 address with a port is written in brackets", () => {
  expect(formatAddress("::1", 80)).toBe("[::1]:80");
  expect(formatAddress("127.0.0.1", 80)).toBe("127.0.0.1:80");
});
