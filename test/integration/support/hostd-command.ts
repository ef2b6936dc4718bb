import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import type { Lab } from "./lab.ts";

/** The script of the command. */
export const HOSTD_COMMAND = fileURLToPath(new URL("../../../apps/hostd/bin/hostd.mjs", import.meta.url));

/**
 * What makes a process of Node stand still whenever it has written something, as on a busy machine: whoever acts on what
 * it says is faster than whatever it does next.
 */
export const SLOW_AFTER_WRITING = {
  NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(`
    const never = new Int32Array(new SharedArrayBuffer(4));
    for (const stream of [process.stdout, process.stderr]) {
      const write = stream.write;
      stream.write = function (...args) {
        const result = write.apply(this, args);
        Atomics.wait(never, 0, 0, 100);
        return result;
      };
    }`)}`,
};

export interface Outcome {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stderr: string;
}

/** A command of hostd in a process of its own, with nothing of this user's surroundings. */
export class HostdCommand {
  readonly child: ChildProcessByStdio<null, Readable, Readable>;
  readonly #closed: Promise<unknown[]>;
  #stderr = "";

  constructor(lab: Lab, args: readonly string[], variables: Readonly<Record<string, string>> = {}) {
    const env = { PATH: process.env.PATH, HOME: lab.folder, XDG_RUNTIME_DIR: lab.folder, ...variables };
    this.child = spawn(process.execPath, [HOSTD_COMMAND, ...args], {
      cwd: lab.folder,
      env,
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.child.stderr.setEncoding("utf8").on("data", (piece) => {
      this.#stderr += piece;
    });
    this.#closed = once(this.child, "close");
    lab.defer(() => this.child.kill("SIGKILL"));
  }

  /** Waits until standard error has some text. */
  async says(text: string): Promise<void> {
    while (!this.#stderr.includes(text)) {
      await Promise.race([
        once(this.child.stderr, "data"),
        this.#closed.then(() => {
          if (!this.#stderr.includes(text)) throw new Error(`it ended without saying ${text}: ${this.#stderr}`);
        }),
      ]);
    }
  }

  /** How it ends; what it writes to standard output has to be read for that. */
  async outcome(): Promise<Outcome> {
    const [code, signal] = (await this.#closed) as [number | null, NodeJS.Signals | null];
    return { code, signal, stderr: this.#stderr };
  }
}
