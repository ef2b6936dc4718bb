import { createSocket, type Socket } from "node:dgram";
import type { Ipv4 } from "@hostd/stack";
import { literalLookup } from "./literal-lookup.ts";
import type { UdpMapping } from "./udp-mapping.ts";

/** What becomes of datagrams and errors that arrive at an endpoint. */
export interface EndpointHandler {
  received(endpoint: UdpEndpoint, bytes: Uint8Array, address: string, port: number): void;
  /** An error of the socket, or of a datagram sent through it; `address` and `port` say where it was sent. */
  failed(endpoint: UdpEndpoint, error: NodeJS.ErrnoException & { address?: string; port?: number }): void;
}

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
  /** What `send` calls when the datagram has gone or failed. */
  readonly sent: (error: Error | null) => void;

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
    this.createdAt = now;
    this.lastUsed = now;
    this.sent = (error) => {
      // A failure may be told after the socket was closed.
      if (error !== null && !this.closed) handler.failed(this, error);
    };
    socket.on("message", (bytes, source) => handler.received(this, bytes, source.address, source.port));
    socket.on("error", (error) => handler.failed(this, error));
  }

  close(): void {
    this.closed = true;
    this.socket.close();
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
