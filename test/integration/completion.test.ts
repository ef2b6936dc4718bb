import { type ChildProcessByStdio, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { promisify, stripVTControlCharacters } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ensureShells } from "../vm/host-packages.ts";

const COMMAND = fileURLToPath(new URL("../../apps/hostd/bin/hostd.mjs", import.meta.url));

const missing = ensureShells();

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "hostd-completion-"));
  await writeFile(join(folder, "configuration.yaml"), "");
  await mkdir(join(folder, "state-folder"));
  for (const shell of ["bash", "zsh", "fish"]) {
    const { stdout } = await promisify(execFile)(process.execPath, [COMMAND, "completion", shell]);
    await writeFile(join(folder, `hostd.${shell}`), stdout);
  }
});

afterAll(async () => {
  await rm(folder, { recursive: true });
});

/** A shell on a terminal, in which `hostd` prints the words that it is given. */
class TerminalShell {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #ended: Promise<never>;
  #output = "";

  constructor(command: string, setUp: string) {
    const env = { PATH: process.env.PATH, HOME: folder, TERM: "dumb" };
    const args = ["--quiet", "--flush", "--command", command, "/dev/null"];
    this.#child = spawn("script", args, { cwd: folder, env, stdio: ["pipe", "pipe", "ignore"] });
    this.#child.stdout.setEncoding("utf8").on("data", (text: string) => {
      this.#output += text;
    });
    this.#ended = once(this.#child, "exit").then(() => {
      throw new Error(`the shell has ended: ${this.#output}`);
    });
    this.#ended.catch(() => {});
    this.#child.stdin.write(`${setUp}; hostd() { printf '<%s>' "$@"; echo .; }; PS1='ready''> '\n`);
  }

  /** Types text, in which a tab is the key, and hands out the words of the command line that comes of it. */
  async complete(typed: string): Promise<string[]> {
    await this.#until("ready> ");
    this.#output = "";
    this.#child.stdin.write(`${typed}\n`);
    const found = await this.#until(">.");
    const line = /(?:<[^<>]*>)+\.$/.exec(found.trimEnd())?.[0] ?? "";
    return [...line.matchAll(/<([^<>]*)>/g)].map(([, word]) => word);
  }

  close(): void {
    this.#child.kill("SIGKILL");
  }

  async #until(text: string): Promise<string> {
    for (;;) {
      const seen = stripVTControlCharacters(this.#output);
      const end = seen.lastIndexOf(text);
      if (end >= 0) return seen.slice(0, end + text.length);
      await Promise.race([once(this.#child.stdout, "data"), this.#ended]);
    }
  }
}

/** What is typed and Tab is pressed after, and the words that there are then. */
const CASES = [
  ["hostd che", ["check"]],
  ["hostd ports r", ["ports", "rm"]],
  ["hostd ports --api x add --pers", ["ports", "--api", "x", "add", "--persist"]],
  ["hostd up --log-format=p", ["up", "--log-format=pretty"]],
  ["hostd up --log-level de", ["up", "--log-level", "debug"]],
  ["hostd up --config conf", ["up", "--config", "configuration.yaml"]],
  ["hostd up --state sta", ["up", "--state", "state-folder"]],
  ["hostd proxy set sy", ["proxy", "set", "system"]],
  ["hostd completion z", ["completion", "zsh"]],
] as const;

describe.skipIf(missing !== undefined)(`completion in a shell${missing === undefined ? "" : ` (${missing})`}`, () => {
  it.each([
    ["bash", "bash --norc --noprofile", "source ./hostd.bash"],
    ["zsh", "zsh -f", "autoload -Uz compinit; compinit -u -D; source ./hostd.zsh"],
  ])("completes commands, flags, values and files in %s", async (_, command, setUp) => {
    const shell = new TerminalShell(command, setUp);
    try {
      for (const [typed, expected] of CASES) {
        const words = await shell.complete(`${typed}\t`);
        // zsh takes the / of a folder off again when the line ends there.
        expect(words.with(-1, words.at(-1)?.replace(/\/$/, "") ?? ""), typed).toEqual(expected);
      }
    } finally {
      shell.close();
    }
  });

  it("completes commands, flags, values and files in fish", async () => {
    for (const [typed, words] of CASES) {
      const script = "source ./hostd.fish; complete --do-complete $argv[1]";
      const args = ["--no-config", "--command", script, typed];
      const { stdout } = await promisify(execFile)("fish", args, { cwd: folder });
      const offered = stdout.trimEnd().split("\n");
      expect(
        offered.map((line) => line.split("\t")[0].replace(/\/$/, "")),
        typed,
      ).toEqual([words.at(-1)]);
    }
  });
});
