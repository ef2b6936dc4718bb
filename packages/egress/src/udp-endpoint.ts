import { createSocket, type Socket } from "node:dgram";
import { datagramDescriptor, receiveNow } from "@hostd/native";
import { type Ipv4, takeRegion } from "@hostd/stack";
import { literalLookup } from "./literal-lookup.ts";
import type { UdpMapping } from "./udp-mapping.ts";

/** What becomes of datagrams and errors that arrive at an endpoint. */
export interface EndpointHandler {
  received(endpoint: UdpEndpoint, bytes: Uint8Array, address: string, port: number): void;
  /** A datagram of a sibling's peer; the bytes are valid until this returns. False when the guest's link had no room. */
  receivedFromPeer(endpoint: UdpEndpoint, bytes: Uint8Array, offset: number, length: number): boolean;
  /** An error of the socket, or of a datagram sent through it; `address` and `port` say where it was sent. */
  failed(endpoint: UdpEndpoint, error: NodeJS.ErrnoException & { address?: string; port?: number }): void;
}

/** Where datagrams are received to. One place serves all sockets, as each datagram is handed over before the next. */
const incoming = takeRegion(65536);

/**
 * Datagrams that are read directly after one that Node has read. Node reads up to 32 in a row before other sockets have
 * their turn, so this bounds what a flood takes from them as well.
 */
const BURST_DATAGRAMS = 16;
/** From so many datagrams on, having found the end of them has paid. */
const WORTHWHILE_BURST = 2;
/** The most datagrams that Node is left to read before the next attempt, when the last ones have not paid. */
const LONGEST_PAUSE = 64;
/** A datagram takes at least so much of a receive buffer, whatever its size; Linux takes three times as much. */
const SMALLEST_FOOTPRINT = 256;
/**
 * Bytes of a sibling's receive buffer, if the system allows as much (Linux up to `net.core.rmem_max`, and doubles it).
 * What Linux gives unless asked holds 13 datagrams of 8000 bytes, and a fast sender fills it before this process runs.
 */
const RECEIVE_BUFFER = 512 * 1024;

/**
 * One host socket of a mapping: the main one, which takes datagrams from anywhere, or a sibling on the same port that
 * is connected to one destination, which is the only kind that the kernel tells of ICMP errors.
 */
export class UdpEndpoint {
  readonly mapping: UdpMapping;
  /** The destination of a sibling as the guest knows it; null for the main socket. */
  readonly peerAddress: Ipv4 | null;
  readonly peerPort: number;
  readonly socket: Socket;
  /** The time to live that the socket is set to; 0 before it was set. */
  ttl = 0;
  /** When the sibling was made and last used, on the coarse clock of the table of mappings. */
  readonly createdAt: number;
  lastUsed: number;
  /** The address that was last converted, in both forms. */
  textAddress = "";
  numberAddress: Ipv4 = 0;
  /** Whether the socket had something to send that the kernel did not take, when last looked at. */
  busy = false;
  closed = false;
  /** The socket's descriptor for direct reads and writes; -1 when only Node's own will do, as on the main socket. */
  descriptor: number;
  /** What `send` calls when the datagram has gone or failed. */
  readonly sent: (error: Error | null) => void;
  readonly #handler: EndpointHandler;
  /** Datagrams that Node reads before the next direct read is attempted. */
  #untilBurst = 0;
  #pause = 0;

  constructor(
    mapping: UdpMapping,
    peer: { readonly address: Ipv4; readonly port: number } | null,
    socket: Socket,
    now: number,
    handler: EndpointHandler,
  ) {
    this.mapping = mapping;
    this.peerAddress = peer?.address ?? null;
    this.peerPort = peer?.port ?? 0;
    this.socket = socket;
    this.#handler = handler;
    this.createdAt = now;
    this.lastUsed = now;
    this.sent = (error) => {
      // A failure may be told after the socket was closed.
      if (error !== null && !this.closed) handler.failed(this, error);
    };
    this.descriptor = peer === null ? -1 : datagramDescriptor(socket);
    if (peer !== null) {
      // What arrived between `bind` and `connect` may be from anyone, and only Node tells the source.
      this.#untilBurst = 1 + Math.ceil(socket.getRecvBufferSize() / SMALLEST_FOOTPRINT);
      growReceiveBuffer(socket);
    }
    socket.on("message", (bytes, source) => {
      handler.received(this, bytes, source.address, source.port);
      if (this.descriptor < 0) return;
      if (this.#untilBurst > 0) this.#untilBurst--;
      else this.#receiveBurst();
    });
    socket.on("error", (error) => handler.failed(this, error));
  }

  close(): void {
    this.closed = true;
    this.descriptor = -1;
    this.socket.close();
  }

  /**
   * Receives what waits behind a datagram that Node has read. Node allocates 64 KiB and calls back for each; a direct
   * read does neither, but one that finds nothing costs as much as several datagrams, so it is made where it pays.
   */
  #receiveBurst(): void {
    const { bytes, offset, size } = incoming;
    let count = 0;
    // A failure may close the endpoint.
    while (count < BURST_DATAGRAMS && this.descriptor >= 0) {
      let length: number;
      try {
        length = receiveNow(this.descriptor, bytes, offset, size);
      } catch (error) {
        this.#handler.failed(this, error as NodeJS.ErrnoException);
        count++;
        continue;
      }
      if (length < 0) break;
      count++;
      // The rest is better off in the kernel's queue until the link has room.
      if (!this.#handler.receivedFromPeer(this, bytes, offset, length)) break;
    }
    this.#pause = count >= WORTHWHILE_BURST ? 0 : Math.min(LONGEST_PAUSE, 2 * this.#pause + 1);
    this.#untilBurst = this.#pause;
  }
}

/** How often a port is chosen anew when another process takes it in between. */
const BIND_ATTEMPTS = 4;

/**
 * Binds a socket to a port that nobody else has, so that siblings can be bound to it too.
 *
 * The kernel gives a socket with `reuseAddr` any port whose other sockets have it as well, such as those of another
 * mapping or process. A first socket without it finds a port that is really free, and makes way for the second.
 *
 * @throws {NodeJS.ErrnoException} when there is no port or no descriptor.
 */
export function bindMainSocket(): { socket: Socket; port: number } {
  for (let attempt = 1; ; attempt++) {
    const finder = bindSocket(0, false);
    const { port } = finder.address();
    finder.close();
    try {
      return { socket: bindSocket(port, true), port };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE" || attempt === BIND_ATTEMPTS) throw error;
    }
  }
}

/**
 * Binds another socket to a main socket's port and connects it.
 *
 * @returns null when the kernel refuses, for want of a route for example; the main socket's `send` will tell.
 */
export function connectSibling(port: number, address: string, peerPort: number): Socket | null {
  let socket: Socket;
  try {
    socket = bindSocket(port, true);
  } catch {
    return null;
  }
  // Without a callback a failure would become an 'error' event.
  socket.connect(peerPort, address, () => {});
  try {
    socket.remoteAddress();
    return socket;
  } catch {
    socket.close();
    return null;
  }
}

function growReceiveBuffer(socket: Socket): void {
  try {
    if (socket.getRecvBufferSize() < RECEIVE_BUFFER) socket.setRecvBufferSize(RECEIVE_BUFFER);
  } catch {
    // A system that allows less refuses instead of giving what it allows; the socket works as it is.
  }
}

/** Binds at once, thanks to {@link literalLookup}. */
function bindSocket(port: number, reuseAddr: boolean): Socket {
  const socket = createSocket({ type: "udp4", reuseAddr, lookup: literalLookup });
  const failures: Error[] = [];
  const fail = (error: Error): void => {
    failures.push(error);
  };
  socket.once("error", fail);
  socket.bind({ address: "0.0.0.0", port, exclusive: true });
  socket.removeListener("error", fail);
  if (failures.length > 0) {
    socket.close();
    throw failures[0];
  }
  return socket;
}
