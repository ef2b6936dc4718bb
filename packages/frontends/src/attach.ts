import { connect, createServer, type Server, type Socket } from "node:net";
import { type Endpoint, formatEndpoint } from "./endpoint.ts";
import type { FramePort } from "./port.ts";
import { StreamPort } from "./stream-port.ts";
import { prepareSocketPath } from "./unix-socket.ts";

/** Time between attempts to reach a VM that listens: short at first, because it may just be starting. */
const REDIAL_FIRST_MS = 100;
const REDIAL_MAX_MS = 2000;

export interface AttachHandlers {
  /** A VM is there; the port is to be started in this call. */
  attached(port: FramePort): void;
  /** The endpoint itself has a fault: it cannot be reached, or stopped listening. Told once per change of text. */
  fault(message: string): void;
}

/** An endpoint at work. */
export interface Attachment {
  /** The endpoint with what the system chose filled in (a port of 0). */
  readonly endpoint: Endpoint;
  /** Stops listening or dialling and removes the socket; links that are up stay. */
  close(): Promise<void>;
}

/**
 * Lets VMs attach at an endpoint in QEMU's stream framing: any number at one that is listened on, one at a time at one
 * that is dialled, which is dialled again whenever the link ends.
 *
 * @throws when the endpoint cannot be listened on.
 */
export async function attachQemu(endpoint: Endpoint, handlers: AttachHandlers): Promise<Attachment> {
  return endpoint.mode === "listen" ? await listen(endpoint, handlers) : dial(endpoint, handlers);
}

async function listen(endpoint: Endpoint, handlers: AttachHandlers): Promise<Attachment> {
  if (endpoint.transport === "unix") await prepareSocketPath(endpoint.path);
  // Paused, so that nothing is read before the link's own buffer is in place.
  const server = createServer({ pauseOnConnect: true, noDelay: true }, (socket) => {
    handlers.attached(new StreamPort(socket, formatEndpoint(endpoint)));
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    const listening = () => {
      server.removeListener("error", reject);
      resolve();
    };
    if (endpoint.transport === "unix") server.listen(endpoint.path, listening);
    else server.listen(endpoint.port, endpoint.host, listening);
  });
  server.on("error", (error) => handlers.fault(`${formatEndpoint(endpoint)}: ${error.message}`));
  return { endpoint: withBoundPort(endpoint, server), close: () => closeServer(server) };
}

function withBoundPort(endpoint: Endpoint, server: Server): Endpoint {
  const address = server.address();
  if (endpoint.transport !== "tcp" || address === null || typeof address === "string") return endpoint;
  return { ...endpoint, port: address.port };
}

/** Stops listening; Node removes the socket file. Links that are up do not hold it back. */
async function closeServer(server: Server): Promise<void> {
  server.close();
  await new Promise<void>((resolve) => setImmediate(resolve));
}

function dial(endpoint: Endpoint, handlers: AttachHandlers): Attachment {
  const name = formatEndpoint(endpoint);
  let closed = false;
  let delay = REDIAL_FIRST_MS;
  let timer: NodeJS.Timeout | null = null;
  let connecting: Socket | null = null;
  let lastFault = "";

  const attempt = () => {
    timer = null;
    const socket =
      endpoint.transport === "unix"
        ? connect({ path: endpoint.path })
        : connect({ host: endpoint.host, port: endpoint.port, noDelay: true });
    socket.pause();
    connecting = socket;
    const failed = (error: Error) => {
      connecting = null;
      const fault = messageOf(error);
      if (fault !== lastFault) handlers.fault(`${name}: ${fault}; trying again until it answers`);
      lastFault = fault;
      again();
    };
    socket.once("error", failed);
    socket.once("connect", () => {
      socket.removeListener("error", failed);
      connecting = null;
      lastFault = "";
      delay = REDIAL_FIRST_MS;
      const port = new StreamPort(socket, name);
      handlers.attached(port);
      port.ended.then(again);
    });
  };
  const again = () => {
    if (closed) return;
    timer = setTimeout(attempt, delay);
    delay = Math.min(REDIAL_MAX_MS, 2 * delay);
  };
  attempt();
  return {
    endpoint,
    close: async () => {
      closed = true;
      if (timer !== null) clearTimeout(timer);
      connecting?.destroy();
    },
  };
}

/** What is wrong. The error for a name with several addresses has no message of its own, only those of each. */
function messageOf(error: Error): string {
  if (!(error instanceof AggregateError)) return error.message;
  return error.errors.map((each: unknown) => (each instanceof Error ? each.message : String(each))).join(", ");
}
