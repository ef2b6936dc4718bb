/** What a client is told that gets no answer of an origin. */
import type { RequestHead } from "@hostd/http1";

export interface Failure {
  readonly status: number;
  /** For whoever made the request: what failed, and why. */
  readonly message: string;
}

/** The reason phrases and the types of error of RFC 9209, 2.3. */
const KINDS: Readonly<Record<number, readonly [reason: string, error: string | null]>> = {
  200: ["OK", null],
  400: ["Bad Request", "http_request_error"],
  403: ["Forbidden", "http_request_denied"],
  407: ["Proxy Authentication Required", "proxy_configuration_error"],
  431: ["Request Header Fields Too Large", "http_request_error"],
  500: ["Internal Server Error", "proxy_internal_error"],
  501: ["Not Implemented", "http_request_error"],
  502: ["Bad Gateway", "destination_unavailable"],
  504: ["Gateway Timeout", "connection_timeout"],
};
/** The longest message in a field. */
const MAX_DETAILS = 400;

/**
 * Writes the answer to a request that failed here. The connection ends behind it.
 *
 * @param request - null when it could not be read.
 */
export function writeFailure({ status, message }: Failure, request: RequestHead | null): Buffer {
  const [reason, error] = KINDS[status] ?? ["Error", "proxy_internal_error"];
  const isHtml = request?.fields.elements("accept").some((type) => type.startsWith("text/html")) ?? false;
  const body = isHtml ? htmlPage(`${status} ${reason}`, message) : `hostd: ${message}\n`;
  const head = [
    `HTTP/1.1 ${status} ${reason}`,
    `Content-Type: text/${isHtml ? "html" : "plain"}; charset=utf-8`,
    `Content-Length: ${Buffer.byteLength(body)}`,
    "Cache-Control: no-store",
    ...(error === null ? [] : [`Proxy-Status: hostd; error=${error}; details="${quoted(message)}"`]),
    "Connection: close",
  ];
  return Buffer.from(`${head.join("\r\n")}\r\n\r\n${request?.method === "HEAD" ? "" : body}`);
}

function htmlPage(title: string, message: string): string {
  return `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>${title}</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:40em;margin:4em auto;padding:0 1em}</style></head>
<body><h1>${title}</h1><p>${escaped(message)}</p><p><small>hostd, the proxy on the way</small></p></body>
</html>
`;
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/** A text as a string of a structured field (RFC 9651, 3.3.3), which has printable ASCII only. */
function quoted(text: string): string {
  return text
    .slice(0, MAX_DETAILS)
    .replace(/[^\x20-\x7e]/g, "?")
    .replace(/["\\]/g, "\\$&");
}
