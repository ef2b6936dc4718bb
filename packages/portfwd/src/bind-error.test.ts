import { describe, expect, test } from "vitest";
import { BindError } from "./bind-error.ts";

function message(host: string, port: number, code: string, platform: NodeJS.Platform = "linux"): string {
  const error = Object.assign(new Error("listen"), { code });
  return new BindError({ host, port }, error, platform).message;
}

describe("a failure to listen", () => {
  test.each([
    ["EADDRINUSE", "listen tcp 127.0.0.1:8080: bind: address already in use"],
    ["EADDRNOTAVAIL", "listen tcp 127.0.0.1:8080: bind: cannot assign requested address"],
    ["EACCES", "listen tcp 127.0.0.1:8080: bind: permission denied"],
  ])("with %s is said as Go says it", (code, expected) => {
    expect(message("127.0.0.1", 8080, code)).toBe(expected);
  });

  test("writes an IPv6 address in brackets", () => {
    expect(message("::1", 8080, "EADDRINUSE")).toBe("listen tcp [::1]:8080: bind: address already in use");
  });

  test("for lack of permission says what to do about a port below 1024", () => {
    expect(message("0.0.0.0", 80, "EACCES")).toBe(
      "listen tcp 0.0.0.0:80: bind: permission denied (ports below 1024 are for root: choose a port from 1024 on, " +
        'lower the first port for everybody with "sysctl -w net.ipv4.ip_unprivileged_port_start=80", or give the node ' +
        "that runs hostd the capability CAP_NET_BIND_SERVICE)",
    );
    expect(message("0.0.0.0", 80, "EACCES", "darwin")).toBe(
      "listen tcp 0.0.0.0:80: bind: permission denied (ports below 1024 are for root: choose a port from 1024 on)",
    );
    expect(message("0.0.0.0", 80, "EADDRINUSE")).not.toContain("1024");
  });

  test("of another kind is said in the system's words", () => {
    const unsupported = Object.assign(new Error("listen EAFNOSUPPORT"), { code: "EAFNOSUPPORT", errno: -97 });
    const error = new BindError({ host: "::1", port: 80 }, unsupported);
    expect(error.message).toBe("listen tcp [::1]:80: bind: address family not supported");
    expect(error).toMatchObject({ name: "BindError", code: "EAFNOSUPPORT", cause: unsupported });
    expect(new BindError({ host: "::1", port: 80 }, new Error("no reason")).message).toContain("bind: no reason");
  });
});
