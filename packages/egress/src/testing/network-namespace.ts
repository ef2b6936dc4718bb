import { execFile } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);

/**
 * Runs a TypeScript program in a network namespace of its own, after the shell commands of `setup`, and parses what it
 * prints. Null where the kernel permits no such namespace.
 */
export async function runInNamespace(setup: string, program: string): Promise<unknown> {
  for (const flags of ["-n", "-rn"]) {
    try {
      await run("unshare", [flags, "true"]);
    } catch {
      continue;
    }
    const script = `set -e\n${setup}\nexec "$@"`;
    const { stdout } = await run("unshare", [flags, "sh", "-c", script, "sh", process.execPath, program]);
    return JSON.parse(stdout);
  }
  return null;
}
