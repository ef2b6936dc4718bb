import type { Route } from "../route.ts";

/** No route led to a connection. The message says what failed and why, in words for whoever made the request. */
export class UpstreamError extends Error {
  override readonly name = "UpstreamError";
  /**
   * What a proxy answers (RFC 9110, 15): 403 refused by a rule, 407 the upstream proxy wants credentials that there are not, 502 it
   * cannot be reached or answers nonsense, 504 no answer in time.
   */
  readonly status: 403 | 407 | 502 | 504;
  /** The route that was tried last; null when there was none. */
  readonly route: Route | null;

  constructor(message: string, status: 403 | 407 | 502 | 504, route: Route | null, options?: ErrorOptions) {
    super(message, options);
    this.status = status;
    this.route = route;
  }
}
