import { describe, expect, test } from "vitest";
import { BodyCollector } from "./body-collector.ts";

const TOO_LONG = expect.objectContaining({ name: "MessageError", status: 413 });

/** A body of chunks with `size` bytes each and a long extension. */
function chunked(count: number, size: number, extension: string): Buffer {
  return Buffer.from(`${`${size.toString(16)};${extension}\r\n${"a".repeat(size)}\r\n`.repeat(count)}0\r\n\r\n`);
}

describe("the collector of a body", () => {
  test("gives a body of a length as it came", () => {
    const collector = new BodyCollector({ kind: "length", length: 5 }, 5);
    expect(collector.take(Buffer.from("he"), 0)).toBe(2);
    expect(collector.take(Buffer.from("lloGET"), 0)).toBe(3);
    expect(collector.isOver).toBe(true);
    expect(collector.content.toString()).toBe("hello");
    expect(collector.raw.toString()).toBe("hello");
  });

  test("gives a chunked body with its framing and without", () => {
    const collector = new BodyCollector({ kind: "chunked" }, 100);
    const body = "2\r\nhe\r\n3;a\r\nllo\r\n0\r\nA: b\r\n\r\n";
    for (const byte of Buffer.from(body)) collector.take(Buffer.of(byte), 0);
    expect(collector.isOver).toBe(true);
    expect(collector.content.toString()).toBe("hello");
    expect(collector.raw.toString()).toBe(body);
  });

  test("refuses a body that says it is longer than the limit, before it comes", () => {
    expect(() => new BodyCollector({ kind: "length", length: 6 }, 5)).toThrow(TOO_LONG);
  });

  test("refuses chunks when they become longer than the limit", () => {
    const collector = new BodyCollector({ kind: "chunked" }, 10);
    collector.take(Buffer.from("a\r\n0123456789\r\n"), 0);
    expect(() => collector.take(Buffer.from("1\r\nx"), 0)).toThrow(TOO_LONG);
  });

  test("refuses a framing that is out of proportion to its content", () => {
    const few = new BodyCollector({ kind: "chunked" }, 1000);
    few.take(chunked(16, 1, "a".repeat(4000)), 0);
    expect(few.content.length).toBe(16);
    expect(() => new BodyCollector({ kind: "chunked" }, 1000).take(chunked(17, 1, "a".repeat(4000)), 0)).toThrow(
      TOO_LONG,
    );
  });
});
