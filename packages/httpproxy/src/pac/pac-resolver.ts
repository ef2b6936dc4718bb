import type { Destination, Route } from "../route.ts";

/** Says which ways a PAC script wants to be tried to a destination. */
export interface PacResolver {
  /**
   * At least one route, in the order of the script.
   *
   * @throws {PacError} when there is no script that says so: what then happens is the caller's rule.
   */
  routes(destination: Destination): Promise<readonly Route[]>;
  /** Ends it; whoever waits gets a {@link PacError}. */
  close(): void;
}
