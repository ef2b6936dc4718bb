import type { RequestHead } from "@hostd/http1";

/** An answer that is not the engine's. */
export interface LocalAnswer {
  readonly status: number;
  /** For the user; the `docker` command shows it behind `Error response from daemon: `. */
  readonly message: string;
}

const REASONS: Readonly<Record<number, string>> = {
  400: "Bad Request",
  403: "Forbidden",
  409: "Conflict",
  413: "Content Too Large",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  501: "Not Implemented",
  502: "Bad Gateway",
  503: "Service Unavailable",
};

/** The interim answer that has a client send the body it holds back (RFC 9110, 15.2.1). */
export const CONTINUE = Buffer.from("HTTP/1.1 100 Continue\r\n\r\n");

/**
 * Writes an answer in the form of the engine's errors.
 *
 * @param request - null when it is not known.
 * @param isLast - whether the connection ends after it.
 */
export function writeAnswer({ status, message }: LocalAnswer, request: RequestHead | null, isLast: boolean): Buffer {
  const body = `${JSON.stringify({ message })}\n`;
  const head = [
    `HTTP/1.1 ${status} ${REASONS[status] ?? "Error"}`,
    "Content-Type: application/json",
    `Content-Length: ${Buffer.byteLength(body)}`,
    ...(isLast ? ["Connection: close"] : []),
  ];
  return Buffer.from(`${head.join("\r\n")}\r\n\r\n${request?.method === "HEAD" ? "" : body}`);
}

/** Whether the client waits for {@link CONTINUE}; one of HTTP/1.0 does not (RFC 9110, 10.1.1). */
export function expectsContinue({ minor, fields }: RequestHead): boolean {
  return minor > 0 && fields.lists("expect", "100-continue");
}

/** Whether a request is the last of its connection (RFC 9112, 9.3). */
export function isLastRequest({ minor, fields }: RequestHead): boolean {
  return fields.lists("connection", "close") || (minor === 0 && !fields.lists("connection", "keep-alive"));
}

/** A request's head without what the client was told already. All else stays as it is. */
export function withoutExpect(head: Buffer): Buffer {
  return withFields(head, /^expect:/i);
}

/** A request's head for another body, which is sent whole. All else stays as it is. */
export function withLength(head: Buffer, length: number): Buffer {
  return withFields(head, /^(?:content-length|transfer-encoding|trailer|expect):/i, [`Content-Length: ${length}`]);
}

function withFields(head: Buffer, dropped: RegExp, added: readonly string[] = []): Buffer {
  const lines = head.toString("latin1").split("\r\n").slice(0, -2);
  return Buffer.from([...lines.filter((line) => !dropped.test(line)), ...added, "", ""].join("\r\n"), "latin1");
}
