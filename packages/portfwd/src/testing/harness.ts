import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { parseIpv4 } from "@hostd/stack";
import { afterEach } from "vitest";
import { FakeClock } from "../../../streams/src/testing/fake-clock.ts";
import { RecordingLogger } from "../../../streams/src/testing/recording-logger.ts";
import type { ForwardRule, GuestTarget } from "../forward-rule.ts";
import { PortForwarder, type PortForwarderOptions } from "../port-forwarder.ts";
import type { TcpForward } from "../tcp-forward.ts";

export const GATEWAY = parseIpv4("192.168.65.1");
export const GUEST_PORT = 80;

/** What is undone after each test, last first. */
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** A forwarder that is closed after the test, and what it logged. */
export function makeForwarder(options: Partial<PortForwarderOptions> = {}): {
  forwarder: PortForwarder;
  logger: RecordingLogger;
} {
  const logger = new RecordingLogger();
  const forwarder = new PortForwarder({ gateway: GATEWAY, logger, clock: new FakeClock(), ...options });
  cleanups.push(() => forwarder.close());
  return { forwarder, logger };
}

/** A forward from a port of the system's choice. */
export function rule(to: Partial<GuestTarget> = {}, host = "127.0.0.1"): ForwardRule {
  return { protocol: "tcp", listen: { host, port: 0 }, to: { address: null, port: GUEST_PORT, ...to } };
}

/** Begins a connection to a forward; it is gone after the test. */
export function dialForward({ address: { host, port } }: TcpForward): Socket {
  const socket = connect({ host, port, allowHalfOpen: true });
  // Tests that look for a reset listen themselves.
  socket.on("error", () => {});
  cleanups.push(() => socket.destroy());
  return socket;
}

/** The code of the error that a socket ends with. */
export async function failure(socket: Socket): Promise<string | undefined> {
  const [error] = (await once(socket.resume(), "error")) as [NodeJS.ErrnoException];
  return error.code;
}
