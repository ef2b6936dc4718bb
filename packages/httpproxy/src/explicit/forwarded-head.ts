/** Heads as a proxy passes them on (RFC 9110, 7.6). */
import type { BodyFraming, Field, Fields, RequestHead, ResponseHead } from "@hostd/http1";
import type { ProxyServer } from "../route.ts";
import { proxyAuthorization } from "../upstream/proxy-authentication.ts";
import type { ForwardedRequest } from "./proxy-request.ts";

/**
 * Fields that are for one connection only (RFC 9110, 7.6.1), and those that tell a length, which are written anew: a reader
 * further on is to see the same end of the body as was seen here (RFC 9112, 11.2).
 */
const OWN_FIELDS: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "proxy-authenticate",
  "proxy-authentication-info",
  "proxy-authorization",
  "te",
  "transfer-encoding",
  "content-length",
  "upgrade",
]);
/** What a Connection field may not take away: the request would be another one. */
const KEPT_FIELDS: ReadonlySet<string> = new Set(["host", "authorization", "content-type", "cookie", "cache-control"]);

const UPGRADE_FIELDS = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
/** What of a request is written anew as well. */
const REQUEST_FIELDS: ReadonlySet<string> = new Set([...OWN_FIELDS, "host"]);
const COUNTED_FIELDS: ReadonlySet<string> = new Set([...REQUEST_FIELDS, "max-forwards"]);

/**
 * Writes the head of a request for the next server.
 *
 * @param proxy - the HTTP proxy that it is sent to; null for the origin.
 * @param via - what is written into Via; null for nothing.
 */
export function forwardedRequest(request: ForwardedRequest, proxy: ProxyServer | null, via: string | null): Buffer {
  const { head, host, isUpgrade, framing } = request;
  const target = proxy === null ? request.target : request.absoluteTarget;
  const forwards = maxForwards(head);
  let text = `${head.method} ${target} HTTP/1.1\r\nHost: ${host}\r\n`;
  text += passedFields(head.fields, forwards === null ? REQUEST_FIELDS : COUNTED_FIELDS);
  if (forwards !== null) text += `Max-Forwards: ${forwards - 1}\r\n`;
  if (isUpgrade) text += UPGRADE_FIELDS;
  else if (head.fields.lists("te", "trailers")) text += "Connection: TE\r\nTE: trailers\r\n";
  text += framingField(framing);
  const authorization = proxy === null ? null : proxyAuthorization(proxy);
  if (authorization !== null) text += `Proxy-Authorization: ${authorization}\r\n`;
  if (via !== null) text += `Via: 1.${head.minor} ${via}\r\n`;
  return Buffer.from(`${text}\r\n`, "latin1");
}

export interface ResponseForm {
  /** Of its body, as the client is told; null for nothing. */
  readonly framing: BodyFraming | null;
  /** Whether the connection of the client ends behind it. */
  readonly isLast: boolean;
  readonly via: string | null;
}

/** Writes the head of a response for the client. */
export function forwardedResponse(head: ResponseHead, form: ResponseForm): Buffer {
  const { fields, status } = head;
  let text = `HTTP/1.1 ${status} ${head.reason}\r\n`;
  text += passedFields(fields, OWN_FIELDS);
  if (status === 101) text += UPGRADE_FIELDS;
  text += framingField(form.framing);
  if (form.isLast) text += "Connection: close\r\n";
  if (form.via !== null) text += `Via: 1.${head.minor} ${form.via}\r\n`;
  return Buffer.from(`${text}\r\n`, "latin1");
}

/** How often a request may be forwarded still, of those that count it (RFC 9110, 7.6.2); null when there is no limit. */
export function maxForwards({ method, fields }: RequestHead): number | null {
  if (method !== "OPTIONS") return null;
  const [value, ...more] = fields.all("max-forwards");
  return value !== undefined && more.length === 0 && /^\d{1,9}$/.test(value) ? Number(value) : null;
}

/** Whether whoever sent a head wants the connection to end behind the message. */
export function isLastMessage({ minor, fields }: RequestHead | ResponseHead): boolean {
  return minor === 0 || fields.lists("connection", "close") || fields.lists("proxy-connection", "close");
}

/** Whether a message goes over to WebSocket (RFC 6455) or asks for it. Other protocols are not offered to the next server. */
export function namesWebSocket({ minor, fields }: RequestHead | ResponseHead): boolean {
  const protocols = fields.all("upgrade");
  return (
    minor === 1 &&
    protocols.length === 1 &&
    protocols[0].toLowerCase() === "websocket" &&
    fields.lists("connection", "upgrade")
  );
}

function passedFields(fields: Fields, left: ReadonlySet<string>): string {
  const options = connectionOptions(fields);
  let text = "";
  for (const [index, key] of fields.keys.entries()) {
    if (left.has(key) || options?.has(key)) continue;
    const [name, value] = fields.lines[index];
    text += `${name}: ${value}\r\n`;
  }
  return text;
}

/** The fields that Connection names as being for this connection only; null for none. */
function connectionOptions(fields: Fields): ReadonlySet<string> | null {
  if (fields.all("connection").length === 0) return null;
  const options = fields.elements("connection").map((option) => option.toLowerCase());
  return new Set(options.filter((option) => !KEPT_FIELDS.has(option)));
}

/** Says where the body ends, once and in one way. */
function framingField(framing: BodyFraming | null): string {
  if (framing?.kind === "chunked") return "Transfer-Encoding: chunked\r\n";
  return framing?.kind === "length" ? `Content-Length: ${framing.length}\r\n` : "";
}

/** Whether a field has a character that no field may have (RFC 9110, 5.5), and that readers take for different things. */
export function hasControlCharacter(lines: readonly Field[]): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
  return lines.some(([, value]) => /[\0-\x08\x0a-\x1f\x7f]/.test(value));
}
