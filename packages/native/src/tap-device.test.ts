import { execFile, execFileSync } from "node:child_process";
import { closeSync, fstatSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import type { SystemCalls } from "./system-calls.ts";
import { openTapDevice } from "./tap-device.ts";

const run = promisify(execFile);
/** For tests with fake calls: a device that is there and may be opened. */
const linux = { platform: "linux", cloneDevice: "/dev/null" } as const;

/** Opens "tap0" and exchanges one frame with the kernel: an ARP request for the address of the interface. */
const ARP_PROGRAM = `
  import { execFileSync } from "node:child_process";
  import { readSync, writeSync } from "node:fs";
  import { openTapDevice } from ${JSON.stringify(join(import.meta.dirname, "tap-device.ts"))};
  const opened = openTapDevice("tap0");
  if (opened.descriptor === null) {
    console.log(JSON.stringify(opened));
    process.exit();
  }
  const ip = (...args) => execFileSync("ip", args);
  // Without an address of IPv6 the kernel says nothing of its own accord. Together with "up" this would come too late: the
  // kernel takes the device up first, and may have joined the address's multicast group by then.
  ip("link", "set", "tap0", "address", "02:00:00:00:00:01", "addrgenmode", "none");
  ip("link", "set", "tap0", "up");
  ip("address", "add", "192.0.2.1/24", "dev", "tap0");
  const ethernet = "ffffffffffff" + "020000000002" + "0806";
  const request = "0001080006040001" + "020000000002" + "c0000202" + "000000000000" + "c0000201";
  writeSync(opened.descriptor, Buffer.from(ethernet + request, "hex"));
  const frame = Buffer.alloc(2000);
  const length = readSync(opened.descriptor, frame);
  console.log(JSON.stringify({ frame: frame.toString("hex", 0, length), again: openTapDevice("tap0") }));
`;

/** How to run a program in a network namespace of its own; null when not permitted. */
function namespaceCommand(): string[] | null {
  for (const flags of ["-n", "-rn"]) {
    try {
      execFileSync("unshare", [flags, "true"], { stdio: "ignore" });
      return ["unshare", flags];
    } catch {
      // Not permitted with these flags.
    }
  }
  return null;
}

interface Made {
  readonly descriptor: number;
  readonly request: number;
  readonly argument: Uint8Array;
}

function fakeCalls(result: { ioctl: number; errno: number }, made: Made[] = []): SystemCalls {
  return {
    socket: () => -1,
    fcntl: () => -1,
    ioctl: (descriptor, request, argument) => {
      made.push({ descriptor, request, argument: argument.slice() });
      return result.ioctl;
    },
    setsockopt: () => -1,
    errno: () => result.errno,
  };
}

describe("openTapDevice", () => {
  test("exchanges frames with the kernel where it may, and says what is missing where not", async () => {
    const program = [process.execPath, "--input-type=module", "-e", ARP_PROGRAM];
    const [file = "", ...args] = [...(namespaceCommand() ?? []), ...program];
    const result = JSON.parse((await run(file, args)).stdout);
    if (result.descriptor === null) {
      expect(result.reason).toMatch(/^no TAP device: /);
      return;
    }
    const ethernet = "020000000002" + "020000000001" + "0806";
    const reply = "0001080006040002" + "020000000001" + "c0000201" + "020000000002" + "c0000202";
    expect(result.frame).toBe(ethernet + reply);
    expect(result.again).toEqual({
      descriptor: null,
      code: "EBUSY",
      reason: 'no TAP device: TUNSETIFF of "tap0" failed with EBUSY; another process has the device open',
    });
  });

  test("asks for frames without a header in front, by the name given", () => {
    const made: Made[] = [];
    const systemCalls = fakeCalls({ ioctl: 0, errno: 0 }, made);
    const { descriptor } = openTapDevice("tap-15-bytes-xy", { ...linux, systemCalls });
    if (descriptor === null) throw new Error("there is a descriptor");
    closeSync(descriptor);
    expect(made).toHaveLength(1);
    expect(made[0]).toMatchObject({ descriptor, request: 0x400454ca });
    const argument = Buffer.from(made[0]?.argument ?? []);
    expect(argument.toString("latin1", 0, 16)).toBe("tap-15-bytes-xy\0");
    expect(new Uint16Array(argument.buffer, argument.byteOffset)[8]).toBe(0x1002);
  });

  test("a refusal comes with its advice and leaves no descriptor behind", () => {
    const made: Made[] = [];
    const systemCalls = fakeCalls({ ioctl: -1, errno: 1 }, made);
    expect(openTapDevice("tap0", { ...linux, systemCalls })).toEqual({
      descriptor: null,
      code: "EPERM",
      reason:
        'no TAP device: TUNSETIFF of "tap0" failed with EPERM; ' +
        "it takes CAP_NET_ADMIN, or a device made for this user: ip tuntap add mode tap user NAME",
    });
    const [descriptor = -1] = made.map((call) => call.descriptor);
    expect(() => fstatSync(descriptor)).toThrow("EBADF");
  });

  test("without the kernel's driver the reason says how to load it", () => {
    const systemCalls = fakeCalls({ ioctl: 0, errno: 0 });
    const result = openTapDevice("tap0", { ...linux, systemCalls, cloneDevice: "/nonexistent/tun" });
    expect(result).toMatchObject({ descriptor: null, code: "ENOENT" });
    expect(result).toMatchObject({ reason: expect.stringMatching(/open of \/nonexistent\/tun .* modprobe tun$/) });
  });

  test("on another system, and without system calls, the reason says so", () => {
    expect(openTapDevice("tap0", { platform: "darwin" })).toEqual({
      descriptor: null,
      code: null,
      reason: "no TAP device: implemented for linux, this is darwin",
    });
    expect(openTapDevice("tap0", { platform: "linux", systemCalls: { reason: "no koffi" } })).toEqual({
      descriptor: null,
      code: null,
      reason: "no TAP device: no koffi",
    });
  });

  test.each(["", "sixteen-bytes-xy", "a/b", "a:b", "tap%d", "a b", "..", "tap\0"])("refuses the name %j", (name) => {
    expect(() => openTapDevice(name, linux)).toThrow(RangeError);
  });
});
