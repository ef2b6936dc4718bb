import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import {
  type AnswerCacheOptions,
  DnsServer,
  Forwarder,
  HostsFile,
  LoopCheck,
  type PolicySource,
  type QueryContext,
  Resolver,
  type ServerAddress,
  standardZones,
  Zones,
} from "@hostd/dns";
import { parseIpv4 } from "@hostd/stack";
import { onTestFailed, onTestFinished } from "vitest";

const LOOPBACK = "127.0.0.1";
export const HOST = "192.168.65.254";

const HOST_ADDRESS = parseIpv4(HOST);
const VM_ADDRESS = parseIpv4("192.168.65.3");
const CONTEXT: QueryContext = { link: "vm", client: VM_ADDRESS, vmAddress: VM_ADDRESS };

export const CACHE: AnswerCacheOptions = { maxEntries: 1000, maxBytes: 1024 * 1024, staleTime: 3_600_000 };

export interface HostSideOptions {
  readonly source: PolicySource;
  /** A hosts file; without it there is none. */
  readonly hosts?: string;
  readonly cache?: AnswerCacheOptions;
  readonly randomizeCase?: boolean;
}

/** The name server on the gateway as hostd puts it together, on a UDP and a TCP port of the loopback address. */
export interface HostSide {
  readonly address: ServerAddress;
  readonly server: DnsServer;
  readonly resolver: Resolver;
  readonly forwarder: Forwarder;
  /** Lets what is kept grow older. */
  advance(milliseconds: number): void;
}

export async function startHostSide(options: HostSideOptions): Promise<HostSide> {
  const { source, hosts, cache, randomizeCase = false } = options;
  const logger = testLogger();
  let skipped = 0;
  const forwarder = new Forwarder({ source, randomizeCase, logger });
  const resolver = new Resolver({
    zones: new Zones(standardZones({ host: HOST_ADDRESS, gateway: parseIpv4("192.168.65.1") })),
    ...(hosts === undefined ? {} : { hosts: new HostsFile({ path: hosts, host: HOST_ADDRESS, logger }) }),
    loopCheck: new LoopCheck(forwarder, logger),
    upstream: forwarder,
    ...(cache === undefined ? {} : { cache }),
    now: () => performance.now() + skipped,
  });
  const server = new DnsServer({ resolver, logger });
  const address = await bridge(server);
  onTestFinished(() => {
    server.close();
    resolver.close();
  });
  return {
    address,
    server,
    resolver,
    forwarder,
    advance(milliseconds) {
      skipped += milliseconds;
    },
  };
}

/** Hands what comes in on sockets to a server, as the gateway's port 53 does with what a VM sends. */
async function bridge(server: DnsServer): Promise<ServerAddress> {
  const tcp = createServer({ allowHalfOpen: true });
  const udp = createSocket("udp4");
  const sockets = new Set<Socket>();
  let isClosed = false;
  tcp.on("connection", (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    server.serveStream(socket, CONTEXT);
  });
  udp.on("message", (message, from) => {
    server.handleDatagram(message, CONTEXT, (answer) => {
      if (!isClosed) udp.send(answer, from.port, from.address);
    });
  });
  onTestFinished(() => {
    isClosed = true;
    for (const socket of sockets) socket.destroy();
    tcp.close();
    udp.close();
  });
  // The sockets of UDP that others open get random ports too, so the port of TCP may be taken.
  for (;;) {
    tcp.listen(0, LOOPBACK);
    await once(tcp, "listening");
    const bound = tcp.address();
    if (bound === null || typeof bound === "string") throw new Error("the bridge has no port");
    const isBound = await new Promise<boolean>((resolve) => {
      udp.once("error", () => resolve(false));
      udp.bind(bound.port, LOOPBACK, () => resolve(true));
    });
    if (isBound) return { address: LOOPBACK, family: 4, port: bound.port };
    tcp.close();
    await once(tcp, "close");
  }
}

/** What is logged is shown when the test fails. */
function testLogger() {
  const lines: string[] = [];
  const log = (fields: object, message: string) => {
    lines.push(`${Math.round(performance.now())} ${message} ${JSON.stringify(fields)}`);
  };
  onTestFailed(() => console.error(`the name server under test:\n${lines.join("\n")}`));
  return { debug: log, info: log, warn: log };
}
