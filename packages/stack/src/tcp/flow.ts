import type { Ipv4 } from "../address.ts";
import type { SendSpace } from "./send-buffer.ts";

/** The two ends of a TCP connection or a UDP flow as this stack sees them: `local` is the end it answers for. */
export interface FourTuple {
  readonly localAddress: Ipv4;
  readonly localPort: number;
  readonly remoteAddress: Ipv4;
  readonly remotePort: number;
}

/**
 * How a request for a connection is turned down:
 *
 * - `refused`: a reset, as a host with nothing listening sends it;
 * - `net-unreachable`, `host-unreachable`: ICMP destination unreachable, codes 0 and 1;
 * - `prohibited`: ICMP communication administratively prohibited, code 13;
 * - `silent`: nothing at all, as a black hole answers.
 */
export type RejectReason = "refused" | "net-unreachable" | "host-unreachable" | "prohibited" | "silent";

/**
 * Why a connection is gone:
 *
 * - `finished`: both directions were closed in order;
 * - `reset`: the peer sent a reset;
 * - `timeout`: the peer stopped answering (RFC 9293, 3.8.3);
 * - `refused`: the peer answered our SYN with a reset;
 * - `unreachable`: our SYN was answered by ICMP destination unreachable;
 * - `aborted`: this side called {@link TcpFlow.abort};
 * - `detached`: the VM went away.
 */
export type CloseReason = "finished" | "reset" | "timeout" | "refused" | "unreachable" | "aborted" | "detached";

/**
 * What the owner of a connection is told. No method may throw, and none is called from within the owner's own call
 * into the stack, except {@link closed} from {@link TcpFlow.abort}.
 */
export interface TcpHandler {
  /** The handshake is complete. Data may be sent before, and leaves with or after it. */
  established(flow: TcpFlow): void;

  /**
   * The next bytes of the stream, in place in the link's receive buffer and valid only during this call. The window
   * stays smaller by `length` until {@link TcpFlow.consumed} returns them.
   */
  data(flow: TcpFlow, bytes: Uint8Array, offset: number, length: number): void;

  /** The peer has sent everything (FIN, in order). This side may go on sending. */
  end(flow: TcpFlow): void;

  /**
   * There is room in the send buffer again, and it is this connection's turn to send, after {@link TcpFlow.send} took less than
   * it was given, or {@link TcpFlow.sendSpace} had nothing.
   */
  writable(flow: TcpFlow): void;

  /** The connection is gone; called exactly once, and nothing is called after it. */
  closed(flow: TcpFlow, reason: CloseReason): void;
}

/** One TCP connection, as its owner on an upper floor sees it. */
export interface TcpFlow extends FourTuple {
  /** Bytes that {@link send} would take now. */
  readonly sendRoom: number;
  /** Bytes taken by {@link send} that the peer has not acknowledged. */
  readonly sendQueued: number;

  /** Whether {@link sendRoom} is at least `bytes`; if not, {@link TcpHandler.writable} says when there is much more. */
  hasSendRoom(bytes: number): boolean;

  /**
   * Queues bytes for the peer; they are copied before this returns.
   *
   * @returns how many were taken, less than `length` when the send buffer is full; {@link TcpHandler.writable} says
   *   when to go on. Zero after {@link shutdown}, {@link abort} or the end of the connection.
   */
  send(bytes: Uint8Array, offset: number, length: number): number;

  /**
   * Memory of the send buffer for up to `most` bytes, for who can have them written there without a copy: then
   * {@link sendFilled} says how many. It is valid only until then, and the object only until the next call. While many
   * connections have much queued, it is no more than can leave at once.
   *
   * @returns null when there is no room for now; {@link TcpHandler.writable} says when to go on.
   */
  sendSpace(most: number): Readonly<SendSpace> | null;

  /** Queues the first `length` bytes, maybe none, of what {@link sendSpace} handed out just before. */
  sendFilled(length: number): void;

  /** Tells that `length` bytes handed to {@link TcpHandler.data} have left, which opens the window again. */
  consumed(length: number): void;

  /** Sends FIN after what is queued. Receiving goes on (half-close). Idempotent. */
  shutdown(): void;

  /** Ends the connection at once with a reset. Idempotent. */
  abort(): void;

  /**
   * Whether a small segment waits while anything is unacknowledged (RFC 9293, 3.7.4). Off at first: what a proxied
   * application wrote is not to wait for more.
   */
  setNagle(on: boolean): void;

  /**
   * Asks the peer whether it is still there after `idle` milliseconds without a segment from it (RFC 9293, 3.8.4), and
   * ends the connection with `timeout` when it does not answer; 0 turns that off.
   */
  setKeepAlive(idle: number): void;

  /**
   * Ends the connection with `timeout` when data stays unacknowledged for so many milliseconds (RFC 9293, 3.8.3); 0
   * leaves that to the count of retransmissions.
   */
  setUserTimeout(milliseconds: number): void;
}

/**
 * A peer's SYN that waits for an answer. The handshake is completed only by {@link accept}, so an upper floor can
 * first find out whether the destination answers.
 */
export interface TcpRequest extends FourTuple {
  /** Whether the peer gave up (reset) or the stack evicted the request; it can no longer be answered. */
  readonly cancelled: boolean;
  /** Called once when the request becomes {@link cancelled}; set it to learn of it. */
  onCancel: (() => void) | null;

  /** Completes the handshake and hands the connection's events to `handler`; null when the request is cancelled. */
  accept(handler: TcpHandler): TcpFlow | null;

  /** Turns the request down. Does nothing when it is cancelled or already answered. */
  reject(reason: RejectReason): void;
}

/** Takes each SYN that no listener claims. */
export type TcpRequestHandler = (request: TcpRequest) => void;
