/** The longest method that is recognized. The longest of those that are registered, UPDATEREDIRECTREF, has 17 characters. */
const MAX_METHOD = 31;
/** How a request's target begins that is no path: RFC 9112, 3.2.2 and 3.2.4. CONNECT is for proxies only. */
const OTHER_TARGETS = ["http://", "https://", "* http/1."];
const MOST = MAX_METHOD + 1 + Math.max(...OTHER_TARGETS.map((target) => target.length));

const HANDSHAKE_RECORD = 22;
const TLS_MAJOR_VERSION = 3;

/**
 * Tells by the first bytes that a client sends what it speaks. The beginning of a request line of HTTP/1 is enough
 * (RFC 9112, 3): a method, a space, and how the target begins. The space alone is not, as commands of SMTP and the
 * version line of SSH have one too. HTTP/2 with prior knowledge (RFC 9113, 3.4) is `other`.
 *
 * @param bytes - all that has come so far; never more than some 40 of them are looked at.
 * @returns `more` when they may become HTTP or TLS.
 */
export function classifyFirstBytes(bytes: Buffer): "http" | "tls" | "other" | "more" {
  if (bytes[0] === HANDSHAKE_RECORD) {
    if (bytes.length < 2) return "more";
    return bytes[1] === TLS_MAJOR_VERSION ? "tls" : "other";
  }
  const text = bytes.toString("latin1", 0, MOST);
  const method = /^[!#$%&'*+.^_`|~0-9A-Za-z-]*/.exec(text)?.[0].length ?? 0;
  if (method > MAX_METHOD) return "other";
  if (method === text.length) return "more";
  if (method === 0 || text[method] !== " ") return "other";
  const target = text.slice(method + 1).toLowerCase();
  if (target === "") return "more";
  if (target.startsWith("/") || OTHER_TARGETS.some((other) => target.startsWith(other))) return "http";
  return OTHER_TARGETS.some((other) => other.startsWith(target)) ? "more" : "other";
}
