import { type ChildProcess, execFile, spawn } from "node:child_process";

/** A program of the host with its arguments. */
export interface HostCommand {
  readonly program: string;
  readonly args: readonly string[];
  /** What it reads. When it is followed, its input stays open after that. */
  readonly input?: string;
}

export interface FollowHandlers {
  /** It has written something. What that is, is not kept. */
  onOutput(): void;
  /** It has ended by itself, or could not be started. */
  onEnd(reason: string): void;
}

/**
 * Runs a program to its end and gives what it wrote. One that hangs or writes without end is killed.
 *
 * @param signal - ends it.
 * @throws {CommandError} which says what went wrong.
 */
export type RunCommand = (command: HostCommand, signal: AbortSignal) => Promise<string>;

/** Runs programs of the host. */
export interface HostCommands {
  readonly run: RunCommand;
  /**
   * Has a program run that writes when something has changed. Handlers are called in a later turn.
   *
   * @returns ends it; no handler is called after that.
   */
  follow(command: HostCommand, handlers: FollowHandlers): () => void;
}

export class CommandError extends Error {
  override readonly name = "CommandError";
  /** There is no such program. */
  readonly isMissing: boolean;

  constructor(message: string, isMissing = false) {
    super(message);
    this.isMissing = isMissing;
  }
}

/** How long a program may run to its end, in milliseconds. */
const TIMEOUT = 5000;
/** How much it may write, in bytes. */
const MAX_OUTPUT = 1024 * 1024;
/** How much is kept of what a program writes about its failure, in characters. */
const MAX_COMPLAINT = 1000;

/**
 * Runs them as processes.
 *
 * @param timeout - for those that are run to their end, in milliseconds.
 */
export function hostCommands(timeout = TIMEOUT): HostCommands {
  return {
    run: (command, signal) => run(command, signal, timeout),
    follow,
  };
}

/** Messages and numbers come in the form that is known, and text that is not ASCII as it is. */
function environment(): NodeJS.ProcessEnv {
  return { ...process.env, LC_ALL: "C.UTF-8" };
}

function run({ program, args, input }: HostCommand, signal: AbortSignal, timeout: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = {
      encoding: "utf8",
      env: environment(),
      killSignal: "SIGKILL",
      maxBuffer: MAX_OUTPUT,
      signal,
      timeout,
      windowsHide: true,
    } as const;
    const child = execFile(program, args, options, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(new CommandError(`${program}: ${reasonOf(error, stderr, timeout)}`, error.code === "ENOENT"));
    });
    // It may end without reading.
    child.stdin?.on("error", () => {});
    child.stdin?.end(input);
  });
}

function reasonOf(
  error: Error & { readonly code?: unknown; readonly killed?: boolean },
  stderr: string,
  timeout: number,
): string {
  if (error.code === "ENOENT") return "there is no such program";
  if (error.code === "ERR_CHILD_PROCESS_STDIO_MAXBUFFER") return `killed after it wrote more than ${MAX_OUTPUT} bytes`;
  if (error.name === "AbortError") return "stopped";
  if (error.killed) return `killed after ${timeout} ms`;
  return firstLine(stderr) ?? error.message;
}

function firstLine(text: string): string | null {
  const line = text.trim().split(/\r?\n/, 1)[0];
  return line === "" ? null : line.slice(0, MAX_COMPLAINT);
}

function follow({ program, args, input }: HostCommand, { onOutput, onEnd }: FollowHandlers): () => void {
  let isOver = false;
  let complaint = "";
  const end = (reason: string) => {
    if (isOver) return;
    isOver = true;
    onEnd(`${program}: ${reason}`);
  };
  const failed = (error: NodeJS.ErrnoException) => {
    end(error.code === "ENOENT" ? "there is no such program" : error.message);
  };
  let child: ChildProcess;
  try {
    child = spawn(program, args, { env: environment(), stdio: "pipe", windowsHide: true });
  } catch (error) {
    // Not every failure to start it is an event.
    queueMicrotask(() => failed(error instanceof Error ? error : new Error(String(error))));
    return () => {
      isOver = true;
    };
  }
  child.on("error", failed);
  child.on("close", (code, signal) => end(firstLine(complaint) ?? `ended with ${signal ?? code}`));
  // There are no pipes when there were no descriptors for them.
  const { stdin, stdout, stderr } = child;
  stdin?.on("error", () => {});
  if (input !== undefined) stdin?.write(input);
  stdout?.on("error", () => {});
  stdout?.on("data", () => {
    if (!isOver) onOutput();
  });
  stderr?.on("error", () => {});
  stderr?.setEncoding("utf8").on("data", (text: string) => {
    complaint = (complaint + text).slice(0, MAX_COMPLAINT);
  });
  return () => {
    isOver = true;
    child.kill("SIGKILL");
  };
}
