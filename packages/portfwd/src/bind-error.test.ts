import { describe, expect, test } from "vitest";
import { BindError, type BindErrorDetails } from "./bind-error.ts";

function message(host: string, port: number, code: string, platform: NodeJS.Platform = "linux"): string {
  const error = Object.assign(new Error("listen"), { code });
  return new BindError({ protocol: "tcp", listen: { host, port } }, error, { platform }).message;
}

describe("a failure to listen", () => {
  test.each([
    ["EADDRINUSE", "listen tcp 127.0.0.1:8080: bind: address already in use"],
    ["EADDRNOTAVAIL", "listen tcp 127.0.0.1:8080: bind: cannot assign requested address"],
    ["EACCES", "listen tcp 127.0.0.1:8080: bind: permission denied"],
  ])("with %s is said as Go says it", (code, expected) => {
    expect(message("127.0.0.1", 8080, code)).toBe(expected);
  });

  test("writes an IPv6 address in brackets, and every address as none", () => {
    expect(message("::1", 8080, "EADDRINUSE")).toBe("listen tcp [::1]:8080: bind: address already in use");
    expect(message("", 8080, "EADDRINUSE")).toBe("listen tcp :8080: bind: address already in use");
  });

  test("names UDP, and a Unix socket by its path", () => {
    const error = Object.assign(new Error("listen"), { code: "EADDRINUSE" });
    const udp = new BindError({ protocol: "udp", listen: { host: "0.0.0.0", port: 53 } }, error);
    expect(udp.message).toBe("listen udp 0.0.0.0:53: bind: address already in use");
    const unix = new BindError({ protocol: "tcp", listen: { path: "/run/a.sock" } }, { ...error, code: "EACCES" });
    expect(unix.message).toBe("listen unix /run/a.sock: bind: permission denied");
  });

  test("for lack of permission says what to do about a port below 1024", () => {
    expect(message("0.0.0.0", 80, "EACCES")).toBe(
      "listen tcp 0.0.0.0:80: bind: permission denied (ports below 1024 are for root: choose a port from 1024 on, " +
        'lower the first port for everybody with "sysctl -w net.ipv4.ip_unprivileged_port_start=80", give the node ' +
        "that runs hostd the capability CAP_NET_BIND_SERVICE, or have systemd listen and pass the socket on)",
    );
    expect(message("0.0.0.0", 80, "EACCES", "darwin")).toBe(
      "listen tcp 0.0.0.0:80: bind: permission denied (ports below 1024 are for root: choose a port from 1024 on)",
    );
    expect(message("0.0.0.0", 80, "EADDRINUSE")).not.toContain("1024");
  });

  test("says who holds the address, and tells what Go says by itself", () => {
    const details: BindErrorDetails = { holder: "nginx (process 1234)", platform: "linux" };
    const cause = Object.assign(new Error("listen"), { code: "EADDRINUSE" });
    const error = new BindError({ protocol: "tcp", listen: { host: "0.0.0.0", port: 80 } }, cause, details);
    expect(error.goMessage).toBe("listen tcp 0.0.0.0:80: bind: address already in use");
    expect(error.message).toBe(`${error.goMessage} (held by nginx (process 1234))`);
    expect(error.reason).toBe("address already in use");
  });

  test("of another kind is said in the system's words", () => {
    const unsupported = Object.assign(new Error("listen EAFNOSUPPORT"), { code: "EAFNOSUPPORT", errno: -97 });
    const at = { protocol: "tcp", listen: { host: "::1", port: 80 } } as const;
    const error = new BindError(at, unsupported);
    expect(error.message).toBe("listen tcp [::1]:80: bind: address family not supported");
    expect(error).toMatchObject({ name: "BindError", code: "EAFNOSUPPORT", cause: unsupported });
    expect(new BindError(at, new Error("no reason")).message).toContain("bind: no reason");
  });
});
