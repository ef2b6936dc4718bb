import { describe, expect, test } from "vitest";
import { JsonLines, JsonLinesError } from "./json-lines.ts";

describe("lines of JSON", () => {
  const text = '{"a":1}\r\n\n{"b":"é€😀"}\n[2]\n';

  test("are the same wherever the bytes are cut", () => {
    const bytes = Buffer.from(text);
    for (let size = 1; size <= bytes.length; size++) {
      const lines = new JsonLines();
      const values: unknown[] = [];
      for (let at = 0; at < bytes.length; at += size) values.push(...lines.push(bytes.subarray(at, at + size)));
      expect(values, `pieces of ${size}`).toEqual([{ a: 1 }, { b: "é€😀" }, [2]]);
    }
  });

  test("wait for their end", () => {
    const lines = new JsonLines();
    expect(lines.push(Buffer.from('{"a":1}'))).toEqual([]);
    expect(lines.push(Buffer.from("\n"))).toEqual([{ a: 1 }]);
  });

  test("that are no JSON end the stream", () => {
    expect(() => new JsonLines().push(Buffer.from("{a}\n"))).toThrow(JsonLinesError);
  });

  test("that have no end are not kept without limit", () => {
    const lines = new JsonLines();
    const part = Buffer.alloc(64 * 1024, "x");
    expect(() => {
      for (let sent = 0; sent < 100; sent++) lines.push(part);
    }).toThrow("longer than 1048576 bytes");
  });
});
