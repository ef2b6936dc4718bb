import { describe, expect, it } from "vitest";
import { readRequestHead } from "./request-head.ts";

const isWanted = (target: string) => target === "/connect";
const read = (text: string) => readRequestHead(Buffer.from(text, "latin1"), isWanted);

describe("the head of a request", () => {
  const go = "POST /connect HTTP/1.1\r\nHost: \r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: 0\r\n\r\n";

  it("is found with what Go's client sends", () => {
    expect(read(go)).toEqual({ target: "/connect", hasBody: false, length: go.length });
  });

  it("ends before what came with it", () => {
    expect(read(`${go}\x3c\x00frame`)).toMatchObject({ length: go.length });
  });

  it("is incomplete up to its last byte", () => {
    for (let length = 0; length < go.length; length++)
      expect(read(go.slice(0, length)), `${length}`).toBe("incomplete");
  });

  it.each(["GET /connect HTTP/1.0\r\n\r\n", "BREW /connect HTTP/1.1\nHost: x\n\n"])("is found in %j", (text) => {
    expect(read(text)).toMatchObject({ target: "/connect", hasBody: false, length: text.length });
  });

  it.each([
    ["another path, before the head is there", "GET /leases HTTP/1.1\r\n"],
    ["no HTTP", "garbage\r\n"],
    ["a frame", "\x00\x00\x00\x3c\n"],
    ["another version", "GET /connect HTTP/2.0\r\nHost: x\r\n\r\n"],
    ["three digits of a version", "GET /connect HTTP/1.10\r\nHost: x\r\n\r\n"],
    ["no Host", "GET /connect HTTP/1.1\r\nAccept: x\r\n\r\n"],
    ["a field without a colon", "GET /connect HTTP/1.1\r\nHost: x\r\nbad\r\n\r\n"],
    ["a field with a space before its colon", "GET /connect HTTP/1.1\r\nHost : x\r\n\r\n"],
    ["a line that goes on", "GET /connect HTTP/1.1\r\nHost: x\r\n y\r\n\r\n"],
    ["a line without an end", "x".repeat(16 * 1024)],
    ["fields without an end", `GET /connect HTTP/1.1\r\nHost: ${"x".repeat(16 * 1024)}`],
  ])("is not found in %s", (_, text) => {
    expect(read(text)).toBe("other");
  });

  it.each([
    ["Content-Length: 0", false],
    ["content-length: 5", true],
    ["Content-Length: x", true],
    ["Transfer-Encoding: chunked", true],
  ])("has a body by %s: %s", (field, hasBody) => {
    expect(read(`GET /connect HTTP/1.1\r\nHost: x\r\n${field}\r\n\r\n`)).toMatchObject({ hasBody });
  });
});
