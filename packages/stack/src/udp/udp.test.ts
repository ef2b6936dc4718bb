import { describe, expect, test } from "vitest";
import { type Ipv4, parseIpv4 } from "../address.ts";
import { ethernet, ipv4, udp } from "../testing/frames.ts";
import { BROADCAST_MAC, GATEWAY, GUEST, GUEST_MAC, HOST, Lan, OUTSIDE, STACK_MAC } from "../testing/lan.ts";
import { pattern } from "../testing/random.ts";
import type { UdpDatagram } from "./datagram.ts";

/** A handler that writes down who got a datagram. */
function noting(seen: string[], name: string): (datagram: UdpDatagram) => void {
  return ({ length }) => seen.push(`${name} ${length}`);
}

function broadcast(lan: Lan, source: Ipv4, destination: Ipv4, port: number): void {
  const payload = udp({ source, sourcePort: 68, destination, destinationPort: port, payload: pattern(0, 5) });
  lan.deliver(ethernet(BROADCAST_MAC, GUEST_MAC, 0x0800, ipv4({ source, destination, protocol: 17, payload })));
}

describe("a datagram", () => {
  test("to a listener is handed over in place", () => {
    const lan = new Lan();
    let got: (Omit<UdpDatagram, "bytes"> & { text: Uint8Array }) | null = null;
    lan.stack.udpListen(GATEWAY, 53, ({ bytes, ...rest }) => {
      got = { ...rest, text: bytes.slice(rest.offset, rest.offset + rest.length) };
    });
    lan.deliverUdp({ port: 53, payload: pattern(0, 33) });
    expect(got).toMatchObject({
      source: GUEST,
      sourcePort: 40000,
      destination: GATEWAY,
      destinationPort: 53,
      ttl: 64,
      length: 33,
      text: pattern(0, 33),
    });
    lan.expectNothing();
    expect(lan.datagrams.length).toBe(0);
  });

  test("that a listener does not want goes where it would without a listener", () => {
    const lan = new Lan();
    const stop = lan.stack.udpListen(HOST, 53, () => false);
    lan.deliverUdp({ port: 53, destination: HOST });
    expect(lan.datagrams).toMatchObject([{ destination: HOST, destinationPort: 53 }]);
    stop();
    lan.stack.udpListen(HOST, 53, () => undefined);
    lan.deliverUdp({ port: 53, destination: HOST });
    expect(lan.datagrams.length).toBe(1);
  });

  test("may be empty", () => {
    const lan = new Lan();
    const seen: string[] = [];
    lan.stack.udpListen(GATEWAY, 53, noting(seen, "own"));
    lan.deliverUdp({ port: 53 });
    expect(seen).toEqual(["own 0"]);
  });

  test("goes to the listener of its address, then to that of every address, then to the owner", () => {
    const lan = new Lan();
    const seen: string[] = [];
    const closeExact = lan.stack.udpListen(GATEWAY, 53, noting(seen, "exact"));
    const closeAny = lan.stack.udpListen(0, 53, noting(seen, "any"));
    lan.deliverUdp({ port: 53 });
    lan.deliverUdp({ port: 53, destination: HOST });
    closeExact();
    closeExact();
    lan.deliverUdp({ port: 53 });
    closeAny();
    lan.deliverUdp({ port: 53, destination: HOST });
    expect(seen).toEqual(["exact 0", "any 0", "any 0"]);
    expect(lan.datagrams).toMatchObject([{ destination: HOST, destinationPort: 53 }]);
  });

  test("to every host reaches a listener of every address, from a host without an address too", () => {
    const lan = new Lan();
    const seen: string[] = [];
    lan.stack.udpListen(0, 67, noting(seen, "any"));
    broadcast(lan, 0, -1, 67);
    broadcast(lan, GUEST, -1, 67);
    broadcast(lan, GUEST, parseIpv4("192.168.65.255"), 67);
    broadcast(lan, GUEST, parseIpv4("224.0.0.251"), 67);
    expect(seen).toEqual(["any 5", "any 5", "any 5", "any 5"]);
    lan.expectNothing();
  });

  test("to every host without a listener is dropped", () => {
    const lan = new Lan();
    broadcast(lan, GUEST, -1, 137);
    broadcast(lan, GUEST, parseIpv4("239.255.255.250"), 1900);
    expect(lan.datagrams.length).toBe(0);
    expect(lan.stack.statistics.dropAddress).toBe(2);
    lan.expectNothing();
  });

  test("to the own address without a listener is port unreachable", () => {
    const lan = new Lan();
    lan.deliverUdp({ port: 9, payload: pattern(0, 5) });
    expect(lan.nextOf("icmp")).toMatchObject({ type: 3, code: 3, sourceAddress: GATEWAY });
    expect(lan.stack.statistics).toMatchObject({ udpReceived: 1, dropUnhandled: 1 });
  });

  test("to any other address goes to the owner and draws no error", () => {
    const lan = new Lan();
    lan.deliverUdp({ port: 9, destination: OUTSIDE, payload: pattern(0, 5) });
    lan.deliverUdp({ port: 9, destination: HOST });
    lan.expectNothing();
    expect(lan.datagrams.map(({ destination, payload }) => [destination, payload.length])).toEqual([
      [OUTSIDE, 5],
      [HOST, 0],
    ]);
  });

  test("without a checksum is taken", () => {
    const lan = new Lan();
    lan.deliverUdp({ port: 9, destination: OUTSIDE, checksum: 0 });
    expect(lan.datagrams.length).toBe(1);
  });

  test("with a wrong checksum is counted and dropped", () => {
    const lan = new Lan();
    lan.deliverUdp({ port: 9, destination: OUTSIDE, checksum: 0x1234 });
    expect(lan.datagrams.length).toBe(0);
    expect(lan.stack.statistics.dropChecksum).toBe(1);
  });

  test("with an impossible length is malformed", () => {
    const lan = new Lan();
    const fields = { source: GUEST, sourcePort: 1, destination: OUTSIDE, destinationPort: 2, payload: pattern(0, 20) };
    for (const length of [0, 7, 29, 65_535]) {
      lan.deliverIpv4({ destination: OUTSIDE, protocol: 17, payload: udp({ ...fields, length }) });
    }
    lan.deliverIpv4({ destination: OUTSIDE, protocol: 17, payload: new Uint8Array(7) });
    expect(lan.stack.statistics.dropMalformed).toBe(5);
    expect(lan.datagrams.length).toBe(0);
    lan.expectNothing();
  });

  test("shorter than its packet ends where it says", () => {
    const lan = new Lan();
    const datagram = udp({
      source: GUEST,
      sourcePort: 1,
      destination: OUTSIDE,
      destinationPort: 2,
      payload: pattern(0, 10),
    });
    const padded = new Uint8Array(30);
    padded.set(datagram);
    lan.deliverIpv4({ destination: OUTSIDE, protocol: 17, payload: padded });
    expect(lan.datagrams[0].payload).toEqual(pattern(0, 10));
  });

  test("of any size up to the largest arrives in fragments", () => {
    const lan = new Lan();
    const datagram = udp({
      source: GUEST,
      sourcePort: 1,
      destination: OUTSIDE,
      destinationPort: 2,
      payload: pattern(0, 65_507),
    });
    for (let at = 0; at < datagram.length; at += 1480) {
      lan.deliverIpv4({
        destination: OUTSIDE,
        protocol: 17,
        payload: datagram.slice(at, at + 1480),
        fragmentOffset: at,
        moreFragments: at + 1480 < datagram.length,
      });
    }
    expect(lan.datagrams[0].payload).toEqual(pattern(0, 65_507));
  });
});

describe("listening", () => {
  test("on a pair that is taken fails and says which", () => {
    const lan = new Lan();
    lan.stack.udpListen(GATEWAY, 53, () => {});
    expect(() => lan.stack.udpListen(GATEWAY, 53, () => {})).toThrow("53");
    lan.stack.udpListen(0, 53, () => {});
    lan.stack.udpListen(GATEWAY, 54, () => {});
  });

  test("that ended twice leaves the next listener alone", () => {
    const lan = new Lan();
    const seen: string[] = [];
    lan.stack.udpListen(0, 53, noting(seen, "any"));
    const close = lan.stack.udpListen(GATEWAY, 53, noting(seen, "first"));
    close();
    lan.stack.udpListen(GATEWAY, 53, noting(seen, "second"));
    close();
    lan.deliverUdp({ port: 53 });
    expect(seen).toEqual(["second 0"]);
  });

  test("may end from within its own datagram", () => {
    const lan = new Lan();
    let count = 0;
    const close = lan.stack.udpListen(GATEWAY, 53, () => {
      count++;
      close();
    });
    lan.deliverUdp({ port: 53 });
    lan.deliverUdp({ port: 53 });
    expect(count).toBe(1);
    expect(lan.nextOf("icmp")).toMatchObject({ type: 3, code: 3 });
  });
});

describe("sending", () => {
  test("an answer from within the handler takes its bytes in place", () => {
    const lan = new Lan();
    lan.stack.udpListen(GATEWAY, 7, ({ source, sourcePort, bytes, offset, length }) => {
      lan.stack.udpSend(GATEWAY, 7, source, sourcePort, bytes, offset, length);
    });
    lan.deliverUdp({ port: 7, payload: pattern(0, 100) });
    expect(lan.nextOf("udp")).toMatchObject({
      sourcePort: 7,
      destinationPort: 40000,
      sourceAddress: GATEWAY,
      payload: pattern(0, 100),
    });
    expect(lan.stack.statistics).toMatchObject({ udpReceived: 1, udpSent: 1 });
  });

  test("writes a checksum that comes out as 0 as 0xffff", () => {
    const lan = new Lan();
    lan.announce();
    const payload = new Uint8Array(2);
    // Chosen so that the sum of everything else is all ones.
    const other = udp({ source: GATEWAY, sourcePort: 1, destination: GUEST, destinationPort: 2, payload });
    payload.set(other.subarray(6, 8));
    lan.stack.udpSend(GATEWAY, 1, GUEST, 2, payload, 0, 2);
    const datagram = lan.nextOf("udp");
    expect([...datagram.ipPayload.slice(6, 8)]).toEqual([0xff, 0xff]);
  });

  test("to a MAC needs no address there and learns none", () => {
    const lan = new Lan();
    const mac = Uint8Array.of(2, 1, 2, 3, 4, 5);
    lan.stack.udpSendToMac(mac, GATEWAY, 67, parseIpv4("192.168.65.77"), 68, pattern(0, 300));
    const datagram = lan.nextOf("udp");
    expect(datagram).toMatchObject({ destination: mac, source: STACK_MAC, destinationPort: 68 });
    expect(datagram.payload).toEqual(pattern(0, 300));
    lan.expectNothing();
    expect(lan.stack.neighbors.size).toBe(0);
  });
});
