import { parseIpv4 } from "@hostd/stack";
import { expect, test } from "vitest";
import { FakeClock } from "../../streams/src/testing/fake-clock.ts";
import { FakeRequest } from "../../streams/src/testing/fake-tcp.ts";
import { HostServer } from "../../streams/src/testing/host-server.ts";
import { RecordingLogger } from "../../streams/src/testing/recording-logger.ts";
import { Egress } from "./egress.ts";
import { FakeStack } from "./testing/fake-stack.ts";

const HOST = parseIpv4("192.168.65.254");
const GUEST = parseIpv4("192.168.65.3");

function makeEgress() {
  const clock = new FakeClock();
  let socketsAsked = 0;
  const egress = new Egress({
    stack: new FakeStack(),
    clock,
    logger: new RecordingLogger(),
    hostAddress: HOST,
    ownAddresses: [parseIpv4("192.168.65.1"), HOST],
    network: { address: parseIpv4("192.168.65.0"), prefixLength: 24 },
    maxMappings: 1,
    openSocket: () => {
      socketsAsked++;
      return { descriptor: null, code: null, reason: "none here" };
    },
  });
  const bytes = new Uint8Array(8);
  const udp = (sourcePort: number): void =>
    egress.udpDatagram({
      source: GUEST,
      sourcePort,
      destination: HOST,
      destinationPort: 9,
      ttl: 64,
      bytes,
      offset: 0,
      length: 8,
    });
  const echo = (): void => {
    const destination = parseIpv4("203.0.113.5");
    egress.echoRequest({
      source: GUEST,
      destination,
      identifier: 1,
      sequence: 1,
      ttl: 64,
      bytes,
      offset: 0,
      length: 8,
    });
  };
  return { egress, clock, udp, echo, asked: () => socketsAsked };
}

test("each protocol has its own limits and counters", async () => {
  const { egress, udp, echo } = makeEgress();
  const server = await HostServer.listen();
  const request = new FakeRequest(HOST, server.port);
  egress.tcpRequest(request);
  const flow = await request.flow();
  flow.segment(Buffer.from("x"));
  egress.flushBatch();
  udp(1);
  udp(2);
  echo();
  expect(flow.consumedBytes).toBe(1);
  expect(egress.stats()).toMatchObject({
    tcp: { connected: 1, open: 1 },
    udp: { sent: 2, mappings: 1, evicted: 1 },
    icmp: { droppedNoSocket: 1, sockets: 0 },
  });
  await egress.close();
  await server.close();
});

test("after close nothing goes out, and no timer or socket is left", async () => {
  const { egress, clock, udp, echo, asked } = makeEgress();
  udp(1);
  await egress.close();
  udp(2);
  echo();
  const request = new FakeRequest(HOST, 9);
  egress.tcpRequest(request);
  expect(await request.rejection()).toBe("silent");
  expect(asked()).toBe(0);
  expect(clock.timers).toBe(0);
  expect(egress.stats()).toMatchObject({ tcp: { open: 0, pending: 0 }, udp: { mappings: 0, siblings: 0, sent: 1 } });
});
