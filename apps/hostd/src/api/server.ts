import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { makeProblem, type Problem, RequestError, STATUS_TITLES } from "./problem.ts";
import type { Call, Method, Route } from "./route.ts";

/** The longest body of a request, in bytes. */
const MAX_BODY = 1024 * 1024;

/** Answers requests of another API; false when one is not for it. */
export type ForeignApi = (request: IncomingMessage, response: ServerResponse) => boolean;

export interface ApiServerOptions {
  readonly routes: readonly Route[];
  /** What is asked before the routes: other programs' APIs, with paths of their own. */
  readonly foreign?: readonly ForeignApi[];
}

/** The control API, whose owner hands it its connections: answers of JSON, errors as RFC 9457 has them. */
export function createApiServer({ routes, foreign = [] }: ApiServerOptions): Server {
  const byPath = new Map<string, Map<string, Route>>();
  for (const route of routes) {
    const methods = byPath.get(route.path) ?? new Map<string, Route>();
    methods.set(route.method, route);
    byPath.set(route.path, methods);
  }
  return createServer((request, response) => {
    if (foreign.some((api) => api(request, response))) return;
    const target = request.url ?? "";
    const url = URL.parse(target, "http://hostd");
    if (url === null) {
      sendProblem(response, makeProblem(400, `${target} is no path`));
      return;
    }
    const { pathname, searchParams } = url;
    const methods = byPath.get(pathname);
    if (methods === undefined) {
      const detail = `there is no ${pathname}; there are ${[...byPath.keys()].join(", ")}`;
      sendProblem(response, makeProblem(404, detail));
      return;
    }
    const route = methods.get(request.method === "HEAD" ? "GET" : (request.method ?? ""));
    if (route === undefined) {
      const names = [...methods.keys()] as Method[];
      response.setHeader("allow", names.flatMap((name) => (name === "GET" ? ["GET", "HEAD"] : name)).join(", "));
      sendProblem(response, makeProblem(405, `${pathname} takes ${names.join(", ")}, not ${request.method}`));
      return;
    }
    answer(route, searchParams, request, response).catch((error: unknown) => {
      const [status, message] =
        error instanceof RequestError
          ? [error.status, error.message]
          : [500 as const, error instanceof Error ? error.message : String(error)];
      if (response.headersSent) response.destroy();
      else sendProblem(response, makeProblem(status, message));
    });
  });
}

async function answer(
  route: Route,
  query: URLSearchParams,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  for (const name of query.keys()) {
    if (route.query !== undefined && Object.hasOwn(route.query, name)) continue;
    const known = Object.keys(route.query ?? {});
    const allowed = known.length === 0 ? "it takes none" : `it takes ${known.join(", ")}`;
    throw new RequestError(`${route.path} has no parameter ${JSON.stringify(name)}; ${allowed}`);
  }
  for (const [name, { required = false, example }] of Object.entries(route.query ?? {})) {
    if (!required || query.has(name)) continue;
    throw new RequestError(`the parameter ${name} is missing, as in ${route.path}?${name}=${example}`);
  }
  const body = route.body === undefined ? undefined : await readJson(request);
  const call: Call = { query, body };
  if ("stream" in route) await route.stream(call, response);
  else sendJson(response, 200, "application/json", await route.handle(call));
}

function sendProblem(response: ServerResponse, problem: Problem): void {
  sendJson(response, problem.status, "application/problem+json", problem);
}

function sendJson(response: ServerResponse, status: number, type: string, body: unknown): void {
  const text = `${JSON.stringify(body)}\n`;
  const title = Object.hasOwn(STATUS_TITLES, status) ? STATUS_TITLES[status as keyof typeof STATUS_TITLES] : "OK";
  response.writeHead(status, title, { "content-type": type, "content-length": Buffer.byteLength(text) }).end(text);
}

/** @throws {RequestError} when the body is too long, or no JSON. */
async function readJson(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let length = 0;
  // Who sends too much is still to be answered.
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > MAX_BODY) throw new RequestError(`the body is longer than ${MAX_BODY} bytes`);
  }
  // An empty body says nothing, so that `curl -X POST` works where nothing needs to be said.
  if (length === 0) return undefined;
  try {
    return JSON.parse(Buffer.concat(chunks).toString("utf8"));
  } catch (error) {
    throw new RequestError(`the body is no JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
}
