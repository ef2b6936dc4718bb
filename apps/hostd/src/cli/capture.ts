/** `hostd capture`: the frames of VMs as they pass, into a file or to Wireshark. */
import { type FileHandle, open } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { constants } from "node:os";
import { CAPTURE_ID_HEADER } from "../capture/id-header.ts";
import { RecordCounter } from "../capture/record-counter.ts";
import { askApi, openApi, UsageError } from "./api-client.ts";

export interface CaptureOptions {
  readonly api?: string;
  readonly vm?: string;
  readonly filter?: string;
  readonly snaplen?: string;
  readonly count?: string;
  /** The path of a file, or `-` for standard output. */
  readonly write?: string;
}

/**
 * Captures until a signal comes, the packets that were asked for are there, or nobody reads any more.
 *
 * @throws {UsageError} when something that was asked for is not to be had.
 * @throws {Error} when no hostd runs, it ends, or what it sends cannot be written.
 */
export async function runCapture({ api, vm, filter, snaplen, count, write = "-" }: CaptureOptions): Promise<void> {
  const counter = new RecordCounter(count === undefined ? undefined : readCount(count));
  if (write === "-" && process.stdout.isTTY) {
    throw new UsageError(
      "a capture is nothing for a terminal: write it to a file with -w FILE, or pipe it into a program, as in\n" +
        "  hostd capture -w - | wireshark -k -i -\n" +
        "  hostd capture -w - | tcpdump -n -r -",
    );
  }
  const response = await openApi(api, "/v1/capture", { query: { vm, filter, snaplen } });
  const id = String(response.headers[CAPTURE_ID_HEADER]);
  // Not before hostd has understood everything: a file that is there is kept until then.
  const output = await openOutput(write).catch((error: Error) => {
    response.destroy();
    throw error;
  });
  let ending: Promise<unknown> | null = null;
  const end = () => (ending ??= askApi(api, "/v1/captures", { method: "DELETE", query: { id } }));
  // The answer ends then; that hostd is gone is noticed by it too.
  const restoreSignals = onStopSignals(() => void end().catch(() => {}));
  try {
    // Whoever reads this may send a signal at once.
    say(`capturing ${describeWish(vm, filter)}; Ctrl-C ends it`);
    if (!(await copy(response, output, counter))) return;
    const dropped = droppedOf(await (counter.isDone ? end() : ending)?.catch(() => null));
    say(`${counter.packets} packets captured`);
    if (dropped > 0) say(`${dropped} packets dropped, because they were not written fast enough`);
  } finally {
    restoreSignals();
    response.destroy();
    await output.close();
  }
}

/** Where a capture goes. */
interface Output {
  /** Resolves when it takes more. */
  write(bytes: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

async function openOutput(path: string): Promise<Output> {
  if (path !== "-") return fileOutput(path, await open(path, "w", 0o600));
  const { stdout } = process;
  return {
    write: (bytes) =>
      new Promise((resolve, reject) => {
        stdout.write(bytes, (error) => (error ? reject(error) : resolve()));
      }),
    close: async () => {},
  };
}

function fileOutput(path: string, file: FileHandle): Output {
  return {
    write: async (bytes) => {
      try {
        let written = 0;
        while (written < bytes.length) written += (await file.write(bytes, written)).bytesWritten;
      } catch (error) {
        throw new Error(`cannot write ${path}: ${error instanceof Error ? error.message : String(error)}`);
      }
    },
    close: () => file.close(),
  };
}

/**
 * Writes what comes until it ends, or until enough has come.
 *
 * @returns false when the reader went away: it has seen enough.
 */
async function copy(response: IncomingMessage, output: Output, counter: RecordCounter): Promise<boolean> {
  const pieces: AsyncIterator<Uint8Array> = response[Symbol.asyncIterator]();
  while (!counter.isDone) {
    const next = await pieces.next().catch((error: Error) => {
      throw new Error(`hostd is gone (${error.message}): ${counter.packets} packets captured`);
    });
    if (next.done === true) return true;
    try {
      await output.write(counter.take(next.value));
    } catch (error) {
      if (isBrokenPipe(error)) return false;
      throw error;
    }
  }
  return true;
}

function isBrokenPipe(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "EPIPE";
}

/** Calls `stop` at the first signal; the second ends the process, for a reader that has stopped reading. */
function onStopSignals(stop: () => void): () => void {
  let stopping = false;
  const listener = (signal: NodeJS.Signals) => {
    if (stopping) process.exit(128 + constants.signals[signal]);
    stopping = true;
    stop();
  };
  process.on("SIGINT", listener).on("SIGTERM", listener);
  return () => {
    process.off("SIGINT", listener).off("SIGTERM", listener);
  };
}

function describeWish(vm: string | undefined, filter: string | undefined): string {
  const frames = filter === undefined ? "every frame" : `what "${filter}" wants`;
  return `${frames} of ${vm ?? "all VMs"}`;
}

function readCount(text: string): number {
  if (/^[1-9]\d{0,14}$/.test(text)) return Number(text);
  throw new UsageError(`--count: ${JSON.stringify(text)} is no number of packets; allowed: 1 and more`);
}

/** How many packets the report of a capture that was ended says were dropped; 0 where there is none. */
function droppedOf(report: unknown): number {
  return typeof report === "object" && report !== null && "dropped" in report ? Number(report.dropped) : 0;
}

/** Standard output may be the capture. */
function say(text: string): void {
  process.stderr.write(`hostd: ${text}\n`);
}
