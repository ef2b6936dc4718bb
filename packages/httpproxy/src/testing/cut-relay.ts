import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { cleanUp } from "../../../streams/src/testing/peer.ts";

/** What happens to a connection once so many bytes have come from the server. */
export interface Cut {
  readonly after: number;
  /** `stall`: nothing more is passed on. */
  readonly by: "reset" | "end" | "stall";
  /** It has happened. */
  readonly done?: () => void;
}

/** Stands between a client and a server of 127.0.0.1. */
export class CutRelay {
  cut: Cut = { after: Number.POSITIVE_INFINITY, by: "stall" };
  /** Bytes that came from the server on the last connection. */
  passed = 0;
  port = 0;
  readonly #clients = new Set<Socket>();

  static async start(target: number): Promise<CutRelay> {
    const relay = new CutRelay();
    const server = createServer({ allowHalfOpen: true }, (client) => relay.#serve(client, target));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    cleanUp(() => server.close());
    relay.port = (server.address() as AddressInfo).port;
    return relay;
  }

  /** Resets what there is. */
  reset(): void {
    for (const client of this.#clients) client.resetAndDestroy();
  }

  #serve(client: Socket, target: number): void {
    const { cut } = this;
    const server = connect({ port: target, host: "127.0.0.1", allowHalfOpen: true });
    this.#clients.add(client);
    this.passed = 0;
    let isCut = false;
    const act = () => {
      isCut = true;
      if (cut.by === "reset") client.resetAndDestroy();
      else if (cut.by === "end") client.end();
      if (cut.by !== "stall") server.destroy();
      cut.done?.();
    };
    for (const socket of [client, server]) {
      socket.on("error", () => {});
      cleanUp(() => socket.destroy());
    }
    client.on("data", (bytes: Buffer) => {
      if (server.writable) server.write(bytes);
    });
    client.on("end", () => server.end());
    client.on("close", () => {
      this.#clients.delete(client);
      server.destroy();
    });
    server.on("close", () => client.destroySoon());
    server.on("end", () => {
      if (!isCut) client.end();
    });
    server.on("data", (bytes: Buffer) => {
      if (isCut) return;
      const part = bytes.subarray(0, cut.after - this.passed);
      this.passed += part.length;
      client.write(part, () => {
        if (this.passed >= cut.after && !isCut) act();
      });
    });
    if (cut.after === 0) server.on("connect", act);
  }
}
