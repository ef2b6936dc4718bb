import type { RecordType } from "dns-packet";
import { describe, expect, test } from "vitest";
import { dataOf, decoded, type QueryOptions, queryMessage, readValid } from "../testing/messages.ts";
import { rawQuery } from "../testing/zones.ts";
import { specialAnswer } from "./special-names.ts";

function ask(name: string, type: RecordType | "ANY", options: QueryOptions = {}) {
  const response = specialAnswer(readValid(queryMessage(name, type, options)));
  return response && decoded(response);
}

describe("localhost", () => {
  test.each(["localhost", "LocalHost", "a.b.localhost"])("in %s is whoever asks", (name) => {
    expect(ask(name, "A")).toMatchObject({
      rcode: 0,
      flag_ra: true,
      answers: [{ name, ttl: 3600, data: "127.0.0.1" }],
    });
    expect(ask(name, "AAAA")).toMatchObject({ rcode: 0, answers: [{ name, ttl: 3600, data: "::1" }] });
    expect(ask(name, "A", { class: "ANY" })?.answers).toHaveLength(1);
    expect(ask(name, "ANY")?.answers).toMatchObject([{ data: "127.0.0.1" }, { data: "::1" }]);
  });

  test("has no other data", () => {
    for (const type of ["MX", "TXT", "NS", "CNAME", "SOA"] as const) {
      expect(ask("localhost", type)).toMatchObject({ rcode: 0, answers: [] });
    }
  });

  test("is refused in other classes", () => {
    expect(ask("localhost", "A", { class: "CH" })).toMatchObject({ rcode: 5, answers: [] });
  });

  test("has no names of other bytes than text below it", () => {
    for (const byte of [0, 0x2e, 0x5c, 0xff]) {
      const response = specialAnswer(rawQuery([Buffer.from([byte]), Buffer.from("localhost")], 1));
      expect(response && response[3] & 15).toBe(3);
    }
  });
});

test.each(["invalid", "INVALID", "x.invalid", "onion", "abc.onion"])("%s does not exist", (name) => {
  for (const type of ["A", "AAAA", "TXT", "ANY"] as const) {
    expect(ask(name, type)).toMatchObject({ rcode: 3, answers: [] });
  }
  expect(ask(name, "TXT", { class: "CH" })).toMatchObject({ rcode: 3, answers: [] });
});

test.each([
  "localhost.example",
  "invalid.example",
  "mylocalhost",
  "localhost.localdomain",
  "example",
  "test",
  "local",
  "internal",
  ".",
])("%s is a name as others", (name) => {
  expect(ask(name, "A")).toBeNull();
});

test("an answer to a query with EDNS has it too", () => {
  const response = ask("localhost", "A", { udpPayloadSize: 1232 });
  expect(dataOf(response?.answers, "A")).toEqual(["127.0.0.1"]);
  expect(response?.additionals).toMatchObject([{ type: "OPT" }]);
});
