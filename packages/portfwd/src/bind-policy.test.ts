import { describe, expect, test } from "vitest";
import { BindPolicy, type BindRange, BindRefusedError, formatBindRange } from "./bind-policy.ts";
import type { ForwardRule } from "./forward-rule.ts";

const ANY_PORT = { firstPort: 0, lastPort: 65_535 };
const EVERYTHING: BindRange = { address: null, ...ANY_PORT };
const TO = { address: null, port: 80 };

function range(address: string | null, firstPort = 0, lastPort = 65_535): BindRange {
  return { address, firstPort, lastPort };
}

function at(host: string, port = 8080, protocol: "tcp" | "udp" = "tcp"): ForwardRule {
  return { protocol, listen: { host, port }, to: TO };
}

/** What the policy of some ranges says to listening on an address. */
function allows(ranges: readonly BindRange[], host: string, port?: number): boolean {
  try {
    new BindPolicy({ host: ranges, guest: [] }).check(at(host, port), "host");
    return true;
  } catch (error) {
    if (error instanceof BindRefusedError) return false;
    throw error;
  }
}

describe("a range of", () => {
  test.each([
    ["every address", null, ["", "::", "0.0.0.0", "127.0.0.1", "::1", "fe80::1%lo"], []],
    ["one address", "127.0.0.1", ["127.0.0.1", "::ffff:127.0.0.1"], ["127.0.0.2", "0.0.0.0", "::", "", "::1"]],
    ["one IPv6 address", "::1", ["::1", "0:0:0:0:0:0:0:1"], ["::2", "::", "", "127.0.0.1", "0.0.0.1"]],
    ["a network", "10.0.0.0/8", ["10.0.0.0", "10.255.255.255"], ["9.255.255.255", "11.0.0.0", "0.0.0.0", "::", ""]],
    ["an IPv6 network", "fe80::/10", ["fe80::1", "fe80::1%lo", "FEBF::1"], ["fec0::1", "::", "", "10.0.0.1"]],
    ["every IPv4 address by name", "0.0.0.0", ["0.0.0.0"], ["::", "", "0::0", "127.0.0.1", "::1"]],
    ["every IPv4 address as a network", "0.0.0.0/0", ["0.0.0.0", "127.0.0.1"], ["::", "", "::1"]],
    ["every address of both families by name", "::", ["::", "0:0:0:0:0:0:0:0", "", "0.0.0.0"], ["::1", "127.0.0.1"]],
    ["every IPv6 address as a network", "::/0", ["::", "", "::1", "0.0.0.0"], []],
    ["a network that begins with every address", "::/64", ["::1"], ["::", "0::0", "", "0.0.0.0"]],
    ["loopback", "127.0.0.0/8", ["127.0.0.1"], ["0.0.0.0", "::ffff:0.0.0.0", "::ffff:10.0.0.1"]],
  ])("%s allows those and no other", (_name, address, allowed, refused) => {
    for (const host of allowed) expect([host, allows([range(address)], host)]).toEqual([host, true]);
    for (const host of refused) expect([host, allows([range(address)], host)]).toEqual([host, false]);
  });

  test("ports allows its first and last", () => {
    const ranges = [range("127.0.0.1", 8000, 8999)];
    const ports = [0, 80, 7999, 8000, 8999, 9000, 65_535];
    expect(ports.filter((port) => allows(ranges, "127.0.0.1", port))).toEqual([8000, 8999]);
    expect(allows([range(null, 1024, 65_535)], "::1", 1023)).toBe(false);
    // A port of the system's choice is allowed where any is.
    expect(allows([range(null)], "::1", 0)).toBe(true);
  });

  test("one of several is enough, with address and port in the same", () => {
    const ranges = [range("127.0.0.1", 80, 80), range("::1", 443, 443)];
    expect(allows(ranges, "127.0.0.1", 80)).toBe(true);
    expect(allows(ranges, "::1", 443)).toBe(true);
    expect(allows(ranges, "127.0.0.1", 443)).toBe(false);
  });
});

describe("a policy", () => {
  test("says what is allowed", () => {
    const ranges = [
      range("127.0.0.1", 1024, 65_535),
      range("::1", 80, 80),
      range(null, 8080, 8080),
      range("10.0.0.0/8"),
    ];
    const policy = new BindPolicy({ host: ranges, guest: [] });
    expect(() => policy.check(at("0.0.0.0", 80), "host")).toThrow(
      "listening on 0.0.0.0:80 is not allowed; allowed: 127.0.0.1:1024-65535, [::1]:80, any:8080, 10.0.0.0/8",
    );
    expect(() => policy.check(at("::1"), "guest")).toThrow("listening on [::1]:8080 is not allowed; allowed: nothing");
  });

  test("says of several ports why none of them is allowed", () => {
    const policy = new BindPolicy({
      host: [range("127.0.0.1", 8000, 8999), range("::", 80, 80)],
      guest: [range(null)],
    });
    const allowed = "is not allowed; allowed: 127.0.0.1:8000-8999, [::]:80";
    expect(policy.whyRefused("127.0.0.1", 7000, 7999)).toBe(`listening on 127.0.0.1:7000-7999 ${allowed}`);
    expect(policy.whyRefused("127.0.0.1", 9000, 9999)).toBe(`listening on 127.0.0.1:9000-9999 ${allowed}`);
    expect(policy.whyRefused("10.0.0.1", 0, 65_535)).toBe(`listening on 10.0.0.1 ${allowed}`);
    expect(policy.whyRefused("", 81, 81)).toBe(`listening on any:81 ${allowed}`);
    for (const [host, first, last] of [
      ["127.0.0.1", 7000, 8000],
      ["::ffff:127.0.0.1", 8999, 9999],
      ["127.0.0.1", 0, 65_535],
      ["", 80, 80],
      ["0.0.0.0", 1, 100],
    ] as const) {
      expect([host, policy.whyRefused(host, first, last)]).toEqual([host, null]);
    }
    expect(policy.whyRefused("localhost", 8000, 8000)).toBe("localhost:8000: not an IP address");
  });

  test.each(["localhost", "127.1", "0x7f.0.0.1", "1.2.3.4.5", "[::1]", "::1/128", "*", " "])(
    "refuses %j, which is no address and could become any",
    (host) => {
      const policy = new BindPolicy({ host: [EVERYTHING], guest: [EVERYTHING] });
      for (const requester of ["host", "guest"] as const) {
        expect(() => policy.check(at(host), requester)).toThrow(BindRefusedError);
      }
    },
  );

  test("holds for UDP as well", () => {
    const policy = new BindPolicy({ host: [range("127.0.0.1")], guest: [] });
    expect(() => policy.check(at("127.0.0.1", 53, "udp"), "host")).not.toThrow();
    expect(() => policy.check(at("0.0.0.0", 53, "udp"), "host")).toThrow(BindRefusedError);
  });

  test("has rules of its own for a guest, on top of those of the host", () => {
    const policy = new BindPolicy({ host: [range("127.0.0.0/8")], guest: [range(null, 1024, 65_535)] });
    expect(() => policy.check(at("127.0.0.1", 80), "host")).not.toThrow();
    expect(() => policy.check(at("127.0.0.1", 80), "guest")).toThrow(
      "listening on 127.0.0.1:80 is not allowed; allowed: any:1024-65535",
    );
    expect(() => policy.check(at("127.0.0.1", 8080), "guest")).not.toThrow();
    expect(() => policy.check(at("0.0.0.0", 8080), "guest")).toThrow(
      "listening on 0.0.0.0:8080 is not allowed; allowed: 127.0.0.0/8",
    );
  });

  test("lets a guest have neither Unix sockets nor SSH keys of the host, which the host's user may have", () => {
    const policy = new BindPolicy({ host: [EVERYTHING], guest: [EVERYTHING] });
    const socket: ForwardRule = { protocol: "tcp", listen: { path: "/run/web.sock" }, to: TO };
    const server = { address: null, port: 22 };
    const to = { server, user: "core", path: "/run/podman.sock", identity: "/home/me/.ssh/key" };
    const tunnel: ForwardRule = { protocol: "tcp", listen: { host: "127.0.0.1", port: 8080 }, to };
    expect(() => policy.check(socket, "guest")).toThrow(
      "unix:///run/web.sock: a guest may not have sockets of this host's files",
    );
    expect(() => policy.check(tunnel, "guest")).toThrow("a guest may not use SSH keys of this host");
    for (const rule of [socket, tunnel]) expect(() => policy.check(rule, "host")).not.toThrow();
  });
});

test("a range is written as it is configured", () => {
  const ranges = [
    range(null),
    range("::1"),
    range("::1", 80, 80),
    range("10.0.0.0/8", 1, 2),
    range(null, 1024, 65_535),
  ];
  expect(ranges.map(formatBindRange)).toEqual(["any", "[::1]", "[::1]:80", "10.0.0.0/8:1-2", "any:1024-65535"]);
});
