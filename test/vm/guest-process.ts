/** How a command in the guest ended. */
export interface CommandResult {
  /** Exit status; 128 + the signal's number if a signal ended it, as a shell reports it. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
  /** Run time in milliseconds by the guest's own clock. */
  readonly durationMs: number;
}

/** A command running in the guest. */
export class GuestProcess {
  readonly command: string;
  /** Its end. Rejects if it ran into its time limit or the VM ended first. */
  readonly result: Promise<CommandResult>;
  readonly #send: (...words: (string | number)[]) => void;
  readonly #stdout: Buffer[] = [];
  readonly #stderr: Buffer[] = [];
  readonly #watchers = new Set<() => void>();
  #resolve: (result: CommandResult) => void = () => {};
  #reject: (error: Error) => void = () => {};
  #failure: Error | undefined;
  #ended = false;

  constructor(command: string, send: (...words: (string | number)[]) => void) {
    this.command = command;
    this.#send = send;
    this.result = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // A background command that dies with its VM is not an error of whoever started it.
    this.result.catch(() => {});
  }

  /** What it has written to standard output so far. */
  get stdout(): string {
    return Buffer.concat(this.#stdout).toString("utf8");
  }

  /** What it has written to standard error so far. */
  get stderr(): string {
    return Buffer.concat(this.#stderr).toString("utf8");
  }

  /** Writes to its standard input. */
  write(data: string | Uint8Array): void {
    const bytes = Buffer.from(data);
    for (let at = 0; at < bytes.length; at += 65536) {
      this.#send("in", bytes.toString("base64", at, Math.min(at + 65536, bytes.length)));
    }
  }

  /** Ends its standard input. */
  end(data?: string | Uint8Array): void {
    if (data !== undefined) this.write(data);
    this.#send("eof");
  }

  /** Sends a signal, by number, to its process group. SIGTERM unless told otherwise. */
  kill(signal = 15): void {
    this.#send("kill", signal);
  }

  /**
   * Waits until its standard output or standard error, from their beginnings, match.
   *
   * @throws Error if it ends without a match or the time is over; the message shows what it wrote
   */
  async waitForOutput(pattern: RegExp, timeoutMs = 30_000): Promise<RegExpMatchArray> {
    return await new Promise((resolve, reject) => {
      const settle = (action: () => void) => {
        clearTimeout(timer);
        this.#watchers.delete(look);
        action();
      };
      const fail = (why: string) =>
        settle(() => reject(new Error(`${why} ${pattern} in the output of: ${this.command}\n${this.transcript()}`)));
      const look = () => {
        const match = this.stdout.match(pattern) ?? this.stderr.match(pattern);
        if (match !== null) settle(() => resolve(match));
        else if (this.#failure !== undefined) settle(() => reject(this.#failure));
        else if (this.#ended) fail("it ended without");
      };
      const timer = setTimeout(() => fail(`within ${timeoutMs} ms no`), timeoutMs);
      this.#watchers.add(look);
      look();
    });
  }

  /** Its output so far, for messages. */
  transcript(): string {
    return `--- stdout\n${shorten(this.stdout)}\n--- stderr\n${shorten(this.stderr)}`;
  }

  /** For the channel: output has come. */
  receive(stream: "out" | "err", bytes: Buffer): void {
    (stream === "out" ? this.#stdout : this.#stderr).push(bytes);
    this.#notify();
  }

  /** For the channel: it has ended. */
  finish(status: number, durationMs: number): void {
    this.#ended = true;
    this.#resolve({ status, stdout: this.stdout, stderr: this.stderr, durationMs });
    this.#notify();
  }

  /** For the channel: its end will not be known, or it ran too long. */
  fail(error: Error): void {
    this.#failure = error;
    this.#reject(error);
    this.#notify();
  }

  #notify(): void {
    for (const look of [...this.#watchers]) look();
  }
}

function shorten(text: string): string {
  const limit = 8000;
  return text.length <= limit ? text : `... ${text.length - limit} characters before\n${text.slice(-limit)}`;
}
