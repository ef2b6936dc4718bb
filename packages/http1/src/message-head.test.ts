import { describe, expect, test } from "vitest";
import { HeadReader, MAX_HEAD, MessageError, readRequestHead, readResponseHead } from "./message-head.ts";

const REQUEST =
  "POST /v1.44/containers/create?name=web HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\nX-A:  b c\t\r\n\r\n";

function latin1(text: string): Buffer {
  return Buffer.from(text, "latin1");
}

/** Reads bytes in pieces. */
function readPieces(reader: HeadReader, pieces: readonly Buffer[]): number[] {
  return pieces.map((piece) => reader.read(piece, 0));
}

describe("the reader of heads", () => {
  test("finds the end in one piece, with what follows left alone", () => {
    const reader = new HeadReader();
    const bytes = latin1(`${REQUEST}{}`);
    expect(reader.read(bytes, 0)).toBe(REQUEST.length);
    expect(reader.isComplete).toBe(true);
    expect(reader.take().toString("latin1")).toBe(REQUEST);
  });

  test("finds the end wherever the head is cut in three", () => {
    const bytes = latin1(REQUEST);
    for (let first = 0; first <= bytes.length; first++) {
      for (let second = first; second <= bytes.length; second++) {
        const reader = new HeadReader();
        const pieces = [bytes.subarray(0, first), bytes.subarray(first, second), bytes.subarray(second)];
        expect(readPieces(reader, pieces)).toEqual(pieces.map(({ length }) => length));
        expect(reader.isComplete).toBe(true);
        expect(reader.take().equals(bytes)).toBe(true);
      }
    }
  });

  test("reads the next head after it was taken", () => {
    const reader = new HeadReader();
    const bytes = latin1(REQUEST + REQUEST);
    const end = reader.read(bytes, 0);
    reader.take();
    expect(reader.hasBegun).toBe(false);
    expect(reader.read(bytes, end)).toBe(bytes.length);
    expect(reader.take().toString("latin1")).toBe(REQUEST);
  });

  test("takes empty lines before a head as a part of it, which has not begun by them", () => {
    const reader = new HeadReader();
    readPieces(reader, [latin1("\r\n\r"), latin1("\n\r")]);
    expect(reader.hasBegun).toBe(false);
    readPieces(reader, [latin1("\nG")]);
    expect(reader.hasBegun).toBe(true);
    readPieces(reader, [latin1("ET / HTTP/1.1\r\n\r\n")]);
    expect(reader.isComplete).toBe(true);
    expect(readRequestHead(reader.take()).target).toBe("/");
  });

  test("ends a head at lines without CR too, which then is malformed", () => {
    const reader = new HeadReader();
    const bytes = latin1("GET / HTTP/1.1\nHost: d\n\nrest");
    expect(reader.read(bytes, 0)).toBe(bytes.length - 4);
    expect(() => readRequestHead(reader.take())).toThrow(MessageError);
  });

  test("tells when a head is longer than a server takes", () => {
    const reader = new HeadReader();
    const line = latin1(`X-A: ${"a".repeat(1017)}\r\n`);
    reader.read(latin1("GET / HTTP/1.1\r\n"), 0);
    for (let length = 16; length + line.length <= MAX_HEAD; length += line.length) reader.read(line, 0);
    expect(reader.isTooLong).toBe(false);
    reader.read(line, 0);
    expect(reader.isTooLong).toBe(true);
  });

  test("takes a head byte by byte in a time that follows its length", () => {
    const reader = new HeadReader();
    const byte = latin1("a");
    const startedAt = performance.now();
    for (let count = 0; count < MAX_HEAD; count++) reader.read(byte, 0);
    // Copying what is there at each byte would take minutes.
    expect(performance.now() - startedAt).toBeLessThan(10_000);
    expect(reader.isTooLong).toBe(false);
  });
});

describe("the head of a request", () => {
  test("is read with its fields, in any case and on several lines", () => {
    const head = readRequestHead(latin1("GET /a?b HTTP/1.0\r\nTE: x\r\nte:y , Z\r\nAe: \u00fc\r\n\r\n"));
    expect(head).toMatchObject({ method: "GET", target: "/a?b", minor: 0 });
    expect(head.fields.all("te")).toEqual(["x", "y , Z"]);
    expect(head.fields.elements("te")).toEqual(["x", "y", "Z"]);
    expect(head.fields.lists("te", "z")).toBe(true);
    expect(head.fields.lists("te", "y , z")).toBe(false);
    expect(head.fields.all("ae")).toEqual(["\u00fc"]);
    expect(head.fields.all("host")).toEqual([]);
  });

  test("keeps what is no space or tab around a value", () => {
    const head = readRequestHead(latin1("GET / HTTP/1.1\r\nA: \u00a0b\u00a0 \t\r\nB:\r\n\r\n"));
    expect(head.fields.all("a")).toEqual(["\u00a0b\u00a0"]);
    expect(head.fields.all("b")).toEqual([""]);
  });

  test("keeps what is no space or tab around an element of a list", () => {
    const head = readRequestHead(latin1("GET / HTTP/1.1\r\nTE: \u00a0chunked,\tx ,\vchunked\r\n\r\n"));
    expect(head.fields.elements("te")).toEqual(["\u00a0chunked", "x", "\vchunked"]);
    expect(head.fields.lists("te", "chunked")).toBe(false);
  });

  test("with a megabyte of spaces in a value is read at once", () => {
    const value = `a${" ".repeat(1024 * 1024)}b`;
    const startedAt = performance.now();
    expect(readRequestHead(latin1(`GET / HTTP/1.1\r\nA: ${value}\r\n\r\n`)).fields.all("a")).toEqual([value]);
    // Looking for the end from each space would take minutes.
    expect(performance.now() - startedAt).toBeLessThan(10_000);
  });

  test.each([
    ["no version", "GET /\r\n\r\n"],
    ["another version", "GET / HTTP/2.0\r\n\r\n"],
    ["a minor version of two digits", "GET / HTTP/1.10\r\n\r\n"],
    ["no target", "GET  HTTP/1.1\r\n\r\n"],
    ["a space in the target", "GET /a b HTTP/1.1\r\n\r\n"],
    ["a control character in the target", "GET /\x01 HTTP/1.1\r\n\r\n"],
    ["a method that is no token", "G(T / HTTP/1.1\r\n\r\n"],
    ["a space before the method", " GET / HTTP/1.1\r\n\r\n"],
    ["a space behind the version", "GET / HTTP/1.1 \r\n\r\n"],
    ["a field without a colon", "GET / HTTP/1.1\r\nHost\r\n\r\n"],
    ["a field without a name", "GET / HTTP/1.1\r\n: d\r\n\r\n"],
    ["a space before the colon", "GET / HTTP/1.1\r\nContent-Length : 5\r\n\r\n"],
    ["a folded line", "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n"],
    ["a lone CR", "GET / HTTP/1.1\r\nA: b\rContent-Length: 5\r\n\r\n"],
    ["a lone LF", "GET / HTTP/1.1\r\nA: b\nContent-Length: 5\r\n\r\n"],
    ["a zero byte", "GET / HTTP/1.1\r\nA: b\0c\r\n\r\n"],
    ["the lines of an answer", "HTTP/1.1 200 OK\r\n\r\n"],
  ])("is refused with %s", (_, text) => {
    expect(() => readRequestHead(latin1(text))).toThrow(expect.objectContaining({ name: "MessageError", status: 400 }));
  });
});

describe("the head of an answer", () => {
  test.each([
    ["HTTP/1.1 200 OK\r\n\r\n", 200, 1],
    ["HTTP/1.0 404 Not Found\r\nA: b\r\n\r\n", 404, 0],
    ["HTTP/1.1 101 UPGRADED\r\n\r\n", 101, 1],
    ["HTTP/1.1 200 \r\n\r\n", 200, 1],
    ["HTTP/1.1 204\r\n\r\n", 204, 1],
    ["HTTP/1.1 500 \u00e9 \u0085\r\n\r\n", 500, 1],
  ])("is read: %j", (text, status, minor) => {
    expect(readResponseHead(latin1(text))).toMatchObject({ status, minor });
  });

  test.each([
    "HTTP/1.1 20 OK\r\n\r\n",
    "HTTP/1.1 099 No\r\n\r\n",
    "HTTP/2 200\r\n\r\n",
    "ICY 200 OK\r\n\r\n",
    "hello\r\n\r\n",
  ])("is refused: %j", (text) => {
    expect(() => readResponseHead(latin1(text))).toThrow(MessageError);
  });
});
