/** `hostd gvproxy` in a process of its own. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, watch } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { dialPort, EmbeddedGuest } from "@hostd/guest";
import { parseMac } from "@hostd/stack";
import { onTestFinished } from "vitest";

const COMMAND = fileURLToPath(new URL("../../../apps/hostd/bin/hostd.mjs", import.meta.url));

/** The MAC address of the VM that Podman starts. */
export const DEVICE_MAC = "5a:94:ef:e4:0c:ee";

/** How a process ended. */
export interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface GvproxyProcess {
  readonly pid: number;
  readonly stdout: Promise<string>;
  readonly stderr: Promise<string>;
  readonly ended: Promise<Ending>;
  kill(signal: NodeJS.Signals): void;
}

/** A folder for one test, with a program named gvproxy in it and a home of its own. */
export class GvproxyBench {
  readonly folder = mkdtempSync(join(tmpdir(), "hostd-gvproxy-"));
  readonly home = join(this.folder, "home");
  /** The program, as it would be in a folder of Podman's helpers. */
  readonly program = join(this.folder, "gvproxy");
  readonly #children = new Set<ChildProcess>();
  readonly #guests = new Set<EmbeddedGuest>();

  constructor() {
    mkdirSync(this.home);
    symlinkSync(COMMAND, this.program);
    onTestFinished(() => this.#close());
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** Starts the program; what it is given for input and output is closed when `stdio` says so. */
  start(args: readonly string[], { stdio = "pipe" }: { stdio?: "pipe" | "ignore" | "closed" } = {}): GvproxyProcess {
    const env = { PATH: `${dirname(process.execPath)}:${process.env.PATH}`, HOME: this.home };
    const options = { cwd: this.folder, env };
    const child =
      stdio === "closed"
        ? spawn("sh", ["-c", 'exec "$0" "$@" <&- >&- 2>&-', this.program, ...args], { ...options, stdio: "ignore" })
        : spawn(this.program, args, { ...options, stdio: ["ignore", stdio, stdio] });
    this.#children.add(child);
    const ended = once(child, "close").then(([code, signal]): Ending => ({ code, signal }));
    ended.then(() => this.#children.delete(child));
    return {
      pid: child.pid ?? 0,
      stdout: child.stdout === null ? Promise.resolve("") : text(child.stdout),
      stderr: child.stderr === null ? Promise.resolve("") : text(child.stderr),
      ended,
      kill: (signal) => void child.kill(signal),
    };
  }

  /** Starts the program and waits until VMs may attach at `socket`. */
  async serve(socket: string, args: readonly string[]): Promise<GvproxyProcess> {
    const running = this.start(["-listen-qemu", `unix://${socket}`, ...args]);
    await Promise.race([
      appeared(socket),
      Promise.all([running.ended, running.stderr]).then(([{ code }, stderr]) => {
        throw new Error(`gvproxy ended with code ${code}: ${stderr}`);
      }),
    ]);
    return running;
  }

  /** Attaches a VM to a socket that has just appeared. */
  async attach(socket: string, mac = DEVICE_MAC): Promise<EmbeddedGuest> {
    const port = await retryRefused(() => dialPort({ mode: "dial", transport: "unix", path: socket }));
    const guest = new EmbeddedGuest({ port, mac: parseMac(mac) });
    this.#guests.add(guest);
    return guest;
  }

  async #close(): Promise<void> {
    await Promise.all([...this.#guests].map((guest) => guest.kill()));
    const children = [...this.#children];
    for (const child of children) child.kill("SIGKILL");
    await Promise.all(children.map((child) => once(child, "close")));
    rmSync(this.folder, { recursive: true });
  }
}

/** Waits until there is a file at `path`. */
export async function appeared(path: string): Promise<void> {
  const folder = watch(dirname(path));
  try {
    while (!existsSync(path)) await once(folder, "change");
  } finally {
    folder.close();
  }
}

/** The file of a socket is there some microseconds before anybody listens: bind and listen are two calls. */
async function retryRefused<T>(connect: () => Promise<T>): Promise<T> {
  for (let tries = 100; ; tries--) {
    try {
      return await connect();
    } catch (error) {
      const isRefused = error instanceof Error && "code" in error && error.code === "ECONNREFUSED";
      if (!isRefused || tries === 0) throw error;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }
}

/** A TCP port of this host that is free. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await once(server.listen(0), "listening");
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("a server without a port");
  return address.port;
}

/** Whether a process is there. */
export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
