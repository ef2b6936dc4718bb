import type { Socket, TcpNetConnectOpts } from "node:net";
import type { CloseReason, RejectReason, TcpFlow, TcpHandler, TcpRequest } from "@hostd/stack";
import { copyBytes } from "./copy-bytes.ts";
import { readView } from "./read-view.ts";
import { LARGEST_SLAB, type Slab, type SlabPool, SMALLEST_SLAB } from "./slab-pool.ts";

/** How the host side is connected: `net.connect`, whose types lack the buffer size that its documentation has. */
export type ConnectOptions = TcpNetConnectOpts & { readonly writableHighWaterMark: number };

/** What a connection tells the table that it is in, and takes from it. */
export interface ConnectionOwner {
  readonly slabs: SlabPool;
  connectSocket(options: ConnectOptions): Socket;
  /** Asks for {@link TcpConnection.flush} at the end of the batch. */
  flushLater(connection: TcpConnection): void;
  /** The host answered and the guest's handshake was completed. */
  opened(connection: TcpConnection): void;
  /** The host could not be reached; says how the guest is to be told. */
  connectFailed(code: string): RejectReason;
  /** The connection was ended because there is no memory for what its two ends send. */
  outOfMemory(): void;
  /** Nothing of the connection is left. Called once. */
  ended(connection: TcpConnection): void;
}

/** How much is read from a host at first, in bytes; the flow's room is not known when Node asks. */
const FIRST_READ = 64 * 1024;

/** How long a host may take nothing of the last bytes of a flow that the guest has finished with, in milliseconds. */
const LINGER_TIME = 60_000;

/** The idle time after which the host's kernel starts to ask whether the other end is still there, in milliseconds. */
const KEEP_ALIVE_DELAY = 60_000;

/**
 * One TCP connection of a guest and the host socket that it is joined to.
 *
 * The guest's bytes are gathered in slabs during a batch of frames and written at its end, because Node keeps a
 * reference to what the kernel did not take at once, and the frames' memory is reused. The window opens when a slab has
 * been written. While one is waiting for the kernel the following bytes are gathered behind it, so at most a window's
 * worth is held.
 */
export class TcpConnection implements TcpHandler {
  /** Whether {@link ConnectionOwner.flushLater} was asked for a flush that has not come yet. */
  flushPending = false;

  readonly #owner: ConnectionOwner;
  readonly #request: TcpRequest;
  /** Addresses still to be tried, in order. */
  readonly #candidates: string[];
  #socket: Socket | null = null;
  /** The guest's side, from the end of its handshake until it is closed. */
  #flow: TcpFlow | null = null;

  /** The slab that the socket is writing. */
  #writing: Slab | null = null;
  /** Slabs gathered after it, first and last. */
  #gatheredHead: Slab | null = null;
  #gatheredTail: Slab | null = null;
  /** What was read from the host and the flow had no room for. */
  #unsent: Slab | null = null;

  #guestEnded = false;
  #outOfMemory = false;
  #ended = false;

  /** @param candidates the host addresses to connect to; the next one is tried when one refuses. */
  constructor(owner: ConnectionOwner, request: TcpRequest, candidates: string[]) {
    this.#owner = owner;
    this.#request = request;
    this.#candidates = candidates;
  }

  connect(): void {
    this.#request.onCancel = () => this.#end();
    this.#tryNext();
  }

  /** Gives up: a request is turned down as `reason` says, a connection is reset on both sides. */
  abandon(reason: RejectReason): void {
    this.#request.reject(reason);
    // Calls `closed` before it returns.
    this.#flow?.abort();
    this.#end();
  }

  #tryNext(): void {
    const socket = this.#owner.connectSocket({
      host: this.#candidates.shift() as string,
      port: this.#request.localPort,
      allowHalfOpen: true,
      autoSelectFamily: false,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_DELAY,
      // Any write that the kernel did not take whole is followed by 'drain'.
      writableHighWaterMark: 1,
      onread: {
        buffer: () => readView(this.#flow === null ? FIRST_READ : this.#flow.sendRoom),
        callback: (length, bytes) => this.#read(length, bytes),
      },
    });
    this.#socket = socket;
    // Nothing is read before the guest's handshake is complete.
    socket.pause();
    socket.once("connect", () => this.#connected(socket));
    socket.on("error", (error: NodeJS.ErrnoException) => this.#failed(socket, error.code ?? "unknown"));
    socket.once("end", () => this.#flow?.shutdown());
    socket.on("drain", () => this.#drained(socket));
    socket.once("close", () => this.#closed(socket));
  }

  #connected(socket: Socket): void {
    const flow = this.#request.accept(this);
    if (flow === null) {
      this.#end();
      return;
    }
    this.#flow = flow;
    this.#owner.opened(this);
    socket.resume();
  }

  #failed(socket: Socket, code: string): void {
    if (socket !== this.#socket || this.#ended) return;
    if (this.#flow !== null) {
      this.#flow.abort();
    } else if (code === "ECONNREFUSED" && this.#candidates.length > 0) {
      this.#tryNext();
    } else {
      this.#request.reject(this.#owner.connectFailed(code));
      this.#end();
    }
  }

  #closed(socket: Socket): void {
    if (socket !== this.#socket) return;
    // Both directions have ended in order when the flow is still there; it goes when the guest has acknowledged that.
    if (this.#flow === null) this.#end();
    else this.#socket = null;
  }

  established(_flow: TcpFlow): void {}

  data(_flow: TcpFlow, bytes: Uint8Array, offset: number, length: number): void {
    if (this.#socket === null || this.#socket.destroyed) return;
    let position = offset;
    let remaining = length;
    while (remaining > 0) {
      const slab = this.#slabWithRoom(remaining);
      if (slab === null) {
        // The flow may only be aborted outside of its own call.
        this.#outOfMemory = true;
        break;
      }
      const part = Math.min(remaining, slab.size - slab.end);
      copyBytes(bytes, position, slab.buffer, slab.end, part);
      slab.end += part;
      position += part;
      remaining -= part;
    }
    if (!this.flushPending) this.#owner.flushLater(this);
  }

  /** The last gathered slab, or a new one of the next size behind it when that is full. */
  #slabWithRoom(length: number): Slab | null {
    const tail = this.#gatheredTail;
    if (tail !== null) {
      // A small slab is left when a segment does not fit whole, as it is copied then.
      const needed = tail.size === SMALLEST_SLAB ? length : 1;
      if (tail.size - tail.end >= needed) return tail;
    }
    const slab = this.#owner.slabs.take(Math.min(tail === null ? length : tail.size + 1, LARGEST_SLAB));
    if (slab === null) return null;
    if (tail === null) {
      this.#gatheredHead = slab;
    } else if (tail.size === SMALLEST_SLAB) {
      // A small slab is always the first; moving its bytes saves a write of their own.
      copyBytes(tail.buffer, 0, slab.buffer, 0, tail.end);
      slab.end = tail.end;
      this.#owner.slabs.release(tail);
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
      this.#owner.outOfMemory();
      this.abandon("silent");
      return;
    }
    if (socket === null || socket.destroyed || this.#writing !== null) return;
    let written = 0;
    while (this.#gatheredHead !== null) {
      const slab = this.#gatheredHead;
      this.#gatheredHead = slab.next;
      if (slab.next === null) this.#gatheredTail = null;
      slab.next = null;
      const { buffer, start, end, size } = slab;
      socket.write(end - start === size ? buffer : buffer.subarray(start, end));
      if (socket.writableLength > 0) {
        this.#writing = slab;
        break;
      }
      written += end - start;
      this.#owner.slabs.release(slab);
    }
    if (written > 0) this.#flow?.consumed(written);
    this.#endWhenWritten();
  }

  #drained(socket: Socket): void {
    const slab = this.#writing;
    if (slab === null || socket !== this.#socket || socket.writableLength > 0) return;
    this.#writing = null;
    const written = slab.end - slab.start;
    this.#owner.slabs.release(slab);
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
    const taken = flow.send(bytes, 0, length);
    if (taken === length) return true;
    const slab = this.#owner.slabs.take(length - taken);
    if (slab === null) {
      this.#owner.outOfMemory();
      flow.abort();
      return false;
    }
    copyBytes(bytes, taken, slab.buffer, 0, length - taken);
    slab.end = length - taken;
    this.#unsent = slab;
    return false;
  }

  writable(flow: TcpFlow): void {
    const slab = this.#unsent;
    if (slab === null) return;
    slab.start += flow.send(slab.buffer, slab.start, slab.end - slab.start);
    if (slab.start < slab.end) return;
    this.#unsent = null;
    this.#owner.slabs.release(slab);
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

  /** Frees everything. A socket that is still there is reset, so the host does not take what it got for everything. */
  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#request.onCancel = null;
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
    this.#owner.ended(this);
  }

  #release(first: Slab | null): void {
    for (let slab = first; slab !== null; ) {
      const { next } = slab;
      this.#owner.slabs.release(slab);
      slab = next;
    }
  }
}
