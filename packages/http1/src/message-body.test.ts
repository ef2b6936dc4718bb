import { describe, expect, test } from "vitest";
import { declaredFraming, makeBodyScanner, requestFraming, responseFraming } from "./message-body.ts";
import { MessageError, readRequestHead, readResponseHead } from "./message-head.ts";

const CHUNKED = `5\r\nhello\r\nA;name="va;l"\r\n0123456789\r\n00\r\nExpires: now\r\nX:\r\n\r\n`;

function requestOf(fields: string, version = "1.1") {
  return readRequestHead(Buffer.from(`POST / HTTP/${version}\r\n${fields}\r\n`));
}

function responseOf(status: number, fields: string, version = "1.1") {
  return readResponseHead(Buffer.from(`HTTP/${version} ${status} X\r\n${fields}\r\n`));
}

describe("the framing of a request", () => {
  test.each([
    ["", { kind: "length", length: 0 }],
    ["Content-Length: 5\r\n", { kind: "length", length: 5 }],
    ["Content-Length: 5, 5\r\nContent-Length: 5\r\n", { kind: "length", length: 5 }],
    ["Content-Length: 999999999999999\r\n", { kind: "length", length: 999_999_999_999_999 }],
    ["Transfer-Encoding: Chunked\r\n", { kind: "chunked" }],
  ])("is read from %j", (fields, framing) => {
    expect(requestFraming(requestOf(fields))).toEqual(framing);
  });

  test.each([
    ["Content-Length: 5\r\nContent-Length: 6\r\n", 400],
    ["Content-Length: +5\r\n", 400],
    ["Content-Length: 5x\r\n", 400],
    ["Content-Length:\r\n", 400],
    ["Content-Length: -1\r\n", 400],
    ["Content-Length: 1e3\r\n", 400],
    ["Content-Length: 9999999999999999\r\n", 400],
    ["Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400],
    ["Transfer-Encoding: gzip, chunked\r\n", 501],
    ["Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 501],
    ["Transfer-Encoding: identity\r\n", 501],
    ["Transfer-Encoding:\r\n", 501],
  ])("is refused from %j", (fields, status) => {
    expect(() => requestFraming(requestOf(fields))).toThrow(expect.objectContaining({ name: "MessageError", status }));
  });

  test("of HTTP/1.0 is not chunked", () => {
    expect(() => requestFraming(requestOf("Transfer-Encoding: chunked\r\n", "1.0"))).toThrow(MessageError);
  });
});

describe("the framing of an answer", () => {
  test.each([
    [200, "Content-Length: 5\r\n", "GET", { kind: "length", length: 5 }],
    [200, "Transfer-Encoding: chunked\r\n", "POST", { kind: "chunked" }],
    [200, "", "GET", { kind: "close" }],
    [500, "", "POST", { kind: "close" }],
    [200, "Content-Length: 5\r\n", "HEAD", { kind: "length", length: 0 }],
    [204, "Transfer-Encoding: chunked\r\n", "POST", { kind: "length", length: 0 }],
    [304, "Content-Length: 5\r\n", "POST", { kind: "length", length: 0 }],
    [100, "", "POST", { kind: "length", length: 0 }],
  ])("of %i with %j to %s", (status, fields, method, framing) => {
    expect(responseFraming(responseOf(status, fields), method)).toEqual(framing);
  });

  test("that contradicts itself is refused", () => {
    const head = responseOf(200, "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n");
    expect(() => responseFraming(head, "GET")).toThrow(MessageError);
  });
});

test("what a head says of a body that there is not is read as well", () => {
  expect(declaredFraming(responseOf(304, "Content-Length: 5\r\n"))).toEqual({ kind: "length", length: 5 });
  expect(declaredFraming(responseOf(304, ""))).toBeNull();
  expect(() => declaredFraming(responseOf(304, "Content-Length: five\r\n"))).toThrow(MessageError);
});

describe("a body", () => {
  test("of a length ends there, and an empty one at once", () => {
    expect(makeBodyScanner({ kind: "length", length: 0 }).isOver).toBe(true);
    const scanner = makeBodyScanner({ kind: "length", length: 5 });
    expect(scanner.scan(Buffer.from("xxhe"), 2)).toBe(4);
    expect(scanner.isOver).toBe(false);
    expect(scanner.scan(Buffer.from("lloGET"), 0)).toBe(3);
    expect(scanner.isOver).toBe(true);
    expect(scanner.scan(Buffer.from("GET"), 0)).toBe(0);
  });

  test("that ends with its connection takes all", () => {
    const scanner = makeBodyScanner({ kind: "close" });
    expect(scanner.scan(Buffer.alloc(100), 0)).toBe(100);
    expect(scanner.isOver).toBe(false);
  });

  test("in chunks ends behind its trailers wherever it is cut in three", () => {
    const bytes = Buffer.from(`${CHUNKED}GET`);
    for (let first = 0; first <= bytes.length; first++) {
      for (let second = first; second <= bytes.length; second++) {
        let content = "";
        const scanner = makeBodyScanner({ kind: "chunked" }, (part) => (content += part.toString()));
        let taken = 0;
        for (const piece of [bytes.subarray(0, first), bytes.subarray(first, second), bytes.subarray(second)]) {
          taken += scanner.scan(piece, 0);
        }
        expect(taken).toBe(CHUNKED.length);
        expect(scanner.isOver).toBe(true);
        expect(content).toBe("hello0123456789");
      }
    }
  });

  test("in chunks of which none has content is empty", () => {
    const scanner = makeBodyScanner({ kind: "chunked" });
    expect(scanner.isOver).toBe(false);
    expect(scanner.scan(Buffer.from("0\r\n\r\n"), 0)).toBe(5);
    expect(scanner.isOver).toBe(true);
  });

  test.each([
    ["no size", "\r\n"],
    ["a size that is no number", "g\r\n"],
    ["a sign", "-5\r\n"],
    ["a size beyond what is counted exactly", "10000000000000\r\n"],
    ["an extension without its semicolon", "5 a\r\n"],
    ["a size line without CR", "5\n"],
    ["a CR inside a size line", "5;a\rb\r\n"],
    ["two CRs at the end of a size line", "5\r\r\n"],
    ["a lone CR that is not followed by a line's end yet", "5\rx"],
    ["a zero byte in an extension", "5;a\0b\r\n"],
    ["a CR inside a trailer", "0\r\nA: b\rContent-Length: 5\r\n\r\n"],
    ["a lone CR in place of the trailers", "0\r\n\r\r\n\r\n"],
    ["a trailer without a colon", "0\r\nGET / HTTP/1.1\r\n\r\n"],
    ["a trailer with a space before its colon", "0\r\nA : b\r\n\r\n"],
    ["a folded trailer", "0\r\nA: b\r\n c\r\n\r\n"],
    ["a zero byte in a trailer", "0\r\nA: b\0\r\n\r\n"],
    ["a chunk that is longer than it says", "5\r\nhello!\r\n"],
    ["a chunk that ends in LF alone", "5\r\nhello\n"],
    ["an endless size line", `5;${"a".repeat(5000)}`],
    ["an endless trailer", `0\r\nA: ${"a".repeat(70_000)}`],
    ["endless trailers", `0\r\n${`A: ${"a".repeat(1000)}\r\n`.repeat(70)}`],
  ])("in chunks is refused with %s, however it comes", (_, text) => {
    const bytes = Buffer.from(text);
    expect(() => makeBodyScanner({ kind: "chunked" }).scan(bytes, 0)).toThrow(MessageError);
    const scanner = makeBodyScanner({ kind: "chunked" });
    expect(() => {
      for (const byte of bytes) scanner.scan(Buffer.of(byte), 0);
    }).toThrow(MessageError);
  });

  test("of a length may pass unseen to its end, and one that ends with the connection for ever", () => {
    const scanner = makeBodyScanner({ kind: "length", length: 10 });
    expect(scanner.passable).toBe(10);
    scanner.scan(Buffer.from("four"), 0);
    scanner.skip(5);
    expect([scanner.passable, scanner.isOver]).toEqual([1, false]);
    scanner.skip(1);
    expect([scanner.passable, scanner.isOver]).toEqual([0, true]);
    expect(makeBodyScanner({ kind: "close" }).passable).toBe(Number.POSITIVE_INFINITY);
  });

  test("in chunks may pass unseen to the end of a chunk", () => {
    const scanner = makeBodyScanner({ kind: "chunked" });
    expect(scanner.passable).toBe(0);
    scanner.skip(0);
    scanner.scan(Buffer.from("a\r\n01"), 0);
    expect(scanner.passable).toBe(8);
    scanner.skip(7);
    expect(scanner.passable).toBe(1);
    scanner.skip(1);
    expect([scanner.passable, scanner.isOver]).toEqual([0, false]);
    expect(scanner.scan(Buffer.from("\r\n0\r\n\r\nGET"), 0)).toBe(7);
    expect(scanner.isOver).toBe(true);
  });

  test("in chunks whose content is wanted does not pass unseen", () => {
    const scanner = makeBodyScanner({ kind: "chunked" }, () => {});
    scanner.scan(Buffer.from("a\r\n01"), 0);
    expect(scanner.passable).toBe(0);
  });
});
