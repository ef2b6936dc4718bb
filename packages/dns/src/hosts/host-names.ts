import type { Query } from "../message.ts";

/** Names that the host knows without asking anybody. */
export interface HostNames {
  /** Where they are from, for people. */
  readonly source: string;
  /** The response to a query for one of them; null for a name, or a type of record, that it does not know of. */
  answer(query: Query): Uint8Array | null;
}
