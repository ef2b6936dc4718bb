import type { Server } from "node:http";
import type { FlowStream } from "@hostd/streams";
import type { Control } from "../control/control.ts";
import type { VmSession } from "../vm-session.ts";
import { forwarderHandlers } from "./api.ts";
import { createGoServer } from "./go-server.ts";

/** Connections of one VM at once. */
export const MAX_CONNECTIONS = 64;
/** How long a connection may take for a request, and for the time until the next one, in milliseconds. */
const REQUEST_TIME = 10_000;

/** What one VM is served by. */
interface GuestServer {
  readonly server: Server;
  /** When each connection ends unless a request is answered before. */
  readonly deadlines: Map<object, NodeJS.Timeout>;
}

const SERVERS = new WeakMap<VmSession, GuestServer>();

/**
 * Serves gvproxy's API to a VM, as far as it is for guests: a guest may publish ports of itself, and see and remove
 * those that it has published. What it has published ends with it.
 *
 * @param requestTime - for tests; 10 s unless given, in milliseconds.
 */
export function serveGuestApi(stream: FlowStream, vm: VmSession, control: Control, requestTime = REQUEST_TIME): void {
  const known = SERVERS.get(vm);
  const { server, deadlines } = known ?? makeServer(vm, control);
  if (known === undefined) SERVERS.set(vm, { server, deadlines });
  if (deadlines.size >= MAX_CONNECTIONS) {
    stream.destroy();
    return;
  }
  const deadline = setTimeout(() => stream.destroy(), requestTime);
  deadlines.set(stream, deadline);
  stream.on("error", () => {});
  stream.once("close", () => {
    clearTimeout(deadline);
    deadlines.delete(stream);
  });
  server.emit("connection", stream);
}

function makeServer(vm: VmSession, control: Control): GuestServer {
  const handlers = forwarderHandlers(control, ({ request }) => ({ vm, address: request.socket.remoteAddress }));
  const server = createGoServer({ handlers: new Map(handlers), folders: new Map() });
  const deadlines = new Map<object, NodeJS.Timeout>();
  server.on("request", ({ socket }, response) => {
    response.once("close", () => deadlines.get(socket)?.refresh());
  });
  return { server, deadlines };
}
