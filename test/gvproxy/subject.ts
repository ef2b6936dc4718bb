/** The two programs whose API is compared. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { gvproxy } from "../../bench/peers/gvproxy.ts";
import { isListening } from "../../bench/peers/installed.ts";
import { isContinuousIntegration } from "../vm/host-packages.ts";
import type { ApiAddress } from "./ask.ts";

/** The version that the differences are about, that of Debian's trixie. */
const VERSION = "0.8.1-";
const REPOSITORY = join(import.meta.dirname, "..", "..");

/** A program that serves gvproxy's API, over a Unix socket and over TCP. */
export interface Subject {
  readonly unix: ApiAddress;
  readonly tcp: ApiAddress;
  stop(): Promise<void>;
}

export interface SubjectOptions {
  /** A folder for its sockets and its log. */
  readonly folder: string;
  /** A free port of 127.0.0.1. */
  readonly port: number;
  /** Flags beside those that say where it listens. */
  readonly flags?: readonly string[];
}

/**
 * The command of the real gvproxy, as Debian packages it; in continuous integration it is fetched where it is not there.
 *
 * @returns one line that says what to do where it is not there.
 */
export function findGvproxy(): { readonly command: readonly string[]; readonly version: string } | string {
  const find = () => gvproxy.installations().find(({ version }) => version.startsWith(VERSION));
  if (find() === undefined && isContinuousIntegration()) {
    const { status } = spawnSync(process.execPath, [join(REPOSITORY, "bench", "peers", "fetch.ts")], {
      stdio: ["ignore", "inherit", "inherit"],
    });
    if (status !== 0) return "gvproxy could not be fetched";
  }
  return find() ?? `there is no gvproxy ${VERSION}* here; run: npm run bench:peers`;
}

/** The command of hostd in gvproxy's place, from the sources. */
export function hostdCommand(): readonly string[] {
  const main = pathToFileURL(join(REPOSITORY, "apps", "hostd", "src", "main.ts")).href;
  const code = `import { main } from ${JSON.stringify(main)}; await main(process.argv.slice(1));`;
  return [process.execPath, "--input-type=module", "-e", code, "gvproxy"];
}

/** Starts a program with gvproxy's command line. */
export async function startSubject(
  command: readonly string[],
  { folder, port, flags = [] }: SubjectOptions,
): Promise<Subject> {
  const path = join(folder, "api.sock");
  const [program, ...args] = command;
  const listen = ["-listen", `unix://${path}`, "-listen", `tcp://127.0.0.1:${port}`, "-ssh-port", "-1"];
  const logPath = join(folder, "log");
  const log = openSync(logPath, "a");
  const child = spawn(program, [...args, ...listen, ...flags], { stdio: ["ignore", log, log] });
  closeSync(log);
  const exited = once(child, "exit");
  await Promise.race([listening(path, port, child), exited]);
  if (child.exitCode !== null) throw new Error(`${command.join(" ")} ended:\n${readFileSync(logPath, "utf8")}`);
  return {
    unix: { path },
    tcp: { host: "127.0.0.1", port },
    stop: async () => {
      child.kill();
      // The real program may wait for a frame of QEMU's before it ends.
      const timer = setTimeout(() => child.kill("SIGKILL"), 2000);
      await exited;
      clearTimeout(timer);
    },
  };
}

/** Resolves once both sockets are listened on. */
async function listening(path: string, port: number, child: ChildProcess): Promise<void> {
  while (child.exitCode === null && !(isListening(path) && (await answers(port)))) await sleep(10);
}

async function answers(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
