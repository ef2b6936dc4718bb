import { type ChildProcess, execFile, spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { findCommand } from "./host-packages.ts";

const LOOPBACK = "127.0.0.1";
const READY_MS = 10_000;

/** Debian's unbound on the loopback address, with records of its own and no access to any other server. */
export class Unbound {
  readonly port: number;
  readonly #child: ChildProcess;
  readonly #folder: string;

  private constructor(port: number, child: ChildProcess, folder: string) {
    this.port = port;
    this.#child = child;
    this.#folder = folder;
  }

  /**
   * Starts it and waits until it answers.
   *
   * @param zone - a domain; what is below it and has no record does not exist
   * @param records - of the domain, in the form of a zone file with absolute names
   * @throws Error with its log if it does not start
   */
  static async start(zone: string, records: readonly string[]): Promise<Unbound> {
    const port = await freePort();
    const folder = mkdtempSync(join(tmpdir(), "hostd-unbound-"));
    const path = join(folder, "unbound.conf");
    const data = records.map((record) => `  local-data: '${record}'\n`).join("");
    writeFileSync(
      path,
      `server:
  interface: ${LOOPBACK}@${port}
  do-daemonize: no
  chroot: ""
  username: ""
  directory: "${folder}"
  pidfile: ""
  use-syslog: no
  module-config: "iterator"
  do-not-query-localhost: yes
  local-zone: "${zone}" static
${data}remote-control:
  control-enable: no
`,
    );
    const child = spawn(findCommand("unbound") ?? "unbound", ["-d", "-c", path], { stdio: ["ignore", "pipe", "pipe"] });
    let log = "";
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => (log += text));
    const unbound = new Unbound(port, child, folder);
    for (const deadline = performance.now() + READY_MS; performance.now() < deadline; await sleep(50)) {
      if (child.exitCode !== null) break;
      if ((await unbound.dig(`${zone} SOA +time=1 +tries=1 +noall +comments`)).includes("status:")) return unbound;
    }
    unbound.stop();
    throw new Error(`unbound does not answer: ${log}`);
  }

  /** Asks it, and gives what dig prints; nothing when there is no answer. */
  async dig(args: string): Promise<string> {
    const own = ["-p", String(this.port), `@${LOOPBACK}`];
    return promisify(execFile)("dig", [...own, ...args.split(" ")]).then(
      ({ stdout }) => stdout,
      () => "",
    );
  }

  stop(): void {
    this.#child.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** A UDP port of the loopback address that nobody has. */
export async function freePort(): Promise<number> {
  const socket = createSocket("udp4").bind(0, LOOPBACK);
  await once(socket, "listening");
  const { port } = socket.address();
  await new Promise<void>((resolve) => socket.close(() => resolve()));
  return port;
}
