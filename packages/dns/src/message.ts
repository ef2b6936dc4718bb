/**
 * Reading DNS messages in place (RFC 1035, section 4). Nothing here throws: a message comes from a guest or from the
 * network, and what does not parse is `undefined`.
 */

/** Bytes of the header (RFC 1035, 4.1.1). */
export const HEADER_LENGTH = 12;

/** The longest message that the length prefix of TCP can announce (RFC 1035, 4.2.2). */
export const MAX_MESSAGE_LENGTH = 65_535;

/** How many ids there are (RFC 1035, 4.1.1). */
export const ID_COUNT = 0x10000;

/** Bits of the second header word (RFC 1035, 4.1.1; AD and CD: RFC 4035, 3.1.6 and 3.2.2). */
export const Flag = { QR: 0x8000, AA: 0x0400, TC: 0x0200, RD: 0x0100, RA: 0x0080, AD: 0x0020, CD: 0x0010 } as const;

/** Response codes (RFC 1035, 4.1.1; BADVERS: RFC 6891, section 9). */
export const Rcode = { NOERROR: 0, FORMERR: 1, SERVFAIL: 2, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5, BADVERS: 16 } as const;

/** The record types that are looked at here (RFC 1035, 3.2.2 and 3.2.3; AAAA: RFC 3596; SRV: RFC 2782; OPT: RFC 6891). */
export const Type = {
  A: 1,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  OPT: 41,
  ANY: 255,
} as const;

/** Classes (RFC 1035, 3.2.4 and 3.2.5). */
export const Class = { IN: 1, ANY: 255 } as const;

const OPCODE_MASK = 0x7800;
const RCODE_MASK = 0x000f;
const POINTER_BITS = 0xc0;
const DNSSEC_OK = 0x8000;
/** COOKIE (RFC 7873), edns-tcp-keepalive (RFC 7828), Padding (RFC 7830). */
const HOP_OPTIONS: ReadonlySet<number> = new Set([10, 11, 12]);
const MAX_NAME_LENGTH = 255;
/** Bytes of a question after its name: the type and the class (RFC 1035, 4.1.2). */
const QUESTION_FIXED_LENGTH = 4;

/** The question of a message. */
export interface Question {
  /** The name as asked, labels joined by dots, `.` for the root. Bytes that are no letters are escaped as in {@link labels}. */
  readonly name: string;
  /**
   * The labels in lower case (RFC 4343), the leftmost first. A dot, a backslash and what is not printable ASCII stand
   * as `\DDD` (RFC 1035, 5.1), so that a label never looks like two.
   */
  readonly labels: readonly string[];
  readonly type: number;
  readonly class: number;
  /** The offset after the question in its message. It begins after the header. */
  readonly end: number;
}

/** What a query's OPT record says (RFC 6891, 6.1). */
export interface Edns {
  /** The largest UDP answer the client takes, in bytes. */
  readonly udpPayloadSize: number;
  readonly version: number;
  /** Whether DNSSEC records are wanted (the DO bit, RFC 3225). */
  readonly dnssecOk: boolean;
  /** Whether there are options whose answer depends on what they say: all but cookies, keep-alive and padding. */
  readonly hasOptions: boolean;
}

/** A query with one question. */
export interface Query {
  /** The message as it came. */
  readonly message: Uint8Array;
  readonly question: Question;
  /** Null when the client does not speak EDNS. */
  readonly edns: Edns | null;
}

/** What a received message is: a query, one that gets only an error code, or one that gets no answer. */
export type QueryReading =
  | { readonly kind: "query"; readonly query: Query }
  | { readonly kind: "error"; readonly rcode: number }
  | { readonly kind: "ignored" };

/** The 16-bit number at `offset`. */
export function word(message: Uint8Array, offset: number): number {
  return (message[offset] << 8) | message[offset + 1];
}

/** The id of a message of at least {@link HEADER_LENGTH} bytes. */
export function messageId(message: Uint8Array): number {
  return word(message, 0);
}

/** Replaces the id of a message. */
export function setMessageId(message: Uint8Array, id: number): void {
  message[0] = id >>> 8;
  message[1] = id & 0xff;
}

/** The flags word of a message of at least {@link HEADER_LENGTH} bytes, with QR, opcode and response code. */
export function messageFlags(message: Uint8Array): number {
  return word(message, 2);
}

/** The response code of a message of at least {@link HEADER_LENGTH} bytes, without its extension by EDNS. */
export function messageRcode(message: Uint8Array): number {
  return word(message, 2) & RCODE_MASK;
}

/**
 * Reads the question that follows the header. A compression pointer is taken as malformed: nothing precedes the
 * first name that it could point to (RFC 1035, 4.1.4).
 */
export function readQuestion(message: Uint8Array): Question | undefined {
  const written: string[] = [];
  let offset = HEADER_LENGTH;
  for (;;) {
    if (offset >= message.length) return undefined;
    const length = message[offset++];
    if (length === 0) break;
    if ((length & POINTER_BITS) !== 0) return undefined;
    // One byte more is needed for the root, which counts towards the 255 (RFC 1035, 3.1).
    if (offset + length >= message.length || offset + length - HEADER_LENGTH >= MAX_NAME_LENGTH) return undefined;
    written.push(labelText(message, offset, length));
    offset += length;
  }
  if (offset + QUESTION_FIXED_LENGTH > message.length) return undefined;
  const name = written.length === 0 ? "." : written.join(".");
  return {
    name,
    labels: written.map((label) => label.toLowerCase()),
    type: word(message, offset),
    class: word(message, offset + 2),
    end: offset + QUESTION_FIXED_LENGTH,
  };
}

function labelText(message: Uint8Array, offset: number, length: number): string {
  let text = "";
  for (let index = offset; index < offset + length; index++) {
    const byte = message[index];
    const plain = byte > 0x20 && byte < 0x7f && byte !== 0x2e && byte !== 0x5c;
    text += plain ? String.fromCharCode(byte) : `\\${byte.toString().padStart(3, "0")}`;
  }
  return text;
}

/** Reads a message sent to a server. */
export function readQuery(message: Uint8Array): QueryReading {
  if (message.length < HEADER_LENGTH) return { kind: "ignored" };
  const flags = messageFlags(message);
  // Answering a response would let two servers talk to each other forever.
  if ((flags & Flag.QR) !== 0) return { kind: "ignored" };
  if ((flags & OPCODE_MASK) !== 0) return { kind: "error", rcode: Rcode.NOTIMP };
  // More or fewer than one question have no meaning (RFC 9619).
  const question = word(message, 4) === 1 ? readQuestion(message) : undefined;
  const edns = question && readEdns(message, question.end);
  if (question === undefined || edns === undefined) return { kind: "error", rcode: Rcode.FORMERR };
  return { kind: "query", query: { message, question, edns } };
}

/** Walks the records after the question. Undefined when they do not fit the message, or hold OPT twice (RFC 6891, 6.1.1). */
function readEdns(message: Uint8Array, start: number): Edns | null | undefined {
  const beforeAdditional = word(message, 6) + word(message, 8);
  const count = beforeAdditional + word(message, 10);
  let edns: Edns | null = null;
  let offset = start;
  for (let index = 0; index < count; index++) {
    const fixed = skipName(message, offset);
    if (fixed + 10 > message.length) return undefined;
    const end = fixed + 10 + word(message, fixed + 8);
    if (end > message.length) return undefined;
    if (index >= beforeAdditional && word(message, fixed) === Type.OPT) {
      // The owner of OPT is the root (RFC 6891, 6.1.2).
      if (edns !== null || fixed !== offset + 1) return undefined;
      edns = {
        udpPayloadSize: word(message, fixed + 2),
        version: message[fixed + 5],
        dnssecOk: (word(message, fixed + 6) & DNSSEC_OK) !== 0,
        hasOptions: hasTellingOptions(message, fixed + 10, end),
      };
    }
    offset = end;
  }
  return edns;
}

/** Whether the options of OPT from `start` to `end` hold one that is not merely about the way to this server. */
function hasTellingOptions(message: Uint8Array, start: number, end: number): boolean {
  let offset = start;
  while (offset + 4 <= end) {
    if (!HOP_OPTIONS.has(word(message, offset))) return true;
    offset += 4 + word(message, offset + 2);
  }
  // What does not fit together is left to the server to judge.
  return offset !== end;
}

/** The offset after the name at `offset`, or infinity when it is malformed. Pointers are not followed. */
export function skipName(message: Uint8Array, offset: number): number {
  let next = offset;
  while (next < message.length) {
    const length = message[next];
    if (length === 0) return next + 1;
    if ((length & POINTER_BITS) === POINTER_BITS) return next + 2;
    if ((length & POINTER_BITS) !== 0) break;
    next += 1 + length;
  }
  return Number.POSITIVE_INFINITY;
}

/**
 * Whether `message` answers `query` as it was sent under `id` (RFC 5452, section 9.1). Names are compared without
 * regard to case. An error without a question counts: that is how a server reports a query it could not read.
 */
export function isAnswerTo(message: Uint8Array, query: Query, id: number): boolean {
  if (message.length < HEADER_LENGTH || messageId(message) !== id) return false;
  if ((messageFlags(message) & (Flag.QR | OPCODE_MASK)) !== Flag.QR) return false;
  if (word(message, 4) === 0) return messageRcode(message) !== Rcode.NOERROR;
  return word(message, 4) === 1 && isSameQuestion(message, query);
}

/** Whether the question of `message` is that of `query`, which was read: it follows the header, and has no pointers. */
function isSameQuestion(message: Uint8Array, query: Query): boolean {
  const { message: asked, question } = query;
  if (message.length < question.end) return false;
  const nameEnd = question.end - QUESTION_FIXED_LENGTH;
  for (let offset = HEADER_LENGTH; offset < question.end; offset++) {
    const [one, other] = [message[offset], asked[offset]];
    if (one !== other && (offset >= nameEnd || !isSameLetter(one, other))) return false;
  }
  return true;
}

/** Whether two different bytes are the two cases of a letter. The length of a label is below all letters. */
function isSameLetter(one: number, other: number): boolean {
  const lower = one | 0x20;
  return lower === (other | 0x20) && lower >= 0x61 && lower <= 0x7a;
}
