import { expect, test } from "vitest";
import { formatServerAddress, parseServerAddress } from "./server-address.ts";

test.each([
  ["192.0.2.53", { address: "192.0.2.53", family: 4, port: 53 }, "192.0.2.53"],
  ["192.0.2.53:5353", { address: "192.0.2.53", family: 4, port: 5353 }, "192.0.2.53:5353"],
  ["2001:db8::53", { address: "2001:db8::53", family: 6, port: 53 }, "2001:db8::53"],
  ["[2001:db8::53]", { address: "2001:db8::53", family: 6, port: 53 }, "2001:db8::53"],
  ["[2001:db8::53]:5353", { address: "2001:db8::53", family: 6, port: 5353 }, "[2001:db8::53]:5353"],
  ["fe80::1%eth0", { address: "fe80::1%eth0", family: 6, port: 53 }, "fe80::1%eth0"],
] as const)("%s is an address", (text, address, formatted) => {
  expect(parseServerAddress(text)).toEqual(address);
  expect(formatServerAddress(address)).toBe(formatted);
});

test.each([
  "",
  "dns.example",
  "192.0.2",
  "192.0.2.53:0",
  "192.0.2.53:65536",
  "192.0.2.53:",
  "[192.0.2.53]:53",
  "[::1",
  "::1]:53",
  "[]:53",
])("%j is none", (text) => {
  expect(() => parseServerAddress(text)).toThrow(RangeError);
  expect(() => parseServerAddress(text)).toThrow(
    `${JSON.stringify(text)} is not the address of a name server: IPV4, IPV4:PORT, IPV6 or [IPV6]:PORT`,
  );
});
