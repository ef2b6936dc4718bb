import { describe, expect, test } from "vitest";
import { mayHijack, parseApiPath, readApiCall } from "./api-path.ts";

describe("a target", () => {
  test.each([
    ["/containers/json", null, false, ["containers", "json"], ""],
    ["/v1.44/containers/create?name=web&platform=", "1.44", false, ["containers", "create"], "name=web&platform="],
    ["/v5.0.0/libpod/containers/create", "5.0.0", true, ["containers", "create"], ""],
    ["/v1.40+/_ping", "1.40+", false, ["_ping"], ""],
    ["/libpod/info", null, true, ["info"], ""],
    ["http://docker/v1.44/info?a=b", "1.44", false, ["info"], "a=b"],
    ["tcp://192.168.65.3:2375/info", null, false, ["info"], ""],
    ["//v1.44//containers///web/start/", "1.44", false, ["containers", "web", "start"], ""],
    ["/v1.44/containers/./a/../web/start", "1.44", false, ["containers", "web", "start"], ""],
    ["/../../info", null, false, ["info"], ""],
    ["/v1.44/containers/%63re%61te", "1.44", false, ["containers", "create"], ""],
    ["/containers%2Fcreate", null, false, ["containers", "create"], ""],
    ["/%761.44/info", "1.44", false, ["info"], ""],
    ["/containers/%C3%A9/start", null, false, ["containers", "\u00e9", "start"], ""],
    ["/containers/\u00c3\u00a9/start", null, false, ["containers", "\u00e9", "start"], ""],
    ["/volumes/v1.44", null, false, ["volumes", "v1.44"], ""],
    ["/version", null, false, ["version"], ""],
    ["/", null, false, [], ""],
    ["/info?a?b=/v1.44/%zz", null, false, ["info"], "a%3Fb=%2Fv1.44%2F%25zz"],
  ])("%s is taken apart", (target, version, isLibpod, segments, query) => {
    const path = parseApiPath(target);
    expect(path).toMatchObject({ version, isLibpod, segments });
    expect(path?.query.toString()).toBe(query);
  });

  test.each(["*", "", "info", "http://docker", "docker:80", "/containers/%zz/start", "/info%2", "?a=b"])(
    "%j has no path",
    (target) => {
      expect(parseApiPath(target)).toBeNull();
    },
  );
});

describe("a call", () => {
  test.each([
    ["POST", "/v1.44/containers/create?name=web", { kind: "create" }],
    ["POST", "/libpod/containers/create", { kind: "create", path: { isLibpod: true } }],
    ["POST", "/v1.44/containers/web/start", { kind: "start", container: "web" }],
    ["POST", "/containers/4f5e/restart?t=5", { kind: "restart", container: "4f5e" }],
    ["POST", "/containers/web/attach?stream=1", { kind: "attach", container: "web" }],
    ["POST", "/containers/web/db/start", { kind: "start", container: "web/db" }],
    ["POST", "/containers/start/start", { kind: "start", container: "start" }],
    ["POST", "/v1.44/exec/4f5e/start", { kind: "execStart", exec: "4f5e" }],
    ["POST", "/v5.0.0/libpod/exec/4f5e/start", { kind: "execStart", exec: "4f5e" }],
    ["POST", "http://d//v1.44/%63ontainers/web/start", { kind: "start", container: "web" }],
  ])("%s %s is read", (method, target, call) => {
    expect(readApiCall(method, target)).toMatchObject(call);
  });

  test.each([
    ["GET", "/containers/web/start"],
    ["post", "/containers/web/start"],
    ["POST", "/containers/start"],
    ["POST", "/containers/create/x"],
    ["POST", "/containers/web/stop"],
    ["POST", "/images/create"],
    ["POST", "/networks/create"],
    ["POST", "/exec/start"],
    ["POST", "/v1.44/v1.44/containers/create"],
    ["POST", "/containers/web/start%zz"],
    ["OPTIONS", "*"],
  ])("%s %s is none that is acted on", (method, target) => {
    expect(readApiCall(method, target)).toBeNull();
  });
});

describe("an answer may become a stream", () => {
  test.each([
    ["POST", "/v1.44/containers/web/attach?stdin=1", true],
    ["POST", "/v1.44/exec/4f5e/start", true],
    ["POST", "/session", true],
    ["POST", "/v1.44/grpc", true],
    ["GET", "/containers/web/attach/ws?stream=1", true],
    ["POST", "/v5.0.0/libpod/containers/web/attach", true],
    ["GET", "/containers/web/attach", false],
    ["GET", "/containers/attach/ws", false],
    ["POST", "/containers/web/attach/ws", false],
    ["GET", "/session", false],
    ["POST", "/session/x", false],
    ["POST", "/build", false],
    ["POST", "/containers/create", false],
    ["GET", "/events", false],
    ["OPTIONS", "*", false],
  ])("%s %s: %s", (method, target, expected) => {
    expect(mayHijack(method, target)).toBe(expected);
  });
});
