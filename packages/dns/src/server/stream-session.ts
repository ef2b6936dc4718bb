import type { Duplex } from "node:stream";
import { frameMessage, MessageReader } from "../framing.ts";

export interface StreamSessionOptions {
  /** Answers one message, or says with null that it gets no answer. Must not fail. */
  readonly answer: (message: Uint8Array) => Promise<Uint8Array | null>;
  /** Milliseconds without a query in progress after which the connection is closed. */
  readonly idleTimeout: number;
  /** How many queries may be in progress before reading pauses. */
  readonly maxPipelined: number;
  /** Called once when the stream is closed. */
  readonly closed: () => void;
}

/** Bytes of answers a client may leave unread before its connection is ended. */
const MAX_UNREAD = 1024 * 1024;

/**
 * One DNS connection (RFC 7766): any number of queries, several at a time, each answered as soon as its answer is
 * known.
 */
export class StreamSession {
  readonly #stream: Duplex;
  readonly #options: StreamSessionOptions;
  readonly #reader = new MessageReader();
  /** What was received and not yet read, because enough queries are in progress. */
  #unread: Uint8Array | null = null;
  #inProgress = 0;
  #ended = false;
  #idleTimer: NodeJS.Timeout | undefined;

  constructor(stream: Duplex, options: StreamSessionOptions) {
    this.#stream = stream;
    this.#options = options;
    // A client may close its end behind the last query and still be owed the answers (RFC 7766, 6.2.4).
    stream.allowHalfOpen = true;
    stream.on("data", (chunk: Uint8Array) => {
      if (!stream.writable) return;
      this.#unread = chunk;
      this.#pump();
    });
    stream.on("drain", () => {
      this.#restartIdleTimer();
      this.#pump();
    });
    stream.on("end", () => {
      this.#ended = true;
      this.#endIfDone();
    });
    stream.on("error", () => this.destroy());
    stream.on("close", () => {
      clearTimeout(this.#idleTimer);
      this.#unread = null;
      options.closed();
    });
    this.#restartIdleTimer();
  }

  /** Ends the connection at once. Idempotent. */
  destroy(): void {
    this.#stream.destroy();
  }

  /** Takes up queries from what was received, as far as the limits allow. */
  #pump(): void {
    let offset = 0;
    while (this.#unread !== null && this.#mayRead()) {
      offset = this.#reader.read(this.#unread, offset);
      const message = this.#reader.take();
      if (offset === this.#unread.length) this.#unread = null;
      if (message !== null) this.#take(message);
    }
    if (this.#unread !== null && offset > 0) this.#unread = this.#unread.subarray(offset);
    if (this.#unread === null && this.#mayRead()) this.#stream.resume();
    else this.#stream.pause();
  }

  #mayRead(): boolean {
    return this.#inProgress < this.#options.maxPipelined && !this.#stream.writableNeedDrain && !this.#stream.destroyed;
  }

  #take(message: Uint8Array): void {
    this.#inProgress++;
    clearTimeout(this.#idleTimer);
    void this.#options.answer(message).then((answer) => {
      this.#inProgress--;
      if (answer !== null && this.#stream.writable) this.#stream.write(frameMessage(answer));
      if (this.#stream.writableLength > MAX_UNREAD) this.destroy();
      this.#restartIdleTimer();
      this.#pump();
      this.#endIfDone();
    });
  }

  #endIfDone(): void {
    if (this.#ended && this.#inProgress === 0 && this.#stream.writable) this.#stream.end();
  }

  #restartIdleTimer(): void {
    clearTimeout(this.#idleTimer);
    if (this.#inProgress > 0 || this.#stream.destroyed) return;
    this.#idleTimer = setTimeout(() => this.#idle(), this.#options.idleTimeout);
  }

  /** Closes in order when everything was taken by the client, and at once when it takes or closes nothing. */
  #idle(): void {
    if (!this.#stream.writable || this.#stream.writableLength > 0) {
      this.destroy();
    } else {
      this.#stream.end();
      this.#restartIdleTimer();
    }
  }
}
