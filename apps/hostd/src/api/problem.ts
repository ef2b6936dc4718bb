/** The statuses of a request that is refused. */
export type RefusalStatus = 400 | 403 | 404 | 409;

/** A request that cannot be answered as it is. The message says what is allowed. */
export class RequestError extends Error {
  override readonly name = "RequestError";
  readonly status: RefusalStatus;

  /** @param status - 400 for what does not fit, 403 not allowed, 404 not there, 409 there already. */
  constructor(message: string, status: RefusalStatus = 400) {
    super(message);
    this.status = status;
  }
}

/** What an error is called (RFC 9110, 15). */
export const STATUS_TITLES = {
  400: "Bad Request",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  409: "Conflict",
  500: "Internal Server Error",
} as const;

/** An error as RFC 9457 has it. */
export interface Problem {
  readonly type: "about:blank";
  readonly title: string;
  readonly status: number;
  readonly detail: string;
}

export function makeProblem(status: keyof typeof STATUS_TITLES, detail: string): Problem {
  return { type: "about:blank", title: STATUS_TITLES[status], status, detail };
}
