/** What is common to queries over UDP and TCP. */

/** Is told how an exchange ends: exactly one of the two, once, or neither when it is closed first. */
export interface ExchangeHandler {
  /** The answer as it came, but with the id of the query. */
  answered(message: Uint8Array): void;
  /** The server cannot be reached, or ended the connection. A server that says nothing is not an error. */
  failed(error: Error): void;
}

/** A query that is waiting for its answer. */
export interface Exchange {
  /** Sends the query again where it may have been lost. */
  resend(): void;
  /** Gives up. Idempotent. */
  close(): void;
}
