import { parseIpv4 } from "@hostd/stack";
import { describe, expect, it } from "vitest";
import { readGoJson } from "../gvproxy/go-json.ts";
import { formatPort, listPort, type Port, PortError, portType, ruleOf } from "./port.ts";

const NETWORK = { gateway: parseIpv4("192.168.65.1"), host: parseIpv4("192.168.65.254") };
const read = (port: Partial<Port>): Port => readGoJson(portType, Buffer.from(JSON.stringify(port)));
const tcp = (port: Partial<Port>): Port =>
  read({ proto: "tcp", out_ip: "127.0.0.1", out_port: 80, in_port: 80, ...port });

describe("a port of vpnkit's API", () => {
  it.each([
    [
      { proto: "tcp", out_ip: "127.0.0.1", out_port: 8080, in_ip: "172.17.0.2", in_port: 80 },
      "tcp forward from 127.0.0.1:8080 to 172.17.0.2:80",
    ],
    [{ proto: "udp", out_port: 53, in_port: 53 }, "udp forward from <nil>:53 to <nil>:53"],
    [{ proto: "tcp", out_ip: "::1", annotation: "for web" }, "for web tcp forward from ::1:0 to <nil>:0"],
    [
      { proto: "unix", out_path: "/run/a.sock", in_path: "/run/b.sock" },
      "unix forward from /run/a.sock to /run/b.sock",
    ],
  ])("is known as vpnkit writes it: %j", (port, name) => {
    expect(formatPort(read(port))).toBe(name);
  });

  it("is read with addresses in one form, and listed without what is not given", () => {
    const port = read({ proto: "tcp", out_ip: "::FFFF:127.0.0.1", in_ip: "0:0:0:0:0:0:0:1", in_port: 80 });
    expect(listPort(port)).toEqual({ proto: "tcp", out_ip: "127.0.0.1", in_ip: "::1", in_port: 80 });
  });

  it.each(["", "127.0.0.1", "127.9.9.9", "0.0.0.0", "::", "::1"])("leads to the VM itself with in_ip %j", (address) => {
    expect(ruleOf(tcp({ in_ip: address }), NETWORK).to).toEqual({ address: null, port: 80 });
  });

  it("leads to an address behind the VM", () => {
    const port = tcp({ proto: "udp", out_ip: "", in_ip: "172.17.0.2" });
    expect(ruleOf(port, NETWORK)).toEqual({
      protocol: "udp",
      listen: { host: "", port: 80 },
      to: { address: parseIpv4("172.17.0.2"), port: 80 },
    });
  });

  it.each([
    [{ in_port: 0 }, "in_port is missing: the port in the VM, from 1 to 65535"],
    [{ in_ip: "fe80::1" }, "in_ip fe80::1: only IPv4 is supported in the VM"],
    [{ in_ip: "192.168.65.1" }, "in_ip: 192.168.65.1 is an address of the gateway, not of a guest"],
    [{ in_ip: "224.0.0.1" }, "in_ip: no guest has the address 224.0.0.1"],
  ])("refuses %j", (port, message) => {
    expect(() => ruleOf(tcp(port), NETWORK)).toThrow(new PortError(message));
  });
});
