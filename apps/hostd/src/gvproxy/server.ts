import type { Server } from "node:http";
import type { Control } from "../control/control.ts";
import { makeHostRoutes } from "./api.ts";
import { createGoServer } from "./go-server.ts";

/** A server of gvproxy's API alone. Loaded with the first request. */
export function createGvproxyServer(control: Control): Server {
  return createGoServer(makeHostRoutes(control));
}
