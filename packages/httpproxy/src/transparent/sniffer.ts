import type { Duplex } from "node:stream";
import { GrowingBuffer } from "@hostd/http1";
import { after, type Clock } from "@hostd/streams";
import { type ClientHello, ClientHelloReader, type ClientHelloReading } from "./client-hello.ts";
import { classifyFirstBytes } from "./first-bytes.ts";

/** What a client speaks. What was read to find out is in its stream again, as if nobody had read it. */
export type Sniffed =
  | { readonly kind: "http" }
  | { readonly kind: "tls"; readonly hello: ClientHello }
  /** It is neither, or does not tell. */
  | { readonly kind: "other"; readonly reason: string }
  /** It has ended before it could be told. The stream has no place any more for what it has sent until then. */
  | { readonly kind: "ended"; readonly sent: Buffer };

export interface SnifferOptions {
  readonly clock: Clock;
  /** How long to wait for the first byte, in milliseconds; for as long a client waits for a server that speaks first. */
  readonly silenceTime: number;
  /** How long to wait for what follows it, in milliseconds. */
  readonly helloTime: number;
  /** So many more bytes are kept. */
  readonly kept: (bytes: number) => void;
  /** Called once, unless it is stopped before. */
  readonly done: (sniffed: Sniffed) => void;
}

/** Reads from a client's stream until it can be told what it speaks. */
export class Sniffer {
  readonly #stream: Duplex;
  readonly #options: SnifferOptions;
  readonly #received = new GrowingBuffer();
  #hello: ClientHelloReader | null = null;
  #stopTimer: () => void;
  #isOver = false;

  readonly #onReadable = () => this.#read();
  readonly #onEnd = () => this.#finish({ kind: "ended", sent: this.#received.content });

  constructor(stream: Duplex, options: SnifferOptions) {
    this.#stream = stream;
    this.#options = options;
    this.#stopTimer = after(options.clock, options.silenceTime, () => {
      this.#finish({ kind: "other", reason: "the client waits" });
    });
    // Reading this way, and no other, leaves the stream to the next reader neither flowing nor paused.
    stream.on("readable", this.#onReadable);
    stream.on("end", this.#onEnd);
  }

  /** Stops reading. What was read is lost, unless it is done. */
  stop(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#stopTimer();
    this.#stream.off("readable", this.#onReadable);
    this.#stream.off("end", this.#onEnd);
  }

  #read(): void {
    let bytes: Buffer | null;
    while (!this.#isOver && (bytes = this.#stream.read()) !== null) this.#take(bytes);
  }

  #take(bytes: Buffer): void {
    this.#received.add(bytes);
    const sniffed = this.#look(bytes);
    if (sniffed !== null) {
      this.#finish(sniffed);
      return;
    }
    if (this.#received.length === bytes.length) {
      this.#stopTimer();
      this.#stopTimer = after(this.#options.clock, this.#options.helloTime, () => {
        this.#finish({ kind: "other", reason: "the client does not go on" });
      });
    }
    this.#options.kept(bytes.length);
  }

  /** @returns null when more is needed to tell. */
  #look(bytes: Buffer): Sniffed | null {
    if (this.#hello !== null) return sniffedOf(this.#hello.add(bytes));
    const received = this.#received.content;
    const kind = classifyFirstBytes(received);
    if (kind === "more") return null;
    if (kind === "http") return { kind };
    if (kind === "other") return { kind, reason: "it is neither HTTP nor TLS" };
    this.#hello = new ClientHelloReader();
    return sniffedOf(this.#hello.add(received));
  }

  #finish(sniffed: Sniffed): void {
    this.stop();
    const received = this.#received.content;
    // Also at the end of the stream, which it has not told yet, this is where the bytes belong.
    if (sniffed.kind !== "ended" && received.length > 0) this.#stream.unshift(received);
    this.#options.done(sniffed);
  }
}

function sniffedOf(reading: ClientHelloReading): Sniffed | null {
  if (reading.kind === "more") return null;
  return reading.kind === "hello" ? { kind: "tls", hello: reading } : reading;
}
