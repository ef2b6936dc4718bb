/** Asking a running hostd over its control API. */
import { request } from "node:http";
import { resolve } from "node:path";
import { text } from "node:stream/consumers";
import { defaultApiSocket, processEnvironment } from "../config/environment.ts";

/** What the command line asked for cannot be had, whatever hostd does. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/**
 * Asks for a resource.
 *
 * @param api - the path of the socket, `unix://` in front or not; the default one when it is not given.
 * @throws {UsageError} when hostd says that the request is wrong.
 * @throws {Error} when no hostd listens, or when it could not answer.
 */
export async function askApi(api: string | undefined, target: string): Promise<unknown> {
  const socketPath =
    api === undefined ? defaultApiSocket(processEnvironment()) : resolve(api.replace(/^unix:\/\//, ""));
  const { status, body } = await get(socketPath, target).catch((error: NodeJS.ErrnoException) => {
    throw new Error(`${whyNot(error)} at ${socketPath}: ${HINT}`, { cause: error });
  });
  if (status === 200) return JSON.parse(body);
  const message = `hostd at ${socketPath} says: ${detailOf(body)}`;
  throw status === 400 ? new UsageError(message) : new Error(message);
}

const HINT =
  'start hostd with "hostd up", or name the socket of a running one with --api (one that was started with --qemu has ' +
  "a control API only with --api)";

function whyNot(error: NodeJS.ErrnoException): string {
  if (error.code === "ENOENT" || error.code === "ECONNREFUSED") return "no hostd listens";
  if (error.code === "EACCES") return "permission denied";
  return `no control API answers (${error.message})`;
}

async function get(socketPath: string, path: string): Promise<{ status: number | undefined; body: string }> {
  return await new Promise((done, fail) => {
    const outgoing = request({ socketPath, path, agent: false }, (response) => {
      text(response).then((body) => done({ status: response.statusCode, body }), fail);
    });
    outgoing.once("error", fail);
    outgoing.end();
  });
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
