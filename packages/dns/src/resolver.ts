import type { QueryContext, Transport } from "./context.ts";
import type { Forwarder } from "./forwarder.ts";
import type { Query } from "./message.ts";
import { buildServFail } from "./response.ts";
import type { Zones } from "./zones.ts";

/** The answer to a query, and where it is from: our own zones, a server of the host, or neither (then SERVFAIL). */
export interface Resolution {
  readonly message: Uint8Array;
  readonly origin: "local" | "upstream" | "failure";
}

/** Finds the answer to each query. */
export interface QueryResolver {
  resolve(query: Query, context: QueryContext, transport: Transport): Promise<Resolution>;
}

export interface ResolverOptions {
  readonly zones: Zones;
  readonly forwarder: Forwarder;
}

/** Answers names of our zones from them, and asks the servers of the host for every other. */
export class Resolver implements QueryResolver {
  /** May be replaced at any time; queries that come later are answered from the new ones. */
  zones: Zones;
  readonly #forwarder: Forwarder;

  constructor({ zones, forwarder }: ResolverOptions) {
    this.zones = zones;
    this.#forwarder = forwarder;
  }

  async resolve(query: Query, context: QueryContext, transport: Transport): Promise<Resolution> {
    const local = this.zones.answer(query, context);
    if (local !== null) return { message: local, origin: "local" };
    const answer = await this.#forwarder.forward(query, transport);
    if (answer !== null) return { message: answer, origin: "upstream" };
    return { message: buildServFail(query), origin: "failure" };
  }

  /** Gives up the queries that wait for an answer from upstream: they end with SERVFAIL. */
  close(): void {
    this.#forwarder.close();
  }
}
