import type { Socket } from "node:net";
import { adoptSocket, setSendBuffer, writeNow } from "@hostd/native";
import { BatchWriter } from "./batch-writer.ts";
import { FrameDecoder } from "./frame-decoder.ts";
import { FRAMINGS, type Framing } from "./framing.ts";
import type { FrameConsumer, FramePort } from "./port.ts";

/** How long a VM that does not read may hold back the end of its link, in milliseconds. */
const CLOSE_MS = 1000;

/**
 * Bytes that a Unix socket takes before the VM reads, once it was found to take too little: several batches, so that this
 * side goes on while the VM reads. By default Linux takes 208 KiB.
 */
const SEND_BUFFER_BYTES = 1024 * 1024;

export interface StreamPortOptions {
  /** QEMU's unless given. */
  readonly framing?: Framing;
  /** What was read from the socket before, and is part of the stream. */
  readonly early?: Uint8Array;
}

/** A VM's link over a connected socket, in which each frame stands behind its length. */
export class StreamPort implements FramePort {
  readonly name: string;
  /** Resolves when the link is gone. */
  readonly ended: Promise<void>;
  readonly #decoder: FrameDecoder;
  readonly #writer: BatchWriter;
  readonly #socket: Socket;
  #early: Uint8Array | null;
  #consumer: FrameConsumer | null = null;
  #fault: string | null = null;
  #open = true;
  #hasLargeBuffer: boolean;
  #closeTimer: NodeJS.Timeout | null = null;

  /**
   * @param accepted - a connected socket that was never read from, but for what is `early`: its handle moves to a socket
   *   that reads into the decoder's buffer, which Node offers only to sockets made with it.
   * @param name - where the VM is attached.
   */
  constructor(accepted: Socket, name: string, { framing = "qemu", early }: StreamPortOptions = {}) {
    this.name = name;
    this.#decoder = new FrameDecoder(framing);
    this.#early = early === undefined || early.length === 0 ? null : early;
    const { prefixLength } = FRAMINGS[framing];
    // The kernel sizes the buffers of TCP by itself. What is no TCP socket has no address at the other side.
    this.#hasLargeBuffer = accepted.remoteAddress !== undefined;
    this.#writer = new BatchWriter(
      {
        write: (bytes, offset, length, written) => this.#write(bytes, offset, length, written),
        writePrefix:
          prefixLength === 4
            ? (view, offset, length) => view.setUint32(offset, length)
            : (view, offset, length) => view.setUint16(offset, length, true),
        pending: () => this.#consumer?.pending(),
        writable: () => this.#consumer?.writable(),
      },
      prefixLength,
    );
    this.#socket = adoptSocket(accepted, {
      onread: { buffer: this.#decoder.readBuffer, callback: (length) => this.#read(length) },
    });
    this.#socket.on("error", (error) => {
      // A VM that is killed resets the connection; that is how VMs leave.
      const code = (error as NodeJS.ErrnoException).code;
      if (code !== "ECONNRESET" && code !== "EPIPE") this.#fault ??= error.message;
    });
    this.#socket.on("end", () => {
      if (this.#decoder.carried > 0) this.#fault ??= `the connection ended ${this.#decoder.carried} bytes into a frame`;
      this.#socket.destroy();
    });
    const ended = Promise.withResolvers<void>();
    this.ended = ended.promise;
    this.#socket.on("close", () => {
      this.#open = false;
      this.#writer.close();
      this.#decoder.free();
      if (this.#closeTimer !== null) clearTimeout(this.#closeTimer);
      this.#consumer?.closed(this.#fault);
      this.#consumer = null;
      ended.resolve();
    });
  }

  get bytes(): Uint8Array {
    return this.#writer.bytes;
  }

  get view(): DataView {
    return this.#writer.view;
  }

  start(consumer: FrameConsumer): void {
    this.#consumer = consumer;
    if (this.#early === null) this.#socket.resume();
    // Whoever starts the link may not be ready for its frames before this returns.
    else setImmediate(() => this.#readEarly());
  }

  reserve(length: number): number {
    return this.#writer.reserve(length);
  }

  commit(length: number): void {
    this.#writer.commit(length);
  }

  flush(): void {
    this.#writer.flush();
  }

  close(): void {
    this.#writer.flush();
    this.#writer.close();
    this.#open = false;
    if (this.#socket.destroyed || this.#closeTimer !== null) return;
    this.#socket.destroySoon();
    this.#closeTimer = setTimeout(() => this.#socket.destroy(), CLOSE_MS);
  }

  #readEarly(): void {
    const bytes = this.#early;
    this.#early = null;
    const { readBuffer } = this.#decoder;
    for (let at = 0; bytes !== null && this.#open && at < bytes.length; at += readBuffer.length) {
      const part = bytes.subarray(at, at + readBuffer.length);
      readBuffer.set(part);
      this.#read(part.length);
    }
    if (this.#open) this.#socket.resume();
  }

  #read(length: number): boolean {
    const consumer = this.#consumer;
    if (consumer === null || !this.#open) return false;
    const fault = this.#decoder.push(length, consumer, () => this.#open);
    if (fault !== null) {
      this.#fault = fault;
      this.#open = false;
      this.#socket.destroy();
      return false;
    }
    if (this.#open) consumer.endBatch();
    return this.#open;
  }

  #write(bytes: Uint8Array, offset: number, length: number, written: () => void): boolean {
    const socket = this.#socket;
    if (socket.destroyed) return true;
    const taken = socket.writableLength === 0 ? writeNow(socket, bytes, offset, length) : 0;
    if (taken === length) return true;
    // Not before it is needed, as it takes memory and some time.
    if (!this.#hasLargeBuffer) {
      this.#hasLargeBuffer = true;
      setSendBuffer(socket, SEND_BUFFER_BYTES);
    }
    socket.write(bytes.subarray(offset + taken, offset + length), () => written());
    return false;
  }
}
