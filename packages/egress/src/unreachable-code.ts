import {
  UNREACHABLE_HOST,
  UNREACHABLE_NET,
  UNREACHABLE_PORT,
  UNREACHABLE_PROHIBITED,
  type UnreachableCode,
} from "@hostd/stack";
import type { RejectedDestination } from "./destination.ts";

/**
 * How a guest learns that a packet goes nowhere; null for an address that RFC 1122, 3.2.2 gives no answer. One to a
 * loopback address can only be crafted, and gets the answer of a router that filters.
 */
export const REJECTED_DESTINATION_CODES: Readonly<Record<RejectedDestination, UnreachableCode | null>> = {
  "own-address": UNREACHABLE_PORT,
  "no-neighbor": UNREACHABLE_HOST,
  loopback: UNREACHABLE_PROHIBITED,
  "this-network": UNREACHABLE_PROHIBITED,
  "link-local": UNREACHABLE_PROHIBITED,
  broadcast: null,
  multicast: null,
};

/** The errors of a host's datagram socket that a guest is told of, by their names. */
export const SOCKET_ERROR_CODES: ReadonlyMap<string, UnreachableCode> = new Map<string, UnreachableCode>([
  ["ECONNREFUSED", UNREACHABLE_PORT],
  ["EHOSTUNREACH", UNREACHABLE_HOST],
  ["EHOSTDOWN", UNREACHABLE_HOST],
  ["ENETUNREACH", UNREACHABLE_NET],
  ["ENETDOWN", UNREACHABLE_NET],
  ["EACCES", UNREACHABLE_PROHIBITED],
  ["EPERM", UNREACHABLE_PROHIBITED],
]);
