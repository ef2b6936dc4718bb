import type { QueryContext } from "../context.ts";
import type { Origin } from "../resolver.ts";

/** A query that was answered. */
export interface AnsweredQuery {
  readonly context: QueryContext;
  /** As it was asked. Bytes that are not printable ASCII are escaped (RFC 1035, 5.1). */
  readonly name: string;
  /** Such as `AAAA`. */
  readonly type: string;
  /** Such as `NXDOMAIN`. */
  readonly rcode: string;
  readonly origin: Origin;
  readonly milliseconds: number;
}

/** Whoever wants to know of every query. Neither may throw. */
export interface QueryObserver {
  /** Whether a query that comes now is to be told of. */
  isListening(): boolean;
  answered(query: AnsweredQuery): void;
}
