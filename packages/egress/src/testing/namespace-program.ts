/** Runs flows through {@link Egress} in a namespace that network-namespace.test.ts has set up, and prints what came. */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { formatIpv4, type Ipv4, parseIpv4 } from "@hostd/stack";
import { FakeRequest } from "../../../streams/src/testing/fake-tcp.ts";
import { RecordingLogger } from "../../../streams/src/testing/recording-logger.ts";
import { Egress } from "../egress.ts";
import { FakeStack } from "./fake-stack.ts";

const PEER = "203.0.113.5";
const HOST_UNREACHABLE = "198.51.100.1";
const PROHIBITED = "198.51.100.17";
const BLACK_HOLE = "198.51.100.33";
const NO_ROUTE = "192.0.2.1";
const GUEST = parseIpv4("192.168.65.3");
const OTHER_GUEST = parseIpv4("192.168.65.4");

const stack = new FakeStack();
const logger = new RecordingLogger();
const egress = new Egress({
  stack,
  logger,
  hostAddress: parseIpv4("192.168.65.254"),
  ownAddresses: [parseIpv4("192.168.65.1"), parseIpv4("192.168.65.254")],
  network: { address: parseIpv4("192.168.65.0"), prefixLength: 24 },
});

async function tcp(): Promise<unknown> {
  const server = createServer((socket) => socket.end("welcome"));
  server.on("connection", (socket) => socket.resume());
  server.listen(0, "0.0.0.0");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const request = (address: string, destinationPort = port): FakeRequest => {
    const made = new FakeRequest(parseIpv4(address), destinationPort);
    egress.tcpRequest(made);
    return made;
  };
  const blackHole = request(BLACK_HOLE);
  const flow = await request(PEER).flow();
  await flow.until(() => flow.shutdownCalled);
  flow.end();
  await flow.closed();
  const result = {
    peer: flow.received.toString(),
    closed: await request(PEER, 1).rejection(),
    hostUnreachable: await request(HOST_UNREACHABLE).rejection(),
    prohibited: await request(PROHIBITED).rejection(),
    noRoute: await request(NO_ROUTE).rejection(),
    blackHoleAnswered: blackHole.answered,
    pending: egress.stats().tcp.pending,
  };
  blackHole.cancel();
  server.close();
  return { ...result, pendingAfterCancel: egress.stats().tcp.pending };
}

async function udp(): Promise<unknown> {
  const server = createSocket("udp4");
  server.bind(0, "0.0.0.0");
  await once(server, "listening");
  const sources = new Set<string>();
  server.on("message", (payload, source) => {
    sources.add(`${source.address}:${source.port}`);
    server.send(payload, source.port, source.address);
  });
  const send = (address: string, destinationPort = server.address().port): void =>
    egress.udpDatagram({
      source: GUEST,
      sourcePort: 40000,
      destination: parseIpv4(address),
      destinationPort,
      ttl: 64,
      bytes: Buffer.from("hello"),
      offset: 0,
      length: 5,
    });
  send(PEER);
  const [{ source, payload }] = await stack.datagrams.take(1);
  const errors: unknown[] = [];
  for (const [address, port] of [[PEER, 1], [HOST_UNREACHABLE], [PROHIBITED], [NO_ROUTE]] as [string, number?][]) {
    send(address, port);
    const { code, from, flow } = (await stack.udpErrors.take(errors.length + 1))[errors.length];
    errors.push({ code, from: from && formatIpv4(from), about: formatIpv4(flow.destination) });
  }
  send(PEER);
  await stack.datagrams.take(2);
  server.close();
  return { source: formatIpv4(source), payload: payload.toString(), errors, hostPorts: sources.size };
}

async function icmp(): Promise<unknown> {
  const send = (address: string, sequence: number, data: Buffer, source: Ipv4 = GUEST): void => {
    const destination = parseIpv4(address);
    const { length } = data;
    egress.echoRequest({ source, destination, identifier: 7, sequence, ttl: 64, bytes: data, offset: 0, length });
  };
  const lengths = [0, 1, 56, 1472, 1473, 65507];
  for (const [sequence, length] of lengths.entries()) {
    send(PEER, sequence, Buffer.alloc(length, "abc"));
    await stack.replies.take(sequence + 1);
  }
  const replies = stack.replies.events.map(({ source, destination, identifier, sequence, data }) => ({
    source: formatIpv4(source),
    destination: formatIpv4(destination),
    identifier,
    sequence,
    length: data.length,
    intact: data.equals(Buffer.alloc(data.length, "abc")),
  }));
  send(PEER, 100, Buffer.from("first"), GUEST);
  send(PEER, 100, Buffer.from("other"), OTHER_GUEST);
  await stack.replies.take(lengths.length + 2);
  const guests = Object.fromEntries(
    stack.replies.events.slice(-2).map(({ destination, data }) => [formatIpv4(destination), data.toString()]),
  );
  const errors: unknown[] = [];
  for (const address of [HOST_UNREACHABLE, PROHIBITED, NO_ROUTE]) {
    send(address, 200, Buffer.alloc(8));
    const { code, from, request } = (await stack.echoErrors.take(errors.length + 1))[errors.length];
    errors.push({ code, from, about: formatIpv4(request.destination), sequence: request.sequence });
  }
  const flows = [...egress.echoFlows()].map((flow) => ({
    guest: `${formatIpv4(flow.guestAddress)} ${flow.guestPort}`,
    peer: formatIpv4(flow.peerAddress),
    bytes: [flow.bytesFromGuest, flow.bytesToGuest],
  }));
  const { sockets, opened } = egress.stats().icmp;
  const ended = [
    egress.endEchoFlow(OTHER_GUEST, 7),
    egress.endEchoFlow(OTHER_GUEST, 7),
    [...egress.echoFlows()].length,
  ];
  return { replies, guests, errors, flows, sockets, opened, ended };
}

const results = { tcp: await tcp(), udp: await udp(), icmp: await icmp() };
await egress.close();
console.log(JSON.stringify({ ...results, log: logger.lines }));
