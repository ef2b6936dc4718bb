import { Duplex } from "node:stream";
import type { ClientChannel } from "ssh2";

/** Bytes that a channel gives its connection at once. It has begun to send them when its window is used up. */
export const LARGEST_WRITE = 64 * 1024;

/** What a channel needs of its connection. */
export interface ChannelOwner {
  /**
   * Calls `send` once the connection takes data for the server: the library has no limit of its own for what it keeps
   * when TCP does not take it.
   */
  whenWritable(send: () => void): void;
}

/**
 * A channel of an SSH connection as a stream that behaves like any other of Node: the library's own one has no `destroy`
 * that ends it at once, and shows the loss of the connection as a regular end.
 */
export class SshChannel extends Duplex {
  readonly #owner: ChannelOwner;
  readonly #channel: ClientChannel;
  /** Tells that what is being written was taken. */
  #written: ((error?: Error | null) => void) | null = null;
  /** The channel must not be touched any more, because its connection is gone. */
  #isLost = false;

  constructor(owner: ChannelOwner, channel: ClientChannel) {
    super({ allowHalfOpen: true });
    this.#owner = owner;
    this.#channel = channel;
    // The connection may be lost before anybody has this stream.
    this.on("error", () => {});
    channel.on("error", (error: Error) => this.destroy(error));
    channel.on("data", (chunk: Buffer) => {
      if (!this.push(chunk)) channel.pause();
    });
    channel.on("end", () => this.push(null));
    channel.on("close", () => this.#serverClosed());
    // A server may send what nobody has asked for (RFC 4254, 5.2), even after its end.
    channel.stderr.on("error", () => {});
    channel.stderr.resume();
  }

  /** Bytes of the server that wait to be read. */
  get unread(): number {
    return this.readableLength + this.#channel.readableLength;
  }

  /** The connection is gone, and with it the channel. */
  lost(error: Error): void {
    this.#isLost = true;
    this.destroy(error);
  }

  override _read(): void {
    if (this.#channel.isPaused()) this.#channel.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#written = done;
    this.#send(chunk);
  }

  override _final(done: (error?: Error | null) => void): void {
    if (!this.#isClosing) this.#channel.end();
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#settle(error);
    const channel = this.#channel;
    channel.removeAllListeners("data");
    if (!this.#isLost) {
      channel.close();
      // What is on its way is read and dropped, so that the channel comes to its end.
      channel.resume();
    }
    done(error);
  }

  /** Whether the library has ended the channel for writing, as it does when the server closes it. */
  get #isClosing(): boolean {
    return this.#channel.writableEnded;
  }

  /** All that the server sent was read from the channel. */
  #serverClosed(): void {
    this.#settle();
    if (this.readableEnded) this.destroy();
    else this.once("end", () => this.destroy());
  }

  #send(chunk: Buffer): void {
    this.#owner.whenWritable(() => {
      // What comes after the server has closed the channel has nowhere to go; what it sent before is still read.
      if (this.#isClosing || this.destroyed) {
        this.#settle();
        return;
      }
      this.#channel.write(chunk.subarray(0, LARGEST_WRITE), () => {
        if (chunk.length <= LARGEST_WRITE) this.#settle();
        else this.#send(chunk.subarray(LARGEST_WRITE));
      });
    });
  }

  #settle(error: Error | null = null): void {
    const done = this.#written;
    this.#written = null;
    if (done !== null) process.nextTick(done, error);
  }
}
