/** Asking zones in tests. */
import { parseIpv4 } from "@hostd/stack";
import type { Answer, DecodedPacket, RecordType } from "dns-packet";
import type { QueryContext } from "../context.ts";
import type { Query } from "../message.ts";
import type { ZoneRecord } from "../zones/zone.ts";
import { type ZoneAnswer, Zones } from "../zones/zones.ts";
import { decoded, type QueryOptions, queryMessage, readValid } from "./messages.ts";

type AskedType = RecordType | "ANY";

/** The client that asks where a test does not say which. */
export const testClient: QueryContext = {
  link: "vm1",
  client: parseIpv4("172.17.0.2"),
  vmAddress: parseIpv4("192.168.65.3"),
};

/** What zones say to a query; null when the name is not theirs. */
export function lookUp(
  zones: Zones,
  name: string,
  type: AskedType,
  options: QueryOptions = {},
  context = testClient,
): ZoneAnswer | null {
  return zones.answer(readValid(queryMessage(name, type, options)), context);
}

/** The response of zones of which one is known to hold the name and what it leads to. */
export function ask(
  zones: Zones,
  name: string,
  type: AskedType,
  options: QueryOptions = {},
  context = testClient,
): DecodedPacket & { readonly rcode: number } {
  const answer = lookUp(zones, name, type, options, context);
  if (answer?.kind !== "answer") throw new Error(`${name} has no answer: ${answer?.kind ?? "it is in no zone"}`);
  return decoded(answer.message);
}

/** A zone `lab` with these records. */
export function lab(...records: ZoneRecord[]): Zones {
  return new Zones([{ name: "lab", records }]);
}

/** An A record. */
export function a(name: string, address: string): ZoneRecord {
  return { name, type: "A", address };
}

/** The addresses in the answer to a query for A. */
export function addressesOf(zones: Zones, name: string, context = testClient): unknown[] {
  const { answers = [] } = ask(zones, name, "A", {}, context);
  return answers.map((answer: Answer) => ("data" in answer ? answer.data : answer.type));
}

/** A query for a name of any bytes. */
export function rawQuery(labels: readonly Uint8Array[], type: number): Query {
  const name = labels.flatMap((label) => [label.length, ...label]);
  return readValid(Uint8Array.of(0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...name, 0, type >>> 8, type & 0xff, 0, 1));
}
