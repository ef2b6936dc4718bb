import { once } from "node:events";
import { type IncomingHttpHeaders, type IncomingMessage, request } from "node:http";
import { text } from "node:stream/consumers";

/** An answer of the control API. */
export interface ControlReply {
  readonly status: number | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  /** What the body says when it is JSON, else null. */
  readonly json: unknown;
}

/** Asks a daemon over its control API. */
export async function askDaemon(
  socketPath: string,
  method: string,
  path: string,
  body?: unknown,
): Promise<ControlReply> {
  const outgoing = request({ socketPath, path, method, agent: false });
  outgoing.end(body === undefined ? undefined : JSON.stringify(body));
  const [response] = (await once(outgoing, "response")) as [IncomingMessage];
  const written = await text(response);
  const isJson = /^application\/(problem\+)?json$/.test(response.headers["content-type"] ?? "");
  const json: unknown = isJson && written !== "" ? JSON.parse(written) : null;
  return { status: response.statusCode, headers: response.headers, body: written, json };
}
