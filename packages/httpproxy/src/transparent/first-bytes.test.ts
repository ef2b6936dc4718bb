import { describe, expect, test } from "vitest";
import { Random } from "../../../stack/src/testing/random.ts";
import { classifyFirstBytes } from "./first-bytes.ts";

const classify = (text: string) => classifyFirstBytes(Buffer.from(text, "latin1"));

const SAMPLES: readonly [kind: string, text: string][] = [
  ["http", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"],
  ["http", "POST /form HTTP/1.0\r\n"],
  ["http", "UPDATEREDIRECTREF /x HTTP/1.1\r\n"],
  ["http", "A-!#$%&'*+.^_`|~9 / HTTP/1.1\r\n"],
  ["http", `${"M".repeat(31)} / HTTP/1.1\r\n`],
  ["http", "OPTIONS * HTTP/1.1\r\n"],
  ["http", "GET http://example.com/ HTTP/1.1\r\n"],
  ["http", "GET HTTPS://example.com/ HTTP/1.1\r\n"],
  ["tls", "\x16\x03\x01\x02\x00\x01"],
  ["tls", "\x16\x03\x03"],
  ["other", "\x16\x02\x01"],
  ["other", "\x15\x03\x01"],
  // RFC 9113, 3.4.
  ["other", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
  ["other", "SSH-2.0-OpenSSH_9.9\r\n"],
  ["other", "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n"],
  ["other", "EHLO mail.example.com\r\n"],
  ["other", "USER anonymous\r\n"],
  ["other", "MAIL FROM:<a@example.com>\r\n"],
  ["other", "QUIT\r\n"],
  ["other", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"],
  ["other", "CONNECT example.com:443 HTTP/1.1\r\n"],
  ["other", "CONNECT http:443 HTTP/1.1\r\n"],
  ["other", "DESCRIBE rtsp://example.com/ RTSP/1.0\r\n"],
  ["other", "OPTIONS * RTSP/1.0\r\n"],
  ["other", "GET  / HTTP/1.1\r\n"],
  ["other", "GET\t/ HTTP/1.1\r\n"],
  ["other", " GET / HTTP/1.1\r\n"],
  ["other", "\r\nGET / HTTP/1.1\r\n"],
  ["other", `${"M".repeat(32)} / HTTP/1.1\r\n`],
  ["other", "\0\0\0\x2f"],
  ["other", "*1\r\n$4\r\nPING\r\n"],
];

describe("first bytes are", () => {
  test.each(SAMPLES)("%s: %j", (kind, text) => {
    expect(classify(text)).toBe(kind);
  });

  test("more for as long as both are possible", () => {
    for (const text of ["", "G", "GET", "GET ", "GET h", "GET http:/", "OPTIONS * HTTP/", "M".repeat(31), "\x16"]) {
      expect(classify(text), text).toBe("more");
    }
  });
});

test("what they are is told once, and the bytes that follow do not change it", () => {
  for (const [kind, text] of SAMPLES) {
    let told = "more";
    for (let length = 0; length <= text.length; length++) {
      const now = classify(text.slice(0, length));
      if (told !== "more") expect(now, text).toBe(told);
      told = now;
    }
    expect(told).toBe(kind);
  }
});

test("it is told within 41 bytes, whatever they are", () => {
  const random = new Random(8);
  const likely = ["G", "E", "T", " ", "/", "*", "h", "t", "p", ":", "H", "1", ".", "\x16", "\x03"];
  for (let round = 0; round < 20_000; round++) {
    const text = Array.from({ length: 41 }, () =>
      random.oneIn(20) ? String.fromCharCode(random.below(256)) : random.pick(likely),
    ).join("");
    let told = "more";
    for (let length = 1; length <= text.length; length++) {
      const now = classify(text.slice(0, length));
      if (told !== "more" && now !== told) throw new Error(`${JSON.stringify(text)}: ${told}, then ${now}`);
      told = now;
    }
    expect(told).not.toBe("more");
  }
});
