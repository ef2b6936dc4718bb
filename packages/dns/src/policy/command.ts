import { execFile } from "node:child_process";

/** Runs a program to its end and gives what it wrote; rejects when it fails, or when the signal ends it. */
export type RunCommand = (program: string, args: readonly string[], signal: AbortSignal) => Promise<string>;

/** How long a program may run, in milliseconds. */
const TIMEOUT = 5000;
/** How much it may write, in bytes. */
const MAX_OUTPUT = 1024 * 1024;

/**
 * Runs a program of the host. One that hangs or writes without end is killed.
 *
 * @param timeout - in milliseconds.
 * @throws {Error} whose message says what went wrong.
 */
export function runCommand(
  program: string,
  args: readonly string[],
  signal: AbortSignal,
  timeout = TIMEOUT,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = {
      encoding: "utf8",
      // Messages and numbers in the form that is known.
      env: { ...process.env, LC_ALL: "C" },
      killSignal: "SIGKILL",
      maxBuffer: MAX_OUTPUT,
      signal,
      timeout,
    } as const;
    execFile(program, args, options, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(new Error(`${program}: ${reasonOf(error, stderr, timeout)}`));
    });
  });
}

function reasonOf(
  error: Error & { readonly code?: unknown; readonly killed?: boolean },
  stderr: string,
  timeout: number,
) {
  if (error.code === "ENOENT") return "there is no such program";
  if (error.code === "ERR_CHILD_PROCESS_STDIO_MAXBUFFER") return `killed after it wrote more than ${MAX_OUTPUT} bytes`;
  if (error.name === "AbortError") return "stopped";
  if (error.killed) return `killed after ${timeout} ms`;
  const [line] = stderr.trim().split("\n");
  return line === "" ? error.message : line;
}
