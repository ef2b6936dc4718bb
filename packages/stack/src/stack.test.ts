import { describe, expect, test } from "vitest";
import { type Ipv4, type Mac, parseIpv4, parseMac } from "./address.ts";
import { concatenate, ethernet, type Ipv4Fields, icmp, ipv4, udp } from "./testing/frames.ts";
import { BROADCAST_MAC, GATEWAY, GUEST, GUEST_MAC, HOST, Lan, OUTSIDE, STACK_MAC } from "./testing/lan.ts";
import { pattern } from "./testing/random.ts";
import { Peer } from "./testing/trace.ts";

const OTHER_MAC = parseMac("52:54:00:00:00:03");

/** A datagram to an address outside, whose packet a test bends. */
function deliver(lan: Lan, fields: Partial<Ipv4Fields> = {}, trailer = new Uint8Array(0)): void {
  const payload = udp({
    source: fields.source ?? GUEST,
    sourcePort: 40000,
    destination: fields.destination ?? OUTSIDE,
    destinationPort: 9,
    payload: pattern(0, 26),
  });
  const packet = ipv4({ source: GUEST, destination: OUTSIDE, protocol: 17, payload, ...fields });
  lan.deliver(ethernet(STACK_MAC, GUEST_MAC, 0x0800, concatenate(packet, trailer)));
}

describe("an Ethernet frame", () => {
  const packet = ipv4({
    source: GUEST,
    destination: OUTSIDE,
    protocol: 17,
    payload: udp({
      source: GUEST,
      sourcePort: 1,
      destination: OUTSIDE,
      destinationPort: 2,
      payload: new Uint8Array(4),
    }),
  });

  test("shorter than its header is malformed", () => {
    const lan = new Lan();
    for (let length = 0; length < 14; length++) lan.deliver(new Uint8Array(length));
    expect(lan.stack.statistics).toMatchObject({ framesReceived: 14, bytesReceived: 91, dropMalformed: 14 });
  });

  test("for another station is dropped", () => {
    const lan = new Lan();
    lan.deliver(ethernet(OTHER_MAC, GUEST_MAC, 0x0800, packet));
    expect(lan.stack.statistics.dropUnhandled).toBe(1);
    expect(lan.datagrams.length).toBe(0);
  });

  test("from a group address is dropped", () => {
    const lan = new Lan();
    lan.deliver(ethernet(STACK_MAC, BROADCAST_MAC, 0x0800, packet));
    lan.deliver(ethernet(STACK_MAC, parseMac("01:00:5e:00:00:01"), 0x0800, packet));
    expect(lan.stack.statistics.dropUnhandled).toBe(2);
    expect(lan.datagrams.length).toBe(0);
  });

  test.each([0x86dd, 0x8100, 0x88cc, 0x0600, 46])("of EtherType %i is dropped", (etherType) => {
    const lan = new Lan();
    lan.deliver(ethernet(STACK_MAC, GUEST_MAC, etherType, packet));
    expect(lan.stack.statistics.dropUnhandled).toBe(1);
    expect(lan.datagrams.length).toBe(0);
  });

  test("for all with a packet for one host is dropped", () => {
    const lan = new Lan();
    lan.deliver(ethernet(BROADCAST_MAC, GUEST_MAC, 0x0800, packet));
    expect(lan.datagrams.length).toBe(0);
    expect(lan.stack.statistics.dropAddress).toBe(1);
  });
});

describe("an IPv4 header", () => {
  test.each<[string, Partial<Ipv4Fields>]>([
    ["another version", { version: 6 }],
    ["a header length below 20", { headerLength: 16 }],
    ["a header length past the packet", { headerLength: 60, totalLength: 54 }],
    ["a total length below its header's", { totalLength: 19 }],
    ["a total length past the frame", { totalLength: 55 }],
  ])("with %s is malformed", (_, fields) => {
    const lan = new Lan();
    deliver(lan, fields);
    expect(lan.stack.statistics).toMatchObject({ dropMalformed: 1, framesReceived: 1 });
    expect(lan.datagrams.length).toBe(0);
  });

  test("that is cut short is malformed", () => {
    const lan = new Lan();
    const packet = ipv4({ source: GUEST, destination: OUTSIDE, protocol: 17, payload: new Uint8Array(0) });
    for (let length = 0; length < 20; length++) {
      lan.deliver(ethernet(STACK_MAC, GUEST_MAC, 0x0800, packet.subarray(0, length)));
    }
    expect(lan.stack.statistics.dropMalformed).toBe(20);
  });

  test("with a wrong checksum is dropped", () => {
    const lan = new Lan();
    deliver(lan, { checksum: 0 });
    expect(lan.stack.statistics.dropChecksum).toBe(1);
    expect(lan.datagrams.length).toBe(0);
  });

  test("with options is read past them", () => {
    const lan = new Lan();
    for (const length of [4, 24, 40]) deliver(lan, { options: new Uint8Array(length).fill(1) });
    expect(lan.datagrams.map(({ payload }) => payload)).toEqual(Array(3).fill(pattern(0, 26)));
  });

  test("ends the packet where it says, whatever follows in the frame", () => {
    const lan = new Lan();
    deliver(lan, {}, new Uint8Array(100).fill(0xff));
    expect(lan.datagrams[0].payload).toEqual(pattern(0, 26));
  });
});

describe("the time to live", () => {
  test.each([0, 1])("of %i runs out at the gateway", (ttl) => {
    const lan = new Lan();
    deliver(lan, { ttl });
    const error = lan.nextOf("icmp");
    expect(error).toMatchObject({ type: 11, code: 0, sourceAddress: GATEWAY, destinationAddress: GUEST });
    expect(new DataView(error.data.buffer).getInt32(16)).toBe(OUTSIDE);
    expect(lan.stack.statistics.dropTtl).toBe(1);
    expect(lan.datagrams.length).toBe(0);
  });

  test("of 1 is enough for the addresses that are answered for", () => {
    const lan = new Lan();
    deliver(lan, { ttl: 1, destination: HOST });
    expect(lan.datagrams).toMatchObject([{ ttl: 1 }]);
    lan.deliverEcho(new Uint8Array(8), { ttl: 1 });
    expect(lan.nextOf("icmp")).toMatchObject({ type: 0 });
  });

  test("of 2 is enough for any, and told to the owner", () => {
    const lan = new Lan();
    deliver(lan, { ttl: 2 });
    expect(lan.datagrams).toMatchObject([{ ttl: 2 }]);
  });

  test("of 1 is enough for a broadcast", () => {
    const lan = new Lan();
    let seen = 0;
    lan.stack.udpListen(0, 9, () => seen++);
    deliver(lan, { ttl: 1, destination: -1 });
    deliver(lan, { ttl: 1, destination: parseIpv4("224.0.0.251") });
    expect(seen).toBe(2);
    lan.expectNothing();
  });
});

describe("a packet larger than the MTU", () => {
  test("that may not be fragmented is too big for the way out, and told so with the MTU", () => {
    const lan = new Lan({ mtu: 1400 });
    lan.deliverIpv4({
      destination: OUTSIDE,
      protocol: 17,
      dontFragment: true,
      payload: udp({
        source: GUEST,
        sourcePort: 1,
        destination: OUTSIDE,
        destinationPort: 2,
        payload: pattern(0, 1373),
      }),
    });
    expect(lan.nextOf("icmp")).toMatchObject({ type: 3, code: 4, rest: 1400, sourceAddress: GATEWAY });
    expect(lan.datagrams.length).toBe(0);
  });

  test("that may be fragmented, or fits, goes on", () => {
    const lan = new Lan({ mtu: 1400 });
    const fields = { source: GUEST, sourcePort: 1, destination: OUTSIDE, destinationPort: 2 };
    const larger = udp({ ...fields, payload: pattern(0, 1373) });
    lan.deliverIpv4({ destination: OUTSIDE, protocol: 17, payload: larger });
    const fitting = udp({ ...fields, payload: pattern(0, 1372) });
    lan.deliverIpv4({ destination: OUTSIDE, protocol: 17, payload: fitting, dontFragment: true });
    lan.expectNothing();
    expect(lan.datagrams.map(({ payload }) => payload.length)).toEqual([1373, 1372]);
  });

  test("for an address that is answered for is taken", () => {
    const lan = new Lan({ mtu: 1400 });
    lan.deliverEcho(pattern(0, 1400), { dontFragment: true });
    expect(lan.all().length).toBe(2);
  });
});

describe("a source address", () => {
  test.each([
    ["of this host", "0.1.2.3"],
    ["of loopback", "127.0.0.1"],
    ["of multicast", "224.0.0.1"],
    ["of class E", "240.0.0.1"],
    ["of every host", "255.255.255.255"],
    ["of every host of the network", "192.168.65.255"],
    ["of our own", "192.168.65.1"],
    ["that we stand for", "192.168.65.254"],
    ["of none", "0.0.0.0"],
  ])("%s is not believed", (_, text) => {
    const lan = new Lan();
    deliver(lan, { source: parseIpv4(text) });
    expect(lan.datagrams.length).toBe(0);
    expect(lan.stack.statistics.dropAddress).toBe(1);
    expect(lan.stack.neighbors.size).toBe(0);
    lan.expectNothing();
  });

  test("of none may ask us, by UDP, and nobody else", () => {
    const lan = new Lan();
    let asked = 0;
    lan.stack.udpListen(0, 9, () => asked++);
    deliver(lan, { source: 0, destination: -1 });
    deliver(lan, { source: 0, destination: GATEWAY });
    expect(asked).toBe(2);
    deliver(lan, { source: 0, destination: OUTSIDE });
    expect(asked).toBe(2);
    lan.deliverIpv4({ source: 0, destination: GATEWAY, protocol: 1, payload: icmp(8, 0, 1, new Uint8Array(8)) });
    new Peer(lan, { address: 0, stackAddress: GATEWAY }).send({ flags: "S" });
    lan.expectNothing();
    expect(lan.stack.statistics.dropAddress).toBe(3);
  });

  test("of a network behind the guest is believed, and answered by way of the MAC it came from", () => {
    const lan = new Lan();
    const container = parseIpv4("172.17.0.2");
    lan.deliverEcho(new Uint8Array(8), { source: container });
    expect(lan.nextOf("icmp")).toMatchObject({ destination: GUEST_MAC, destinationAddress: container });
    const peer = new Peer(lan, { address: container }).established();
    peer.write(1, 10);
    expect(peer.expect({ flags: "PA", data: 10 }).destination).toEqual(GUEST_MAC);
  });

  test("is asked about with its MAC when the owner wants to, once a second while it stays the same", () => {
    const asked: [Ipv4, number, number][] = [];
    const lan = new Lan({
      acceptsSource: (source, high, low) => {
        asked.push([source, high, low]);
        return source === GUEST;
      },
    });
    deliver(lan);
    deliver(lan);
    deliver(lan, { source: GUEST + 1 });
    expect(asked).toEqual([
      [GUEST, 0x5254, 2],
      [GUEST + 1, 0x5254, 2],
    ]);
    expect(lan.datagrams.length).toBe(2);
    expect(lan.stack.statistics.dropAddress).toBe(1);
    lan.advance(1000);
    deliver(lan);
    expect(asked.length).toBe(3);
  });

  test("that was accepted a moment ago from one MAC is not from another", () => {
    const lan = new Lan();
    deliver(lan);
    const from = (mac: Mac) => {
      const payload = udp({
        source: GUEST,
        sourcePort: 1,
        destination: OUTSIDE,
        destinationPort: 2,
        payload: new Uint8Array(1),
      });
      lan.deliver(
        ethernet(STACK_MAC, mac, 0x0800, ipv4({ source: GUEST, destination: OUTSIDE, protocol: 17, payload })),
      );
    };
    from(OTHER_MAC);
    expect(lan.datagrams.length).toBe(1);
    from(GUEST_MAC);
    expect(lan.datagrams.length).toBe(2);
  });

  test("is told to handlers with the MAC it came from", () => {
    const lan = new Lan();
    const seen: Mac[] = [];
    lan.stack.udpListen(0, 9, () => seen.push(lan.stack.frameSource));
    deliver(lan);
    deliver(lan, { source: 0, destination: -1 });
    expect(seen).toEqual([GUEST_MAC, GUEST_MAC]);
  });
});

describe("the stack's own addresses", () => {
  test("may come later, by lease", () => {
    const lan = new Lan({ addresses: [], proxiedAddresses: [] });
    expect(lan.stack.address).toBe(0);
    expect(lan.stack.answersFor(GATEWAY)).toBe(false);
    const network = { address: parseIpv4("10.9.0.0"), prefixLength: 16 };
    const address = parseIpv4("10.9.0.5");
    lan.stack.configure(address, network, parseIpv4("10.9.0.1"));
    expect(lan.stack.address).toBe(address);
    expect(lan.stack.answersFor(address)).toBe(true);
    lan.hosts.set(parseIpv4("10.9.0.1"), GUEST_MAC);
    lan.stack.udpSend(address, 1, OUTSIDE, 2, new Uint8Array(1), 0, 1);
    expect(lan.nextOf("udp")).toMatchObject({ destination: GUEST_MAC, sourceAddress: address });
    deliver(lan, { source: parseIpv4("10.9.255.255") });
    expect(lan.datagrams.length).toBe(0);
  });

  test("are not believed of others from the moment on that they are taken", () => {
    const lan = new Lan();
    deliver(lan);
    lan.stack.configure(GUEST, { address: parseIpv4("192.168.65.0"), prefixLength: 24 }, null);
    deliver(lan);
    expect(lan.datagrams.length).toBe(1);
    expect(lan.stack.statistics.dropAddress).toBe(1);
  });
});

describe("time", () => {
  test("is asked for at the latest when old neighbours are looked for", () => {
    const lan = new Lan();
    expect(lan.stack.nextDeadline).toBe(lan.now + 60_000);
    lan.advance(60_000);
    expect(lan.stack.nextDeadline).toBe(lan.now + 60_000);
  });

  test("may pass in one long step: everything that was due is done, and nothing is left due", () => {
    const lan = new Lan();
    const peer = new Peer(lan).established();
    peer.write(1, 100);
    peer.send({ flags: "A", seq: 1, ack: 1, data: 1 });
    deliver(lan, { moreFragments: true });
    lan.now += 10_000_000;
    lan.stack.poll();
    lan.flush();
    expect(lan.stack.nextDeadline).toBeGreaterThan(lan.now);
    expect(lan.stack.statistics.dropFragment).toBe(1);
  });
});

test("frames that are received and dropped are each in one counter", () => {
  const lan = new Lan();
  lan.deliver(new Uint8Array(5));
  lan.deliver(ethernet(OTHER_MAC, GUEST_MAC, 0x0800, new Uint8Array(20)));
  lan.deliver(ethernet(STACK_MAC, GUEST_MAC, 0x0806, new Uint8Array(28)));
  deliver(lan, { checksum: 1 });
  deliver(lan, { totalLength: 1000 });
  deliver(lan, { source: GATEWAY });
  deliver(lan, { ttl: 1 });
  deliver(lan, { destination: GATEWAY });
  deliver(lan, { protocol: 99 });
  deliver(lan, { payload: new Uint8Array(3) });
  deliver(lan, { moreFragments: true, payload: new Uint8Array(3) });
  deliver(lan, { destination: parseIpv4("224.0.0.1") });
  const { statistics } = lan.stack;
  const drops = Object.entries(statistics).filter(([name]) => name.startsWith("drop"));
  expect(drops.reduce((sum, [, count]) => sum + count, 0)).toBe(statistics.framesReceived);
  expect(statistics.framesReceived).toBe(12);
});
