/** The other end of connections to a name server. */
import { type Duplex, type DuplexOptions, duplexPair } from "node:stream";
import type { QueryContext } from "../context.ts";
import { frameMessage, MessageReader } from "../framing.ts";
import { messageId } from "../message.ts";

/** What serves connections. */
interface StreamServer {
  serveStream(stream: Duplex, context: QueryContext): void;
}

/** A client's end of a connection to a server. */
export class StreamClient {
  readonly stream: Duplex;
  readonly serverEnd: Duplex;
  readonly answers: Uint8Array[] = [];
  readonly #reader = new MessageReader();
  readonly #waiting: (() => void)[] = [];

  constructor(server: StreamServer, context: QueryContext, options: DuplexOptions = {}) {
    [this.stream, this.serverEnd] = duplexPair(options);
    this.stream.on("data", (chunk: Uint8Array) => {
      for (let offset = 0; offset < chunk.length; ) {
        offset = this.#reader.read(chunk, offset);
        const message = this.#reader.take();
        if (message !== null) this.answers.push(message);
      }
      for (const waiting of this.#waiting.splice(0)) waiting();
    });
    server.serveStream(this.serverEnd, context);
  }

  send(...messages: readonly Uint8Array[]): void {
    this.stream.write(Buffer.concat(messages.map(frameMessage)));
  }

  /** The ids of the answers, in the order in which they come, once there are `count`. */
  async ids(count: number): Promise<number[]> {
    while (this.answers.length < count) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return this.answers.map(messageId);
  }
}

/** Waits until what was written to a pair of streams has arrived, which takes turns of the event loop and no time. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 100; turn++) await new Promise(setImmediate);
}
