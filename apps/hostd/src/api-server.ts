import { createServer, type IncomingMessage, type Server } from "node:http";
import { type ApiSubject, RequestError } from "./api-subject.ts";
import { versionInfo } from "./cli/version.ts";

/** The longest body of a request, in bytes. */
const MAX_BODY = 1024 * 1024;

/** What is done for a request. `body` is what its JSON says; undefined where it has none. */
type Handler = (parameters: URLSearchParams, body: unknown) => unknown;

/** The handlers of one path, by the method. */
type Route = Readonly<Partial<Record<"GET" | "POST" | "DELETE", Handler>>>;

/** The control API, whose owner hands it its connections: answers of JSON, errors as RFC 9457 has them. */
export function createApiServer(subject: ApiSubject): Server {
  const routes: Record<string, Route> = {
    "/healthz": { GET: () => ({ status: "ok", vms: subject.sessions() }) },
    "/version": { GET: () => versionInfo() },
    "/dns": { GET: () => subject.dns() },
    "/dns/query": {
      GET: (parameters) => {
        const name = parameters.get("name");
        if (name === null) throw new RequestError("the name to look up is missing: /dns/query?name=NAME&type=TYPE");
        return subject.dnsQuery(name, parameters.get("type") ?? "A", parameters.get("vm"));
      },
    },
    "/dns/zones": {
      GET: () => subject.dns().zones,
      POST: (_, body) => subject.addZone(body),
      DELETE: (parameters) => {
        const name = parameters.get("name");
        if (name === null) throw new RequestError("the zone is missing: /dns/zones?name=NAME");
        return subject.removeZone(name, parameters.get("vm"));
      },
    },
  };
  return createServer((request, response) => {
    const reply = (status: number, type: string, body: unknown) => {
      response.writeHead(status, { "content-type": type }).end(`${JSON.stringify(body)}\n`);
    };
    const problem = (status: number, title: string, detail: string) => {
      reply(status, "application/problem+json", { type: "about:blank", title, status, detail });
    };
    const target = request.url ?? "";
    const url = URL.parse(target, "http://hostd");
    if (url === null) {
      problem(400, "Bad Request", `${target} is no path`);
      return;
    }
    const { pathname, searchParams } = url;
    const route = Object.hasOwn(routes, pathname) ? routes[pathname] : undefined;
    if (route === undefined) {
      problem(404, "Not Found", `there is no ${pathname}; there are ${Object.keys(routes).join(", ")}`);
      return;
    }
    const handler = handlerOf(route, request.method);
    if (handler === undefined) {
      const methods = Object.keys(route);
      response.setHeader(
        "allow",
        methods.flatMap((method) => (method === "GET" ? ["GET", "HEAD"] : method)).join(", "),
      );
      problem(405, "Method Not Allowed", `${pathname} takes ${methods.join(", ")}, not ${request.method}`);
      return;
    }
    void answer(handler, searchParams, request).then(
      (body) => reply(200, "application/json", body),
      (error: unknown) => {
        if (error instanceof RequestError) problem(400, "Bad Request", error.message);
        else problem(500, "Internal Server Error", error instanceof Error ? error.message : String(error));
      },
    );
  });
}

function handlerOf(route: Route, method: string | undefined): Handler | undefined {
  if (method === "GET" || method === "HEAD") return route.GET;
  if (method === "POST") return route.POST;
  return method === "DELETE" ? route.DELETE : undefined;
}

async function answer(handler: Handler, parameters: URLSearchParams, request: IncomingMessage): Promise<unknown> {
  return await handler(parameters, request.method === "POST" ? await readJson(request) : undefined);
}

/** @throws {RequestError} when the body is too long, or no JSON. */
async function readJson(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > MAX_BODY) throw new RequestError(`the body is longer than ${MAX_BODY} bytes`);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString("utf8"));
  } catch (error) {
    throw new RequestError(`the body is no JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
}
