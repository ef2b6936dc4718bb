import { describe, expect, test } from "vitest";
import { formatMac, type Ipv4, type Mac, parseIpv4, parseMac } from "../address.ts";
import { arp, ethernet, icmp, ipv4 } from "../testing/frames.ts";
import { BROADCAST_MAC, GATEWAY, GUEST, GUEST_MAC, HOST, Lan, OUTSIDE, STACK_MAC } from "../testing/lan.ts";
import { Peer } from "../testing/trace.ts";

const OTHER = parseIpv4("192.168.65.3");
const OTHER_MAC = parseMac("52:54:00:00:00:03");

/** A link on which nobody answers ARP unless the test does. */
function quietLan(): Lan {
  const lan = new Lan();
  lan.hosts.clear();
  return lan;
}

function request(
  lan: Lan,
  target: Ipv4,
  sender: Ipv4 = GUEST,
  mac: Mac = GUEST_MAC,
  destination = BROADCAST_MAC,
): void {
  const packet = arp({ operation: 1, senderMac: mac, senderAddress: sender, targetAddress: target });
  lan.deliver(ethernet(destination, mac, 0x0806, packet));
}

function reply(lan: Lan, sender: Ipv4 = GUEST, mac: Mac = GUEST_MAC): void {
  const packet = arp({
    operation: 2,
    senderMac: mac,
    senderAddress: sender,
    targetMac: STACK_MAC,
    targetAddress: GATEWAY,
  });
  lan.deliver(ethernet(STACK_MAC, mac, 0x0806, packet));
}

/** Sends a datagram into the guest's network and returns nothing: what leaves is for the test to see. */
function send(lan: Lan, destination: Ipv4 = GUEST, mark = 0): void {
  lan.stack.udpSend(GATEWAY, 53, destination, 5353, Uint8Array.of(mark), 0, 1);
}

/** An echo request from an address at a MAC: what shows its sender by a plain packet. */
function ping(lan: Lan, source: Ipv4, mac: Mac): void {
  const payload = icmp(8, 0, 0x00010001, new Uint8Array(8));
  lan.deliver(ethernet(STACK_MAC, mac, 0x0800, ipv4({ source, destination: GATEWAY, protocol: 1, payload })));
}

function macOf(lan: Lan, address: Ipv4): string | null {
  const neighbor = lan.stack.neighbors.find(address);
  if (neighbor === null || !neighbor.resolved) return null;
  const bytes = new Uint8Array(6);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, neighbor.macHigh);
  view.setInt32(2, neighbor.macLow);
  return formatMac(bytes);
}

describe("an ARP request", () => {
  test.each([
    ["the own address", GATEWAY],
    ["the proxied address", HOST],
  ])("for %s is answered to its sender", (_, target) => {
    const lan = quietLan();
    request(lan, target);
    const answer = lan.nextOf("arp");
    expect(answer).toEqual({
      kind: "arp",
      destination: GUEST_MAC,
      source: STACK_MAC,
      operation: 2,
      senderMac: STACK_MAC,
      senderAddress: target,
      targetMac: GUEST_MAC,
      targetAddress: GUEST,
    });
    lan.expectNothing();
  });

  test("for any other address is not answered", () => {
    const lan = quietLan();
    for (const target of [GUEST, OTHER, OUTSIDE, 0, -1, parseIpv4("192.168.65.255")]) request(lan, target);
    lan.expectNothing();
  });

  test("from address 0, a probe, is answered but not learned", () => {
    const lan = quietLan();
    request(lan, GATEWAY, 0);
    expect(lan.nextOf("arp")).toMatchObject({ operation: 2, targetAddress: 0, destination: GUEST_MAC });
    expect(lan.stack.neighbors.size).toBe(0);
  });

  test("sent to our MAC alone is answered too", () => {
    const lan = quietLan();
    request(lan, GATEWAY, GUEST, GUEST_MAC, STACK_MAC);
    expect(lan.nextOf("arp")).toMatchObject({ operation: 2 });
  });

  test("that announces one of our addresses is neither answered nor learned", () => {
    const lan = quietLan();
    request(lan, GATEWAY, GATEWAY);
    request(lan, OTHER, HOST);
    reply(lan, GATEWAY);
    lan.expectNothing();
    expect(lan.stack.neighbors.size).toBe(0);
  });

  test("with padding after it is read", () => {
    const lan = quietLan();
    const packet = arp({ operation: 1, senderMac: GUEST_MAC, senderAddress: GUEST, targetAddress: GATEWAY });
    const padded = new Uint8Array(46);
    padded.set(packet);
    lan.deliver(ethernet(BROADCAST_MAC, GUEST_MAC, 0x0806, padded));
    expect(lan.nextOf("arp")).toMatchObject({ operation: 2 });
  });
});

describe("a malformed ARP packet", () => {
  const good = arp({ operation: 1, senderMac: GUEST_MAC, senderAddress: GUEST, targetAddress: GATEWAY });

  test.each([
    ["cut short", good.subarray(0, 27)],
    ["empty", good.subarray(0, 0)],
    ["of other hardware", Uint8Array.from(good, (byte, index) => (index === 1 ? 6 : byte))],
    ["of another protocol", Uint8Array.from(good, (byte, index) => (index === 2 ? 0x86 : byte))],
    ["of another hardware length", Uint8Array.from(good, (byte, index) => (index === 4 ? 8 : byte))],
    ["of another protocol length", Uint8Array.from(good, (byte, index) => (index === 5 ? 16 : byte))],
    ["of another operation", Uint8Array.from(good, (byte, index) => (index === 7 ? 3 : byte))],
    ["from a group MAC", Uint8Array.from(good, (byte, index) => (index === 8 ? 0x53 : byte))],
  ])("%s is counted and dropped", (_, packet) => {
    const lan = quietLan();
    lan.deliver(ethernet(BROADCAST_MAC, GUEST_MAC, 0x0806, packet));
    lan.expectNothing();
    expect(lan.stack.statistics.dropMalformed).toBe(1);
    expect(lan.stack.neighbors.size).toBe(0);
  });
});

describe("sending to an address whose MAC is not known", () => {
  test("asks for it, keeps the frames, and sends them in order once it is known", () => {
    const lan = quietLan();
    for (let mark = 0; mark < 5; mark++) send(lan, GUEST, mark);
    expect(lan.nextOf("arp")).toEqual({
      kind: "arp",
      destination: BROADCAST_MAC,
      source: STACK_MAC,
      operation: 1,
      senderMac: STACK_MAC,
      senderAddress: GATEWAY,
      targetMac: new Uint8Array(6),
      targetAddress: GUEST,
    });
    lan.expectNothing();
    reply(lan);
    for (let mark = 0; mark < 5; mark++) {
      const datagram = lan.nextOf("udp");
      expect(datagram.destination).toEqual(GUEST_MAC);
      expect(datagram.payload).toEqual(Uint8Array.of(mark));
    }
    lan.expectNothing();
    send(lan, GUEST, 9);
    expect(lan.nextOf("udp").payload).toEqual(Uint8Array.of(9));
  });

  test("keeps the newest 96 KiB of frames", () => {
    const lan = quietLan();
    const bytes = new Uint8Array(1400);
    for (let mark = 0; mark < 100; mark++) {
      bytes[0] = mark;
      lan.stack.udpSend(GATEWAY, 53, GUEST, 5353, bytes, 0, 1400);
    }
    lan.nextOf("arp");
    reply(lan);
    const kept = Math.floor((96 * 1024) / 1442);
    expect(lan.all().map((frame) => frame.kind === "udp" && frame.payload[0])).toEqual(
      Array.from({ length: kept }, (_, index) => 100 - kept + index),
    );
    expect(lan.stack.statistics.dropLinkFull).toBe(100 - kept);
  });

  test("keeps at most 4 MiB for all neighbours together, and has room again once they are gone", () => {
    const lan = quietLan();
    const sendToAll = () => {
      for (let host = 10; host < 110; host++) {
        lan.stack.udpSend(GATEWAY, 53, parseIpv4(`192.168.65.${host}`), 5353, new Uint8Array(65_000), 0, 65_000);
      }
    };
    sendToAll();
    const { dropLinkFull } = lan.stack.statistics;
    expect(dropLinkFull * 1514).toBeGreaterThan(100 * 65_000 - 4 * 1024 * 1024);
    lan.advance(6000);
    lan.all();
    sendToAll();
    expect(lan.stack.statistics.dropLinkFull).toBe(2 * dropLinkFull);
    for (let host = 10; host < 110; host++) reply(lan, parseIpv4(`192.168.65.${host}`), OTHER_MAC);
    const bytes = lan
      .all()
      .reduce((sum, frame) => sum + (frame.kind === "fragment" ? frame.ipPayload.length + 34 : 0), 0);
    expect(bytes).toBeGreaterThan(4 * 1024 * 1024 - 2000);
    expect(bytes).toBeLessThanOrEqual(4 * 1024 * 1024);
    send(lan, parseIpv4("192.168.65.200"));
    lan.nextOf("arp");
    reply(lan, parseIpv4("192.168.65.200"), OTHER_MAC);
    lan.nextOf("udp");
  });

  test("asks three times, a second apart, then drops what waited and lets it rest", () => {
    const lan = quietLan();
    send(lan);
    lan.nextOf("arp");
    for (let request = 2; request <= 3; request++) {
      lan.advance(999);
      lan.expectNothing();
      lan.advance(1);
      expect(lan.nextOf("arp")).toMatchObject({ destination: BROADCAST_MAC });
    }
    lan.advance(1000);
    lan.expectNothing();
    expect(lan.stack.statistics.dropUnresolved).toBe(1);
    send(lan);
    expect(lan.stack.statistics.dropUnresolved).toBe(2);
    lan.advance(2999);
    send(lan);
    lan.expectNothing();
    lan.advance(1);
    send(lan);
    lan.nextOf("arp");
    reply(lan);
    lan.nextOf("udp");
  });

  test("is answered by any packet that shows the MAC", () => {
    const lan = quietLan();
    send(lan);
    lan.nextOf("arp");
    ping(lan, GUEST, GUEST_MAC);
    expect(lan.nextOf("udp").destination).toEqual(GUEST_MAC);
    expect(lan.nextOf("icmp").destination).toEqual(GUEST_MAC);
    lan.advance(10_000);
    lan.expectNothing();
  });

  test("loses a waiting frame that the link does not take, and counts it", () => {
    const lan = quietLan();
    send(lan, GUEST, 1);
    send(lan, GUEST, 2);
    lan.nextOf("arp");
    lan.link.room = 1;
    reply(lan);
    expect(lan.nextOf("udp").payload).toEqual(Uint8Array.of(1));
    expect(lan.stack.statistics.dropLinkFull).toBe(1);
  });

  test("outside of the network without a router, is counted and dropped", () => {
    const lan = quietLan();
    send(lan, OUTSIDE);
    lan.expectNothing();
    expect(lan.stack.statistics.dropUnresolved).toBe(1);
  });

  test("outside of the network goes to the router", () => {
    const lan = new Lan();
    lan.stack.setRouter(GUEST);
    send(lan, OUTSIDE);
    expect(lan.nextOf("udp")).toMatchObject({ destination: GUEST_MAC, destinationAddress: OUTSIDE });
  });

  test("to the whole network needs no asking", () => {
    const lan = quietLan();
    send(lan, -1);
    send(lan, parseIpv4("192.168.65.255"));
    expect(lan.nextOf("udp").destination).toEqual(BROADCAST_MAC);
    expect(lan.nextOf("udp").destination).toEqual(BROADCAST_MAC);
  });
});

describe("a known MAC", () => {
  test("is asked for at its own MAC when it was silent for a minute, while frames still go there", () => {
    const lan = quietLan();
    request(lan, GATEWAY);
    lan.all();
    lan.advance(60_000);
    send(lan);
    lan.nextOf("udp");
    lan.advance(1);
    send(lan);
    expect(lan.nextOf("arp")).toMatchObject({ operation: 1, destination: GUEST_MAC, targetAddress: GUEST });
    expect(lan.nextOf("udp").destination).toEqual(GUEST_MAC);
    reply(lan);
    lan.advance(10_000);
    lan.expectNothing();
  });

  test("that does not answer is asked for by broadcast at last, and then unknown", () => {
    const lan = quietLan();
    request(lan, GATEWAY);
    lan.all();
    lan.advance(60_001);
    send(lan);
    expect(lan.nextOf("arp").destination).toEqual(GUEST_MAC);
    lan.nextOf("udp");
    lan.advance(1000);
    expect(lan.nextOf("arp").destination).toEqual(GUEST_MAC);
    lan.advance(1000);
    expect(lan.nextOf("arp").destination).toEqual(BROADCAST_MAC);
    send(lan);
    lan.nextOf("udp");
    lan.advance(1000);
    send(lan);
    lan.expectNothing();
    expect(macOf(lan, GUEST)).toBeNull();
    expect([...lan.stack.neighbors].length).toBe(0);
  });

  test("stays known through plain packets", () => {
    const lan = quietLan();
    for (let minute = 0; minute < 10; minute++) {
      ping(lan, GUEST, GUEST_MAC);
      lan.advance(59_000);
      send(lan);
    }
    expect(lan.all().every((frame) => frame.kind !== "arp")).toBe(true);
  });

  test("is not taken over by a plain packet while its holder is heard", () => {
    const lan = quietLan();
    ping(lan, GUEST, GUEST_MAC);
    lan.all();
    lan.advance(29_999);
    ping(lan, GUEST, OTHER_MAC);
    lan.expectNothing();
    expect(macOf(lan, GUEST)).toBe(formatMac(GUEST_MAC));
    expect(lan.stack.statistics.dropAddress).toBe(1);
  });

  test("is taken over by a plain packet after half a minute of silence", () => {
    const lan = quietLan();
    ping(lan, GUEST, GUEST_MAC);
    lan.all();
    lan.advance(30_000);
    ping(lan, GUEST, OTHER_MAC);
    expect(lan.nextOf("icmp").destination).toEqual(OTHER_MAC);
    expect(macOf(lan, GUEST)).toBe(formatMac(OTHER_MAC));
  });

  test("is taken over by an announcement at once, and running connections follow", () => {
    const lan = quietLan();
    const peer = new Peer(lan).established();
    request(lan, GUEST, GUEST, OTHER_MAC);
    expect(macOf(lan, GUEST)).toBe(formatMac(OTHER_MAC));
    peer.write(1, 10);
    expect(peer.expect({ flags: "PA", data: 10 }).destination).toEqual(OTHER_MAC);
  });

  test("of somebody who neither talks to us nor is known is not kept", () => {
    const lan = quietLan();
    request(lan, OTHER);
    expect(lan.stack.neighbors.size).toBe(0);
    request(lan, GATEWAY);
    expect(lan.stack.neighbors.size).toBe(1);
    request(lan, OTHER, OTHER, OTHER_MAC);
    expect(lan.stack.neighbors.size).toBe(2);
  });

  test("is forgotten after half an hour of silence", () => {
    const lan = quietLan();
    request(lan, GATEWAY);
    lan.advance(15 * 60_000);
    request(lan, GATEWAY, OTHER, OTHER_MAC);
    lan.advance(16 * 60_000);
    expect(macOf(lan, GUEST)).toBeNull();
    expect(macOf(lan, OTHER)).toBe(formatMac(OTHER_MAC));
    lan.advance(15 * 60_000);
    expect(lan.stack.neighbors.size).toBe(0);
  });
});

describe("a guest with many addresses", () => {
  test("fills a bounded table, from which whoever was silent longest goes first", () => {
    const lan = quietLan();
    ping(lan, GUEST, GUEST_MAC);
    const first = parseIpv4("10.0.0.1");
    for (let index = 0; index < 4095; index++) ping(lan, first + index, OTHER_MAC);
    expect(lan.stack.neighbors.size).toBe(4096);
    lan.advance(31_000);
    ping(lan, GUEST, GUEST_MAC);
    for (let index = 0; index < 3000; index++) ping(lan, parseIpv4("10.1.0.1") + index, OTHER_MAC);
    expect(lan.stack.neighbors.size).toBe(4096);
    expect(macOf(lan, GUEST)).toBe(formatMac(GUEST_MAC));
    expect(macOf(lan, first)).toBeNull();
  });

  test("does not cut a running connection off by pushing its neighbour out", () => {
    const lan = new Lan();
    const peer = new Peer(lan).established();
    for (let index = 0; index < 5000; index++) ping(lan, parseIpv4("10.0.0.1") + index, OTHER_MAC);
    lan.all();
    expect(lan.stack.neighbors.find(GUEST)).toBeNull();
    peer.write(1, 10);
    peer.expect({ flags: "PA", data: 10 });
    peer.send({ flags: "A", seq: 1, ack: 11 });
    lan.advance(120_000);
    peer.write(11, 10);
    peer.expect({ flags: "PA", seq: 11, data: 10 });
    lan.advance(10_000);
    lan.all();
    peer.send({ flags: "A", seq: 1, ack: 21 });
    expect(peer.flow.sendQueued).toBe(0);
  });

  test("leaves no frame waiting for a neighbour that was pushed out", () => {
    const lan = quietLan();
    send(lan);
    lan.nextOf("arp");
    for (let index = 0; index < 5000; index++) ping(lan, parseIpv4("10.0.0.1") + index, OTHER_MAC);
    lan.all();
    expect(lan.stack.statistics.dropUnresolved).toBe(1);
    lan.advance(10_000);
    reply(lan);
    lan.expectNothing();
  });
});
