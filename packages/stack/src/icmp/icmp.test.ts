import { describe, expect, test } from "vitest";
import { parseIpv4 } from "../address.ts";
import { ethernet, icmp, ipv4, type ParsedFragment, reassemble, udp } from "../testing/frames.ts";
import { BROADCAST_MAC, GATEWAY, GUEST, GUEST_MAC, HOST, Lan, OUTSIDE, STACK_MAC } from "../testing/lan.ts";
import { pattern } from "../testing/random.ts";

/** Delivers an ICMP message in fragments of 1480 bytes where it is larger. */
function deliverMessage(lan: Lan, message: Uint8Array): void {
  for (let at = 0; at < message.length; at += 1480) {
    const payload = message.slice(at, at + 1480);
    lan.deliverIpv4({ protocol: 1, payload, fragmentOffset: at, moreFragments: at + 1480 < message.length });
  }
}

describe("an echo request", () => {
  test.each([0, 1, 56, 1471, 1472, 1473, 60_000, 65_507])("of %i bytes to the own address is answered", (length) => {
    const lan = new Lan();
    deliverMessage(lan, icmp(8, 0, 0x12345678, pattern(0, length)));
    const frames = lan.all();
    expect(frames.length).toBe(length <= 1472 ? 1 : Math.ceil((length + 8) / 1480));
    const [first] = frames;
    const answer = first.kind === "icmp" ? first : reassemble(frames.filter((each) => each.kind === "fragment"));
    expect(answer).toMatchObject({
      kind: "icmp",
      type: 0,
      code: 0,
      rest: 0x12345678,
      sourceAddress: GATEWAY,
      destinationAddress: GUEST,
      ttl: 64,
    });
    expect(answer.kind === "icmp" && answer.data).toEqual(pattern(0, length));
    expect(lan.stack.statistics).toMatchObject({ icmpReceived: 1, icmpSent: 1 });
  });

  test("to the proxied address is answered from it", () => {
    const lan = new Lan();
    lan.deliverEcho(pattern(0, 56), { destination: HOST });
    expect(lan.nextOf("icmp")).toMatchObject({ type: 0, sourceAddress: HOST, data: pattern(0, 56) });
    expect(lan.echoes.length).toBe(0);
  });

  test("to any other address goes to the owner, who may answer", () => {
    const lan = new Lan();
    lan.deliverEcho(pattern(0, 56), { destination: OUTSIDE, ttl: 17 });
    lan.expectNothing();
    expect(lan.echoes).toEqual([
      { source: GUEST, destination: OUTSIDE, identifier: 7, sequence: 1, ttl: 17, payload: pattern(0, 56) },
    ]);
    lan.stack.echoReply(OUTSIDE, GUEST, 7, 1, pattern(0, 60), 4, 56, 50);
    expect(lan.nextOf("icmp")).toMatchObject({
      type: 0,
      rest: 0x00070001,
      sourceAddress: OUTSIDE,
      ttl: 50,
      data: pattern(4, 56),
    });
  });

  test("that fails in the end is answered with an error that quotes it", () => {
    const lan = new Lan();
    lan.announce();
    lan.stack.echoUnreachable(1, { source: GUEST, destination: OUTSIDE, identifier: 0xfff7, sequence: 3 }, null);
    const error = lan.nextOf("icmp");
    expect(error).toMatchObject({ type: 3, code: 1, sourceAddress: GATEWAY, destinationAddress: GUEST });
    const quoted = new DataView(error.data.buffer);
    expect(quoted.getUint8(9)).toBe(1);
    expect(quoted.getInt32(12)).toBe(GUEST);
    expect(quoted.getInt32(16)).toBe(OUTSIDE);
    expect([...error.data.slice(20)]).toEqual([8, 0, 0, 0, 0xff, 0xf7, 0, 3]);
  });

  test("of ours is answered by the guest, and the answer handed over", () => {
    const lan = new Lan();
    lan.stack.sendEchoRequest(GUEST, 0xabcd, 0xef01, pattern(0, 20), 3);
    expect(lan.nextOf("icmp")).toMatchObject({ type: 8, rest: 0xabcdef01 | 0, sourceAddress: GATEWAY, ttl: 3 });
    lan.deliverIpv4({ protocol: 1, payload: icmp(0, 0, 0xabcdef01 | 0, pattern(0, 20)) });
    expect(lan.echoReplies).toEqual([
      { source: GUEST, destination: GATEWAY, identifier: 0xabcd, sequence: 0xef01, ttl: 64, payload: pattern(0, 20) },
    ]);
  });

  test("to a broadcast or multicast address is not answered", () => {
    const lan = new Lan();
    for (const destination of [-1, parseIpv4("192.168.65.255"), parseIpv4("224.0.0.1")]) {
      const payload = icmp(8, 0, 1, new Uint8Array(8));
      const packet = ipv4({ source: GUEST, destination, protocol: 1, payload });
      lan.deliver(ethernet(BROADCAST_MAC, GUEST_MAC, 0x0800, packet));
    }
    lan.expectNothing();
    expect(lan.echoes.length).toBe(0);
    expect(lan.stack.statistics.dropAddress).toBe(3);
  });
});

describe("a message that is dropped and counted", () => {
  test("too short, or with a wrong checksum", () => {
    const lan = new Lan();
    lan.deliverIpv4({ protocol: 1, payload: new Uint8Array(7) });
    lan.deliverIpv4({ protocol: 1, payload: new Uint8Array(0) });
    expect(lan.stack.statistics.dropMalformed).toBe(2);
    lan.deliverIpv4({ protocol: 1, payload: icmp(8, 0, 1, new Uint8Array(8), 0x1234) });
    lan.deliverIpv4({ protocol: 1, payload: new Uint8Array(8) });
    expect(lan.stack.statistics.dropChecksum).toBe(2);
    lan.expectNothing();
  });

  test.each([4, 5, 9, 10, 11, 12, 13, 17, 255])("of type %i", (type) => {
    const lan = new Lan();
    lan.deliverIpv4({ protocol: 1, payload: icmp(type, 0, 0, new Uint8Array(28)) });
    lan.expectNothing();
    expect(lan.stack.statistics.dropUnhandled).toBe(1);
  });
});

describe("destination unreachable from the guest", () => {
  const segment = udp({
    source: GATEWAY,
    sourcePort: 53,
    destination: GUEST,
    destinationPort: 40000,
    payload: new Uint8Array(0),
  });
  const quote = ipv4({ source: GATEWAY, destination: GUEST, protocol: 17, payload: segment });

  test("about a datagram of ours is handed over by its addresses and ports", () => {
    const lan = new Lan();
    lan.deliverIpv4({ protocol: 1, payload: icmp(3, 3, 0, quote) });
    expect(lan.unreachables).toMatchObject([
      { code: 3, source: GATEWAY, sourcePort: 53, destination: GUEST, destinationPort: 40000 },
    ]);
    const withOptions = ipv4({
      source: GATEWAY,
      destination: GUEST,
      protocol: 17,
      payload: segment,
      options: new Uint8Array(8).fill(1),
    });
    lan.deliverIpv4({ protocol: 1, payload: icmp(3, 3, 0, withOptions) });
    expect(lan.unreachables.length).toBe(2);
    expect(lan.unreachables[1]).toMatchObject({ sourcePort: 53, destinationPort: 40000 });
  });

  test.each([
    ["nothing", quote.slice(0, 0)],
    ["part of a header", quote.slice(0, 19)],
    ["a header and seven bytes", quote.slice(0, 27)],
    ["another version", Uint8Array.from(quote, (byte, index) => (index === 0 ? 0x65 : byte))],
    ["an impossible header length", Uint8Array.from(quote, (byte, index) => (index === 0 ? 0x44 : byte))],
    ["a header length past its end", Uint8Array.from(quote, (byte, index) => (index === 0 ? 0x4f : byte))],
  ])("that quotes %s is malformed", (_, quoted) => {
    const lan = new Lan();
    lan.deliverIpv4({ protocol: 1, payload: icmp(3, 3, 0, quoted) });
    expect(lan.unreachables.length).toBe(0);
    expect(lan.stack.statistics.dropMalformed).toBe(1);
  });

  test("about another protocol is dropped", () => {
    const lan = new Lan();
    const other = ipv4({ source: GATEWAY, destination: GUEST, protocol: 1, payload: segment });
    lan.deliverIpv4({ protocol: 1, payload: icmp(3, 3, 0, other) });
    expect(lan.stack.statistics.dropUnhandled).toBe(1);
  });
});

describe("an error", () => {
  test("quotes the packet from its header on, up to 576 bytes in all", () => {
    const lan = new Lan();
    for (const length of [0, 10, 519, 520, 521, 1400]) {
      const payload = udp({
        source: GUEST,
        sourcePort: 40000,
        destination: GATEWAY,
        destinationPort: 9,
        payload: pattern(0, length),
      });
      const packet = ipv4({ source: GUEST, destination: GATEWAY, protocol: 17, payload });
      lan.deliver(ethernet(STACK_MAC, GUEST_MAC, 0x0800, packet));
      const error = lan.nextOf("icmp");
      expect(error).toMatchObject({ type: 3, code: 3, rest: 0, sourceAddress: GATEWAY, destinationAddress: GUEST });
      expect(error.data).toEqual(packet.slice(0, 548));
    }
  });

  test("quotes options too", () => {
    const lan = new Lan();
    const payload = udp({
      source: GUEST,
      sourcePort: 40000,
      destination: GATEWAY,
      destinationPort: 9,
      payload: pattern(0, 10),
    });
    const options = new Uint8Array(12).fill(1);
    const packet = ipv4({ source: GUEST, destination: GATEWAY, protocol: 17, payload, options });
    lan.deliver(ethernet(STACK_MAC, GUEST_MAC, 0x0800, packet));
    expect(lan.nextOf("icmp").data).toEqual(packet);
  });

  test("without the padding of the frame", () => {
    const lan = new Lan();
    const payload = udp({
      source: GUEST,
      sourcePort: 40000,
      destination: GATEWAY,
      destinationPort: 9,
      payload: pattern(0, 2),
    });
    const packet = ipv4({ source: GUEST, destination: GATEWAY, protocol: 17, payload });
    const padded = new Uint8Array(46);
    padded.set(packet);
    lan.deliver(ethernet(STACK_MAC, GUEST_MAC, 0x0800, padded));
    expect(lan.nextOf("icmp").data).toEqual(packet);
  });

  test("says that a protocol is not spoken here, for the addresses that are answered for", () => {
    const lan = new Lan();
    lan.deliverIpv4({ destination: GATEWAY, protocol: 132, payload: new Uint8Array(8) });
    expect(lan.nextOf("icmp")).toMatchObject({ type: 3, code: 2, sourceAddress: GATEWAY });
    lan.deliverIpv4({ destination: HOST, protocol: 132, payload: new Uint8Array(8) });
    expect(lan.nextOf("icmp")).toMatchObject({ type: 3, code: 2, sourceAddress: HOST });
    lan.deliverIpv4({ destination: OUTSIDE, protocol: 132, payload: new Uint8Array(8) });
    lan.expectNothing();
    expect(lan.stack.statistics.dropUnhandled).toBe(3);
  });

  test("is not sent about an error", () => {
    const lan = new Lan();
    for (const type of [3, 4, 5, 11, 12]) {
      lan.deliverIpv4({
        destination: OUTSIDE,
        ttl: 1,
        protocol: 1,
        payload: icmp(type, 0, 0, new Uint8Array(28)),
      });
    }
    lan.expectNothing();
    expect(lan.stack.statistics.dropTtl).toBe(5);
    lan.deliverEcho(new Uint8Array(8), { destination: OUTSIDE, ttl: 1 });
    expect(lan.nextOf("icmp")).toMatchObject({ type: 11, code: 0 });
  });

  test("is not sent about an ICMP packet without a type", () => {
    const lan = new Lan();
    const packet = ipv4({ source: GUEST, destination: OUTSIDE, ttl: 1, protocol: 1, payload: new Uint8Array(0) });
    // What follows in the frame is no part of the packet, though it looks like an echo request.
    const padded = new Uint8Array(46).fill(8);
    padded.set(packet);
    lan.deliver(ethernet(STACK_MAC, GUEST_MAC, 0x0800, padded));
    lan.expectNothing();
    expect(lan.stack.statistics.dropTtl).toBe(1);
  });

  test("is not sent about a datagram to all or to many, nor to a host without an address", () => {
    const lan = new Lan();
    const datagram = (source: number, destination: number) => {
      const payload = udp({
        source,
        sourcePort: 68,
        destination,
        destinationPort: 9,
        payload: new Uint8Array(0),
      });
      lan.deliver(
        ethernet(BROADCAST_MAC, GUEST_MAC, 0x0800, ipv4({ source, destination, protocol: 17, payload, ttl: 1 })),
      );
    };
    datagram(GUEST, -1);
    datagram(GUEST, parseIpv4("192.168.65.255"));
    datagram(GUEST, parseIpv4("239.1.1.1"));
    datagram(0, -1);
    datagram(0, GATEWAY);
    // A packet for one host, in a frame for all.
    datagram(GUEST, GATEWAY);
    datagram(GUEST, OUTSIDE);
    const toOwn = udp({
      source: 0,
      sourcePort: 68,
      destination: GATEWAY,
      destinationPort: 9,
      payload: new Uint8Array(0),
    });
    const packet = ipv4({ source: 0, destination: GATEWAY, protocol: 17, payload: toOwn });
    lan.deliver(ethernet(STACK_MAC, GUEST_MAC, 0x0800, packet));
    lan.expectNothing();
  });

  test("is not sent about a fragment that is not the first", () => {
    const lan = new Lan();
    lan.deliverIpv4({ destination: HOST, protocol: 17, payload: new Uint8Array(80), fragmentOffset: 800 });
    lan.advance(30_000);
    lan.expectNothing();
  });

  test("is sent two hundred times at once, and then as often a second", () => {
    const lan = new Lan();
    for (let count = 0; count < 500; count++) lan.deliverUdp({ port: 9 });
    expect(lan.all().length).toBe(200);
    lan.advance(100);
    for (let count = 0; count < 500; count++) lan.deliverUdp({ port: 9 });
    expect(lan.all().length).toBe(20);
    expect(lan.stack.statistics.dropRateLimit).toBe(780);
  });

  test("comes from the address that the caller names", () => {
    const lan = new Lan();
    lan.announce();
    const flow = { source: GUEST, sourcePort: 50_000, destination: OUTSIDE, destinationPort: 123 };
    lan.stack.udpUnreachable(3, flow, OUTSIDE);
    const error = lan.nextOf("icmp");
    expect(error).toMatchObject({ type: 3, code: 3, sourceAddress: OUTSIDE });
    expect([...error.data.slice(20)]).toEqual([0xc3, 0x50, 0, 123, 0, 8, 0, 0]);
    lan.stack.udpUnreachable(1, flow, null);
    expect(lan.nextOf("icmp")).toMatchObject({ type: 3, code: 1, sourceAddress: GATEWAY });
  });
});

test("fragments of an answer are one datagram each", () => {
  const lan = new Lan();
  deliverMessage(lan, icmp(8, 0, 1, pattern(0, 3000)));
  deliverMessage(lan, icmp(8, 0, 2, pattern(0, 3000)));
  const parts = lan.all() as ParsedFragment[];
  const identifications = new Set(parts.map((part) => part.identification));
  expect(identifications.size).toBe(2);
});
