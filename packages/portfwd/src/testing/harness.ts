import { once } from "node:events";
import { readdirSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseIpv4 } from "@hostd/stack";
import { afterEach } from "vitest";
import { FakeClock } from "../../../streams/src/testing/fake-clock.ts";
import { RecordingLogger } from "../../../streams/src/testing/recording-logger.ts";
import {
  type GuestSocket,
  type GuestTarget,
  isSocketPath,
  type ListenAddress,
  type SocketPath,
  type StreamRule,
} from "../forward-rule.ts";
import { PortForwarder, type PortForwarderOptions } from "../port-forwarder.ts";
import { StreamForward } from "../stream-forward.ts";

export const GATEWAY = parseIpv4("192.168.65.1");
export const GUEST_PORT = 80;

/** What is undone after each test, last first. */
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Has something undone after the test. */
export function cleanUp(cleanup: () => unknown): void {
  cleanups.push(cleanup);
}

/** A forwarder that is closed after the test, what it logged, and its clock. */
export function makeForwarder(options: Partial<PortForwarderOptions> = {}): {
  forwarder: PortForwarder;
  logger: RecordingLogger;
  clock: FakeClock;
} {
  const logger = new RecordingLogger();
  const clock = new FakeClock();
  const forwarder = new PortForwarder({ gateway: GATEWAY, logger, clock, ...options });
  cleanUp(() => forwarder.close());
  return { forwarder, logger, clock };
}

/** A forward from a port of the system's choice. */
export function rule(to: Partial<GuestTarget> = {}, host = "127.0.0.1"): StreamRule & { readonly to: GuestTarget } {
  return { protocol: "tcp", listen: { host, port: 0 }, to: { address: null, port: GUEST_PORT, ...to } };
}

/** A forward from somewhere else to the guest's port. */
export function ruleFrom(
  listen: ListenAddress | SocketPath,
  to: GuestTarget | GuestSocket = { address: null, port: GUEST_PORT },
): StreamRule {
  return { protocol: "tcp", listen, to };
}

/** Opens a forward of streams. */
export async function listen(forwarder: PortForwarder, from: StreamRule): Promise<StreamForward> {
  const forward = await forwarder.listen(from);
  if (!(forward instanceof StreamForward)) throw new Error("it is no forward of streams");
  return forward;
}

/** The address and port that a forward listens on. */
export function addressOf({ listening }: Pick<StreamForward, "listening">): ListenAddress {
  if (isSocketPath(listening)) throw new Error("it is a Unix socket");
  return listening;
}

/** Begins a connection to a forward; it is gone after the test. */
export function dialForward({ listening }: Pick<StreamForward, "listening">): Socket {
  const to = isSocketPath(listening) ? listening : { ...listening, host: listening.host || "127.0.0.1" };
  const socket = connect({ ...to, allowHalfOpen: true });
  // Tests that look for a reset listen themselves.
  socket.on("error", () => {});
  cleanUp(() => socket.destroy());
  return socket;
}

/** The code of the error that a socket ends with. */
export async function failure(socket: Socket): Promise<string | undefined> {
  const [error] = (await once(socket.resume(), "error")) as [NodeJS.ErrnoException];
  return error.code;
}

/** Waits until `condition` holds, which tells nobody, looking again in each turn of the event loop. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

/** How many descriptors this process has open. */
export function countDescriptors(): number {
  return readdirSync("/dev/fd").length;
}

/** A folder that is removed after the test. */
export async function makeFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "hostd-forward-"));
  cleanUp(() => rm(folder, { recursive: true }));
  return folder;
}
