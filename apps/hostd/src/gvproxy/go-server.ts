import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { type GoRoutes, serveGo } from "./go-http.ts";

/** How long a connection is kept between requests, in milliseconds. */
const IDLE_TIME = 10_000;

/** A server that answers as Go's net/http does, what is no request too. It is handed its connections. */
export function createGoServer(routes: GoRoutes): Server {
  const options = { requireHostHeader: false, keepAliveTimeout: IDLE_TIME, keepAliveTimeoutBuffer: 0 };
  const server = createServer(options, (request: IncomingMessage, response: ServerResponse) => {
    if (request.httpVersionMinor > 0 && request.headers.host === undefined) {
      refuse(request.socket, "400 Bad Request: missing required Host header");
      return;
    }
    serveGo(routes, { request, response }, () => true);
  });
  server.on("clientError", (error: NodeJS.ErrnoException, socket: Duplex) => {
    const isTooLong = error.code === "HPE_HEADER_OVERFLOW";
    if (!socket.writable || error.code === "ECONNRESET") socket.destroy();
    else refuse(socket, isTooLong ? "431 Request Header Fields Too Large" : "400 Bad Request");
  });
  return server;
}

/** Answers what is no request, and closes the connection. */
function refuse(socket: Duplex, status: string): void {
  // A stream of a guest ends when the guest has read that, or with its time.
  if (socket instanceof Socket) socket.once("finish", () => socket.destroy());
  socket.end(`HTTP/1.1 ${status}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n${status}`);
}
