import fc from "fast-check";
import { expect, test } from "vitest";
import { a, rawQuery, testClient } from "../testing/zones.ts";
import { standardZones } from "./standard-zones.ts";
import { Zones } from "./zones.ts";

const SEED = 0x5eed;

const zones = new Zones([
  {
    name: "lab",
    records: [
      a("@", "10.0.0.1"),
      a("*", "10.0.0.2"),
      a("x.y", "10.0.0.3"),
      { regexp: "^(a+)+b?|\\d{2,}", type: "TXT", text: "t".repeat(600) },
      { name: "out", type: "CNAME", target: "www.example" },
      { name: "loop", type: "CNAME", target: "loop.lab" },
      { name: "*.far", type: "CNAME", target: "nothere.docker.internal" },
    ],
  },
  { name: "all.internal", defaultAddress: "fd00::1", records: [] },
  { name: "in-addr.arpa", records: [] },
  ...standardZones({ host: 1, gateway: 2 }),
]);
zones.setPassing({ name: "docker.internal", records: [a("x", "10.0.0.4"), a("host.y", "10.0.0.5")] });
const origins = ["lab", "all.internal", "docker.internal", "containers.internal", "in-addr.arpa"];

/** Labels of any bytes, of those that mean something to somebody, and of names that are there. */
const label = fc.oneof(
  fc.uint8Array({ minLength: 1, maxLength: 63 }),
  fc
    .string({ unit: fc.constantFrom(...'.\\*@"$ \0\n\x7fa1_-'), minLength: 1, maxLength: 20 })
    .map((text) => Buffer.from(text)),
  fc
    .constantFrom("x", "y", "out", "loop", "far", "aaaa", "host", "vm", "10", "0", "*")
    .map((text) => Buffer.from(text)),
);

function fits(labels: readonly Uint8Array[]): boolean {
  return labels.reduce((sum, { length }) => sum + 1 + length, 1) <= 255;
}

const inZone = fc
  .tuple(fc.array(label, { maxLength: 40 }), fc.constantFrom(...origins), fc.boolean())
  .map(([below, origin, isUpper]) => [
    ...below,
    ...(isUpper ? origin.toUpperCase() : origin).split(".").map((text) => Buffer.from(text)),
  ])
  .filter(fits);

const type = fc.oneof(fc.constantFrom(1, 5, 6, 12, 15, 16, 28, 33, 255), fc.integer({ min: 0, max: 0xffff }));

test("every name in the domain of a zone is answered by it, or leads elsewhere", () => {
  fc.assert(
    fc.property(inZone, type, (labels, asked) => {
      const query = rawQuery(labels, asked);
      const answer = zones.answer(query, testClient);
      if (answer === null) throw new Error("the name would be asked upstream");
      const asText = query.question.labels.join(".");
      expect(asText === answer.zone || asText.endsWith(`.${answer.zone}`)).toBe(true);
      if (answer.kind === "alias") {
        expect(answer).toMatchObject({ target: "www.example", aliases: [{ type: "CNAME" }] });
        return;
      }
      const { message } = answer;
      // The question comes back byte for byte, and the code is one that says something of the name.
      expect(message.subarray(12, query.question.end)).toEqual(query.message.subarray(12));
      expect([0, 2, 3]).toContain(message[3] & 15);
      expect(message.length).toBeLessThan(2000);
    }),
    { seed: SEED, numRuns: 2000 },
  );
});

test("no name outside the domains of the zones is answered", () => {
  const known = new Zones([{ name: "lab", defaultAddress: "10.0.0.1", records: [a("*", "10.0.0.2")] }]);
  const outside = fc.array(label, { maxLength: 8 }).filter(fits);
  fc.assert(
    fc.property(outside, type, (labels, asked) => {
      const query = rawQuery(labels, asked);
      const isOurs = query.question.labels.at(-1) === "lab";
      expect(known.answer(query, testClient) !== null).toBe(isOurs);
    }),
    { seed: SEED, numRuns: 1000 },
  );
});
