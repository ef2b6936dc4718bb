/** Asking a running hostd over its control API. */
import { type IncomingMessage, request } from "node:http";
import { resolve } from "node:path";
import { text } from "node:stream/consumers";
import { defaultApiSocket, processEnvironment } from "../config/environment.ts";

/** What the command line asked for cannot be had, whatever hostd does. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** The flags of every command that asks a running hostd. */
export interface ApiOptions {
  /** The socket of the control API; the default one when it is not given. */
  readonly api?: string;
  /** Whether the answer is printed as it is. */
  readonly json?: true;
}

/** What is asked of a path of the API. */
export interface ApiCall {
  readonly method?: "GET" | "POST" | "PUT" | "DELETE";
  /** Without those that are undefined. */
  readonly query?: Readonly<Record<string, string | undefined>>;
  /** Sent as JSON. */
  readonly body?: unknown;
}

/**
 * Asks for a resource, or has one changed.
 *
 * @param api - the path of the socket, `unix://` in front or not; the default one when it is not given.
 * @throws {UsageError} when hostd says that the request is wrong (400).
 * @throws {Error} when no hostd listens, or when it could not do what was asked.
 */
export async function askApi(api: string | undefined, path: string, call: ApiCall = {}): Promise<unknown> {
  const socketPath = socketOf(api);
  const response = await send(socketPath, path, call);
  return JSON.parse(await readAll(socketPath, response));
}

/**
 * Opens a resource whose answer is no JSON.
 *
 * @throws {Error} as {@link askApi} does.
 */
export async function openApi(api: string | undefined, path: string, call: ApiCall = {}): Promise<IncomingMessage> {
  return await send(socketOf(api), path, call);
}

/**
 * Follows a resource whose answer goes on for as long as somebody reads.
 *
 * @returns its lines, without the empty ones that only say that hostd is still there.
 * @throws {Error} as {@link askApi} does, and when hostd ends.
 */
export async function* followApi(api: string | undefined, path: string): AsyncGenerator<string, never> {
  const socketPath = socketOf(api);
  const response = await send(socketPath, path, {});
  let rest = "";
  try {
    for await (const chunk of response.setEncoding("utf8")) {
      const lines = `${rest}${chunk}`.split("\n");
      rest = lines.pop() ?? "";
      yield* lines.filter((line) => line !== "");
    }
  } catch (error) {
    throw new Error(`hostd at ${socketPath} is gone`, { cause: error });
  }
  throw new Error(`hostd at ${socketPath} is gone`);
}

const HINT =
  'start hostd with "hostd up", or name the socket of a running one with --api (one that was started with --qemu has ' +
  "a control API only with --api)";

/**
 * The path of a control API's socket.
 *
 * @throws {UsageError} when what was given is none.
 */
export function socketOf(api: string | undefined): string {
  if (api === undefined) return defaultApiSocket(processEnvironment());
  const path = api.replace(/^unix:\/\//, "");
  if (path === "" || /^[a-z][a-z0-9+.-]*:\/\//i.test(path)) {
    throw new UsageError(`--api: ${JSON.stringify(api)} is not unix:///PATH or the path of a Unix socket`);
  }
  return resolve(path);
}

/** @returns an answer that is not an error. */
async function send(socketPath: string, path: string, { method = "GET", query, body }: ApiCall) {
  const given = Object.entries(query ?? {}).filter((entry): entry is [string, string] => entry[1] !== undefined);
  const target = given.length === 0 ? path : `${path}?${new URLSearchParams(given)}`;
  const content = body === undefined ? undefined : JSON.stringify(body);
  const headers = content === undefined ? {} : { "content-type": "application/json" };
  const response = await new Promise<IncomingMessage>((done, fail) => {
    const outgoing = request({ socketPath, path: target, method, headers, agent: false }, done);
    outgoing.once("error", (error: NodeJS.ErrnoException) => {
      fail(new Error(whyNot(error, socketPath), { cause: error }));
    });
    outgoing.end(content);
  });
  const { statusCode = 0 } = response;
  if (statusCode >= 200 && statusCode < 300) return response;
  const message = `hostd at ${socketPath} says: ${detailOf(await readAll(socketPath, response))}`;
  throw statusCode === 400 ? new UsageError(message) : new Error(message);
}

async function readAll(socketPath: string, response: IncomingMessage): Promise<string> {
  return await text(response).catch((error: Error) => {
    throw new Error(`hostd at ${socketPath} has broken off its answer (${error.message})`, { cause: error });
  });
}

function whyNot(error: NodeJS.ErrnoException, socketPath: string): string {
  if (error.code === "ENOENT" || error.code === "ECONNREFUSED") return `no hostd listens at ${socketPath}: ${HINT}`;
  if (error.code === "EACCES")
    return `${socketPath} is not yours to use: the control API is for the user of hostd alone`;
  return `no control API answers at ${socketPath} (${error.message})`;
}

/** What a problem document says (RFC 9457). */
function detailOf(body: string): string {
  try {
    const problem: unknown = JSON.parse(body);
    if (typeof problem === "object" && problem !== null && "detail" in problem) return String(problem.detail);
  } catch {
    // It is what some other program says.
  }
  return body.trim();
}
