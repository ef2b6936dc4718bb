import { expect, test } from "vitest";
import { canonicalHost, isEveryHost } from "./host-address.ts";

test.each([
  ["", ""],
  ["127.0.0.1", "127.0.0.1"],
  ["0:0:0:0:0:0:0:0", "::"],
  ["0:0::1", "::1"],
  ["2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
  ["fe80::1%lo", "fe80::1"],
  ["::FFFF:127.0.0.1", "127.0.0.1"],
  ["::ffff:7f00:1", "127.0.0.1"],
  ["::127.0.0.1", "::127.0.0.1"],
  ["64:ff9b::127.0.0.1", "64:ff9b::7f00:1"],
  ["localhost", "localhost"],
  ["::1::", "::1::"],
])("%j is written as %j", (host, canonical) => {
  expect(canonicalHost(host)).toBe(canonical);
});

test("every address is that of a family or of both", () => {
  const hosts = ["", "::", "0.0.0.0", "::1", "127.0.0.1", "0.0.0.1"];
  expect(hosts.filter(isEveryHost)).toEqual(["", "::", "0.0.0.0"]);
});
