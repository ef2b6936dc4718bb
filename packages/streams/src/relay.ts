import type { Socket } from "node:net";
import { readNow, writeNow } from "@hostd/native";
import { type CloseReason, copyBytes, type TcpFlow, type TcpHandler, takeRegion } from "@hostd/stack";
import type { RelayPool } from "./relay-pool.ts";
import { type Slab, SMALLEST_SLAB } from "./slab-pool.ts";

/**
 * The memory that all host sockets are read into at first, one byte longer than what programs like to write at once: a
 * read that fills it most likely left something behind. One serves them all because libuv reads and hands over the bytes
 * in one go, and they are copied before the callback returns.
 */
const LONG_READ = 16 * 1024 + 1;
/** The same where a flow has little room: it bounds what has to be kept of a read that the flow did not take. */
const SHORT_READ = 4 * 1024 + 1;
const scratch = takeRegion(LONG_READ);
const longView = scratch.bytes.subarray(scratch.offset, scratch.offset + LONG_READ);
const shortView = scratch.bytes.subarray(scratch.offset, scratch.offset + SHORT_READ);

/** Bytes that one host may send before other sockets have their turn. */
const TURN_BYTES = 512 * 1024;
/** The most that is read at once, which is also the step in which a flow's buffer is made ready. */
const READ_BYTES = 256 * 1024;
/** Segments of so many bytes are written on their own, straight from the frame; smaller ones are gathered. */
const DIRECT_BYTES = 16 * 1024;
/** How long a host may take nothing of the last bytes of a flow that the guest has finished with, in milliseconds. */
const LINGER_TIME = 60_000;

/** How a host socket is to be made that a {@link Relay} works on, for `net.connect` and `new Socket`. */
export interface RelaySocketOptions {
  readonly allowHalfOpen: true;
  readonly writableHighWaterMark: number;
  readonly onread: {
    readonly buffer: () => Uint8Array;
    readonly callback: (length: number, bytes: Uint8Array) => boolean;
  };
}

/**
 * Joins a TCP flow of the guest and a socket of the host: bytes both ways with backpressure, half-close, reset.
 *
 * What the guest sends in large segments is written straight from its frame as far as the kernel takes it at once. Small
 * segments are gathered in slabs during a batch of frames and written at its end. The window opens by what has been
 * written. While the kernel takes no more, what follows is gathered behind, so at most a window's worth is held.
 *
 * What the host sends is read into the flow's send buffer, but for the beginning of each read.
 */
export class Relay implements TcpHandler {
  /** Whether {@link RelayPool.flushLater} was asked for a flush that has not come yet. */
  flushPending = false;
  /** What the socket is to be made with. */
  readonly socketOptions: RelaySocketOptions;

  readonly #pool: RelayPool;
  readonly #ended: () => void;
  #socket: Socket | null = null;
  /** The guest's side, until it is closed. */
  #flow: TcpFlow | null = null;

  /** The slab that the socket is writing. */
  #writing: Slab | null = null;
  /** Slabs gathered after it, first and last. */
  #gatheredHead: Slab | null = null;
  #gatheredTail: Slab | null = null;
  /** What was read from the host and the flow had no room for. */
  #unsent: Slab | null = null;
  /** The host is not read from until the flow has room. */
  #isReadPaused = false;

  #isStarted = false;
  #guestEnded = false;
  #outOfMemory = false;
  #isOver = false;

  /** @param ended - called once when nothing of the relay is left. */
  constructor(pool: RelayPool, ended: () => void) {
    this.#pool = pool;
    this.#ended = ended;
    this.socketOptions = {
      allowHalfOpen: true,
      // Any write that the kernel did not take whole is followed by 'drain'.
      writableHighWaterMark: 1,
      onread: {
        buffer: () => ((this.#flow?.sendRoom ?? LONG_READ) < LONG_READ ? shortView : longView),
        callback: (length, bytes) => this.#read(length, bytes),
      },
    };
  }

  /**
   * Takes over a socket made with {@link socketOptions}, which is paused until {@link start}. Its errors until then
   * go to `failed`.
   */
  attach(socket: Socket, failed: (code: string) => void): void {
    this.#socket = socket;
    socket.pause();
    socket.on("error", (error: NodeJS.ErrnoException) => {
      if (socket !== this.#socket || this.#isOver) return;
      if (!this.#isStarted) failed(error.code ?? "unknown");
      else if (this.#flow === null) this.#end();
      else this.#flow.abort();
    });
    socket.once("end", () => this.#flow?.shutdown());
    socket.on("drain", () => this.#drained(socket));
    socket.once("close", () => this.#socketClosed(socket));
  }

  /** Starts the transfer: the socket is connected, and `flow` was made with this as its handler. */
  start(flow: TcpFlow): void {
    this.#isStarted = true;
    this.#flow = flow;
    this.#socket?.resume();
  }

  /** Resets both sides. */
  abandon(): void {
    // Calls `closed` before it returns.
    this.#flow?.abort();
    this.#end();
  }

  established(_flow: TcpFlow): void {}

  data(flow: TcpFlow, bytes: Uint8Array, offset: number, length: number): void {
    const socket = this.#socket;
    if (socket === null || socket.destroyed) return;
    let position = offset;
    let remaining = length;
    if (length >= DIRECT_BYTES && this.#writing === null && this.#gatheredHead === null) {
      const written = writeNow(socket, bytes, offset, length);
      if (written > 0) flow.consumed(written);
      if (written === length) return;
      position += written;
      remaining -= written;
    }
    while (remaining > 0) {
      const slab = this.#slabWithRoom(remaining);
      if (slab === null) {
        // The flow may only be aborted outside of its own call.
        this.#outOfMemory = true;
        break;
      }
      const part = Math.min(remaining, slab.room);
      copyBytes(bytes, position, slab.region.bytes, slab.end, part);
      slab.end += part;
      position += part;
      remaining -= part;
    }
    if (!this.flushPending) this.#pool.flushLater(this);
  }

  /** The last gathered slab, or a new one of the next size behind it when that is full. */
  #slabWithRoom(length: number): Slab | null {
    const tail = this.#gatheredTail;
    if (tail !== null) {
      // A small slab is left when a segment does not fit whole, as it is copied then.
      const needed = tail.size === SMALLEST_SLAB ? length : 1;
      if (tail.room >= needed) return tail;
    }
    const slab = this.#pool.slabs.take(tail === null ? length : tail.size + 1);
    if (slab === null) return null;
    if (tail === null) {
      this.#gatheredHead = slab;
    } else if (tail.size === SMALLEST_SLAB) {
      // A small slab is always the first; moving its bytes saves a write of their own.
      copyBytes(tail.region.bytes, tail.start, slab.region.bytes, slab.end, tail.length);
      slab.end += tail.length;
      this.#pool.slabs.release(tail);
      this.#gatheredHead = slab;
    } else {
      tail.next = slab;
    }
    this.#gatheredTail = slab;
    return slab;
  }

  /** Writes what was gathered, until the kernel does not take it at once. */
  flush(): void {
    const socket = this.#socket;
    if (this.#outOfMemory) {
      this.#pool.outOfMemory();
      this.abandon();
      return;
    }
    if (socket === null || socket.destroyed || this.#writing !== null) return;
    let written = 0;
    while (this.#gatheredHead !== null) {
      const slab = this.#gatheredHead;
      this.#gatheredHead = slab.next;
      if (slab.next === null) this.#gatheredTail = null;
      slab.next = null;
      const taken = writeNow(socket, slab.region.bytes, slab.start, slab.length);
      written += taken;
      slab.start += taken;
      if (slab.length > 0) {
        this.#writing = slab;
        socket.write(slab.content);
        break;
      }
      this.#pool.slabs.release(slab);
    }
    if (written > 0) this.#flow?.consumed(written);
    // The kernel may have found room just after it had none; then no 'drain' is on its way.
    if (this.#writing !== null && socket.writableLength === 0) this.#drained(socket);
    else this.#endWhenWritten();
  }

  #drained(socket: Socket): void {
    const slab = this.#writing;
    if (slab === null || socket !== this.#socket || socket.writableLength > 0) return;
    this.#writing = null;
    const written = slab.length;
    this.#pool.slabs.release(slab);
    this.#flow?.consumed(written);
    this.flush();
  }

  end(_flow: TcpFlow): void {
    this.#guestEnded = true;
    this.#endWhenWritten();
  }

  #endWhenWritten(): void {
    if (!this.#guestEnded || this.#writing !== null || this.#gatheredHead !== null) return;
    if (this.#flow === null) this.#socket?.destroySoon();
    else this.#socket?.end();
  }

  /** @returns whether reading goes on. */
  #read(length: number, bytes: Uint8Array): boolean {
    const flow = this.#flow;
    if (flow === null) return false;
    const taken = flow.send(scratch.bytes, scratch.offset, length);
    if (taken < length) {
      this.#isReadPaused = true;
      const slab = this.#pool.slabs.take(length - taken);
      if (slab === null) {
        this.#pool.outOfMemory();
        flow.abort();
        return false;
      }
      copyBytes(scratch.bytes, scratch.offset + taken, slab.region.bytes, slab.end, length - taken);
      slab.end += length - taken;
      this.#unsent = slab;
      return false;
    }
    return length < bytes.length || this.#readOn(flow);
  }

  /** Reads what else the kernel has, to where it is sent from. */
  #readOn(flow: TcpFlow): boolean {
    const socket = this.#socket;
    for (let turn = 0; socket !== null && turn < TURN_BYTES; ) {
      const space = flow.sendSpace(READ_BYTES);
      if (space === null) {
        this.#isReadPaused = true;
        return false;
      }
      const wanted = space.length;
      const length = readNow(socket, space.bytes, space.offset, wanted);
      flow.sendFilled(length);
      if (length < wanted) break;
      turn += length;
    }
    return true;
  }

  writable(flow: TcpFlow): void {
    if (!this.#isReadPaused) return;
    const slab = this.#unsent;
    if (slab !== null) {
      slab.start += flow.send(slab.region.bytes, slab.start, slab.length);
      if (slab.length > 0) return;
      this.#unsent = null;
      this.#pool.slabs.release(slab);
    }
    this.#isReadPaused = false;
    if (this.#socket !== null && !this.#socket.destroyed) this.#socket.resume();
  }

  closed(_flow: TcpFlow, reason: CloseReason): void {
    this.#flow = null;
    const socket = this.#socket;
    if (reason !== "finished" || socket === null || socket.destroyed) {
      this.#end();
      return;
    }
    // The guest is done; its last bytes may still be waiting for the host.
    this.#guestEnded = true;
    if (this.#writing !== null || this.#gatheredHead !== null) socket.setTimeout(LINGER_TIME, () => this.#end());
    else socket.destroySoon();
  }

  #socketClosed(socket: Socket): void {
    if (socket !== this.#socket) return;
    // Both directions have ended in order when the flow is still there; it goes when the guest has acknowledged that.
    if (this.#flow === null) this.#end();
    else this.#socket = null;
  }

  /** Frees everything. A socket that is still there is reset, so the host does not take what it got for everything. */
  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const socket = this.#socket;
    this.#socket = null;
    if (socket !== null && !socket.destroyed) {
      // A shutdown in progress cannot be reset (uv_tcp_close_reset), but it is only begun when everything is written.
      if (socket.connecting || (socket.writableEnded && !socket.writableFinished)) socket.destroy();
      else socket.resetAndDestroy();
    }
    // The socket's descriptor is closed, so nothing reads this memory any more.
    this.#release(this.#writing);
    this.#release(this.#gatheredHead);
    this.#release(this.#unsent);
    this.#writing = null;
    this.#gatheredHead = null;
    this.#gatheredTail = null;
    this.#unsent = null;
    this.#ended();
  }

  #release(first: Slab | null): void {
    for (let slab = first; slab !== null; ) {
      const { next } = slab;
      this.#pool.slabs.release(slab);
      slab = next;
    }
  }
}
