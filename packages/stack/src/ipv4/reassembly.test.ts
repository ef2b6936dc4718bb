import { describe, expect, test } from "vitest";
import { ethernet, ipv4, udp } from "../testing/frames.ts";
import { GATEWAY, GUEST, GUEST_MAC, HOST, Lan, STACK_MAC } from "../testing/lan.ts";
import { pattern, Random } from "../testing/random.ts";
import { Reassembler } from "./reassembly.ts";

interface Piece {
  /** In bytes of the datagram's payload. */
  readonly at: number;
  readonly length: number;
  readonly more?: boolean;
  readonly identification?: number;
  readonly ttl?: number;
}

/** A datagram from the guest to a port of the host's address, in pieces as the test cuts it. */
class Datagram {
  readonly bytes: Uint8Array;
  readonly payload: Uint8Array;
  readonly lan: Lan;

  constructor(length: number, lan = new Lan()) {
    this.lan = lan;
    this.payload = pattern(0, length);
    const { payload } = this;
    this.bytes = udp({ source: GUEST, sourcePort: 40000, destination: HOST, destinationPort: 7, payload });
  }

  deliver({ at, length, more = at + length < this.bytes.length, identification = 77, ttl = 64 }: Piece): void {
    const packet = ipv4({
      source: GUEST,
      destination: HOST,
      protocol: 17,
      payload: this.bytes.slice(at, at + length),
      fragmentOffset: at,
      moreFragments: more,
      identification,
      ttl,
    });
    this.lan.deliver(ethernet(STACK_MAC, GUEST_MAC, 0x0800, packet));
  }

  /** Cuts it into pieces of `size` bytes. */
  pieces(size: number): Piece[] {
    const pieces: Piece[] = [];
    for (let at = 0; at < this.bytes.length; at += size) {
      pieces.push({ at, length: Math.min(size, this.bytes.length - at) });
    }
    return pieces;
  }

  get dropped(): number {
    return this.lan.stack.statistics.dropFragment;
  }

  expectWhole(): void {
    expect(this.lan.datagrams.length).toBe(1);
    const [{ payload }] = this.lan.datagrams;
    expect(payload.length).toBe(this.payload.length);
    expect(payload.every((byte, index) => byte === this.payload[index])).toBe(true);
    expect(this.lan.stack.statistics.datagramsReassembled).toBe(1);
  }
}

describe("fragments make their datagram whole", () => {
  test.each([1480, 552, 8])("in order, in pieces of %i bytes", (size) => {
    const datagram = new Datagram(Math.min(size * 100, 60_000));
    for (const piece of datagram.pieces(size)) {
      expect(datagram.lan.datagrams.length).toBe(0);
      datagram.deliver(piece);
    }
    datagram.expectWhole();
  });

  test("in reverse and in any other order", () => {
    for (let seed = 0; seed < 20; seed++) {
      const random = new Random(seed);
      const datagram = new Datagram(20_000 + random.below(100));
      const pieces = datagram.pieces(1480);
      pieces.sort(seed === 0 ? (a, b) => b.at - a.at : () => random.below(3) - 1);
      for (const piece of pieces) datagram.deliver(piece);
      datagram.expectWhole();
    }
  });

  test("of the largest size", () => {
    const datagram = new Datagram(65_507);
    for (const piece of datagram.pieces(1480)) datagram.deliver(piece);
    datagram.expectWhole();
  });

  test("when some come twice", () => {
    const datagram = new Datagram(5000);
    const [first, second, third, last] = datagram.pieces(1480);
    for (const piece of [last, second, second, last, first, first, third]) datagram.deliver(piece);
    datagram.expectWhole();
    expect(datagram.dropped).toBe(0);
  });

  test("when several datagrams are mixed", () => {
    const lan = new Lan();
    const one = new Datagram(4000, lan);
    const two = new Datagram(4000, lan);
    for (const piece of one.pieces(1480)) {
      one.deliver({ ...piece, identification: 1 });
      two.deliver({ ...piece, identification: 2 });
    }
    expect(lan.datagrams.map(({ payload }) => payload.length)).toEqual([4000, 4000]);
  });

  test("with the time to live of the first", () => {
    const datagram = new Datagram(3000);
    const [first, second, third] = datagram.pieces(1480);
    datagram.deliver({ ...third, ttl: 9 });
    datagram.deliver({ ...first, ttl: 33 });
    datagram.deliver({ ...second, ttl: 8 });
    expect(datagram.lan.datagrams[0].ttl).toBe(33);
  });
});

describe("a fragment is dropped", () => {
  test("without data", () => {
    const datagram = new Datagram(3000);
    datagram.deliver({ at: 0, length: 0, more: true });
    expect(datagram.dropped).toBe(1);
  });

  test("that does not end on eight bytes though more follow", () => {
    const datagram = new Datagram(3000);
    datagram.deliver({ at: 0, length: 1001, more: true });
    expect(datagram.dropped).toBe(1);
  });

  test("that ends past the largest datagram", () => {
    const lan = new Lan();
    for (const [fragmentOffset, length] of [
      [65_528, 8],
      [65_512, 8],
      [65_000, 1000],
    ]) {
      const payload = new Uint8Array(length);
      lan.deliverIpv4({ destination: HOST, protocol: 17, payload, fragmentOffset });
    }
    expect(lan.stack.statistics.dropFragment).toBe(3);
    expect(lan.stack.nextDeadline).toBeGreaterThan(lan.now + 30_000);
  });

  test("together with its datagram when it overlaps", () => {
    for (const overlap of [
      { at: 1472, length: 16 },
      { at: 0, length: 8 },
      { at: 8, length: 8 },
      { at: 0, length: 2960 },
      { at: 1000, length: 1000 },
    ]) {
      const datagram = new Datagram(5000);
      const [first, second, third, last] = datagram.pieces(1480);
      for (const piece of [first, second]) datagram.deliver(piece);
      datagram.deliver({ ...overlap, more: true });
      expect(datagram.dropped).toBe(1);
      for (const piece of [third, last]) datagram.deliver(piece);
      expect(datagram.lan.datagrams.length).toBe(0);
    }
  });

  test("together with its datagram when the ends disagree", () => {
    const twoEnds = new Datagram(5000);
    twoEnds.deliver({ at: 1480, length: 1480, more: false });
    twoEnds.deliver({ at: 2960, length: 100, more: false });
    expect(twoEnds.dropped).toBe(1);

    const beyond = new Datagram(5000);
    beyond.deliver({ at: 2960, length: 1480, more: true });
    beyond.deliver({ at: 1480, length: 1480, more: false });
    expect(beyond.dropped).toBe(1);
  });

  test("together with its datagram when there are too many of them", () => {
    const datagram = new Datagram(5000);
    for (const piece of datagram.pieces(8).slice(0, 129)) datagram.deliver(piece);
    expect(datagram.dropped).toBe(1);
  });
});

describe("a datagram that stays incomplete", () => {
  test("is given up after thirty seconds, with ICMP time exceeded that quotes its first fragment", () => {
    const datagram = new Datagram(5000);
    const [first, second] = datagram.pieces(1480);
    datagram.deliver(first);
    datagram.lan.advance(20_000);
    datagram.deliver(second);
    datagram.lan.advance(9_999);
    datagram.lan.expectNothing();
    datagram.lan.advance(1);
    const error = datagram.lan.nextOf("icmp");
    expect(error).toMatchObject({ type: 11, code: 1, sourceAddress: GATEWAY, destinationAddress: GUEST });
    expect(error.data.slice(20)).toEqual(datagram.bytes.slice(0, 548 - 20));
    expect(datagram.dropped).toBe(1);
    datagram.deliver(datagram.pieces(1480)[2]);
    datagram.deliver(datagram.pieces(1480)[3]);
    expect(datagram.lan.datagrams.length).toBe(0);
  });

  test("without its first fragment is given up in silence", () => {
    const datagram = new Datagram(5000);
    datagram.deliver(datagram.pieces(1480)[1]);
    datagram.lan.advance(30_000);
    datagram.lan.expectNothing();
    expect(datagram.dropped).toBe(1);
  });

  test("to a broadcast address is given up in silence", () => {
    const lan = new Lan();
    lan.deliverIpv4({ destination: -1, protocol: 17, payload: new Uint8Array(80), moreFragments: true });
    lan.advance(30_000);
    lan.expectNothing();
    expect(lan.stack.statistics.dropFragment).toBe(1);
  });

  test("makes room for newer ones, of which there are at most 64", () => {
    const datagram = new Datagram(2000);
    const [first, last] = datagram.pieces(1480);
    for (let identification = 0; identification < 70; identification++) datagram.deliver({ ...first, identification });
    datagram.deliver({ ...last, identification: 0 });
    expect(datagram.lan.datagrams.length).toBe(0);
    datagram.deliver({ ...last, identification: 69 });
    expect(datagram.lan.datagrams.length).toBe(1);
  });
});

test("the memory for reassembly is bounded, and nearly all of it is given back", () => {
  const reassembler = new Reassembler();
  const fragment = ipv4({
    source: GUEST,
    destination: HOST,
    protocol: 17,
    payload: new Uint8Array(8),
    moreFragments: true,
  });
  const view = new DataView(fragment.buffer);
  for (let identification = 0; identification < 5000; identification++) {
    view.setUint16(4, identification);
    expect(reassembler.add(fragment, view, 0, identification)).toBe("incomplete");
    expect(reassembler.size).toBeLessThanOrEqual(64);
    expect(reassembler.buffers).toBeLessThanOrEqual(68);
  }
  expect(reassembler.expire(1_000_000, () => {})).toBe(64);
  expect(reassembler.size).toBe(0);
  expect(reassembler.buffers).toBeLessThanOrEqual(4);
  expect(reassembler.nextDeadline).toBe(Number.POSITIVE_INFINITY);
});
