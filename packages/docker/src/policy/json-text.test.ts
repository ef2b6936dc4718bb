import { describe, expect, test } from "vitest";
import { Random } from "../../../stack/src/testing/random.ts";
import { type JsonNode, JsonText, JsonTextError } from "./json-text.ts";

/** What JSON.parse makes of the same text. */
function plain(node: JsonNode, text: string): unknown {
  switch (node.kind) {
    case "object":
      return Object.fromEntries(node.members.map(({ name, value }) => [name, plain(value, text)]));
    case "array":
      return node.elements.map((element) => plain(element, text));
    case "string":
      return node.value;
    default:
      return JSON.parse(text.slice(node.start, node.end));
  }
}

function read(text: string): unknown {
  return plain(new JsonText(Buffer.from(text)).root, text);
}

const PIECES = [
  "{",
  "}",
  "[",
  "]",
  ",",
  ":",
  '"',
  '"a"',
  '"b\\n"',
  "\\",
  "0",
  "-",
  "1.5e3",
  "01",
  "true",
  "nul",
  " ",
  "\n",
  "é",
  "\u0001",
];

describe("a JSON text", () => {
  test.each([
    '{"a":[1,-2.5e+3,{"b":null}],"é":"\\u00e9\\"\\\\","":true}',
    " [ ] ",
    "\t{ }\r\n",
    '"x"',
    "-0",
    '{"__proto__":{"a":1}}',
  ])("is read as JSON.parse reads it: %s", (text) => {
    expect(read(text)).toEqual(JSON.parse(text));
  });

  test("of any pieces is read as JSON.parse reads it, or refused when that does", () => {
    const random = new Random(1);
    let readable = 0;
    for (let run = 0; run < 20_000; run++) {
      const text = Array.from({ length: 1 + random.below(8) }, () => random.pick(PIECES)).join("");
      let expected: unknown;
      try {
        expected = JSON.parse(text);
      } catch {
        expect(() => read(text), text).toThrow(JsonTextError);
        continue;
      }
      readable++;
      expect(read(text), text).toEqual(expected);
    }
    expect(readable).toBeGreaterThan(500);
  });

  test.each([
    ['{"a":1,"a":2}', 'the member "a" twice'],
    ['{"x":{"a":1,"\\u0061":2}}', 'the member "a" twice'],
    ["{} {}", "something follows the value at character 3"],
    ["\ufeff{}", "no value at character 0"],
    ["", "no value at character 0"],
    ['{"a":1,}', "no name of a member at character 7"],
    ["[".repeat(65), "more than 64 levels at character 64"],
  ])("is refused when others might read it otherwise: %s", (text, message) => {
    expect(() => read(text)).toThrow(message);
  });

  test("is refused when it is not UTF-8", () => {
    expect(() => new JsonText(Buffer.from([0x22, 0xff, 0x22]))).toThrow("it is not UTF-8");
  });

  test("may be long and nested as deep as is allowed", () => {
    const text = `${"[".repeat(64)}"${"x".repeat(4_000_000)}"${"]".repeat(64)}`;
    expect(read(text)).toEqual(JSON.parse(text));
  });

  test("has parts replaced, and all else as it is written", () => {
    const text = ' {"big": 9007199254740993 ,\t"a" : ["é", 1.0]}\n';
    const json = new JsonText(Buffer.from(text));
    const [, member] = json.root.kind === "object" ? json.root.members : [];
    const [first, second] = member.value.kind === "array" ? member.value.elements : [];
    const edits = [
      { start: second.end, end: second.end, text: ",2" },
      { start: first.start, end: first.end, text: '"ö"' },
    ];
    expect(json.edit(edits).toString()).toBe(' {"big": 9007199254740993 ,\t"a" : ["ö", 1.0,2]}\n');
  });
});
