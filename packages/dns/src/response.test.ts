import type { Answer } from "dns-packet";
import { describe, expect, test } from "vitest";
import { StoredAnswer } from "./cache/stored-answer.ts";
import { queryFor } from "./query.ts";
import {
  buildAliasAnswer,
  buildErrorHeader,
  buildResponse,
  buildServFail,
  limitResponse,
  udpLimit,
} from "./response.ts";
import { decoded, queryMessage, readValid, seededRandom } from "./testing/messages.ts";
import { aliasRecord, authorityRecord, optRecord, responseTo, WireMessage } from "./testing/responses.ts";

describe("a response of ours", () => {
  test("has the question byte for byte, RA, and RD and CD as asked", () => {
    const message = queryMessage("MiXed.example", "TXT", { id: 0xbeef, flags: 0x0110 });
    const response = buildServFail(readValid(message));
    expect(response.subarray(12)).toEqual(message.subarray(12));
    expect(decoded(response)).toMatchObject({
      id: 0xbeef,
      flag_qr: true,
      flag_aa: false,
      flag_rd: true,
      flag_ra: true,
      flag_ad: false,
      flag_cd: true,
      rcode: 2,
    });
    const iterative = buildServFail(readValid(queryMessage("a.example", "A", { flags: 0 })));
    expect(decoded(iterative)).toMatchObject({ flag_rd: false, flag_ra: true, flag_cd: false });
  });

  test("has a question that is no text byte for byte", () => {
    const message = queryMessage("abc.example", "A");
    message.set([0x2e, 0x5c, 0xff], 13);
    const response = buildServFail(readValid(message));
    expect(response.subarray(12)).toEqual(message.subarray(12));
    expect(response[5]).toBe(1);
  });

  test("has OPT with our size exactly when the query had OPT", () => {
    expect(decoded(buildServFail(readValid(queryMessage("a.example", "A")))).additionals).toEqual([]);
    const query = readValid(queryMessage("a.example", "A", { udpPayloadSize: 4096, dnssecOk: true }));
    const [opt, ...others] = decoded(buildServFail(query)).additionals ?? [];
    expect(others).toEqual([]);
    expect(opt).toMatchObject({ type: "OPT", name: ".", udpPayloadSize: 1232, ednsVersion: 0, flag_do: true });
  });

  test("carries the upper bits of an extended response code in OPT", () => {
    const query = readValid(queryMessage("a.example", "A", { udpPayloadSize: 4096, ednsVersion: 1 }));
    const response = decoded(buildResponse(query, { rcode: 16 }));
    expect(response.rcode).toBe(0);
    expect(response.additionals?.[0]).toMatchObject({ extendedRcode: 1, ednsVersion: 0 });
  });

  test("to a message that cannot be read is a header with its id, opcode and RD", () => {
    const update = queryMessage("a.example", "A", { id: 0x0102, flags: 0x2900 });
    expect([...buildErrorHeader(update, 4)]).toEqual([1, 2, 0xa9, 0x84, 0, 0, 0, 0, 0, 0, 0, 0]);
  });
});

describe("the size of a UDP response", () => {
  test("is what the client takes, from 512 to 4096 bytes", () => {
    const limit = (udpPayloadSize?: number) =>
      udpLimit(readValid(queryMessage("a.example", "A", udpPayloadSize === undefined ? {} : { udpPayloadSize })));
    expect(limit()).toBe(512);
    expect(limit(100)).toBe(512);
    expect(limit(1232)).toBe(1232);
    expect(limit(65_535)).toBe(4096);
  });

  test("is kept by an answer without records and with TC", () => {
    const query = readValid(queryMessage("a.example", "A", { udpPayloadSize: 1232 }));
    const answers = Array.from({ length: 60 }, (_, index) => ({
      type: "A" as const,
      name: "a.example",
      ttl: 60,
      data: `192.0.2.${index}`,
    }));
    const response = buildResponse(query, { rcode: 0, authoritative: true, answers });
    expect(limitResponse(response, query, response.length)).toBe(response);
    const limited = limitResponse(response, query, response.length - 1);
    expect(limited.length).toBeLessThanOrEqual(512);
    expect(decoded(limited)).toMatchObject({ flag_tc: true, flag_aa: true, flag_ra: true, answers: [], rcode: 0 });
    expect(decoded(limited).questions).toEqual([{ name: "a.example", type: "A", class: "IN" }]);
    expect(decoded(limited).additionals).toMatchObject([{ type: "OPT", udpPayloadSize: 1232 }]);
  });
});

describe("the response to an alias", () => {
  const query = readValid(queryMessage("a.internal", "ANY", { id: 9, udpPayloadSize: 1232 }));
  const aliases = [aliasRecord("a.internal", "b.example", 60)];
  const beyond = queryFor(query, "b.example").message;

  test("has the records of every type as they are", () => {
    const records: Answer[] = [
      { type: "AAAA", name: "b.example", ttl: 1, data: "2001:db8::1" },
      { type: "TXT", name: "b.example", ttl: 2, data: [Buffer.from("one"), Buffer.alloc(255, 0xff)] },
      { type: "MX", name: "b.example", ttl: 3, data: { preference: 10, exchange: "mx.example" } },
      { type: "SRV", name: "b.example", ttl: 4, data: { priority: 1, weight: 2, port: 3, target: "s.example" } },
      { type: "CAA", name: "b.example", ttl: 5, data: { flags: 128, tag: "issue", value: "ca.example" } },
    ];
    const response = decoded(buildAliasAnswer(query, aliases, responseTo(beyond, { answers: records })));
    expect(response.answers).toMatchObject([...aliases, ...records]);
    expect(response).toMatchObject({ id: 9, rcode: 0, flag_aa: false, flag_tc: false });
  });

  test("has records of a type that is not known byte for byte, and names that were compressed in full", () => {
    const plain = queryFor(readValid(queryMessage("a.internal", "A")), "b.example").message;
    const wire = new WireMessage(plain);
    wire.add(1, [0xc0, 12], 65, 300, [0, 1, 0, 0, 1, 0, 3, 2, 0x68, 0x32]);
    wire.add(1, [0xc0, 12], 5, 300, [1, 0x63, 0xc0, 14]);
    const { answers } = decoded(buildAliasAnswer(query, aliases, wire.build()));
    expect(answers?.slice(1)).toMatchObject([
      { type: "UNKNOWN_65", name: "b.example", ttl: 300, data: Buffer.of(0, 1, 0, 0, 1, 0, 3, 2, 0x68, 0x32) },
      { type: "CNAME", name: "b.example", data: "c.example" },
    ]);
  });

  test("is SERVFAIL for hostile ones, or can be read", () => {
    const random = seededRandom(41);
    const valid = responseTo(beyond, {
      answers: [
        aliasRecord("b.example", "c.example", 60),
        { type: "TXT", name: "c.example", ttl: 2, data: "text" },
        { type: "MX", name: "c.example", ttl: 3, data: { preference: 10, exchange: "mx.example" } },
      ],
      authorities: [authorityRecord(60, 60)],
      additionals: [optRecord()],
    });
    const kinds = new Set<boolean>();
    for (let round = 0; round < 10_000; round++) {
      const hostile = valid.slice(0, random() % 4 === 0 ? 12 + (random() % (valid.length - 12)) : valid.length);
      for (let changes = random() % 5; changes > 0; changes--) hostile[random() % hostile.length] = random() & 0xff;
      const response = buildAliasAnswer(query, aliases, hostile);
      const isServFail = (response[3] & 15) === 2;
      if (!isServFail) expect(StoredAnswer.from(response, query)).not.toBeNull();
      kinds.add(isServFail);
    }
    expect(kinds.size).toBe(2);
  });
});
