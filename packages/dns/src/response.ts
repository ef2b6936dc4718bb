/** Building the responses that are our own. */
import { type Answer, decode, encode } from "dns-packet";
import {
  type Edns,
  Flag,
  HEADER_LENGTH,
  messageFlags,
  messageId,
  messageRcode,
  type Query,
  Rcode,
  Type,
} from "./message.ts";

/** The size of UDP message that fits every path without fragments (DNS Flag Day 2020), announced in our OPT. */
const OUR_UDP_PAYLOAD_SIZE = 1232;

/** The largest UDP answer to a client without EDNS (RFC 1035, 4.2.1). */
const PLAIN_UDP_LIMIT = 512;

/** The largest UDP answer sent at all, whatever a client announces (RFC 6891, 6.2.5). */
const EDNS_UDP_LIMIT = 4096;

const DNSSEC_OK = 0x8000;

/** What goes into a response beside what follows from its query. */
export interface ResponseContent {
  /** One of `Rcode`; those above 15 need a query with EDNS. */
  readonly rcode: number;
  /** Whether the name is of our own zones. */
  readonly authoritative?: boolean;
  readonly answers?: Answer[];
  readonly authorities?: Answer[];
}

/**
 * Builds the response to a query: the question byte for byte as asked, RD and CD copied, RA set, and an OPT record if
 * the query had one (RFC 6891, 6.1.1).
 */
export function buildResponse(query: Query, content: ResponseContent): Uint8Array {
  const copied = messageFlags(query.message) & (Flag.RD | Flag.CD);
  const own = Flag.RA | (content.authoritative === true ? Flag.AA : 0) | (content.rcode & 15);
  return assemble(query, copied | own, content.rcode >>> 4, content.answers ?? [], content.authorities ?? []);
}

/** Builds the response that says that the query could not be answered now. */
export function buildServFail(query: Query): Uint8Array {
  return buildResponse(query, { rcode: Rcode.SERVFAIL });
}

/**
 * Builds the response to a message that could not be read beyond its header, which it has in full: the header alone.
 */
export function buildErrorHeader(message: Uint8Array, rcode: number): Uint8Array {
  const response = new Uint8Array(HEADER_LENGTH);
  // Id, opcode and RD come back as they were sent (RFC 1035, 4.1.1).
  response[0] = message[0];
  response[1] = message[1];
  response[2] = 0x80 | (message[2] & 0x79);
  response[3] = 0x80 | rcode;
  return response;
}

/** The largest UDP answer to a query in bytes. */
export function udpLimit(query: Query): number {
  const announced = query.edns?.udpPayloadSize ?? 0;
  return Math.min(Math.max(announced, PLAIN_UDP_LIMIT), EDNS_UDP_LIMIT);
}

/**
 * Returns `response` if it has at most `limit` bytes, else one without records and with TC set, upon which a client
 * asks again by TCP (RFC 2181, section 9).
 */
export function limitResponse(response: Uint8Array, query: Query, limit: number): Uint8Array {
  return response.length <= limit ? response : assemble(query, messageFlags(response) | Flag.TC, 0, [], []);
}

/**
 * Builds the response to a query for an alias of ours: the alias, and what `response` says of the name it leads to.
 *
 * @param response - to {@link queryFor}.
 */
export function buildAliasAnswer(query: Query, aliases: readonly Answer[], response: Uint8Array): Uint8Array {
  let answer: Uint8Array;
  try {
    const { answers = [], authorities = [] } = decode(Buffer.from(response));
    // The codec takes what it finds behind the end for data, and does not look at the length of some.
    if (decode.bytes !== response.length) return buildServFail(query);
    answer = buildResponse(query, {
      rcode: messageRcode(response),
      answers: [...aliases, ...answers],
      authorities,
    });
  } catch {
    // It comes from the network, and may be anything behind its question.
    return buildServFail(query);
  }
  // What was cut off is missing in the whole, too.
  return (messageFlags(response) & Flag.TC) === 0 ? answer : limitResponse(answer, query, 0);
}

/** Our OPT record in a response to a query with EDNS (RFC 6891, 6.1.2 and 7), without options. */
export function ourOpt(edns: Edns): Uint8Array {
  const flags = edns.dnssecOk ? DNSSEC_OK : 0;
  const size = OUR_UDP_PAYLOAD_SIZE;
  return Uint8Array.of(0, 0, Type.OPT, size >>> 8, size & 0xff, 0, 0, flags >>> 8, flags & 0xff, 0, 0);
}

function assemble(
  query: Query,
  flags: number,
  extendedRcode: number,
  answers: Answer[],
  authorities: Answer[],
): Uint8Array {
  const { message, question, edns } = query;
  const additionals: Answer[] = [];
  if (edns !== null) {
    additionals.push({
      type: "OPT",
      name: ".",
      udpPayloadSize: OUR_UDP_PAYLOAD_SIZE,
      extendedRcode,
      ednsVersion: 0,
      flags: edns.dnssecOk ? DNSSEC_OK : 0,
      flag_do: edns.dnssecOk,
      options: [],
    });
  }
  const encoded = encode({ type: "response", id: messageId(message), flags, answers, authorities, additionals });
  // The codec reads names as text, which would change one that is none, so the question is copied. It does not
  // compress names, so nothing that follows depends on an offset.
  const response = new Uint8Array(encoded.length + question.end - HEADER_LENGTH);
  response.set(encoded.subarray(0, HEADER_LENGTH));
  response.set(message.subarray(HEADER_LENGTH, question.end), HEADER_LENGTH);
  response.set(encoded.subarray(HEADER_LENGTH), question.end);
  response[5] = 1;
  return response;
}
