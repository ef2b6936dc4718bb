/** Answers as Go's net/http writes them: its header fields, in its order, and its words. */
import { type IncomingMessage, type ServerResponse, STATUS_CODES } from "node:http";
import { splitTarget } from "./go-http-target.ts";
import { type GoType, readGoJson, writeGoJson } from "./go-json.ts";
import { GoJsonError } from "./go-json-syntax.ts";

/** The longest body of a request, in bytes. */
const MAX_BODY = 1024 * 1024;
/** Bytes that Go's server gathers; an answer that is longer is sent in chunks. */
const GATHERED = 2048;
const PLAIN_TEXT = "text/plain; charset=utf-8";

/** A request that is answered with an error. */
export class GoHttpError extends Error {
  override readonly name = "GoHttpError";
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** A request and what it is answered by. */
export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

/** Answers a request; a {@link GoHttpError} is answered as such. */
export type GoHandler = (exchange: Exchange) => void | Promise<void>;

export interface GoRoutes {
  /** By their paths. */
  readonly handlers: ReadonlyMap<string, GoHandler>;
  /** Paths above those of handlers, with where they are redirected to. */
  readonly folders: ReadonlyMap<string, string>;
}

/**
 * Answers a request by its path, as Go's ServeMux finds it.
 *
 * @param isOwn - whether a path that nothing is at is to be answered with 404 here.
 * @returns false when the path is not for these routes.
 */
export function serveGo(routes: GoRoutes, exchange: Exchange, isOwn: (path: string) => boolean): boolean {
  const { path, query } = splitTarget(exchange.request.url ?? "");
  const cleaned = cleanPath(path);
  const folder = routes.folders.get(cleaned);
  const handler = routes.handlers.get(cleaned);
  if (handler === undefined && folder === undefined && !isOwn(cleaned)) return false;
  // The handler of a folder is a ServeMux of its own where its redirection leads elsewhere; the outer one cleans first.
  if (folder !== undefined && (path === cleaned || folder === `${cleaned}/`)) redirect(exchange, folder + query);
  else if (path !== cleaned) redirect(exchange, cleaned + query);
  else if (handler === undefined) sendError(exchange, 404, "404 page not found");
  else run(handler, exchange);
  return true;
}

/**
 * Reads the body of a POST request.
 *
 * @throws {GoHttpError} when it is another request, or its body does not fit.
 */
export async function readPost<Value>({ request }: Exchange, type: GoType<Value>): Promise<Value> {
  if (request.method !== "POST") throw new GoHttpError(400, "post only");
  try {
    return readGoJson(type, await readBody(request));
  } catch (error) {
    if (error instanceof GoJsonError) throw new GoHttpError(400, error.message);
    throw error;
  }
}

/**
 * Reads a body whole.
 *
 * @throws {GoHttpError} when it is too long. The request is not destroyed, so that it can be answered.
 */
export function readBody(request: IncomingMessage): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    request.on("data", (chunk: Buffer) => {
      length += chunk.length;
      if (length <= MAX_BODY) chunks.push(chunk);
      else reject(new GoHttpError(413, "http: request body too large"));
    });
    request.once("end", () => resolve(Buffer.concat(chunks)));
    request.once("error", reject);
  });
}

/** Answers with JSON. Its type is what Go finds by looking at it. */
export function sendJson(exchange: Exchange, value: unknown): void {
  const body = writeGoJson(value);
  const length = Buffer.byteLength(body);
  const { request, response } = exchange;
  const isHead = request.method === "HEAD";
  const isChunked = length > GATHERED;
  send(exchange, 200, [
    ["Date", new Date().toUTCString()],
    ...(isChunked ? [] : [["Content-Length", String(length)]]),
    ["Content-Type", PLAIN_TEXT],
    ...(isChunked && !isHead && request.httpVersionMinor > 0 ? [["Transfer-Encoding", "chunked"]] : []),
  ]);
  response.end(isHead ? undefined : body);
}

/** Answers that it is done. */
export function sendDone(exchange: Exchange): void {
  send(exchange, 200, [
    ["Date", new Date().toUTCString()],
    ["Content-Length", "0"],
  ]);
  exchange.response.end();
}

export function sendError(exchange: Exchange, status: number, text: string): void {
  const body = `${text}\n`;
  const { request, response } = exchange;
  send(exchange, status, [
    ["Content-Type", PLAIN_TEXT],
    ["X-Content-Type-Options", "nosniff"],
    ["Date", new Date().toUTCString()],
    ["Content-Length", String(Buffer.byteLength(body))],
  ]);
  response.end(request.method === "HEAD" ? undefined : body);
}

function redirect(exchange: Exchange, target: string): void {
  const location = target.replace(/[^A-Za-z0-9\-_.~$&+,/:;=@?%]/g, percentEncode);
  const { request, response } = exchange;
  const isGet = request.method === "GET";
  const body = isGet ? `<a href="${escapeHtml(location)}">Moved Permanently</a>.\n\n` : "";
  send(exchange, 301, [
    ...(isGet || request.method === "HEAD" ? [["Content-Type", "text/html; charset=utf-8"]] : []),
    ["Location", location],
    ["Date", new Date().toUTCString()],
    ...(request.method === "HEAD" ? [] : [["Content-Length", String(body.length)]]),
  ]);
  response.end(body);
}

/** Writes the head, with no other header fields than these. */
function send({ request, response }: Exchange, status: number, headers: string[][]): void {
  // Without a word Node would say how long it keeps the connection.
  response.removeHeader("connection");
  if (!response.shouldKeepAlive && request.httpVersionMinor > 0) headers.push(["Connection", "close"]);
  response.writeHead(status, STATUS_CODES[status], headers.flat());
}

function run(handler: GoHandler, exchange: Exchange): void {
  const failed = (error: unknown) => {
    if (exchange.response.headersSent) exchange.response.destroy();
    else if (error instanceof GoHttpError) sendError(exchange, error.status, error.message);
    else sendError(exchange, 500, error instanceof Error ? error.message : String(error));
  };
  try {
    Promise.resolve(handler(exchange)).catch(failed);
  } catch (error) {
    failed(error);
  }
}

/** A path without empty, `.` and `..` segments; a slash at its end stays. */
function cleanPath(path: string): string {
  const segments: string[] = [];
  for (const segment of path.split("/")) {
    if (segment === "..") segments.pop();
    else if (segment !== "" && segment !== ".") segments.push(segment);
  }
  const cleaned = `/${segments.join("/")}`;
  return path.endsWith("/") && cleaned !== "/" ? `${cleaned}/` : cleaned;
}

function percentEncode(character: string): string {
  return [...Buffer.from(character, "latin1")]
    .map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`)
    .join("");
}

function escapeHtml(text: string): string {
  const escapes: Readonly<Record<string, string>> = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&#34;",
    "'": "&#39;",
  };
  return text.replace(/[&<>"']/g, (character) => escapes[character]);
}
