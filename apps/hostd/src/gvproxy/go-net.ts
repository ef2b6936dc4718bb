/** Addresses as Go's packages net and strconv read them, with their words for what is wrong. */
import { goQuote } from "./go-quote.ts";

/** An address that Go does not take, in its words. */
export class GoAddressError extends Error {
  override readonly name = "GoAddressError";
}

export interface HostPort {
  readonly host: string;
  readonly port: string;
}

/**
 * Cuts `host:port`; an address of IPv6 stands in brackets.
 *
 * @throws {GoAddressError} when there is no port, or the brackets or colons are at odds.
 */
export function splitHostPort(text: string): HostPort {
  const fail = (reason: string) => new GoAddressError(text === "" ? reason : `address ${text}: ${reason}`);
  const missingPort = "missing port in address";
  const last = text.lastIndexOf(":");
  if (last < 0) throw fail(missingPort);
  let host = text.slice(0, last);
  let opening = 0;
  let closing = 0;
  if (text.startsWith("[")) {
    const end = text.indexOf("]");
    if (end < 0) throw fail("missing ']' in address");
    if (end + 1 === text.length) throw fail(missingPort);
    if (end + 1 !== last) throw fail(text[end + 1] === ":" ? "too many colons in address" : missingPort);
    host = text.slice(1, end);
    opening = 1;
    closing = end + 1;
  } else if (host.includes(":")) {
    throw fail("too many colons in address");
  }
  if (text.includes("[", opening)) throw fail("unexpected '[' in address");
  if (text.includes("]", closing)) throw fail("unexpected ']' in address");
  return { host, port: text.slice(last + 1) };
}

/**
 * Reads a decimal number.
 *
 * @throws {GoAddressError} when it is none, or too large for an `int`.
 */
export function atoi(text: string): number {
  const fail = (reason: string) => new GoAddressError(`strconv.Atoi: parsing ${goQuote(text)}: ${reason}`);
  if (!/^[+-]?[0-9]+$/.test(text)) throw fail("invalid syntax");
  const value = BigInt(text.replace(/^\+/, ""));
  if (value !== BigInt.asIntN(64, value)) throw fail("value out of range");
  return Number(value);
}

/**
 * Reads a port that is listened on; an empty one is 0, for the system to choose.
 *
 * @throws {GoAddressError} when it is none. Names of services are not known.
 */
export function listenPort(protocol: string, text: string): number {
  if (text === "") return 0;
  if (!/^[+-]?[0-9]+$/.test(text)) throw new GoAddressError(`lookup ${protocol}/${text}: unknown port`);
  const port = Number(text);
  if (!(port >= 0 && port <= 0xffff)) throw new GoAddressError(`address ${text}: invalid port`);
  return port;
}
