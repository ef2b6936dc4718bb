/** The head of an HTTP/1 request, as far as it takes to find one that takes over its connection. */

export interface RequestHead {
  /** What stands behind the method: a path with its query, or a whole URL. */
  readonly target: string;
  /** Whether a body follows. */
  readonly hasBody: boolean;
  /** Bytes of the head. */
  readonly length: number;
}

/** A head is not looked at beyond this many bytes. */
const MAX_HEAD = 16 * 1024;

const REQUEST_LINE = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+ (\S+) HTTP\/1\.([01])$/;
const HEADER_LINE = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*(.*?)[ \t]*$/s;

/**
 * Reads a head (RFC 9112, sections 2 to 5).
 *
 * @param isWanted - whether a request to a target is looked for; any other is given up as soon as its target is known.
 * @returns "incomplete" as long as more bytes are needed to tell, "other" for what is not looked for or no request.
 */
export function readRequestHead(
  bytes: Buffer,
  isWanted: (target: string) => boolean,
): RequestHead | "incomplete" | "other" {
  const text = bytes.toString("latin1", 0, MAX_HEAD);
  const undecided = bytes.length < MAX_HEAD ? "incomplete" : "other";
  const lineEnd = text.indexOf("\n");
  if (lineEnd < 0) return undecided;
  const [, target, minor] = REQUEST_LINE.exec(text.slice(0, lineEnd).replace(/\r$/, "")) ?? [];
  if (target === undefined || !isWanted(target)) return "other";
  const end = /\n\r?\n/.exec(text);
  if (end === null) return undecided;
  const headers = new Map<string, string>();
  const lines = text.slice(lineEnd + 1, end.index + 1).split("\n");
  for (const line of lines.slice(0, -1)) {
    const [, name, value] = HEADER_LINE.exec(line.replace(/\r$/, "")) ?? [];
    if (name === undefined) return "other";
    headers.set(name.toLowerCase(), value);
  }
  // A server has to refuse a request without it (RFC 9112, section 3.2), which is left to one.
  if (minor === "1" && !headers.has("host")) return "other";
  const hasBody = headers.has("transfer-encoding") || !/^0*$/.test(headers.get("content-length") ?? "");
  return { target, hasBody, length: end.index + end[0].length };
}
