import { describe, expect, it } from "vitest";
import { GoAddressError } from "./go-net.ts";
import { parseRemoteUri } from "./remote-uri.ts";

const NOTHING = { scheme: "", user: "", host: "", port: "", path: "" };

describe("the URL of a remote", () => {
  it.each([
    ["tcp://192.168.127.2:80", { ...NOTHING, scheme: "tcp", host: "192.168.127.2", port: "80" }],
    ["TCP://1.2.3.4:80/path", { ...NOTHING, scheme: "tcp", host: "1.2.3.4", port: "80", path: "/path" }],
    ["tcp://1.2.3.4", { ...NOTHING, scheme: "tcp", host: "1.2.3.4" }],
    ["tcp://[::1]:80", { ...NOTHING, scheme: "tcp", host: "::1", port: "80" }],
    ["tcp://1.2.3.4:1:2", { ...NOTHING, scheme: "tcp", host: "1.2.3.4:1", port: "2" }],
    ["tcp:1.2.3.4:80", { ...NOTHING, scheme: "tcp" }],
    ["/run/x.sock", { ...NOTHING, path: "/run/x.sock" }],
    ["x", { ...NOTHING, path: "x" }],
    ["a/b:c", { ...NOTHING, path: "a/b:c" }],
    ["", NOTHING],
    [
      "ssh-tunnel://core:secret@1.2.3.4:22/run/a%20b.sock?key=/k",
      { scheme: "ssh-tunnel", user: "core", host: "1.2.3.4", port: "22", path: "/run/a b.sock" },
    ],
  ])("reads %s", (text, parts) => {
    const { query: _, ...uri } = parseRemoteUri(text);
    expect(uri).toEqual(parts);
  });

  it("reads what stands in the query", () => {
    const { query } = parseRemoteUri("ssh-tunnel://core@1.2.3.4/x?key=/home/a%20b/key&passphrase=a%26b&secure=true");
    expect(Object.fromEntries(query)).toEqual({ key: "/home/a b/key", passphrase: "a&b", secure: "true" });
  });

  it.each([
    ["192.168.127.2:80", "first path segment in URL cannot contain colon"],
    [":x", "missing protocol scheme"],
    ["tcp://1.2.3.4:x", 'invalid port ":x" after host'],
    ["tcp://a b:1", 'invalid character " " in host name'],
    ["tcp://%zz:1", 'invalid URL escape "%zz"'],
    ["tcp://1.2.3.4/%4", 'invalid URL escape "%4"'],
  ])("refuses %s", (text, reason) => {
    expect(() => parseRemoteUri(text)).toThrow(
      new GoAddressError(`failed to parse remote uri :${text} : parse ${JSON.stringify(text)}: ${reason}`),
    );
  });
});
