import { describe, expect, it } from "vitest";
import { goSlice, goString, goStruct, goText, goUint16, readGoJson, sortedKeys, writeGoJson } from "./go-json.ts";
import { GoJsonError } from "./go-json-syntax.ts";

const record = goStruct("types.Record", {
  Name: goString(),
  IP: goText("net.IP", "", (text) => {
    if (text === "wrong") throw new GoJsonError(`invalid IP address: ${text}`);
    return text;
  }),
});
const zone = goStruct("types.Zone", { Name: goString(), Records: goSlice(record), Protocol: goString("types.P") });
const port = goStruct("vpnkit.Port", { out_port: goUint16 });

const read = (body: string | Buffer) => readGoJson(zone, Buffer.from(body));

describe("JSON as Go reads it", () => {
  it("fills in what is not given", () => {
    expect(read("{}")).toEqual({ Name: "", Records: null, Protocol: "" });
    expect(read("null")).toEqual({ Name: "", Records: null, Protocol: "" });
  });

  it("reads nested values, and leaves other keys alone", () => {
    const body = '{"Name":"a","Records":[{"Name":"b","IP":"c"},{}],"x":{"Name":[1]}}';
    expect(read(body)).toEqual({
      Name: "a",
      Records: [
        { Name: "b", IP: "c" },
        { Name: "", IP: "" },
      ],
      Protocol: "",
    });
  });

  it("reads keys in any case, the last of one name holding", () => {
    expect(read('{"NAME":"a","name":"b","protoco\\u006c":"c"}')).toMatchObject({ Name: "b", Protocol: "c" });
    expect(read('{"record\u017f":[]}').Records).toEqual([]);
  });

  it("takes null for what holds without it", () => {
    expect(read('{"NAME":"a","Name":null,"Records":[null]}')).toEqual({
      Name: "a",
      Records: [{ Name: "", IP: "" }],
      Protocol: "",
    });
  });

  it("leaves alone what follows the first value", () => {
    expect(read(' \t\r\n{"Name":"a"} and {').Name).toBe("a");
  });

  it("reads escapes, letters of several bytes, and what is no UTF-8", () => {
    expect(read('{"Name":"\\u00e9\\n\\/ \u00e9"}').Name).toBe("\u00e9\n/ \u00e9");
    expect(read(Buffer.from('{"Name":"\xff"}', "latin1")).Name).toBe("\ufffd");
    expect(read('{"Name":"\\ud800"}').Name).toBe("\ufffd");
  });

  it.each([
    ["", "EOF"],
    [" \r\n\t", "EOF"],
    ["{", "unexpected EOF"],
    ["[1,", "unexpected EOF"],
    ['{"a', "unexpected EOF"],
    ['{"a":"\\u12', "unexpected EOF"],
    ["-", "unexpected EOF"],
    ["nul", "unexpected EOF"],
    ["x", "invalid character 'x' looking for beginning of value"],
    ["'a'", "invalid character '\\'' looking for beginning of value"],
    ["\u00e9", "invalid character '\u00c3' looking for beginning of value"],
    ["\u0001", "invalid character '\\x01' looking for beginning of value"],
    ["{a:1}", "invalid character 'a' looking for beginning of object key string"],
    ['{"a":1,}', "invalid character '}' looking for beginning of object key string"],
    ['{"a" 1}', "invalid character '1' after object key"],
    ['{"a":}', "invalid character '}' looking for beginning of value"],
    ['{"a":1 2}', "invalid character '2' after object key:value pair"],
    ['{"a":1"', "invalid character '\"' after object key:value pair"],
    ['{"a":01}', "invalid character '1' after object key:value pair"],
    ["[1 2]", "invalid character '2' after array element"],
    ["[1,]", "invalid character ']' looking for beginning of value"],
    ['{"a":tru1}', "invalid character '1' in literal true (expecting 'e')"],
    ['{"a":fa1}', "invalid character '1' in literal false (expecting 'l')"],
    ['{"a":nil}', "invalid character 'i' in literal null (expecting 'u')"],
    ['{"a":-}', "invalid character '}' in numeric literal"],
    ['{"a":1.}', "invalid character '}' after decimal point in numeric literal"],
    ['{"a":1e+}', "invalid character '}' in exponent of numeric literal"],
    ['{"a":"\\x"}', "invalid character 'x' in string escape code"],
    ['{"a":"\\u12x4"}', "invalid character 'x' in \\u hexadecimal character escape"],
    ['{"a":"\n"}', "invalid character '\\n' in string literal"],
    ["[".repeat(10_001), "invalid character '[' exceeded max depth"],
    ["12", "json: cannot unmarshal number into Go value of type types.Zone"],
    ["[]", "json: cannot unmarshal array into Go value of type types.Zone"],
    ["true", "json: cannot unmarshal bool into Go value of type types.Zone"],
    ['"a"', "json: cannot unmarshal string into Go value of type types.Zone"],
    ['{"Name":1}', "json: cannot unmarshal number into Go struct field Zone.Name of type string"],
    ['{"Protocol":{}}', "json: cannot unmarshal object into Go struct field Zone.Protocol of type types.P"],
    ['{"Records":{}}', "json: cannot unmarshal object into Go struct field Zone.Records of type []types.Record"],
    ['{"Records":[5]}', "json: cannot unmarshal number into Go struct field Zone.Records of type types.Record"],
    ['{"Records":[{"IP":5}]}', "json: cannot unmarshal number into Go struct field Record.Records.IP of type net.IP"],
    ['{"Name":1,"Protocol":[]}', "json: cannot unmarshal number into Go struct field Zone.Name of type string"],
    ['{"Name":1,"Records":[{"IP":"wrong"}]}', "invalid IP address: wrong"],
  ])("refuses %j", (body, message) => {
    expect(() => read(body)).toThrow(new GoJsonError(message));
  });

  it("reads lists that are deep, and as deep as they may be", () => {
    const deep = "[".repeat(9_998);
    expect(read(`{"x":${deep}${"]".repeat(9_998)},"Name":"a"}`).Name).toBe("a");
  });

  it.each([
    ['{"out_port":65535}', 65_535],
    ['{"out_port":null}', 0],
    ["{}", 0],
  ])("reads a port of %s", (body, number) => {
    expect(readGoJson(port, Buffer.from(body)).out_port).toBe(number);
  });

  it.each([
    ["65536", "number 65536"],
    ["-1", "number -1"],
    ["1.5", "number 1.5"],
    ['"80"', "string"],
  ])("refuses a port of %s", (text, kind) => {
    const message = `json: cannot unmarshal ${kind} into Go struct field Port.out_port of type uint16`;
    expect(() => readGoJson(port, Buffer.from(`{"out_port":${text}}`))).toThrow(new GoJsonError(message));
  });
});

describe("JSON as Go writes it", () => {
  it("escapes what HTML gives a meaning, and ends with a line", () => {
    expect(writeGoJson({ a: "<b>&\u2028\u2029\u00e9" })).toBe('{"a":"\\u003cb\\u003e\\u0026\\u2028\\u2029\u00e9"}\n');
  });

  it("sorts the keys of objects in objects", () => {
    const sorted = sortedKeys({ b: { z: 1, y: [{ d: 1, c: 2 }] }, a: null });
    expect(JSON.stringify(sorted)).toBe('{"a":null,"b":{"y":[{"d":1,"c":2}],"z":1}}');
  });
});
