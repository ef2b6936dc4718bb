import { type IncomingHttpHeaders, request } from "node:http";
import { connect } from "node:net";
import { text } from "node:stream/consumers";

export interface Reply {
  readonly status: number | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** A request to an HTTP server on a Unix socket. */
export async function requestOver(socketPath: string, path: string, method = "GET"): Promise<Reply> {
  return await new Promise((resolve, reject) => {
    const outgoing = request({ socketPath, path, method, agent: false }, (response) => {
      text(response).then((body) => resolve({ status: response.statusCode, headers: response.headers, body }), reject);
    });
    outgoing.once("error", reject);
    outgoing.end();
  });
}

/** Sends bytes as they are and gives everything that comes back until the server closes. */
export async function sendRaw(socketPath: string, bytes: string): Promise<string> {
  const socket = connect(socketPath);
  socket.write(bytes);
  return await text(socket);
}
