import type { Socket } from "node:net";

/** How frames travel in a stream, for the VM's end. */
export interface StreamFraming {
  encode(...frames: readonly Uint8Array[]): Uint8Array;
  /** Makes what cuts the other direction's stream into frames. */
  makeReader(): { push(chunk: Uint8Array): Uint8Array[] };
}

/** The VM's end of a link over a stream socket. */
export class StreamPeer {
  readonly socket: Socket;
  /** What has arrived, in order. */
  readonly frames: Uint8Array[] = [];
  /** Whether the host has closed its end. */
  ended = false;
  /** Resolves when the connection is gone. */
  readonly closed: Promise<void>;
  readonly #framing: StreamFraming;
  readonly #waiting = new Set<() => void>();

  constructor(socket: Socket, framing: StreamFraming) {
    this.socket = socket;
    this.#framing = framing;
    const reader = framing.makeReader();
    socket.on("data", (chunk) => {
      if (typeof chunk !== "string") this.frames.push(...reader.push(chunk));
      this.#changed();
    });
    socket.on("end", () => {
      this.ended = true;
      this.#changed();
    });
    // A reset by the host is what some tests wait for; 'close' follows.
    socket.on("error", () => {});
    this.closed = new Promise((resolve) => {
      socket.on("close", () => {
        resolve();
        this.#changed();
      });
    });
  }

  /** Sends frames in one write. */
  send(...frames: readonly Uint8Array[]): void {
    this.socket.write(this.#framing.encode(...frames));
  }

  /** Leaves as a process does that is killed while it has unread data or its host resets it. */
  reset(): void {
    if (this.socket.remoteAddress === undefined) this.socket.destroy();
    else this.socket.resetAndDestroy();
  }

  /** Resolves once `holds` does, which is asked after each event. */
  async until(holds: () => boolean): Promise<void> {
    while (!holds()) await new Promise<void>((resolve) => this.#waiting.add(resolve));
  }

  /** Resolves once `count` frames have arrived. */
  async received(count: number): Promise<void> {
    await this.until(() => this.frames.length >= count);
  }

  #changed(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }
}
