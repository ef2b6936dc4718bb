import { copyBytes } from "@hostd/stack";

/** What is needed of a socket to send on it, as `dgram.Socket` has it. */
export interface SendingSocket {
  /** Has sent, or failed, or queued the datagram when it returns; refers to the memory as long as it is queued. */
  send(
    bytes: Uint8Array,
    offset: number,
    length: number,
    port: number,
    address: string,
    sent: (error: Error | null) => void,
  ): void;
  /** Bytes that the kernel did not take yet. */
  getSendQueueSize(): number;
  /** Datagrams that the kernel did not take yet. */
  getSendQueueCount(): number;
}

/** The largest payload of a UDP datagram in IPv4, in bytes. */
export const MAX_DATAGRAM = 65507;
/** Bytes and datagrams that may wait for one socket in Node. */
export const MAX_UNSENT_BYTES = 4 * 1024 * 1024;
export const MAX_UNSENT_DATAGRAMS = 4096;

/** Where a payload is copied for sending, until a socket keeps it. One place serves all sockets, as each sends at once. */
let outgoing: Buffer | null = null;

/** Sends datagrams whose memory is only valid during the call, and bounds what waits for the kernel. */
export class DatagramSender {
  readonly #socket: SendingSocket;
  readonly #sent: (error: Error | null) => void;
  /** Whether something waited for the kernel when last looked at. */
  #busy = false;

  /** @param failed - a datagram that was taken could not be sent. */
  constructor(socket: SendingSocket, failed: (error: NodeJS.ErrnoException) => void) {
    this.#socket = socket;
    this.#sent = (error) => {
      if (error !== null) failed(error);
    };
  }

  /**
   * Sends a datagram.
   *
   * @param length - bytes of payload, at most {@link MAX_DATAGRAM}.
   * @returns false when it was dropped because too much waits.
   */
  send(bytes: Uint8Array, offset: number, length: number, port: number, address: string): boolean {
    const socket = this.#socket;
    const queued = this.#busy ? socket.getSendQueueCount() : 0;
    if (queued > 0 && (queued >= MAX_UNSENT_DATAGRAMS || socket.getSendQueueSize() + length > MAX_UNSENT_BYTES)) {
      return false;
    }
    const memory = queued > 0 ? Buffer.allocUnsafeSlow(length) : (outgoing ??= Buffer.allocUnsafeSlow(MAX_DATAGRAM));
    copyBytes(bytes, offset, memory, 0, length);
    socket.send(memory, 0, length, port, address, this.#sent);
    this.#busy = socket.getSendQueueCount() > 0;
    if (this.#busy && memory === outgoing) outgoing = null;
    return true;
  }
}
