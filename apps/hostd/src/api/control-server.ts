import type { Server } from "node:http";
import type { Control } from "../control/control.ts";
import { makeGvproxyApi } from "../gvproxy/api.ts";
import { makeRoutes } from "./routes.ts";
import { createApiServer } from "./server.ts";

/** The server of the control API. Loaded with the first request. */
export function createControlServer(control: Control): Server {
  return createApiServer({ routes: makeRoutes(control), foreign: [makeGvproxyApi(control)] });
}
