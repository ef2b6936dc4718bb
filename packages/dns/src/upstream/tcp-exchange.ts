import { randomInt } from "node:crypto";
import { connect } from "node:net";
import type { Duplex } from "node:stream";
import { frameMessage, MessageReader } from "../framing.ts";
import { ID_COUNT, isAnswerTo, messageId, type Query, setMessageId } from "../message.ts";
import type { ServerAddress } from "../server-address.ts";
import type { Exchange, ExchangeHandler } from "./exchange.ts";

/** Sends a query over a connection of its own, every byte as it came but the id, which is random. */
export function tcpExchange(server: ServerAddress, query: Query, handler: ExchangeHandler): Exchange {
  const id = randomInt(ID_COUNT);
  const message = Buffer.from(query.message);
  setMessageId(message, id);
  const socket: Duplex = connect({ host: server.address, port: server.port, noDelay: true });
  const reader = new MessageReader();
  let finished = false;

  const fail = (error: Error) => {
    if (finished) return;
    finished = true;
    socket.destroy();
    handler.failed(error);
  };

  socket.on("error", fail);
  socket.on("close", () => fail(new Error("the server closed the connection")));
  socket.on("data", (chunk: Uint8Array) => {
    for (let offset = 0; offset < chunk.length && !finished; ) {
      offset = reader.read(chunk, offset);
      const answer = reader.take();
      if (answer === null || !isAnswerTo(answer, query, id)) continue;
      finished = true;
      socket.destroy();
      setMessageId(answer, messageId(query.message));
      handler.answered(answer);
    }
  });
  socket.write(frameMessage(message));
  return {
    // TCP does that by itself.
    resend() {},
    close() {
      finished = true;
      socket.destroy();
    },
  };
}
