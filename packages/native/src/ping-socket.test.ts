import { execFile, execFileSync } from "node:child_process";
import { closeSync, cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { openPingSocket } from "./ping-socket.ts";
import { loadSystemCalls, type SystemCalls } from "./system-calls.ts";

const sources = dirname(fileURLToPath(import.meta.url));
const run = promisify(execFile);

/** Sends one echo request to loopback through the socket, and prints the reply as hexadecimal or the refusal. */
const PING_PROGRAM = `
  import { createSocket } from "node:dgram";
  import { openPingSocket } from ${JSON.stringify(join(sources, "ping-socket.ts"))};
  const opened = openPingSocket();
  if (opened.descriptor === null) {
    console.log(JSON.stringify(opened));
  } else {
    const socket = createSocket("udp4");
    socket.bind({ fd: opened.descriptor });
    socket.on("message", (message, { address }) => {
      console.log(JSON.stringify({ address, message: message.toString("hex") }));
      socket.close();
    });
    const request = Buffer.concat([Buffer.from([8, 0, 0, 0, 0, 0, 0x12, 0x34]), Buffer.from("payload")]);
    socket.send(request, 1, "127.0.0.1");
  }
`;

/** How to run a program in a network namespace of its own where echo sockets are allowed; null when not permitted. */
function namespaceCommand(): string[] | null {
  const setup = 'ip link set lo up && echo "0 0" > /proc/sys/net/ipv4/ping_group_range && exec "$@"';
  for (const flags of ["-n", "-rn"]) {
    const command = ["unshare", flags, "sh", "-c", setup, "sh"];
    try {
      execFileSync(command[0], [...command.slice(1), "true"], { stdio: "ignore" });
      return command;
    } catch {
      // Not permitted with these flags.
    }
  }
  return null;
}

function fakeCalls(results: { socket: number; fcntl: number; errno: number }, made: unknown[]): SystemCalls {
  return {
    socket: (...args) => {
      made.push(["socket", ...args]);
      return results.socket;
    },
    fcntl: (...args) => {
      made.push(["fcntl", ...args]);
      return results.fcntl;
    },
    ioctl: () => -1,
    setsockopt: () => -1,
    errno: () => results.errno,
  };
}

describe("openPingSocket", () => {
  test("a ping of loopback is answered where the kernel allows it, and refused with the remedy where not", async () => {
    const direct = openPingSocket();
    if (direct.descriptor !== null) closeSync(direct.descriptor);
    const command = direct.descriptor === null ? namespaceCommand() : [];
    const program = [process.execPath, "--input-type=module", "-e", PING_PROGRAM];
    const [file, ...args] = [...(command ?? []), ...program];
    const result = JSON.parse((await run(file, args)).stdout);
    if (command === null) {
      expect(result).toEqual(direct);
      expect(direct).toMatchObject({ descriptor: null, code: expect.stringMatching(/^E/) });
    } else {
      expect(result.address).toBe("127.0.0.1");
      const icmp = result.message.slice(process.platform === "darwin" ? 40 : 0);
      expect(icmp).toMatch(/^0000.{8}1234/);
      expect(Buffer.from(icmp.slice(16), "hex").toString()).toBe("payload");
    }
  });

  test("where koffi is not installed the reason names it", async () => {
    const folder = mkdtempSync(join(tmpdir(), "hostd-native-"));
    try {
      cpSync(sources, folder, { recursive: true, filter: (path) => !path.endsWith(".test.ts") });
      writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
      const program =
        `import { openPingSocket } from ${JSON.stringify(join(folder, "index.ts"))};` +
        "console.log(JSON.stringify(openPingSocket()));";
      const { stdout } = await run(process.execPath, ["--input-type=module", "-e", program], {
        cwd: folder,
        // pnpm's launchers put every installed package on this path.
        env: { ...process.env, NODE_PATH: "" },
      });
      const result = JSON.parse(stdout);
      expect(result).toMatchObject({ descriptor: null, code: null });
      expect(result.reason).toMatch(/optional package "koffi" cannot be loaded \(Cannot find module 'koffi'\)/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test("EACCES comes with the sysctl that allows it", () => {
    const systemCalls = fakeCalls({ socket: -1, fcntl: 0, errno: 13 }, []);
    const result = openPingSocket({ systemCalls, platform: "linux" });
    expect(result).toMatchObject({ descriptor: null, code: "EACCES" });
    expect(result).toMatchObject({ reason: expect.stringContaining("net.ipv4.ping_group_range") });
  });

  test("another error is named and comes without that advice", () => {
    const systemCalls = fakeCalls({ socket: -1, fcntl: 0, errno: 24 }, []);
    const result = openPingSocket({ systemCalls, platform: "linux" });
    expect(result).toEqual({
      descriptor: null,
      code: "EMFILE",
      reason: "no ICMP echo socket: socket failed with EMFILE",
    });
  });

  test("Linux takes both flags with the socket call", () => {
    const made: unknown[] = [];
    const systemCalls = fakeCalls({ socket: 7, fcntl: 0, errno: 0 }, made);
    expect(openPingSocket({ systemCalls, platform: "linux" })).toEqual({ descriptor: 7 });
    expect(made).toEqual([["socket", 2, 2 | 0o4000 | 0o2000000, 1]]);
  });

  test("macOS takes them through fcntl", () => {
    const made: unknown[] = [];
    const systemCalls = fakeCalls({ socket: 7, fcntl: 0, errno: 0 }, made);
    expect(openPingSocket({ systemCalls, platform: "darwin" })).toEqual({ descriptor: 7 });
    expect(made).toEqual([
      ["socket", 2, 2, 1],
      ["fcntl", 7, 2, 1],
      ["fcntl", 7, 4, 4],
    ]);
  });
});

describe("loadSystemCalls", () => {
  test("the descriptor it opens is a real one, non-blocking and closed on exec", () => {
    const calls = loadSystemCalls();
    if ("reason" in calls) throw new Error(calls.reason);
    const F_GETFD = 1;
    const F_GETFL = 3;
    const nonBlocking = process.platform === "linux" ? 0o4000 : 4;
    const flags = process.platform === "linux" ? 0o4000 | 0o2000000 : 0;
    // A UDP socket, which needs no permission, shows that the flags mean what their names say.
    const descriptor = calls.socket(2, 2 | flags, 17);
    expect(descriptor).toBeGreaterThan(2);
    if (process.platform !== "linux") {
      calls.fcntl(descriptor, 2, 1);
      calls.fcntl(descriptor, 4, nonBlocking);
    }
    expect(calls.fcntl(descriptor, F_GETFD, 0)).toBe(1);
    expect(calls.fcntl(descriptor, F_GETFL, 0) & nonBlocking).toBe(nonBlocking);
  });
});
