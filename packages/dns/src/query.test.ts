import { describe, expect, test } from "vitest";
import { Class, Type } from "./message.ts";
import { newQuery, queryFor } from "./query.ts";
import { decoded, queryMessage, readValid } from "./testing/messages.ts";

/** Names that do not fit a message, or are none. */
const BAD_NAMES = [
  "a..b",
  ".a",
  `${"a".repeat(64)}.b`,
  `${"a".repeat(200)}.b`,
  "a b",
  "ä",
  `${"abcdefg.".repeat(32)}a`,
];

describe("queryFor", () => {
  test("changes the name and nothing else", () => {
    const options = { id: 0xbeef, flags: 0x0110, class: "CH", udpPayloadSize: 1400, dnssecOk: true } as const;
    const query = readValid(queryMessage("a.example", "TXT", options));
    for (const name of ["B.longer.example", "b", "b.example."]) {
      const expected = queryMessage(name, "TXT", options);
      expect(queryFor(query, name).message).toEqual(expected);
      expect(queryFor(query, name)).toEqual(readValid(expected));
    }
    expect(queryFor(query, ".").message).toEqual(queryMessage(".", "TXT", options));
  });

  test.each(BAD_NAMES)("refuses %j", (name) => {
    const query = readValid(queryMessage("a.example", "A"));
    expect(() => queryFor(query, name)).toThrow(new RangeError(`${JSON.stringify(name)} is not a domain name`));
  });
});

describe("newQuery", () => {
  test("asks for recursion, with EDNS", () => {
    for (const name of ["www.example", "www.example."]) {
      const { message, question, edns } = newQuery(name, Type.AAAA);
      expect(question).toMatchObject({ name: "www.example", type: Type.AAAA, class: Class.IN });
      expect(edns).toEqual({ udpPayloadSize: 1232, version: 0, dnssecOk: false, hasOptions: false });
      expect(decoded(message)).toMatchObject({ flag_rd: true, flag_qr: false, questions: [{ name: "www.example" }] });
    }
    expect(newQuery(".", 0x0102).question).toMatchObject({ name: ".", type: 0x0102 });
    expect(newQuery(`${"abcdefg.".repeat(31)}abcde`, Type.A).question.labels).toHaveLength(32);
  });

  test.each(BAD_NAMES)("refuses %j", (name) => {
    expect(() => newQuery(name, Type.A)).toThrow(new RangeError(`${JSON.stringify(name)} is not a domain name`));
  });
});
