import { describe, expect, it } from "vitest";
import { atoi, GoAddressError, listenPort, splitHostPort } from "./go-net.ts";

describe("an address and a port as Go cuts them", () => {
  it.each([
    ["127.0.0.1:80", { host: "127.0.0.1", port: "80" }],
    [":80", { host: "", port: "80" }],
    [":", { host: "", port: "" }],
    ["localhost:http", { host: "localhost", port: "http" }],
    ["[::1]:80", { host: "::1", port: "80" }],
    ["[::1%lo]:80", { host: "::1%lo", port: "80" }],
    ["[a]:", { host: "a", port: "" }],
  ])("cuts %s", (text, parts) => {
    expect(splitHostPort(text)).toEqual(parts);
  });

  it.each([
    ["", "missing port in address"],
    ["1.2.3.4", "address 1.2.3.4: missing port in address"],
    ["@", "address @: missing port in address"],
    ["::1:80", "address ::1:80: too many colons in address"],
    ["::1]:80", "address ::1]:80: too many colons in address"],
    ["[::1:80", "address [::1:80: missing ']' in address"],
    ["[::1]", "address [::1]: missing port in address"],
    ["[::1]80", "address [::1]80: missing port in address"],
    ["[a]:1:2", "address [a]:1:2: too many colons in address"],
    ["a[b:80", "address a[b:80: unexpected '[' in address"],
    ["a]b:80", "address a]b:80: unexpected ']' in address"],
    ["[a[b]:80", "address [a[b]:80: unexpected '[' in address"],
  ])("refuses %s", (text, message) => {
    expect(() => splitHostPort(text)).toThrow(new GoAddressError(message));
  });

  it("reads numbers with signs and zeros", () => {
    expect([atoi("080"), atoi("+8"), atoi("-0008"), atoi("9223372036854775807")]).toEqual([8 * 10, 8, -8, 2 ** 63]);
  });

  it.each([
    ["", 'strconv.Atoi: parsing "": invalid syntax'],
    ["x", 'strconv.Atoi: parsing "x": invalid syntax'],
    ["1 ", 'strconv.Atoi: parsing "1 ": invalid syntax'],
    ["0x10", 'strconv.Atoi: parsing "0x10": invalid syntax'],
    ['"\n', 'strconv.Atoi: parsing "\\"\\n": invalid syntax'],
    ["9223372036854775808", 'strconv.Atoi: parsing "9223372036854775808": value out of range'],
  ])("refuses the number %j", (text, message) => {
    expect(() => atoi(text)).toThrow(new GoAddressError(message));
  });

  it("reads ports to listen on", () => {
    expect(["", "0", "080", "+80", "65535"].map((text) => listenPort("tcp", text))).toEqual([0, 0, 80, 80, 65_535]);
  });

  it.each([
    ["http", "lookup udp/http: unknown port"],
    ["65536", "address 65536: invalid port"],
    ["-1", "address -1: invalid port"],
  ])("refuses the port %s", (text, message) => {
    expect(() => listenPort("udp", text)).toThrow(new GoAddressError(message));
  });
});
