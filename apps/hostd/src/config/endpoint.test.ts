import { describe, expect, it } from "vitest";
import {
  type Endpoint,
  formatEndpoint,
  isLoopbackHost,
  qemuNetdev,
  readEndpoint,
  readUnixListener,
} from "./endpoint.ts";

describe("readEndpoint", () => {
  const cases: [string, Endpoint][] = [
    ["unix:///run/vm.sock", { mode: "listen", transport: "unix", path: "/run/vm.sock" }],
    ["dial+unix:///run/vm.sock", { mode: "dial", transport: "unix", path: "/run/vm.sock" }],
    ["tcp://127.0.0.1:5555", { mode: "listen", transport: "tcp", host: "127.0.0.1", port: 5555 }],
    ["tcp://[::1]:0", { mode: "listen", transport: "tcp", host: "::1", port: 0 }],
    ["tcp://localhost:5555", { mode: "listen", transport: "tcp", host: "localhost", port: 5555 }],
    ["dial+tcp://qemu.example:5555", { mode: "dial", transport: "tcp", host: "qemu.example", port: 5555 }],
  ];

  it.each(cases)("reads %s and writes it back", (text, endpoint) => {
    expect(readEndpoint(text)).toEqual(endpoint);
    expect(formatEndpoint(endpoint)).toBe(text);
  });

  it("takes a bare absolute path for a Unix socket to listen on", () => {
    expect(readEndpoint("/run/vm.sock")).toEqual({ mode: "listen", transport: "unix", path: "/run/vm.sock" });
  });

  it.each([
    ["vm.sock", ""],
    ["", ""],
    ["http://127.0.0.1:80", 'the scheme is "http"'],
    ["listen+unix:///run/vm.sock", 'the scheme is "listen+unix"'],
    ["unix:/run/vm.sock", "// is missing after the scheme"],
    ["unix://run/vm.sock", "the path is not absolute: three slashes follow unix:"],
    ["unix:///run/", "the path ends in a slash: name the socket, not its folder"],
    ["unix:///run/\0", "the path holds a NUL character"],
    ["tcp://127.0.0.1", "the port is missing"],
    ["tcp://::1:5555", "an IPv6 address needs [ ]"],
    ["tcp://[::g]:5555", '"::g" is not an IPv6 address'],
    ["tcp://127.0.0.1:65536", 'the port is "65536"'],
    ["tcp://127.0.0.1:", 'the port is ""'],
    ["tcp://127.0.0.1:0x50", 'the port is "0x50"'],
    ["tcp://qemu.example:5555", '"qemu.example" is not an IP address'],
    ["dial+tcp://256.1.1.1:5555", '"256.1.1.1" is not an IP address'],
    ["dial+tcp://127.0.0.1:0", "port 0 cannot be dialled"],
    ["tcp://:5555", "the address is missing: 127.0.0.1 is this machine only, 0.0.0.0 is every interface"],
  ])("refuses %j: %s", (text, reason) => {
    expect(() => readEndpoint(text)).toThrow(expect.objectContaining({ name: "ValueError", message: reason }));
  });

  it("refuses a path that does not fit a socket address, by its bytes", () => {
    const longest = process.platform === "linux" ? 107 : 103;
    const fitting = `/${"ü".repeat((longest - 1) / 2)}`;
    expect(readEndpoint(fitting)).toMatchObject({ path: fitting });
    expect(() => readEndpoint(`${fitting}x`)).toThrow(
      `the path has ${longest + 1} bytes; a Unix socket's has at most ${longest}`,
    );
  });
});

describe("readUnixListener", () => {
  it("takes a URL and a bare path", () => {
    expect(readUnixListener("unix:///run/api.sock")).toEqual({ transport: "unix", path: "/run/api.sock" });
    expect(readUnixListener("/run/api.sock")).toEqual({ transport: "unix", path: "/run/api.sock" });
  });

  it.each(["tcp://127.0.0.1:80", "api.sock", "unix://api.sock"])("refuses %s", (text) => {
    expect(() => readUnixListener(text)).toThrow(expect.objectContaining({ name: "ValueError" }));
  });
});

describe("isLoopbackHost", () => {
  it("knows the addresses only this machine reaches", () => {
    expect(["127.0.0.1", "127.9.9.9", "::1", "localhost"].filter(isLoopbackHost)).toHaveLength(4);
    expect(["0.0.0.0", "::", "10.0.0.1", "127.example", "localhost.example"].filter(isLoopbackHost)).toEqual([]);
  });
});

describe("qemuNetdev", () => {
  it("makes QEMU the other end", () => {
    expect(qemuNetdev(readEndpoint("/run/vm.sock"))).toBe(
      "stream,id=net0,server=off,addr.type=unix,addr.path=/run/vm.sock",
    );
    expect(qemuNetdev(readEndpoint("dial+tcp://[::1]:5555"))).toBe(
      "stream,id=net0,server=on,addr.type=inet,addr.host=::1,addr.port=5555",
    );
  });

  it("doubles a comma, at which QEMU would end the option", () => {
    expect(qemuNetdev(readEndpoint("/run/a,b.sock"))).toMatch(/addr\.path=\/run\/a,,b\.sock$/);
  });
});
