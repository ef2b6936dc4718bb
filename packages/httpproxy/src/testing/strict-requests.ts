/** A reader of HTTP/1.1 requests that shares nothing with the proxy: the whole text at once, and nothing but what the RFC has. */

export interface ReadRequest {
  readonly method: string;
  readonly url: string;
  readonly body: string;
}

const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
const HEAD = new RegExp(
  `^(?:\\r\\n)*(${TOKEN}) ([^\\x00-\\x20\\x7f]+) HTTP/1\\.([01])\\r\\n((?:[^\\r\\n]+\\r\\n)*)\\r\\n`,
);
const FIELD = new RegExp(`^(${TOKEN}):[ \\t]*([^\\x00-\\x08\\x0a-\\x1f\\x7f]*?)[ \\t]*$`);
// biome-ignore lint/suspicious/noControlCharactersInRegex: a zero byte is what there must not be.
const CHUNK = /^([0-9A-Fa-f]{1,13})[ \t]*(?:;[^\r\n\x00]*)?\r\n/;

/** The requests that are whole, up to where nobody could tell any more what it is. */
export function readRequests(text: string): ReadRequest[] {
  const requests: ReadRequest[] = [];
  for (let rest = text; ; ) {
    const match = HEAD.exec(rest);
    if (match === null) return requests;
    const [head, method, url, minor, lines] = match;
    const fields = lines
      .split("\r\n")
      .slice(0, -1)
      .map((line) => FIELD.exec(line));
    if (fields.includes(null)) return requests;
    const all = (name: string) =>
      fields.flatMap((field) =>
        field?.[1].toLowerCase() === name
          ? field[2].split(",").map((part) => part.replace(/^[ \t]+|[ \t]+$/g, ""))
          : [],
      );
    const body = readBody(rest.slice(head.length), all("transfer-encoding"), all("content-length"), minor);
    if (body === null) return requests;
    requests.push({ method, url, body: body.content });
    rest = rest.slice(head.length + body.length);
    const options = [...all("connection"), ...all("proxy-connection")].map((option) => option.toLowerCase());
    if (minor === "0" || options.includes("close")) return requests;
  }
}

/** @returns null when its end cannot be told, or has not come. */
function readBody(
  text: string,
  codings: readonly string[],
  lengths: readonly string[],
  minor: string,
): { readonly content: string; readonly length: number } | null {
  if (codings.length > 0) {
    const isChunked = codings.length === 1 && codings[0].toLowerCase() === "chunked";
    return isChunked && lengths.length === 0 && minor === "1" ? readChunks(text) : null;
  }
  if (lengths.length === 0) return { content: "", length: 0 };
  if (new Set(lengths).size > 1 || !/^[0-9]{1,15}$/.test(lengths[0])) return null;
  const length = Number(lengths[0]);
  return length > text.length ? null : { content: text.slice(0, length), length };
}

function readChunks(text: string): { readonly content: string; readonly length: number } | null {
  let content = "";
  for (let at = 0; ; ) {
    const match = CHUNK.exec(text.slice(at));
    if (match === null) return null;
    const size = Number.parseInt(match[1], 16);
    at += match[0].length;
    if (size === 0) {
      const trailers = new RegExp(`^(?:${TOKEN}:[^\\r\\n\\x00]*\\r\\n)*\\r\\n`).exec(text.slice(at));
      return trailers === null ? null : { content, length: at + trailers[0].length };
    }
    if (text.slice(at + size, at + size + 2) !== "\r\n") return null;
    content += text.slice(at, at + size);
    at += size + 2;
  }
}
