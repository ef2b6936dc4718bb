import { parseIpv4 } from "@hostd/stack";
import { describe, expect, it } from "vitest";
import { formatEngine, readEngine } from "./engine.ts";

const address = parseIpv4("192.168.65.9");

describe("where an engine listens", () => {
  it.each([
    ["tcp://vm", { address: null, port: 2375 }, "tcp://vm:2375"],
    ["tcp://vm:2376", { address: null, port: 2376 }, "tcp://vm:2376"],
    ["tcp://192.168.65.9", { address, port: 2375 }, "tcp://192.168.65.9:2375"],
    ["unix:///run/docker.sock", { path: "/run/docker.sock" }, "unix:///run/docker.sock"],
    ["/run/docker.sock", { path: "/run/docker.sock" }, "unix:///run/docker.sock"],
  ])("is read of %s", (text, engine, written) => {
    expect(readEngine(text)).toEqual(engine);
    expect(formatEngine(engine)).toBe(written);
    expect(readEngine(written)).toEqual(engine);
  });

  it("may be a socket of the guest", () => {
    const text = "ssh://core@192.168.65.9:2222/run/docker.sock";
    const engine = readEngine(text);
    expect(engine).toEqual({ server: { address, port: 2222 }, user: "core", path: "/run/docker.sock" });
    expect(formatEngine({ ...engine, identity: "/key" } as Parameters<typeof formatEngine>[0])).toBe(text);
  });

  it.each([
    ["", ""],
    ["vm:2375", ""],
    ["https://vm", ""],
    ["tcp://vm:0", "the port is 0"],
    ["tcp://vm:x", 'the port is "x"'],
    ["tcp://127.0.0.1", "a VM is not reached at its loopback address: leave the address out"],
    ["unix://run", "the path is not absolute: three slashes follow unix:"],
    ["ssh://core@vm", "the path of the socket is missing"],
  ])("is not read of %j", (text, reason) => {
    expect(() => readEngine(text)).toThrow(expect.objectContaining({ name: "ValueError", message: reason }));
  });
});
