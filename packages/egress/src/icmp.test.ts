import { fstatSync, openSync } from "node:fs";
import { parseIpv4, UNREACHABLE_HOST, UNREACHABLE_PROHIBITED } from "@hostd/stack";
import { FailureLog } from "@hostd/streams";
import { describe, expect, test } from "vitest";
import { FakeClock } from "../../streams/src/testing/fake-clock.ts";
import { RecordingLogger } from "../../streams/src/testing/recording-logger.ts";
import { EchoEgress, type EchoEgressOptions } from "./icmp.ts";
import { FakeStack } from "./testing/fake-stack.ts";

const GUEST = parseIpv4("192.168.65.3");
const HOST = parseIpv4("192.168.65.254");

function makeEgress(options: Partial<EchoEgressOptions> = {}) {
  const stack = new FakeStack();
  const clock = new FakeClock();
  const logger = new RecordingLogger();
  const egress = new EchoEgress({
    stack,
    clock,
    failures: new FailureLog(logger, clock),
    destinations: {
      hostAddress: HOST,
      ownAddresses: new Set([parseIpv4("192.168.65.1"), HOST]),
      network: { address: parseIpv4("192.168.65.0"), prefixLength: 24 },
      linkLocal: true,
    },
    ...options,
  });
  return { egress, stack, clock, logger };
}

function send(egress: EchoEgress, address: string, identifier = 1): void {
  const bytes = new Uint8Array(56);
  const destination = parseIpv4(address);
  egress.handle({ source: GUEST, destination, identifier, sequence: 5, ttl: 64, bytes, offset: 0, length: 56 });
}

describe("echo requests", () => {
  test.each([
    ["127.0.0.1", UNREACHABLE_PROHIBITED],
    ["0.0.0.0", UNREACHABLE_PROHIBITED],
    ["192.168.65.77", UNREACHABLE_HOST],
    ["192.168.65.255", null],
    ["255.255.255.255", null],
    ["224.0.0.1", null],
    ["192.168.65.1", null],
    ["192.168.65.254", null],
  ])("to %s never leave, and are answered with code %s", (address, code) => {
    const { egress, stack } = makeEgress({
      openSocket: () => {
        throw new Error("opened a socket");
      },
    });
    send(egress, address);
    const request = { source: GUEST, destination: parseIpv4(address), identifier: 1, sequence: 5 };
    expect(stack.echoErrors.events).toEqual(code === null ? [] : [{ code, request, from: null }]);
    expect(egress.stats()).toMatchObject({ rejectedDestination: 1, sockets: 0 });
  });

  test("stay unanswered where the host gives no socket, the log says once what to do, and it is asked again", () => {
    let asked = 0;
    const { egress, stack, clock, logger } = makeEgress({
      openSocket: () => {
        asked++;
        return { descriptor: null, code: "EACCES", reason: "no socket; set the sysctl" };
      },
    });
    for (let second = 0; second < 15; second++) {
      send(egress, "203.0.113.5");
      clock.advance(1000);
    }
    expect(logger.lines).toEqual([
      {
        level: "warn",
        fields: { code: "EACCES" },
        message: "guests' pings stay unanswered: no socket; set the sysctl",
      },
    ]);
    expect(asked).toBe(2);
    expect(stack.echoErrors.events).toEqual([]);
    expect(egress.stats()).toMatchObject({ droppedNoSocket: 15, sent: 0 });
  });

  test("beyond the rate are dropped, until the next second", () => {
    const { egress, clock } = makeEgress({
      maxEchoRate: 10,
      openSocket: () => ({ descriptor: null, code: null, reason: "none" }),
    });
    for (let count = 0; count < 25; count++) send(egress, "203.0.113.5");
    expect(egress.stats()).toMatchObject({ droppedNoSocket: 10, droppedRate: 15 });
    clock.advance(1000);
    for (let count = 0; count < 5; count++) send(egress, "203.0.113.5");
    expect(egress.stats()).toMatchObject({ droppedNoSocket: 15, droppedRate: 15 });
  });

  test("a descriptor that cannot be used is closed, and the log says so", () => {
    const descriptors: number[] = [];
    const { egress, logger } = makeEgress({
      openSocket: () => {
        const descriptor = openSync("/dev/null", "r");
        descriptors.push(descriptor);
        return { descriptor };
      },
    });
    send(egress, "203.0.113.5");
    expect(logger.lines).toMatchObject([{ level: "warn", fields: { error: { code: "ERR_INVALID_FD_TYPE" } } }]);
    expect(() => fstatSync(descriptors[0])).toThrow(/EBADF/);
    expect(egress.stats()).toMatchObject({ droppedNoSocket: 1, sockets: 0 });
  });
});
