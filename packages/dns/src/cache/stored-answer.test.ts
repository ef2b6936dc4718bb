import type { Answer } from "dns-packet";
import { describe, expect, test } from "vitest";
import type { Query } from "../message.ts";
import { answerWith, decoded, errorFor, queryMessage, readValid, seededRandom } from "../testing/messages.ts";
import {
  addressRecord,
  aliasRecord,
  authorityRecord,
  optRecord,
  type ResponseParts,
  responseTo,
  WireMessage,
} from "../testing/responses.ts";
import { StoredAnswer } from "./stored-answer.ts";

const message = queryMessage("a.example", "A");
const query = readValid(message);
const a = (ttl: number) => addressRecord("a.example", "192.0.2.1", ttl);

/** The answer as it is kept; it is known to be one that can be. */
function stored(response: Uint8Array, to: Query = query): StoredAnswer {
  const answer = StoredAnswer.from(response, to);
  if (answer === null) throw new Error("the answer cannot be shared");
  return answer;
}

const lifetime = (parts: ResponseParts, to = message) => stored(responseTo(to, parts), readValid(to)).lifetime;

const ttls = (records: readonly Answer[] | undefined) => (records ?? []).map((record) => "ttl" in record && record.ttl);

describe("how long an answer is kept", () => {
  test("is the shortest TTL of all its records", () => {
    expect(lifetime({ answers: [a(300), a(200)] })).toBe(200);
    expect(lifetime({ answers: [a(300)], authorities: [{ type: "NS", name: "example", ttl: 100, data: "b" }] })).toBe(
      100,
    );
    expect(lifetime({ answers: [a(300)], additionals: [addressRecord("b", "192.0.2.2", 50)] })).toBe(50);
    expect(lifetime({ answers: [aliasRecord("a.example", "b.example", 20), a(300)] })).toBe(20);
    // The TTL of OPT is none.
    expect(lifetime({ answers: [a(300)], additionals: [optRecord()] })).toBe(300);
  });

  test("is a day at most, and nothing with a TTL of 0", () => {
    expect(lifetime({ answers: [a(86_399)] })).toBe(86_399);
    expect(lifetime({ answers: [a(86_401)] })).toBe(86_400);
    expect(lifetime({ answers: [a(0x7fff_ffff)] })).toBe(86_400);
    expect(lifetime({ answers: [a(0), a(300)] })).toBe(0);
  });

  test("is nothing with a TTL that has the highest bit set, which counts as 0", () => {
    const wire = new WireMessage(message);
    wire.add(1, [0xc0, 12], 1, 0x8000_0000, [192, 0, 2, 1]);
    const answer = stored(wire.build());
    expect(answer.lifetime).toBe(0);
    expect(ttls(decoded(answer.reply(query, 0)).answers)).toEqual([0]);
  });

  test("of a name that does not exist, and of one without the type, is what the SOA says", () => {
    for (const rcode of [0, 3]) {
      expect(lifetime({ rcode, authorities: [authorityRecord(600, 300)] })).toBe(300);
      expect(lifetime({ rcode, authorities: [authorityRecord(200, 300)] })).toBe(200);
      expect(lifetime({ rcode, authorities: [authorityRecord(86_400, 86_400)] })).toBe(3 * 3600);
      expect(lifetime({ rcode, authorities: [authorityRecord(300, 0)] })).toBe(0);
      expect(lifetime({ rcode, authorities: [authorityRecord(600, 300), authorityRecord(600, 200)] })).toBe(200);
    }
  });

  test("is nothing for a negative answer without SOA in its authority, and for a referral", () => {
    const ns: Answer = { type: "NS", name: "example", ttl: 300, data: "ns.example" };
    for (const rcode of [0, 3]) {
      expect(lifetime({ rcode })).toBe(0);
      expect(lifetime({ rcode, authorities: [ns] })).toBe(0);
      expect(lifetime({ rcode, additionals: [authorityRecord(600, 300)] })).toBe(0);
    }
  });

  test("of an alias that leads to nothing is no longer than the SOA and the alias allow", () => {
    const alias = (ttl: number) => aliasRecord("a.example", "b.example", ttl);
    for (const rcode of [0, 3]) {
      expect(lifetime({ rcode, answers: [alias(900)], authorities: [authorityRecord(600, 300)] })).toBe(300);
      expect(lifetime({ rcode, answers: [alias(100)], authorities: [authorityRecord(600, 300)] })).toBe(100);
      expect(lifetime({ rcode, answers: [alias(900)] })).toBe(0);
    }
  });

  test("of records of the asked type does not depend on a SOA beside them", () => {
    expect(lifetime({ answers: [a(900)], authorities: [authorityRecord(1000, 5)] })).toBe(900);
    const alias = aliasRecord("a.example", "b.example", 70);
    expect(lifetime({ answers: [alias] }, queryMessage("a.example", "CNAME"))).toBe(70);
    expect(lifetime({ answers: [alias] }, queryMessage("a.example", "ANY"))).toBe(70);
    expect(lifetime({ answers: [authorityRecord(40, 5)] }, queryMessage("example", "SOA"))).toBe(40);
  });

  test.each([1, 2, 4, 5, 6, 9])("is nothing with the response code %i", (rcode) => {
    expect(lifetime({ rcode, answers: [a(300)] })).toBe(0);
    expect(lifetime({ rcode, authorities: [authorityRecord(600, 300)] })).toBe(0);
    expect(stored(errorFor(message, rcode)).lifetime).toBe(0);
  });

  test("is nothing when it is cut off, or when something follows its records", () => {
    expect(lifetime({ flags: 0x0380, answers: [a(300)] })).toBe(0);
    expect(lifetime({ flags: 0x0380, answers: [a(300)], additionals: [optRecord()] })).toBe(0);
    for (const additionals of [[], [optRecord()]]) {
      const response = responseTo(message, { answers: [a(300)], additionals });
      const answer = stored(Uint8Array.of(...response, 0));
      expect(answer.lifetime).toBe(0);
      expect(decoded(answer.reply(query, 0))).toMatchObject({ answers: [a(300)], additionals: [] });
    }
  });
});

describe("the reply from an answer that is kept", () => {
  test("has the id and the question as asked, and no AA", () => {
    const answer = stored(responseTo(message, { flags: 0x0580, answers: [a(300)] }));
    const asked = queryMessage("A.exAMple", "A", { id: 0xbeef });
    const reply = answer.reply(readValid(asked), 0);
    expect(reply.subarray(12, asked.length)).toEqual(asked.subarray(12));
    expect(decoded(reply)).toMatchObject({ id: 0xbeef, flag_qr: true, flag_aa: false, flag_rd: true, flag_ra: true });
    // It is a message of its own each time.
    expect(decoded(answer.reply(query, 0))).toMatchObject({ id: 0x1234, questions: [{ name: "a.example" }] });
    expect(decoded(reply).id).toBe(0xbeef);
  });

  test("keeps the flags and the response code of the server", () => {
    const nothing = stored(responseTo(message, { flags: 0x01b0, rcode: 3, authorities: [authorityRecord(60, 60)] }));
    expect(decoded(nothing.reply(query, 0))).toMatchObject({ flag_ad: true, flag_cd: true, rcode: 3 });
  });

  test("has TTLs that are less by its age, and none below 0", () => {
    const parts = { answers: [a(300), a(100)], authorities: [authorityRecord(200, 60)] };
    const answer = stored(
      responseTo(message, { ...parts, additionals: [addressRecord("b", "192.0.2.2", 7), optRecord()] }),
    );
    const reply = decoded(answer.reply(query, 99));
    expect([ttls(reply.answers), ttls(reply.authorities), ttls(reply.additionals)]).toEqual([[201, 1], [101], [0]]);
    expect(ttls(decoded(answer.reply(query, 0)).answers)).toEqual([300, 100]);
  });

  test("has one TTL in all records when it has outlived its time", () => {
    const answer = stored(responseTo(message, { answers: [a(300), a(5)], authorities: [authorityRecord(200, 60)] }));
    const reply = decoded(answer.reply(query, 0, 30));
    expect([ttls(reply.answers), ttls(reply.authorities)]).toEqual([[30, 30], [30]]);
  });

  test("has an OPT record of ours exactly when the query has one", () => {
    const withEdns = readValid(queryMessage("a.example", "A", { udpPayloadSize: 4000, dnssecOk: true }));
    const b = addressRecord("b", "192.0.2.2", 7);
    for (const additionals of [[b], [b, optRecord()]]) {
      const answer = stored(responseTo(message, { answers: [a(300)], additionals }));
      expect(decoded(answer.reply(query, 0)).additionals).toEqual([expect.objectContaining({ name: "b" })]);
      const [first, opt, ...others] = decoded(answer.reply(withEdns, 0)).additionals ?? [];
      expect(first).toMatchObject({ name: "b", data: "192.0.2.2" });
      expect(opt).toMatchObject({ type: "OPT", name: ".", udpPayloadSize: 1232, flag_do: true, options: [] });
      expect(others).toEqual([]);
    }
  });

  test("does not depend on what becomes of the memory of the server's answer, which is left as it is", () => {
    // A Buffer, as a socket gives it: parts of one share its memory.
    const response = Buffer.from(responseTo(message, { answers: [a(300)], additionals: [optRecord()] }));
    const before = Buffer.from(response);
    const answer = stored(response);
    expect(response.equals(before)).toBe(true);
    response.fill(0xff);
    expect(decoded(answer.reply(query, 0)).answers).toMatchObject([a(300)]);
  });

  test("takes memory by the length of its message and the count of its records", () => {
    const response = responseTo(message, { answers: [a(300), a(300)] });
    expect(stored(response).bytes).toBe(response.length + 2 * 8);
  });
});

describe("an answer that is not to be shared", () => {
  test("has OPT anywhere but at the end of its additional records", () => {
    const b = addressRecord("b", "192.0.2.2", 7);
    expect(StoredAnswer.from(responseTo(message, { additionals: [optRecord(), b] }), query)).toBeNull();
    expect(StoredAnswer.from(responseTo(message, { additionals: [optRecord(), optRecord()] }), query)).toBeNull();
    expect(StoredAnswer.from(responseTo(message, { authorities: [optRecord()] }), query)).toBeNull();
    expect(StoredAnswer.from(responseTo(message, { answers: [a(300), optRecord()] }), query)).toBeNull();
  });

  test("has the upper bits of its response code in OPT", () => {
    expect(StoredAnswer.from(responseTo(message, { additionals: [optRecord(1)] }), query)).toBeNull();
  });

  test("has no question", () => {
    expect(StoredAnswer.from(Uint8Array.of(0x12, 0x34, 0x81, 0x81, 0, 0, 0, 0, 0, 0, 0, 0), query)).toBeNull();
  });

  test("is cut off anywhere, or has more records by its header", () => {
    const response = responseTo(message, { answers: [a(300)], additionals: [optRecord()] });
    for (let length = 12; length < response.length; length++) {
      expect(StoredAnswer.from(response.subarray(0, length), query)).toBeNull();
    }
    for (const offset of [7, 9, 11]) {
      const more = response.slice();
      more[offset]++;
      expect(StoredAnswer.from(more, query)).toBeNull();
    }
  });
});

/** Names that an earlier record ends with, by their offset, for later ones to refer to. */
function randomName(random: () => number, known: readonly number[]): number[] {
  const label = () => {
    const letters = Array.from({ length: 1 + (random() % 8) }, () => 0x61 + (random() % 26));
    return [letters.length, ...letters];
  };
  const labels = Array.from({ length: random() % 3 }, label).flat();
  if (known.length === 0 || random() % 4 === 0) return [...labels, 0];
  const target = known[random() % known.length];
  return [...labels, 0xc0 | (target >>> 8), target & 0xff];
}

/** A response with up to 15 records, most of whose names refer to earlier ones. */
function randomResponse(random: () => number): { response: Uint8Array; hasOpt: boolean } {
  const wire = new WireMessage(message);
  const known = [12, 14];
  const ttl = () => random() % 100_000;
  for (const section of [1, 2, 3] as const) {
    for (let count = random() % 6; count > 0; count--) {
      const owner = randomName(random, known);
      known.push(wire.length);
      const data = wire.length + owner.length + 10;
      switch (random() % 4) {
        case 0:
          wire.add(section, owner, 1, ttl(), [192, 0, 2, random() & 0xff]);
          break;
        case 1:
          wire.add(section, owner, 5, ttl(), randomName(random, known));
          known.push(data);
          break;
        case 2:
          wire.add(section, owner, 15, ttl(), [0, random() & 0xff, ...randomName(random, known)]);
          known.push(data + 2);
          break;
        case 3:
          wire.add(
            section,
            owner,
            65,
            ttl(),
            Array.from({ length: random() % 20 }, () => random() & 0xff),
          );
          break;
      }
    }
  }
  const hasOpt = random() % 2 === 0;
  if (hasOpt) wire.add(3, [0], 41, 0, []);
  return { response: wire.build(), hasOpt };
}

test("names that refer to others stay what they are", () => {
  const random = seededRandom(11);
  const withEdns = readValid(queryMessage("A.Example", "A", { udpPayloadSize: 1232 }));
  const isOpt = ({ type }: Answer) => type === "OPT";
  let records = 0;
  for (let round = 0; round < 2000; round++) {
    const { response, hasOpt } = randomResponse(random);
    const sent = decoded(response);
    const age = random() % 100_000;
    const older = (list: readonly Answer[] | undefined) =>
      (list ?? [])
        .filter((record) => !isOpt(record))
        .map((record) => ("ttl" in record ? { ...record, ttl: Math.max(0, (record.ttl ?? 0) - age) } : record));
    const answer = stored(response);
    const [plain, extended] = [answer.reply(query, age), answer.reply(withEdns, age)];
    const reply = decoded(plain);
    expect(reply.answers).toEqual(older(sent.answers));
    expect(reply.authorities).toEqual(older(sent.authorities));
    expect(reply.additionals).toEqual(older(sent.additionals));
    expect(plain.length).toBe(response.length - (hasOpt ? 11 : 0));
    const { answers, additionals } = decoded(extended);
    // The first asker's case of the name, to which others refer, is that of the one who asks now.
    expect(JSON.stringify(answers).toLowerCase()).toBe(JSON.stringify(reply.answers).toLowerCase());
    expect(additionals?.filter(isOpt)).toHaveLength(1);
    records += answers?.length ?? 0;
  }
  expect(records).toBeGreaterThan(2000);
});

test("hostile answers never throw, and whatever is made of them can be read again", () => {
  const random = seededRandom(12);
  const valid = responseTo(message, {
    answers: [aliasRecord("a.example", "b.example", 60), addressRecord("b.example", "192.0.2.1", 60)],
    authorities: [authorityRecord(60, 60)],
    additionals: [optRecord()],
  });
  let shared = 0;
  for (let round = 0; round < 20_000; round++) {
    let hostile = valid.slice();
    for (let changes = random() % 4; changes > 0; changes--) hostile[random() % hostile.length] = random() & 0xff;
    if (random() % 4 === 0) hostile = hostile.slice(0, random() % hostile.length);
    const answer = StoredAnswer.from(hostile, query);
    if (answer === null) continue;
    shared++;
    expect(answer.lifetime).toBeGreaterThanOrEqual(0);
    expect(answer.lifetime).toBeLessThanOrEqual(86_400);
    const again = StoredAnswer.from(answer.reply(query, 0), query);
    expect(again?.bytes).toBe(answer.bytes);
  }
  expect(shared).toBeGreaterThan(1000);
  expect(shared).toBeLessThan(20_000);
});

test("an answer as a server on the loopback address gives it is kept", () => {
  expect(stored(answerWith(message, "192.0.2.1")).lifetime).toBe(1);
});
