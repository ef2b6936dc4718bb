import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Control } from "../control/control.ts";
import { GoHttpError, readBody } from "../gvproxy/go-http.ts";
import { splitTarget } from "../gvproxy/go-http-target.ts";
import { readGoJson, writeGoJson } from "../gvproxy/go-json.ts";
import { GoJsonError } from "../gvproxy/go-json-syntax.ts";
import { ExposedPorts } from "./exposed-ports.ts";
import { type Port, PortError, portType } from "./port.ts";

/** The word for every kind of forward that is not for a path. */
const WRONG_KIND = {
  port: "exposed ports can only be TCP or UDP",
  pipe: "exposed pipes can only have proto=Unix",
} as const;

type Kind = keyof typeof WRONG_KIND;

interface Route {
  readonly methods: readonly string[];
  handle(request: IncomingMessage, response: ServerResponse): void | Promise<void>;
}

/** A server of vpnkit's API for exposing ports. Loaded with the first request. */
export function createExposeServer(control: Control): Server {
  const ports = new ExposedPorts(control);
  const change = (kind: Kind, methods: readonly string[], apply: (port: Port) => Promise<void>): Route => ({
    methods,
    async handle(request, response) {
      const port = await readPort(request);
      const isPipe = port.proto === "unix";
      const isPort = port.proto === "tcp" || port.proto === "udp";
      if (kind === "pipe" ? !isPipe : !isPort) {
        sendJson(response, 400, WRONG_KIND[kind]);
        return;
      }
      await apply(port);
      response.writeHead(200, { "content-length": 0 }).end();
    },
  });
  const expose = (kind: Kind) => change(kind, ["PUT", "POST"], (port) => ports.expose(port));
  const unexpose = (kind: Kind) => change(kind, ["DELETE", "POST"], (port) => ports.unexpose(port));
  const routes = new Map<string, Route>([
    ["/forwards/expose/port", expose("port")],
    ["/forwards/expose/pipe", expose("pipe")],
    ["/forwards/unexpose/port", unexpose("port")],
    ["/forwards/unexpose/pipe", unexpose("pipe")],
    ["/forwards/list", { methods: ["GET"], handle: (_, response) => sendJson(response, 200, ports.list()) }],
    [
      "/forwards/dump",
      {
        methods: ["GET"],
        handle: (_, response) => void response.writeHead(200, { "content-type": "text/plain" }).end(ports.dump()),
      },
    ],
  ]);
  return createServer((request, response) => {
    const route = routes.get(splitTarget(request.url ?? "").path);
    if (route === undefined) sendMessage(response, 404, "Not Found");
    else if (!route.methods.includes(request.method ?? "")) sendMessage(response, 405, "Method Not Allowed");
    else void answer(route, request, response);
  });
}

async function answer(route: Route, request: IncomingMessage, response: ServerResponse): Promise<void> {
  try {
    await route.handle(request, response);
  } catch (error) {
    if (error instanceof GoHttpError) sendMessage(response, error.status, error.message);
    else if (error instanceof PortError || error instanceof GoJsonError) sendMessage(response, 400, error.message);
    else sendMessage(response, 500, "Internal Server Error");
  }
}

/** Reads a port; one without a body has nothing. */
async function readPort(request: IncomingMessage): Promise<Port> {
  const body = await readBody(request);
  if (body.length === 0) return portType.zero;
  if (!(request.headers["content-type"] ?? "").startsWith("application/json")) {
    throw new GoHttpError(415, "Unsupported Media Type");
  }
  return readGoJson(portType, body);
}

function sendMessage(response: ServerResponse, status: number, message: string): void {
  sendJson(response, status, { message });
}

function sendJson(response: ServerResponse, status: number, value: unknown): void {
  const text = writeGoJson(value);
  const headers = { "content-type": "application/json; charset=UTF-8", "content-length": Buffer.byteLength(text) };
  response.writeHead(status, headers).end(text);
}
