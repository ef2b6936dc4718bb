/**
 * A web server in a process of its own, so that it can be in a network namespace of its own:
 *
 *     node web-server.ts FOLDER KEY CERTIFICATE
 *
 * Serves the files of a folder on port 80, and by TLS on port 443; below `/paced/N/` with so many bytes a second. The
 * field X-Client of an answer has the address that the request came from. Writes "ready", and then what it is asked for,
 * one request a line as JSON. Ends with its standard input.
 */
import { createReadStream, readFileSync, statSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { join, normalize } from "node:path";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";

/** Parts in which a paced body is sent, in milliseconds. */
const PACE = 50;

/** What the server was asked for. */
export interface WebRequest {
  readonly isTls: boolean;
  readonly method: string;
  readonly path: string;
  readonly headers: readonly string[];
  /** The address that it came from. */
  readonly client: string;
}

function serve(folder: string, isTls: boolean, request: IncomingMessage, response: ServerResponse): void {
  const { method = "", url = "", rawHeaders, socket } = request;
  const client = socket.remoteAddress ?? "";
  const seen: WebRequest = { isTls, method, path: url, headers: rawHeaders, client };
  process.stdout.write(`${JSON.stringify(seen)}\n`);
  const [path = ""] = url.split("?");
  const [, rate, name = path] = /^\/paced\/(\d+)(\/.*)$/.exec(path) ?? [];
  const file = join(folder, normalize(name));
  const status = statSync(file, { throwIfNoEntry: false });
  if (!status?.isFile()) {
    response.writeHead(404, { "content-length": 0, "x-client": client }).end();
    return;
  }
  response.writeHead(200, { "content-length": status.size, "x-client": client });
  if (method === "HEAD") {
    response.end();
    return;
  }
  if (rate !== undefined) response.flushHeaders();
  const source = createReadStream(file, rate === undefined ? {} : { highWaterMark: (Number(rate) * PACE) / 1000 });
  const pace = new Transform({
    transform: async (bytes, _encoding, done) => {
      if (rate !== undefined) await sleep(PACE);
      done(null, bytes);
    },
  });
  // Whoever breaks a request off does no harm.
  pipeline(source, pace, response).catch(() => response.destroy());
}

const [folder, key, cert] = process.argv.slice(2);
if (folder === undefined || key === undefined || cert === undefined) {
  throw new Error("usage: web-server.ts FOLDER KEY CERTIFICATE");
}
const plain = createServer((request, response) => serve(folder, false, request, response));
const secure = createTlsServer({ key: readFileSync(key), cert: readFileSync(cert) }, (request, response) => {
  serve(folder, true, request, response);
});
for (const [server, port] of [[plain, 80] as const, [secure, 443] as const]) {
  server.on("tlsClientError", () => {});
  server.on("clientError", (_error, socket) => socket.destroy());
  await new Promise<void>((resolve) => server.listen(port, "0.0.0.0", 1024, resolve));
}
process.stdout.write("ready\n");
process.stdin.on("end", () => process.exit()).resume();
