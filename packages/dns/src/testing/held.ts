/** Resolvers and servers for tests whose answers are given by the test, in any order. */
import { formatIpv4, parseIpv4 } from "@hostd/stack";
import type { QueryContext, Transport } from "../context.ts";
import { messageId, type Query, setMessageId } from "../message.ts";
import type { AskingLimit, QueryResolver, Resolution, Upstream, UpstreamAnswer } from "../resolver.ts";
import { buildServFail } from "../response.ts";
import { answerWith } from "./messages.ts";

/** Who asks, over this link. */
export function contextOf(link: string, client = parseIpv4("192.168.65.3")): QueryContext {
  return { link, client, vmAddress: client };
}

/** A query that an {@link HeldUpstream} was asked. */
export interface HeldQuery {
  readonly query: Query;
  readonly transport: Transport;
  /** Answers with this message, under the id of the query; null when nobody answers. */
  answer(message: Uint8Array | null): void;
}

export class HeldUpstream implements Upstream {
  static readonly SOURCE = "192.0.2.53";
  version: unknown = 1;
  readonly asked: HeldQuery[] = [];
  isClosed = false;

  forward(query: Query, transport: Transport): Promise<UpstreamAnswer | null> {
    return new Promise((resolve) => {
      const answer = (message: Uint8Array | null) => {
        // As a socket gives it: the parts of a Buffer share its memory.
        const received = message === null ? null : Buffer.from(message);
        if (received !== null) setMessageId(received, messageId(query.message));
        resolve(received === null ? null : { message: received, source: HeldUpstream.SOURCE });
      };
      this.asked.push({ query, transport, answer });
    });
  }

  close(): void {
    this.isClosed = true;
    for (const { answer } of this.asked) answer(null);
  }
}

export class HeldResolver implements QueryResolver {
  readonly waiting: { query: Query; transport: Transport; answer: (address: string) => void }[] = [];
  readonly #arrivals: (() => void)[] = [];

  resolve(
    query: Query,
    { client }: QueryContext,
    transport: Transport,
    limit: AskingLimit,
  ): Resolution | Promise<Resolution> {
    if (!limit.take(false)) return { message: buildServFail(query), origin: "failure", source: "the limit" };
    return new Promise((resolve) => {
      const answer = (address: string) => {
        resolve({ message: answerWith(query.message, address), origin: "upstream", source: formatIpv4(client) });
      };
      this.waiting.push({ query, transport, answer });
      for (const arrival of this.#arrivals.splice(0)) arrival();
    });
  }

  /** Waits until this many queries have come. */
  async arrived(count: number): Promise<void> {
    while (this.waiting.length < count) await new Promise<void>((resolve) => this.#arrivals.push(resolve));
  }
}
