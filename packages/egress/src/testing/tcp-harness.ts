import { Socket } from "node:net";
import { parseIpv4 } from "@hostd/stack";
import { FailureLog } from "@hostd/streams";
import { afterEach } from "vitest";
import { FakeClock } from "../../../streams/src/testing/fake-clock.ts";
import { type FakeGuestOptions, FakeRequest, type PlayedFlow } from "../../../streams/src/testing/fake-tcp.ts";
import { HostServer } from "../../../streams/src/testing/host-server.ts";
import { pattern } from "../../../streams/src/testing/pattern.ts";
import { RecordingLogger } from "../../../streams/src/testing/recording-logger.ts";
import type { DestinationConfig } from "../destination.ts";
import { TcpEgress, type TcpEgressOptions } from "../tcp.ts";
import type { ConnectOptions } from "../tcp-connection.ts";

export const HOST = parseIpv4("192.168.65.254");
export const OUTSIDE = parseIpv4("203.0.113.5");
const destinations: DestinationConfig = {
  hostAddress: HOST,
  ownAddresses: new Set([parseIpv4("192.168.65.1"), HOST]),
  network: { address: parseIpv4("192.168.65.0"), prefixLength: 24 },
  linkLocal: true,
};

/** What is undone after each test, last first. */
export const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** An egress that is closed after the test, and what it logged. */
export function makeEgress(options: Partial<TcpEgressOptions> = {}): TcpEgress & { logger: RecordingLogger } {
  const logger = new RecordingLogger();
  const egress = new TcpEgress({ destinations, failures: new FailureLog(logger, new FakeClock()), ...options });
  cleanups.push(() => egress.close());
  return Object.assign(egress, { logger });
}

/** A server that is closed after the test. */
export async function listen(address?: string): Promise<HostServer> {
  const server = await HostServer.listen(address);
  cleanups.push(() => server.close());
  return server;
}

/** A guest's connection and the server's end of it. */
export async function connected(
  options: FakeGuestOptions = {},
  egress = makeEgress(),
): Promise<{ egress: typeof egress; flow: PlayedFlow; socket: Socket }> {
  const server = await listen();
  const request = new FakeRequest(HOST, server.port, options);
  egress.handle(request);
  const [flow, socket] = await Promise.all([request.flow(), server.socket()]);
  return { egress, flow, socket };
}

/** A host whose connections fail with `code`, or never answer when it is null. */
export function scriptedHost(code: string | null): (options: ConnectOptions) => Socket {
  return () => {
    const socket = Object.assign(new Socket(), { connecting: true });
    if (code !== null) setImmediate(() => socket.destroy(Object.assign(new Error(code), { code })));
    return socket;
  };
}

/** More than the buffers of any kernel hold; never touched as a whole. */
export const ENDLESS = Buffer.alloc(1024 * 1024 * 1024);

/** Sends to a host that does not read, until its kernel takes no more. */
export async function fill(egress: TcpEgress, flow: PlayedFlow): Promise<Buffer> {
  const parts: Buffer[] = [];
  while (egress.stats().queuedBytes === 0) {
    const part = pattern(1024 * 1024 + parts.length);
    parts.push(part);
    await flow.write(part);
  }
  return Buffer.concat(parts);
}
