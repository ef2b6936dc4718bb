/** Building queries that no client sent. */
import { Class, HEADER_LENGTH, type Query, readQuery, Type } from "./message.ts";

/** Bytes of a question after its name: the type and the class (RFC 1035, 4.1.2). */
const QUESTION_FIXED_LENGTH = 4;

/**
 * A query like another but for its name: id, flags, type, class and EDNS are the same.
 *
 * @param name - absolute, labels of printable ASCII joined by dots.
 * @throws {RangeError} when `name` does not fit a message.
 */
export function queryFor(query: Query, name: string): Query {
  const { message, question } = query;
  return built(message.subarray(0, HEADER_LENGTH), name, message.subarray(question.end - QUESTION_FIXED_LENGTH));
}

/**
 * A query of our own, with recursion asked for and an OPT record that takes answers of 1232 bytes.
 *
 * @param name - absolute, labels of printable ASCII joined by dots.
 * @throws {RangeError} when `name` is none.
 */
export function newQuery(name: string, type: number): Query {
  const header = [0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
  const question = [type >>> 8, type & 0xff, 0, Class.IN];
  const opt = [0, 0, Type.OPT, 1232 >>> 8, 1232 & 0xff, 0, 0, 0, 0, 0, 0];
  return built(header, name, [...question, ...opt]);
}

/** @param rest - what follows the name. */
function built(header: Iterable<number>, name: string, rest: Iterable<number>): Query {
  const absolute = name.endsWith(".") ? name.slice(0, -1) : name;
  const bytes: number[] = [];
  for (const label of absolute === "" ? [] : absolute.split(".")) {
    // A longer label would be taken for something else than a label (RFC 1035, 4.1.4).
    if (!/^[\x21-\x7e]{1,63}$/.test(label)) throw notAName(name);
    bytes.push(label.length, ...Buffer.from(label, "latin1"));
  }
  const reading = readQuery(Uint8Array.of(...header, ...bytes, 0, ...rest));
  if (reading.kind !== "query") throw notAName(name);
  return reading.query;
}

function notAName(name: string): RangeError {
  return new RangeError(`${JSON.stringify(name)} is not a domain name`);
}
