/** Messages for tests, and their readers. */
import { type Answer, type DecodedPacket, decode, encode, type RecordType } from "dns-packet";
import { type Query, readQuery } from "../message.ts";

/** The part of a query that a test chooses. */
export interface QueryOptions {
  readonly id?: number;
  readonly flags?: number;
  readonly class?: "IN" | "CH" | "ANY";
  /** Adds OPT with this payload size. */
  readonly udpPayloadSize?: number;
  readonly ednsVersion?: number;
  readonly dnssecOk?: boolean;
}

/** A query as a client sends it, with RD set if nothing else is said. */
export function queryMessage(name: string, type: RecordType | "ANY", options: QueryOptions = {}): Uint8Array {
  const additionals: Answer[] = [];
  if (options.udpPayloadSize !== undefined) {
    additionals.push({
      type: "OPT",
      name: ".",
      udpPayloadSize: options.udpPayloadSize,
      extendedRcode: 0,
      ednsVersion: options.ednsVersion ?? 0,
      flags: options.dnssecOk === true ? 0x8000 : 0,
      flag_do: options.dnssecOk === true,
      options: [],
    });
  }
  const message = encode({
    type: "query",
    id: options.id ?? 0x1234,
    flags: options.flags ?? 0x0100,
    // ANY is a type of questions alone, which the types of dns-packet leave out; its number is set below.
    questions: [{ name, type: type === "ANY" ? "A" : type, class: options.class ?? "IN" }],
    additionals,
  });
  if (type === "ANY") message.writeUInt16BE(255, 12 + (name === "." ? 1 : name.length + 2));
  return Uint8Array.from(message);
}

/** A query with these EDNS options, by their codes below 256, each with two bytes of data. */
export function queryWithOptions(name: string, codes: readonly number[], changes: QueryOptions = {}): Uint8Array {
  const plain = queryMessage(name, "A", { udpPayloadSize: 1232, ...changes });
  const options = codes.flatMap((code) => [0, code, 0, 2, 0xab, 0xcd]);
  plain[plain.length - 1] = options.length;
  return Uint8Array.from([...plain, ...options]);
}

/** Reads a query that is known to be one. */
export function readValid(message: Uint8Array): Query {
  const reading = readQuery(message);
  if (reading.kind !== "query") throw new Error(`not a query: ${reading.kind}`);
  return reading.query;
}

/** A response as dns-packet reads it. */
export function decoded(message: Uint8Array): DecodedPacket & { readonly rcode: number } {
  const packet = decode(Buffer.from(message));
  return Object.assign(packet, { rcode: message[3] & 15 });
}

/** The response of a server to `query` with one A record. */
export function answerWith(query: Uint8Array, address: string): Uint8Array {
  const { id, questions } = decode(Buffer.from(query));
  const name = questions?.[0].name ?? ".";
  return encode({
    type: "response",
    id: id ?? 0,
    flags: 0x0180,
    questions: questions ?? [],
    answers: [{ type: "A", name, data: address, ttl: 1 }],
  });
}

/** The response of a server to `query` with this response code, and nothing but the question. */
export function errorFor(query: Uint8Array, rcode: number): Uint8Array {
  const { id, questions } = decode(Buffer.from(query));
  return encode({ type: "response", id: id ?? 0, flags: 0x0180 | rcode, questions: questions ?? [] });
}

/** The data of the records of one type. */
export function dataOf(answers: readonly Answer[] | undefined, type: RecordType): unknown[] {
  return (answers ?? []).flatMap((answer) => (answer.type === type && "data" in answer ? [answer.data] : []));
}

/** A generator of numbers from 0 up to 2^32, the same for each seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
}

/** Random bytes, or a valid query with a few bytes changed or its end cut off. */
export function hostileMessage(random: () => number): Uint8Array {
  if (random() % 2 === 0) return Uint8Array.from({ length: random() % 80 }, () => random() & 0xff);
  const message = queryMessage("some.name.example", "AAAA", { udpPayloadSize: 1232 });
  for (let changes = random() % 6; changes > 0; changes--) message[random() % message.length] = random() & 0xff;
  return message.slice(0, random() % 3 === 0 ? random() % message.length : message.length);
}
