import { describe, expect, test } from "vitest";
import { ForbiddenPaths } from "./forbidden-paths.ts";

describe("forbidden paths", () => {
  const paths = new ForbiddenPaths(["/var/run/docker.sock", "/mnt/host/"]);

  test.each([
    ["/run/docker.sock", "/run/docker.sock"],
    ["/var/run/docker.sock", "/run/docker.sock"],
    ["/var//run/./docker.sock/", "/run/docker.sock"],
    ["/etc/../run/docker.sock", "/run/docker.sock"],
    ["/run", "/run/docker.sock"],
    ["/", "/run/docker.sock"],
    ["//", "/run/docker.sock"],
    ["/mnt/host", "/mnt/host"],
    ["/mnt/host/users/me", "/mnt/host"],
    ["/mnt", "/mnt/host"],
    ["/proc/1/root/anything", "/run/docker.sock"],
    ["/proc/self/cwd", "/run/docker.sock"],
  ])("are had with %s", (path, forbidden) => {
    expect(paths.findIn(path)).toBe(forbidden);
  });

  test.each([
    "/etc",
    "/run/docker.socket",
    "/mnt/hosts",
    "/var/runs",
    "/proc",
    "/proc/sys/net",
    "/srv/run/docker.sock",
  ])("are not had with %s", (path) => {
    expect(paths.findIn(path)).toBeNull();
  });

  test("may be none", () => {
    const none = new ForbiddenPaths([]);
    expect(none.isEmpty).toBe(true);
    expect(none.findIn("/")).toBeNull();
    expect(none.findIn("/proc/1/root")).toBeNull();
  });

  test("may be all", () => {
    expect(new ForbiddenPaths(["/"]).findIn("/home")).toBe("/");
  });
});
