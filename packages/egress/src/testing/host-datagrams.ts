import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import { once } from "node:events";
import { EventLog } from "../../../streams/src/testing/event-log.ts";

/** A UDP socket of the host on loopback. */
export class HostDatagrams {
  readonly received = new EventLog<{ readonly payload: Buffer; readonly source: RemoteInfo }>();
  readonly #socket: Socket;

  private constructor(socket: Socket, answer: boolean) {
    this.#socket = socket;
    socket.on("message", (payload, source) => {
      this.received.push({ payload, source });
      if (answer) this.send(payload, source.port);
    });
  }

  /** @param answer whether each datagram is sent back. */
  static async bind(answer: boolean, address = "127.0.0.1"): Promise<HostDatagrams> {
    const socket = createSocket("udp4");
    socket.bind(0, address);
    await once(socket, "listening");
    return new HostDatagrams(socket, answer);
  }

  get port(): number {
    return this.#socket.address().port;
  }

  send(payload: Uint8Array, port: number): void {
    this.#socket.send(payload, port, "127.0.0.1");
  }

  async close(): Promise<void> {
    this.#socket.close();
    await once(this.#socket, "close");
  }
}
