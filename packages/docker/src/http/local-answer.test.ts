import { readRequestHead } from "@hostd/http1";
import { describe, expect, test } from "vitest";
import { expectsContinue, isLastRequest, withLength, withoutExpect, writeAnswer } from "./local-answer.ts";

function request(fields = "", first = "POST / HTTP/1.1") {
  return readRequestHead(Buffer.from(`${first}\r\n${fields}\r\n`));
}

describe("an answer that is not the engine's", () => {
  test("has the form of the engine's errors, with its length in bytes", () => {
    const answer = { status: 409, message: "no \u20ac" };
    expect(writeAnswer(answer, request(), false).toString()).toBe(
      'HTTP/1.1 409 Conflict\r\nContent-Type: application/json\r\nContent-Length: 21\r\n\r\n{"message":"no \u20ac"}\n',
    );
  });

  test("tells the client when the connection ends", () => {
    expect(writeAnswer({ status: 400, message: "" }, null, true).toString()).toContain("\r\nConnection: close\r\n");
  });

  test("to HEAD has no body, but its length", () => {
    const text = writeAnswer({ status: 502, message: "m" }, request("", "HEAD / HTTP/1.1"), false).toString();
    expect(text).toMatch(/^HTTP\/1\.1 502 Bad Gateway\r\n.*Content-Length: 16\r\n\r\n$/s);
  });

  test("has a reason for any status", () => {
    expect(writeAnswer({ status: 418, message: "" }, null, false).toString()).toMatch(/^HTTP\/1\.1 418 Error\r\n/);
  });
});

test("a request waits for 100 by its Expect, unless it is of HTTP/1.0", () => {
  expect(expectsContinue(request("Expect: 100-Continue\r\n"))).toBe(true);
  expect(expectsContinue(request())).toBe(false);
  expect(expectsContinue(request("Expect: 100-continue\r\n", "POST / HTTP/1.0"))).toBe(false);
});

test("a request is the last by its Connection, or its version", () => {
  expect(isLastRequest(request())).toBe(false);
  expect(isLastRequest(request("Connection: x, Close\r\n"))).toBe(true);
  expect(isLastRequest(request("", "POST / HTTP/1.0"))).toBe(true);
  expect(isLastRequest(request("Connection: Keep-Alive\r\n", "POST / HTTP/1.0"))).toBe(false);
});

const HEAD =
  "\r\nPOST /a HTTP/1.1\r\nHost: \u00e9\r\nEXPECT: 100-continue\r\ntransfer-encoding: chunked\r\n" +
  "Trailer: A\r\nX-Expect: b\r\n\r\n";

test("a head gets the length of another body, and keeps what does not tell of the old one", () => {
  expect(withLength(Buffer.from(HEAD, "latin1"), 7).toString("latin1")).toBe(
    "\r\nPOST /a HTTP/1.1\r\nHost: \u00e9\r\nX-Expect: b\r\nContent-Length: 7\r\n\r\n",
  );
});

test("a head loses its Expect alone", () => {
  expect(withoutExpect(Buffer.from(HEAD, "latin1")).toString("latin1")).toBe(
    HEAD.replace("EXPECT: 100-continue\r\n", ""),
  );
});
