import { expect, test } from "vitest";
import { canonicalHost } from "./canonical-host.ts";

test.each([
  ["127.0.0.1", "127.0.0.1"],
  ["127.0.0.1.", "127.0.0.1"],
  ["127.1", "127.0.0.1"],
  ["2130706433", "127.0.0.1"],
  ["0x7F000001", "127.0.0.1"],
  ["0177.0.0.1", "127.0.0.1"],
  ["0", "0.0.0.0"],
  ["0x", "0.0.0.0"],
  ["10.0x10", "10.0.0.16"],
  ["::ffff:127.0.0.1", "::ffff:127.0.0.1"],
  ["www.example.com", "www.example.com"],
  ["127.0.0.1.example", "127.0.0.1.example"],
  ["1.example.1x", "1.example.1x"],
  ["x0x7f", "x0x7f"],
])("%s is %s", (host, canonical) => {
  expect(canonicalHost(host)).toBe(canonical);
});

test.each(["256.0.0.1", "1.2.3.4.5", "example.1", "4294967296", "1.2.3.0x1000", "09.0.0.1"])(
  "%s is nothing",
  (host) => {
    expect(canonicalHost(host)).toBeNull();
  },
);
