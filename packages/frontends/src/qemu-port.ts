import type { Socket } from "node:net";
import { adoptSocket, setSendBuffer, writeNow } from "@hostd/native";
import { BatchWriter } from "./batch-writer.ts";
import type { FrameConsumer, FramePort } from "./port.ts";
import { QEMU_PREFIX_LENGTH, QemuDecoder } from "./qemu-decoder.ts";

/** How long a VM that does not read may hold back the end of its link, in milliseconds. */
const CLOSE_MS = 1000;

/**
 * Bytes that a Unix socket takes before the VM reads, once it was found to take too little: several batches, so that this
 * side goes on while the VM reads. By default Linux takes 208 KiB.
 */
const SEND_BUFFER_BYTES = 1024 * 1024;

/**
 * A VM's link in QEMU's stream framing over a connected socket: a 32-bit big-endian length, then the frame.
 */
export class QemuPort implements FramePort {
  readonly name: string;
  /** Resolves when the link is gone. */
  readonly ended: Promise<void>;
  readonly #decoder = new QemuDecoder();
  readonly #writer: BatchWriter;
  readonly #socket: Socket;
  #consumer: FrameConsumer | null = null;
  #fault: string | null = null;
  #open = true;
  #hasLargeBuffer: boolean;
  #closeTimer: NodeJS.Timeout | null = null;

  /**
   * @param accepted - a connected socket that was never read from: its handle moves to a socket that reads into the
   *   decoder's buffer, which Node offers only to sockets made with it.
   * @param name - where the VM is attached.
   */
  constructor(accepted: Socket, name: string) {
    this.name = name;
    // The kernel sizes the buffers of TCP by itself. What is no TCP socket has no address at the other side.
    this.#hasLargeBuffer = accepted.remoteAddress !== undefined;
    this.#writer = new BatchWriter(
      {
        write: (bytes, offset, length, written) => this.#write(bytes, offset, length, written),
        writePrefix: (view, offset, length) => view.setUint32(offset, length),
        pending: () => this.#consumer?.pending(),
        writable: () => this.#consumer?.writable(),
      },
      QEMU_PREFIX_LENGTH,
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
    this.#socket.resume();
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
