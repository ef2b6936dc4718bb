import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { isIPv4 } from "node:net";
import { EventLog } from "../../../streams/src/testing/event-log.ts";
import { cleanUp } from "./harness.ts";

/** A UDP socket on a loopback address of the host, closed after the test. */
export class DatagramClient {
  readonly address: string;
  readonly port: number;
  /** Where each datagram came from, and its payload. */
  readonly received = new EventLog<{ readonly address: string; readonly port: number; readonly payload: Buffer }>();
  readonly #socket: Socket;

  private constructor(socket: Socket) {
    const { address, port } = socket.address();
    this.address = address;
    this.port = port;
    this.#socket = socket;
    socket.on("message", (payload, { address, port }) => this.received.push({ address, port, payload }));
    cleanUp(() => socket.close());
  }

  static async open(address = "127.0.0.1"): Promise<DatagramClient> {
    const socket = createSocket(isIPv4(address) ? "udp4" : "udp6");
    socket.bind(0, address);
    await once(socket, "listening");
    return new DatagramClient(socket);
  }

  /** Sends a datagram to a port of the address that it has itself. */
  async send(payload: Uint8Array | string, port: number): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#socket.send(payload, port, this.address, (error) => (error === null ? resolve() : reject(error)));
    });
  }

  /** The payload that was received as the `count`th. */
  async payload(count = 1): Promise<Buffer> {
    return (await this.received.take(count))[count - 1].payload;
  }
}
