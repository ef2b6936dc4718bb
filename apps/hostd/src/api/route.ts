/** What the control API consists of: one object a route, from which requests are answered and the OpenAPI document is made. */
import type { ServerResponse } from "node:http";
import type * as z from "zod";

export type Method = "GET" | "POST" | "PUT" | "DELETE";

/** A parameter in the query of a route's address. */
export interface QueryParameter {
  readonly description: string;
  readonly required?: boolean;
  readonly example: string;
}

/** A request that was found to be for a route. */
export interface Call {
  readonly query: URLSearchParams;
  /** What the JSON of the body says; undefined where there is none. It is not checked. */
  readonly body: unknown;
}

interface RouteBase {
  readonly method: Method;
  readonly path: string;
  /** The name of the operation in generated clients, such as `listForwards`. */
  readonly name: string;
  readonly summary: string;
  readonly query?: Readonly<Record<string, QueryParameter>>;
  /** What the body has to be; nothing is read where it is not given. */
  readonly body?: z.ZodType;
}

/** A route that answers with one JSON text. */
export interface JsonRoute extends RouteBase {
  /** What the answer is. Tests hold every answer against it. */
  readonly answer: z.ZodType;
  /** @throws {RequestError} when the request does not fit. */
  handle(call: Call): unknown;
}

/** A route whose answer goes on for as long as the client listens, or is no JSON. */
export interface StreamRoute extends RouteBase {
  /** The media type of the answer. */
  readonly contentType: string;
  readonly answerDescription: string;
  /** What a line of it is, for `application/x-ndjson`. */
  readonly line?: z.ZodType;
  /**
   * Writes the answer, its head included. The response's `close` tells when the client is gone.
   *
   * @throws {RequestError} when the request does not fit; nothing may have been written then.
   */
  stream(call: Call, response: ServerResponse): void | Promise<void>;
}

export type Route = JsonRoute | StreamRoute;
