import type { RequestHead, ResponseHead } from "@hostd/http1";

/** What becomes of a request that was looked at. */
export type Verdict =
  /** It goes to the engine as it came. */
  | { readonly kind: "pass"; readonly answered?: Answered }
  /** It goes to the engine with another body, in place of one that was read. */
  | { readonly kind: "rewrite"; readonly body: Buffer; readonly answered?: Answered }
  /** The engine never sees it. */
  | { readonly kind: "answer"; readonly status: number; readonly message: string };

/**
 * Is told the head of the engine's final answer before the client gets it, which waits until the promise is settled. Null
 * when there is none, because a connection ended first. Called once for each verdict.
 */
export type Answered = (head: ResponseHead | null) => Promise<void> | void;

/** A request of a kind that is looked at. */
export interface Interception {
  /**
   * The most bytes that the body may have, without its framing; a longer one is refused. 0 when it is not looked at: it
   * passes as it comes, in any length.
   */
  readonly bodyLimit: number;
  /** Decides, having read the body, which is empty when it is not looked at. Must not throw. */
  decide(body: Buffer): Promise<Verdict>;
}

/** What is to be done about a request; null for most, which pass untouched. */
export type Interceptor = (head: RequestHead) => Interception | null;
