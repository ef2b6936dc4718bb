import type { Duplex } from "node:stream";
import { GuestProcess } from "./guest-process.ts";

/** The host's end of the agent's channel. `guest/agent.py` describes the messages. */
export class AgentChannel {
  /** Resolves when the agent says that it is ready. */
  readonly ready: Promise<void>;
  readonly #socket: Duplex;
  readonly #running = new Map<number, { process: GuestProcess; timeoutMs: number; timer: NodeJS.Timeout }>();
  #nextId = 1;
  #partial = "";
  #closed: Error | undefined;
  #setReady: () => void = () => {};

  constructor(socket: Duplex) {
    this.#socket = socket;
    this.ready = new Promise((resolve) => {
      this.#setReady = resolve;
    });
    socket.on("data", (chunk: Buffer) => this.#receive(chunk.toString("latin1")));
    socket.on("error", () => {}); // The VM's end, which its exit reports.
  }

  /** Starts a command, which the agent kills after `timeoutMs`. */
  start(command: string, timeoutMs: number): GuestProcess {
    const id = this.#nextId++;
    const process = new GuestProcess(command, (kind, ...words) => this.#send(kind, id, ...words));
    if (this.#closed !== undefined) {
      process.fail(this.#closed);
      return process;
    }
    // The agent keeps the limit. This one is for an agent that cannot answer any more.
    const timer = setTimeout(() => {
      this.#running.delete(id);
      process.fail(new Error(`the guest's agent does not answer; it was running: ${command}\n${process.transcript()}`));
    }, timeoutMs + 20_000);
    timer.unref();
    this.#running.set(id, { process, timeoutMs, timer });
    this.#send("run", id, timeoutMs, Buffer.from(command).toString("base64") || "-");
    return process;
  }

  /** Fails every command that runs and every one that is started from now on. */
  close(error: Error): void {
    this.#closed = error;
    for (const { process, timer } of this.#running.values()) {
      clearTimeout(timer);
      process.fail(new Error(`${error.message}\nwhile running: ${process.command}\n${process.transcript()}`));
    }
    this.#running.clear();
  }

  #send(...words: (string | number)[]): void {
    if (this.#closed === undefined) this.#socket.write(`${words.join(" ")}\n`);
  }

  #receive(text: string): void {
    const lines = (this.#partial + text).split("\n");
    this.#partial = lines.pop() ?? "";
    for (const line of lines) this.#handle(line.split(" "));
  }

  #handle([kind = "", id = "", ...words]: string[]): void {
    if (kind === "ready") {
      this.#setReady();
      return;
    }
    const running = this.#running.get(Number(id));
    if (running === undefined) return;
    const { process, timeoutMs, timer } = running;
    if (kind === "out" || kind === "err") {
      process.receive(kind, Buffer.from(words[0] ?? "", "base64"));
      return;
    }
    this.#running.delete(Number(id));
    clearTimeout(timer);
    const [status, timedOut, durationMs] = words.map(Number);
    if (timedOut === 1) {
      process.fail(new Error(`killed after ${timeoutMs} ms in the guest: ${process.command}\n${process.transcript()}`));
    } else {
      process.finish(status ?? -1, durationMs ?? 0);
    }
  }
}
