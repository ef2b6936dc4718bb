/** What is done with responses that two readers may take for different things, as data for a test and for a page. */
import type { Group, Refusal } from "./conformance-requests.ts";

export interface ResponseCase {
  readonly form: string;
  /** What the client has asked by. */
  readonly method: string;
  /** What the origin sends. */
  readonly sent: string;
  /** What the client gets before the refusal. */
  readonly client: string;
  readonly refusal: Refusal | null;
  /** Whether the client's connection is as good as new after it, or closed, or reset as the response is cut off. */
  readonly after: "next request" | "closed" | "reset";
}

const CHUNKED = "Transfer-Encoding: chunked\r\n";
const LINE_END = "a line of the head does not end in CR and LF";
const FIELD = "malformed field in the head";
const SIZE = "malformed size of a chunk";

function broken(form: string, sent: string, why: string, method = "GET"): ResponseCase {
  const reason = `a.test:80 did not answer as HTTP has it: ${why}`;
  return { form, method, sent, client: "", refusal: { status: 502, reason }, after: "closed" };
}

function answered(
  form: string,
  sent: string,
  client: string,
  after: ResponseCase["after"] = "next request",
  method = "GET",
): ResponseCase {
  return { form, method, sent, client, refusal: null, after };
}

const OK = "HTTP/1.1 200 OK\r\n";
const HELLO = `${OK}Content-Length: 5\r\n\r\nhello`;
const EARLY = "HTTP/1.1 103 Early Hints\r\n\r\n";

function brokenChunks(form: string, body: string, why: string): ResponseCase {
  return broken(form, `${OK}${CHUNKED}\r\n${body}`, why);
}

export const RESPONSES: readonly Group<ResponseCase>[] = [
  {
    title: "The length of a response's body",
    cases: [
      broken(
        "both lengths",
        `${OK}Content-Length: 5\r\n${CHUNKED}\r\nhello`,
        "both Transfer-Encoding and Content-Length",
      ),
      broken("two lengths", `${OK}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello`, "malformed Content-Length"),
      broken("a length with a sign", `${OK}Content-Length: +5\r\n\r\nhello`, "malformed Content-Length"),
      broken("a length behind a vertical tab", `${OK}Content-Length: \v5\r\n\r\nhello`, "malformed Content-Length"),
      broken(
        "chunked behind another coding",
        `${OK}Transfer-Encoding: gzip, chunked\r\n\r\n`,
        "the Transfer-Encoding is not chunked alone",
      ),
      broken(
        "chunked behind a vertical tab",
        `${OK}Transfer-Encoding: \vchunked\r\n\r\n`,
        "the Transfer-Encoding is not chunked alone",
      ),
      broken("chunked in HTTP/1.0", `HTTP/1.0 200 OK\r\n${CHUNKED}\r\n0\r\n\r\n`, "Transfer-Encoding in HTTP/1.0"),
      broken(
        "a malformed length in answer to HEAD",
        `${OK}Content-Length: five\r\n\r\n`,
        "malformed Content-Length",
        "HEAD",
      ),
      broken(
        "a malformed length in 304",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 1e3\r\n\r\n",
        "malformed Content-Length",
      ),
      answered("the same length twice", `${OK}Content-Length: 5, 5\r\nContent-Length: 5\r\n\r\nhello`, HELLO),
      answered("no length", `${OK}\r\nhello`, `${OK}Connection: close\r\n\r\nhello`, "closed"),
      answered(
        "fewer bytes than its length",
        `${OK}Content-Length: 8\r\n\r\nhello`,
        `${OK}Content-Length: 8\r\n\r\nhello`,
        "reset",
      ),
      answered("more bytes than its length", `${HELLO}!`, HELLO),
      answered("a body in answer to HEAD", HELLO, `${OK}Content-Length: 5\r\n\r\n`, "next request", "HEAD"),
      answered(
        "a body in 204",
        "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 204 No Content\r\n\r\n",
      ),
      answered(
        "a body in 304",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
      ),
      answered("two responses", HELLO + HELLO, HELLO),
    ],
  },
  {
    title: "Chunks of a response's body",
    cases: [
      brokenChunks("a size with a sign", "+5\r\nhello\r\n0\r\n\r\n", SIZE),
      brokenChunks("a size behind a space", " 5\r\nhello\r\n0\r\n\r\n", SIZE),
      brokenChunks("a size of 64 bits", "ffffffffffffffff\r\nhello", SIZE),
      brokenChunks(
        "a size line that ends in LF",
        "5\nhello\r\n0\r\n\r\n",
        "a line of a chunk does not end in CR and LF",
      ),
      brokenChunks("an extension with a CR", "5;a\rb\r\nhello\r\n0\r\n\r\n", "a lone CR in a line of a chunk"),
      brokenChunks("a chunk without its CR LF", "5\r\nhello0\r\n\r\n", "a chunk is longer than it says"),
      brokenChunks("a response in place of the trailers", `0\r\n${OK}\r\n`, "malformed field in the trailers"),
      answered(
        "extensions and trailers",
        `${OK}${CHUNKED}\r\n5;a="b"\r\nhello\r\n0\r\nA: b\r\n\r\n`,
        `${OK}${CHUNKED}\r\n5;a="b"\r\nhello\r\n0\r\nA: b\r\n\r\n`,
      ),
    ],
  },
  {
    title: "Heads of responses",
    cases: [
      broken("a field without a colon", `${OK}Server\r\n\r\n`, FIELD),
      broken("a field on two lines", `${OK}A: b\r\n c\r\n\r\n`, FIELD),
      broken("a space before the colon of a field", `${OK}Content-Length : 5\r\n\r\n`, FIELD),
      broken("lines that end in LF", "HTTP/1.1 200 OK\nContent-Length: 5\n\n", LINE_END),
      broken("a CR in a field", `${OK}A: b\rSet-Cookie: c\r\n\r\n`, LINE_END),
      broken("a zero byte in a field", `${OK}A: b\0\r\n\r\n`, LINE_END),
      broken("another version", "HTTP/2 200\r\n\r\n", "malformed status line"),
      broken("another protocol", "ICY 200 OK\r\n\r\n", "malformed status line"),
      broken("a status that is none", "HTTP/1.1 2000 OK\r\n\r\n", "malformed status line"),
      broken("a head without end", `${OK}A: ${"x".repeat(300_000)}`, "the head of the response is too long"),
      broken(
        "101 that was not asked for",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "an upgrade that was not asked for",
      ),
      {
        ...broken("interim responses without end", EARLY.repeat(65), "interim responses without end"),
        client: EARLY.repeat(64),
      },
      answered(
        "a length in an interim response",
        `HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n${HELLO}`,
        `${EARLY}${HELLO}`,
      ),
      answered(
        "no reason phrase",
        "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello",
      ),
      answered(
        "a control character in a field",
        `${OK}A: b\x01c\r\nContent-Length: 5\r\n\r\nhello`,
        `${OK}A: b\x01c\r\nContent-Length: 5\r\n\r\nhello`,
      ),
      answered("an empty line before it", `\r\n${HELLO}`, HELLO),
      answered("an empty line behind it", `${HELLO}\r\n`, HELLO),
    ],
  },
];
