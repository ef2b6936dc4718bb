import type { Answer } from "dns-packet";
import { Class, type Query, Rcode, Type } from "../message.ts";
import { buildResponse } from "../response.ts";

/** How long an answer may be kept, in seconds. */
const TTL = 3600;

/**
 * Answers the names whose meaning no server may change, so that none is asked: `localhost` is whoever asks, and nothing
 * is below `invalid` (RFC 6761, sections 6.3 and 6.4) and `onion` (RFC 7686, section 2). Null for any other name.
 */
export function specialAnswer(query: Query): Uint8Array | null {
  const { labels, name, type, class: asked } = query.question;
  const top = labels.at(-1);
  if (top === "invalid" || top === "onion") return buildResponse(query, { rcode: Rcode.NXDOMAIN });
  if (top !== "localhost") return null;
  if (asked !== Class.IN && asked !== Class.ANY) return buildResponse(query, { rcode: Rcode.REFUSED });
  // The owner is written as text, which a name with escaped bytes is not.
  if (labels.some((label) => label.includes("\\"))) return buildResponse(query, { rcode: Rcode.NXDOMAIN });
  const answers: Answer[] = [];
  if (type === Type.A || type === Type.ANY) answers.push({ type: "A", name, ttl: TTL, data: "127.0.0.1" });
  if (type === Type.AAAA || type === Type.ANY) answers.push({ type: "AAAA", name, ttl: TTL, data: "::1" });
  return buildResponse(query, { rcode: Rcode.NOERROR, answers });
}
