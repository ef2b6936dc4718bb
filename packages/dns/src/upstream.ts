/** One query to one server of the host. */
import { randomInt } from "node:crypto";
import { createSocket } from "node:dgram";
import { connect } from "node:net";
import type { Duplex } from "node:stream";
import type { Transport } from "./context.ts";
import { frameMessage, MessageReader } from "./framing.ts";
import { isAnswerTo, messageId, type Query, setMessageId } from "./message.ts";
import type { ServerAddress } from "./server-address.ts";

/** Is told how an exchange ends: exactly one of the two, once, or neither when it is closed first. */
export interface ExchangeHandler {
  /** The answer as it came, but with the id of the query. */
  answered(message: Uint8Array): void;
  /** The server cannot be reached, or ended the connection. A server that says nothing is not an error. */
  failed(error: Error): void;
}

/** A query that is waiting for its answer. */
export interface Exchange {
  /** Sends the query again where it may have been lost. */
  resend(): void;
  /** Gives up. Idempotent. */
  close(): void;
}

/**
 * Sends a query to a server, every byte as it came but the id, which is random (RFC 5452, section 9.2). Never throws,
 * and calls the handler later than it returns.
 */
export function startExchange(
  transport: Transport,
  server: ServerAddress,
  query: Query,
  handler: ExchangeHandler,
): Exchange {
  return transport === "udp" ? udpExchange(server, query, handler) : tcpExchange(server, query, handler);
}

/** A copy of the query under a random id. */
function withRandomId(query: Query): { id: number; message: Uint8Array } {
  const id = randomInt(0x10000);
  // Not `slice`: that of a Buffer shares its memory.
  const message = new Uint8Array(query.message);
  setMessageId(message, id);
  return { id, message };
}

/** Each query has a socket, and so a source port, of its own (RFC 5452, section 9.2). */
function udpExchange(server: ServerAddress, query: Query, handler: ExchangeHandler): Exchange {
  const { id, message } = withRandomId(query);
  const socket = createSocket(server.family === 4 ? "udp4" : "udp6");
  let connected = false;
  let closed = false;

  const close = () => {
    if (closed) return;
    closed = true;
    socket.close();
  };
  const fail = (error: Error) => {
    if (closed) return;
    close();
    handler.failed(error);
  };
  const send = () => {
    socket.send(message, (error) => {
      if (error) fail(error);
    });
  };

  socket.on("error", fail);
  socket.on("message", (answer, from) => {
    // The kernel filters by the sender once the socket is connected, but not what came while it was only bound.
    if (!connected || closed) return;
    const peer = socket.remoteAddress();
    if (from.address !== peer.address || from.port !== peer.port) return;
    if (!isAnswerTo(answer, query, id)) return;
    close();
    setMessageId(answer, messageId(query.message));
    handler.answered(answer);
  });
  // Only a connected socket is told that the port is closed (ICMP port unreachable).
  socket.connect(server.port, server.address, (error?: Error) => {
    if (error) return fail(error);
    if (closed) return;
    connected = true;
    send();
  });
  return {
    resend() {
      if (connected && !closed) send();
    },
    close,
  };
}

function tcpExchange(server: ServerAddress, query: Query, handler: ExchangeHandler): Exchange {
  const { id, message } = withRandomId(query);
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
