import type { Socket } from "node:net";
import { readNow, resetSocket, writeNow } from "@hostd/native";
import { type CloseReason, copyBytes, type TcpFlow, type TcpHandler, takeRegion } from "@hostd/stack";
import type { RelayPool } from "./relay-pool.ts";
import { type Slab, SMALLEST_SLAB } from "./slab-pool.ts";

/**
 * Bytes of the first read of a host's socket. What they are read into serves all sockets, because libuv reads and hands
 * over the bytes in one go, and they are copied before the callback returns. No more than half of the smallest send
 * buffer, so that a flow that is writable has room for them.
 */
const FIRST_READ = 8 * 1024;
const scratch = takeRegion(FIRST_READ);
const scratchView = scratch.bytes.subarray(scratch.offset, scratch.offset + FIRST_READ);

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
    readonly buffer: Uint8Array;
    readonly callback: (length: number) => boolean;
  };
}

/** Who made a relay, and is told what becomes of it. */
export interface RelayOwner {
  /** The socket that was attached while it was connecting is connected. */
  relayConnected(): void;
  /** The guest has answered; a flow that was dialled is started then, not before. */
  relayEstablished(flow: TcpFlow): void;
  /** The socket failed before {@link Relay.start}; `code` is that of the system's error. */
  relayFailed(code: string): void;
  /** A socket that was attached is closed, be it the last one or one before. */
  relaySocketClosed(): void;
  /** Nothing of the relay is left but sockets that are closing. Called once, with the flow's reason or `aborted`. */
  relayEnded(reason: CloseReason): void;
}

/** Where a socket keeps its relay, so that all sockets share their listeners. */
const RELAY = Symbol("relay");

interface RelayedSocket extends Socket {
  [RELAY]?: Relay;
}

/**
 * Joins a TCP flow of the guest and a socket of the host: bytes both ways with backpressure, half-close, reset.
 *
 * What the guest sends in large segments is written straight from its frame as far as the kernel takes it at once. Small
 * segments are gathered in slabs during a batch of frames and written at its end. The window opens by what has been
 * written. While the kernel takes no more, what follows is gathered behind, so at most a window's worth is held.
 *
 * What the host sends is read into the flow's send buffer, but for the beginning of each read. The socket is only read
 * while the flow has room for that beginning.
 */
export class Relay implements TcpHandler {
  /** Whether {@link RelayPool.flushLater} was asked for a flush that has not come yet. */
  flushPending = false;

  readonly #pool: RelayPool;
  readonly #owner: RelayOwner;
  #socket: RelayedSocket | null = null;
  /** The guest's side, until it is closed. */
  #flow: TcpFlow | null = null;

  /** The slab that the socket is writing. */
  #writing: Slab | null = null;
  /** Slabs gathered after it, first and last. */
  #gatheredHead: Slab | null = null;
  #gatheredTail: Slab | null = null;

  #isStarted = false;
  #guestEnded = false;
  #outOfMemory = false;
  #isOver = false;

  constructor(pool: RelayPool, owner: RelayOwner) {
    this.#pool = pool;
    this.#owner = owner;
  }

  /** What the socket is to be made with. */
  socketOptions(): RelaySocketOptions {
    return {
      allowHalfOpen: true,
      // Any write that the kernel did not take whole is followed by 'drain'.
      writableHighWaterMark: 1,
      onread: { buffer: scratchView, callback: (length) => this.#read(length) },
    };
  }

  /** Takes over a socket made with {@link socketOptions}, which is not read from until {@link start}. */
  attach(made: Socket): void {
    const socket: RelayedSocket = made;
    this.#socket = socket;
    socket[RELAY] = this;
    socket.pause();
    socket.on("connect", onConnect);
    socket.on("error", onError);
    socket.on("end", onEnd);
    socket.on("drain", onDrain);
    socket.on("close", onClose);
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
    this.#end("aborted");
  }

  established(flow: TcpFlow): void {
    this.#owner.relayEstablished(flow);
  }

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
    if (this.#writing !== null && socket.writableLength === 0) this.socketDrained(socket);
    else this.#endWhenWritten();
  }

  /** The socket has written what was queued. */
  socketDrained(socket: Socket): void {
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
  #read(length: number): boolean {
    const flow = this.#flow;
    const socket = this.#socket;
    if (flow === null || socket === null) return false;
    if (flow.send(scratch.bytes, scratch.offset, length) < length) {
      // There was room when the read was allowed, so this side of the flow is closed, and the bytes have nowhere to go.
      flow.abort();
      return false;
    }
    // The kernel most likely has more.
    return length < FIRST_READ ? flow.hasSendRoom(FIRST_READ) : this.#pull(flow, socket, length);
  }

  /**
   * Reads what the kernel has to where it is sent from, as long as there is room.
   *
   * @param turn - bytes of this turn that were read already.
   * @returns whether the socket is to be read from when there is more; if not, {@link writable} goes on.
   */
  #pull(flow: TcpFlow, socket: Socket, turn: number): boolean {
    for (let read = turn; read < TURN_BYTES; ) {
      const space = flow.sendSpace(READ_BYTES);
      if (space === null) return false;
      const wanted = space.length;
      const length = readNow(socket, space.bytes, space.offset, wanted);
      flow.sendFilled(length);
      if (length < wanted) break;
      read += length;
    }
    return flow.hasSendRoom(FIRST_READ);
  }

  writable(flow: TcpFlow): void {
    const socket = this.#socket;
    if (socket === null || socket.destroyed || !this.#isStarted) return;
    if (this.#pull(flow, socket, 0)) socket.resume();
  }

  closed(_flow: TcpFlow, reason: CloseReason): void {
    this.#flow = null;
    const socket = this.#socket;
    if (reason !== "finished" || socket === null || socket.destroyed) {
      this.#end(reason);
      return;
    }
    // The guest is done; its last bytes may still be waiting for the host.
    this.#guestEnded = true;
    if (this.#writing !== null || this.#gatheredHead !== null)
      socket.setTimeout(LINGER_TIME, () => this.#end("aborted"));
    else socket.destroySoon();
  }

  socketConnected(socket: Socket): void {
    if (socket === this.#socket) this.#owner.relayConnected();
  }

  socketFailed(socket: Socket, code: string): void {
    if (socket !== this.#socket || this.#isOver) return;
    if (!this.#isStarted) this.#owner.relayFailed(code);
    else if (this.#flow === null) this.#end("aborted");
    else this.#flow.abort();
  }

  /** The host has sent everything. */
  socketEnded(socket: Socket): void {
    if (socket === this.#socket) this.#flow?.shutdown();
  }

  socketClosed(socket: Socket): void {
    if (socket === this.#socket) {
      // Both directions have ended in order when the flow is still there; it goes when the guest has acknowledged that.
      if (this.#flow === null) this.#end("aborted");
      else this.#socket = null;
    }
    this.#owner.relaySocketClosed();
  }

  /** Frees everything. A socket that is still there is reset, so the host does not take what it got for everything. */
  #end(reason: CloseReason): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const socket = this.#socket;
    this.#socket = null;
    if (socket !== null && !socket.destroyed) resetSocket(socket);
    // The socket's descriptor is closed, so nothing reads this memory any more.
    this.#release(this.#writing);
    this.#release(this.#gatheredHead);
    this.#writing = null;
    this.#gatheredHead = null;
    this.#gatheredTail = null;
    this.#owner.relayEnded(reason);
  }

  #release(first: Slab | null): void {
    for (let slab = first; slab !== null; ) {
      const { next } = slab;
      this.#pool.slabs.release(slab);
      slab = next;
    }
  }
}

function onConnect(this: RelayedSocket): void {
  this[RELAY]?.socketConnected(this);
}

function onError(this: RelayedSocket, error: NodeJS.ErrnoException): void {
  this[RELAY]?.socketFailed(this, error.code ?? "unknown");
}

function onEnd(this: RelayedSocket): void {
  this[RELAY]?.socketEnded(this);
}

function onDrain(this: RelayedSocket): void {
  this[RELAY]?.socketDrained(this);
}

function onClose(this: RelayedSocket): void {
  this[RELAY]?.socketClosed(this);
}
