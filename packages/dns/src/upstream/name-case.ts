/**
 * Case as a nonce ("0x20", draft-vixie-dnsext-dns0x20): names mean the same in any case, and servers send them back as
 * they came, which whoever forges an answer without having seen the query cannot do.
 */
import { randomBytes } from "node:crypto";
import { HEADER_LENGTH, type Query, type Question, word } from "../message.ts";

/** The bit in which the two cases of an ASCII letter differ. */
const CASE_BIT = 0x20;

/** Gives each letter of the name a random case. */
export function randomizeNameCase(message: Uint8Array, question: Question): void {
  const random = randomBytes(32);
  const end = nameEnd(question);
  for (let offset = HEADER_LENGTH, bit = 0; offset < end; offset++, bit++) {
    if (isLetter(message[offset]) && ((random[bit >>> 3] >>> (bit & 7)) & 1) === 1) message[offset] ^= CASE_BIT;
  }
}

/** Whether the name of an answer is written as that of the query that was sent. An answer without a question has none. */
export function isSameNameCase(answer: Uint8Array, sent: Uint8Array, question: Question): boolean {
  if (word(answer, 4) === 0) return true;
  const end = nameEnd(question);
  for (let offset = HEADER_LENGTH; offset < end; offset++) if (answer[offset] !== sent[offset]) return false;
  return true;
}

/** Writes the name of an answer as the client wrote it. */
export function restoreNameCase(answer: Uint8Array, { message, question }: Query): void {
  if (word(answer, 4) === 1) answer.set(message.subarray(HEADER_LENGTH, nameEnd(question)), HEADER_LENGTH);
}

/** The offset after the name of a question, whose type and class take four bytes. */
function nameEnd(question: Question): number {
  return question.end - 4;
}

/** Lengths of labels are no letters, as they are below 64. */
function isLetter(byte: number): boolean {
  const lower = byte | CASE_BIT;
  return lower >= 0x61 && lower <= 0x7a;
}
