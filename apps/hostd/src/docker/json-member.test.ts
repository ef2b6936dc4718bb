import { describe, expect, it } from "vitest";
import { withMember } from "./json-member.ts";

function changed(text: string, value: string | null): string {
  return withMember(Buffer.from(text), "c", value).toString();
}

describe("withMember", () => {
  it.each([
    ["after the others, indented as they are", '{\n\t"a": 1,\n\t"b": {}\n}', '{\n\t"a": 1,\n\t"b": {},\n\t"c": "x"\n}'],
    ["in a text of one line", '{"a":1}', '{"a":1,"c":"x"}'],
    ["in a text of one line with spaces", '{ "a": 1 }', '{ "a": 1, "c": "x" }'],
    ["in an object without any", " { } \n", ' {\n\t"c": "x"\n} \n'],
    ["in the place of its old value", '{"c" : null , "a":1}', '{"c" : "x" , "a":1}'],
    ["where it was, however that is written", '{"\\u0063": "y"}', '{"\\u0063": "x"}'],
  ])("puts a member %s", (_, before, after) => {
    expect(changed(before, "x")).toBe(after);
  });

  it("leaves everything else as it is written", () => {
    const text = '{\r\n  "n": 12345678901234567890.50,  "e": "\\u00e9 é",\r\n  "l": [ 1,2 ]\r\n}\r\n';
    expect(changed(text, "x")).toBe(text.replace(" ]\r\n}", ' ],\r\n  "c": "x"\r\n}'));
    expect(changed(changed(text, "x"), null)).toBe(text);
  });

  it("writes any text", () => {
    expect(JSON.parse(changed("{}", 'a"\\\n'))).toEqual({ c: 'a"\\\n' });
  });

  it.each([
    ["the first", '{\n  "c": "x",\n  "a": "1,2"\n}', '{\n  "a": "1,2"\n}'],
    ["one of the others", '{\n  "a": 1,\n  "c": "x",\n  "b": 2\n}', '{\n  "a": 1,\n  "b": 2\n}'],
    ["the last", '{\n  "a": 1,\n  "c": [1, 2]\n}', '{\n  "a": 1\n}'],
    ["the only one", '{\n  "c": "x"\n}', "{}"],
    ["none", '{ "a": {"c": 1} }', '{ "a": {"c": 1} }'],
  ])("takes out %s", (_, before, after) => {
    expect(changed(before, null)).toBe(after);
  });

  it.each(["", "[]", '"c"', '{"a": 1', '{"c": 1, "c": 2}'])("does not change what is no object: %j", (text) => {
    expect(() => changed(text, "x")).toThrow(expect.objectContaining({ name: "JsonTextError" }));
  });
});
