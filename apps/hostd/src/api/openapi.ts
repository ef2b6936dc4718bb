import * as z from "zod";
import { versionInfo } from "../cli/version.ts";
import type { Route } from "./route.ts";

/** RFC 9457, as every error of the API is. */
const problem = z
  .strictObject({ type: z.string(), title: z.string(), status: z.int(), detail: z.string() })
  .meta({ description: "A problem document (RFC 9457)" });

/** The route under which the document about all others is. */
export function openApiRoute(routes: readonly Route[]): Route {
  return {
    method: "GET",
    path: "/openapi.json",
    name: "getOpenApi",
    summary: "This document",
    answer: z.looseObject({ openapi: z.string() }),
    handle: () => makeOpenApi(routes),
  };
}

/** Describes routes as OpenAPI 3.1 does. */
export function makeOpenApi(routes: readonly Route[]) {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of routes) {
    paths[route.path] ??= {};
    paths[route.path][route.method.toLowerCase()] = operation(route);
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "hostd",
      version: versionInfo().version,
      description:
        "The control API of hostd, over HTTP on a Unix socket that only its user may open. Every error is a problem " +
        "document (RFC 9457).",
    },
    paths,
    components: { schemas: { Problem: jsonSchema(problem) } },
  };
}

function operation(route: Route) {
  const parameters = Object.entries(route.query ?? {}).map(([name, { description, required = false, example }]) => {
    return { name, in: "query", required, description, example, schema: { type: "string" } };
  });
  return {
    operationId: route.name,
    summary: route.summary,
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(route.body === undefined
      ? {}
      : {
          requestBody: { required: true, content: { "application/json": { schema: jsonSchema(route.body, "input") } } },
        }),
    responses: {
      200: "stream" in route ? streamAnswer(route) : jsonAnswer(route.summary, route.answer),
      default: {
        description: "What was wrong",
        content: { "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } } },
      },
    },
  };
}

function jsonAnswer(description: string, answer: z.ZodType) {
  return { description, content: { "application/json": { schema: jsonSchema(answer) } } };
}

function streamAnswer({ contentType, answerDescription, line }: Extract<Route, { stream: unknown }>) {
  const schema = line === undefined ? { type: "string", format: "binary" } : jsonSchema(line);
  return { description: answerDescription, content: { [contentType]: { schema } } };
}

function jsonSchema(schema: z.ZodType, io: "input" | "output" = "output") {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: "any" });
  return rest;
}
