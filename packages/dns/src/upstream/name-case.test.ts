import { expect, test } from "vitest";
import { answerWith, queryMessage, readValid, seededRandom } from "../testing/messages.ts";
import { isSameNameCase, randomizeNameCase, restoreNameCase } from "./name-case.ts";

const NAME = "the-quick-brown-fox.jumps-over_the.lazy-dog-0123456789.example";
const query = readValid(queryMessage(NAME, "A", { udpPayloadSize: 1232 }));

function randomized(message: Uint8Array): Uint8Array {
  const copy = message.slice();
  randomizeNameCase(copy, query.question);
  return copy;
}

test("only the case of the letters of the name changes, and each letter's does", () => {
  const seen = new Map<number, Set<number>>();
  for (let round = 0; round < 64; round++) {
    const message = randomized(query.message);
    expect(readValid(message).question.labels).toEqual(query.question.labels);
    expect(message.subarray(query.question.end - 4)).toEqual(query.message.subarray(query.question.end - 4));
    expect(message.subarray(0, 12)).toEqual(query.message.subarray(0, 12));
    for (const [offset, byte] of message.entries()) seen.set(offset, (seen.get(offset) ?? new Set()).add(byte));
  }
  for (const [offset, bytes] of seen) {
    const isLetter = /[a-z]/.test(String.fromCharCode(query.message[offset]));
    expect(bytes.size).toBe(isLetter && offset < query.question.end - 4 ? 2 : 1);
  }
});

test("every byte that is no letter stays, in names of the longest kind too", () => {
  const random = seededRandom(20);
  for (let round = 0; round < 200; round++) {
    const labels = [63, 63, 63, 61].map((length) => [length, ...Array.from({ length }, () => random() & 0xff)]);
    const message = Uint8Array.from([0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...labels.flat(), 0, 0, 1, 0, 1]);
    const long = readValid(message);
    const copy = message.slice();
    randomizeNameCase(copy, long.question);
    for (const [offset, byte] of copy.entries()) {
      if (byte === message[offset]) continue;
      expect(String.fromCharCode(byte)).toMatch(/[A-Za-z]/);
      expect(byte ^ message[offset]).toBe(0x20);
      expect(offset).toBeLessThan(long.question.end - 4);
    }
  }
});

test("an answer has the same case when every letter has it", () => {
  const sent = queryMessage("mIxEd.ExAmPlE", "A");
  const { question } = readValid(sent);
  expect(isSameNameCase(answerWith(sent, "192.0.2.1"), sent, question)).toBe(true);
  for (const name of ["mixed.example", "MIXED.EXAMPLE", "mIxEd.ExAmPle"]) {
    expect(isSameNameCase(answerWith(queryMessage(name, "A"), "192.0.2.1"), sent, question)).toBe(false);
  }
});

test("an answer without a question has the case of any, and nothing is written into it", () => {
  const header = Uint8Array.of(0, 1, 0x81, 0x82, 0, 0, 0, 0, 0, 0, 0, 0);
  expect(isSameNameCase(header, query.message, query.question)).toBe(true);
  const answer = header.slice();
  restoreNameCase(answer, query);
  expect(answer).toEqual(header);
});

test("the client's own case is restored, and nothing else changes", () => {
  const answer = Uint8Array.from(answerWith(query.message, "192.0.2.1"));
  const changed = randomized(answer);
  restoreNameCase(changed, query);
  expect(changed).toEqual(answer);
});
