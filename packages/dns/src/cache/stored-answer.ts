import {
  Flag,
  HEADER_LENGTH,
  messageFlags,
  messageId,
  messageRcode,
  type Query,
  Rcode,
  setMessageId,
  skipName,
  Type,
  word,
} from "../message.ts";
import { ourOpt } from "../response.ts";

/** The longest time for which a record is kept, in seconds. */
const MAX_TTL = 86_400;
/** The longest time for which it is kept that a name or its data does not exist (RFC 2308, section 5). */
const MAX_NEGATIVE_TTL = 3 * 3600;
/** Bytes of a record after its owner: type, class, TTL and the length of its data (RFC 1035, 4.1.3). */
const RECORD_FIXED_LENGTH = 10;
/** Bytes of the last fields of SOA (RFC 1035, 3.3.13), of which MINIMUM is the last. */
const MINIMUM_LENGTH = 4;

/** Bytes that the offset of a TTL takes in memory. */
const OFFSET_BYTES = 8;

/**
 * The answer of a server, made fit to be given to everybody who asks the same. It holds no OPT record, which is between
 * two neighbours (RFC 6891, 6.2.6).
 */
export class StoredAnswer {
  /** For how long it may be kept, in seconds; 0 when it may not be. */
  readonly lifetime: number;
  readonly #message: Uint8Array;
  /** The offset of the TTL of each record. */
  readonly #ttls: readonly number[];
  /** The offset after the question. */
  readonly #questionEnd: number;

  private constructor(message: Uint8Array, ttls: readonly number[], questionEnd: number, lifetime: number) {
    this.#message = message;
    this.#ttls = ttls;
    this.#questionEnd = questionEnd;
    this.lifetime = lifetime;
  }

  /** Bytes of its message and of what was noted of it. */
  get bytes(): number {
    return this.#message.length + this.#ttls.length * OFFSET_BYTES;
  }

  /**
   * Reads an answer to `query`. It is copied.
   *
   * @returns null for one that cannot be told apart from its OPT record, or cannot be read.
   */
  static from(message: Uint8Array, query: Query): StoredAnswer | null {
    const { end: start, type: asked } = query.question;
    if (word(message, 4) !== 1 || message.length < start) return null;
    const answers = word(message, 6);
    const beforeAdditional = answers + word(message, 8);
    const count = beforeAdditional + word(message, 10);
    const ttls: number[] = [];
    let shortest = MAX_TTL;
    let hasData = false;
    let negative: number | null = null;
    let end = start;
    let keptEnd = start;
    for (let index = 0; index < count; index++) {
      const fixed = skipName(message, end);
      if (fixed + RECORD_FIXED_LENGTH > message.length) return null;
      end = fixed + RECORD_FIXED_LENGTH + word(message, fixed + 8);
      if (end > message.length) return null;
      const type = word(message, fixed);
      if (type === Type.OPT) {
        // Cutting it out from between other records would move the names that these may refer to. The upper bits of
        // the response code are in it (RFC 6891, 6.1.3).
        if (index < beforeAdditional || index < count - 1 || message[fixed + 4] !== 0) return null;
        break;
      }
      const ttl = readTtl(message, fixed + 4);
      ttls.push(fixed + 4);
      shortest = Math.min(shortest, ttl);
      if (index < answers) {
        hasData ||= type === asked || asked === Type.ANY;
      } else if (type === Type.SOA && index < beforeAdditional && end - fixed > RECORD_FIXED_LENGTH + MINIMUM_LENGTH) {
        negative = Math.min(negative ?? MAX_NEGATIVE_TTL, readTtl(message, end - MINIMUM_LENGTH));
      }
      keptEnd = end;
    }
    const kept = new Uint8Array(message.subarray(0, keptEnd));
    if (keptEnd !== end) writeWord(kept, 10, word(kept, 10) - 1);
    // What follows the records was not meant to be there, so more may be wrong.
    const isWhole = (messageFlags(message) & Flag.TC) === 0 && end === message.length;
    const positive = hasData && messageRcode(message) === Rcode.NOERROR ? shortest : null;
    const seconds = isWhole ? (positive ?? negativeLifetime(message, shortest, negative)) : 0;
    return new StoredAnswer(kept, ttls.slice(), start, seconds);
  }

  /**
   * The answer to a query of the same question.
   *
   * @param age - seconds since it came, by which its records live shorter.
   * @param ttl - the TTL of all records, where the answer has outlived its own (RFC 8767, section 4).
   */
  reply(query: Query, age: number, ttl?: number): Uint8Array {
    const opt = query.edns === null ? null : ourOpt(query.edns);
    const stored = this.#message;
    const reply = new Uint8Array(stored.length + (opt?.length ?? 0));
    reply.set(stored);
    setMessageId(reply, messageId(query.message));
    // The question comes back in the case it was asked in.
    reply.set(query.message.subarray(HEADER_LENGTH, this.#questionEnd), HEADER_LENGTH);
    // It is not from the authority any more.
    reply[2] &= ~(Flag.AA >>> 8);
    for (const offset of this.#ttls) writeTtl(reply, offset, ttl ?? Math.max(0, readTtl(stored, offset) - age));
    if (opt !== null) {
      writeWord(reply, 10, word(reply, 10) + 1);
      reply.set(opt, stored.length);
    }
    return reply;
  }
}

/**
 * For how long an answer without data may be kept: what the SOA says, and no longer than the aliases that led to it
 * (RFC 2308, section 5). Without SOA it may not be kept; that is also how a server refers to others.
 */
function negativeLifetime(message: Uint8Array, shortest: number, negative: number | null): number {
  const rcode = messageRcode(message);
  if (negative === null || (rcode !== Rcode.NOERROR && rcode !== Rcode.NXDOMAIN)) return 0;
  return Math.min(negative, shortest);
}

/** A TTL with the highest bit set counts as 0 (RFC 2181, section 8). */
function readTtl(message: Uint8Array, offset: number): number {
  const ttl = (word(message, offset) << 16) | word(message, offset + 2);
  return Math.max(ttl, 0);
}

function writeTtl(message: Uint8Array, offset: number, ttl: number): void {
  writeWord(message, offset, ttl >>> 16);
  writeWord(message, offset + 2, ttl);
}

function writeWord(message: Uint8Array, offset: number, value: number): void {
  message[offset] = value >>> 8;
  message[offset + 1] = value;
}
