/** Responses of servers for tests. */
import { type Answer, decode, encode } from "dns-packet";
import { Type } from "../message.ts";

/** The part of a response that a test chooses. */
export interface ResponseParts {
  /** RD and RA when nothing else is said. QR is set in any case. */
  readonly flags?: number;
  readonly rcode?: number;
  readonly answers?: readonly Answer[];
  readonly authorities?: readonly Answer[];
  readonly additionals?: readonly Answer[];
}

/** The response of a server to `query`. Its names are not compressed. */
export function responseTo(query: Uint8Array, parts: ResponseParts = {}): Uint8Array {
  const { id, questions } = decode(Buffer.from(query));
  const message = encode({
    type: "response",
    id: id ?? 0,
    flags: (parts.flags ?? 0x0180) | (parts.rcode ?? 0),
    questions: questions ?? [],
    answers: [...(parts.answers ?? [])],
    authorities: [...(parts.authorities ?? [])],
    additionals: [...(parts.additionals ?? [])],
  });
  return Uint8Array.from(message);
}

export function addressRecord(name: string, data: string, ttl: number): Answer {
  return { type: "A", name, ttl, data };
}

export function aliasRecord(name: string, data: string, ttl: number): Answer {
  return { type: "CNAME", name, ttl, data };
}

/** The SOA of `example`. */
export function authorityRecord(ttl: number, minimum: number): Answer {
  const data = { mname: "ns.example", rname: "root.example", serial: 1, refresh: 1, retry: 1, expire: 1, minimum };
  return { type: "SOA", name: "example", ttl, data };
}

/** The OPT record of a server that takes 4096 bytes. */
export function optRecord(extendedRcode = 0): Answer {
  return {
    type: "OPT",
    name: ".",
    udpPayloadSize: 4096,
    extendedRcode,
    ednsVersion: 0,
    flags: 0,
    flag_do: false,
    options: [],
  };
}

/** A message as it is built byte by byte, with names that refer to earlier ones (RFC 1035, 4.1.4). */
export class WireMessage {
  readonly #bytes: number[];
  readonly #counts = [1, 0, 0, 0];

  /** Begins with the header and the question of `query`, which has nothing else. */
  constructor(query: Uint8Array) {
    this.#bytes = [...query];
    this.#bytes[2] |= 0x80;
  }

  /** Where the next record begins. */
  get length(): number {
    return this.#bytes.length;
  }

  /** @param section - 1 for an answer, 2 for the authority, 3 for an additional record. */
  add(section: 1 | 2 | 3, owner: readonly number[], type: number, ttl: number, data: readonly number[]): void {
    this.#counts[section]++;
    const words = [type, type === Type.OPT ? 1232 : 1, ttl >>> 16, ttl & 0xffff, data.length];
    this.#bytes.push(...owner, ...words.flatMap((word) => [word >>> 8, word & 0xff]), ...data);
  }

  /** The message so far. */
  build(): Uint8Array {
    const message = Uint8Array.from(this.#bytes);
    for (const [index, count] of this.#counts.entries()) message.set([count >>> 8, count & 0xff], 4 + 2 * index);
    return message;
  }
}
