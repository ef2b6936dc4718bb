import { createServer, type Socket } from "node:net";
import { StreamPort } from "@hostd/frontends";

/** A VM that listens, as QEMU does with `server=on`, and takes one link after the other. */
export class ListeningVm {
  readonly #server;
  readonly #sockets: Socket[] = [];
  #waiting = Promise.withResolvers<StreamPort>();

  private constructor() {
    this.#server = createServer({ pauseOnConnect: true }, (socket) => {
      this.#sockets.push(socket);
      this.#waiting.resolve(new StreamPort(socket, "peer"));
    });
  }

  static async listen(path: string): Promise<ListeningVm> {
    const vm = new ListeningVm();
    await new Promise<void>((resolve, reject) => vm.#server.once("error", reject).listen(path, resolve));
    return vm;
  }

  /** The next link that hostd makes. It is to be started as soon as it is there. */
  async link(): Promise<StreamPort> {
    const port = await this.#waiting.promise;
    this.#waiting = Promise.withResolvers();
    return port;
  }

  /** Stops listening; Node removes the socket's file. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }
}
