/** What tests of the forwarder have in common. */
import { createSocket } from "node:dgram";
import { expect, onTestFinished, vi } from "vitest";
import { messageId } from "../message.ts";
import { fixedServers } from "../policy/policy.ts";
import type { UpstreamAnswer } from "../resolver.ts";
import type { ServerAddress } from "../server-address.ts";
import { Forwarder, type ForwarderOptions } from "../upstream/forwarder.ts";
import { answerWith, dataOf, decoded, queryMessage, readValid } from "./messages.ts";
import { heldServer, udpServer } from "./servers.ts";

/** Long enough never to be waited for. */
export const NEVER = 60_000;

export function forwarderTo(servers: readonly ServerAddress[], options: Partial<ForwarderOptions> = {}): Forwarder {
  const forwarder = new Forwarder({
    source: fixedServers(servers),
    waitBounds: { shortest: NEVER, longest: NEVER },
    totalTimeout: NEVER,
    ...options,
  });
  onTestFinished(() => forwarder.close());
  return forwarder;
}

/** Waits as they are when nothing is configured. */
export const WAITS = { shortest: 300, longest: 1000 };

export const message = queryMessage("a.example", "A", { id: 0x4242 });
export const query = readValid(message);

/** The address in the answer to {@link query}. */
export function addressIn(answer: UpstreamAnswer | null): unknown {
  if (answer === null) return null;
  expect(messageId(answer.message)).toBe(0x4242);
  return dataOf(decoded(answer.message).answers, "A")[0];
}

export const answering = (address: string) => udpServer(({ message, reply }) => reply(answerWith(message, address)));
export const silent = () => udpServer(() => {});

/** A server that hands over its queries one after the other. */
export async function held() {
  const server = await heldServer();
  const { next } = server;
  /** Waits until the server has what was sent to it before: a datagram of our own comes after that. */
  const settled = async () => {
    const probe = createSocket("udp4");
    const port = server.address.port;
    await new Promise((resolve) => probe.send(new Uint8Array(1), port, "127.0.0.1", resolve));
    let received = await next();
    while (received.message.length !== 1) received = await next();
    probe.close();
    server.received.splice(server.received.indexOf(received.message), 1);
  };
  return { ...server, settled };
}

/** Runs `start` so that its timers, and those that follow, go off only when the test says so. */
export function virtualTime<T>(start: () => T): T {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
  onTestFinished(() => {
    vi.useRealTimers();
  });
  return start();
}
