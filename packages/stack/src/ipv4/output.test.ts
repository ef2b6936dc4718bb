import { afterEach, describe, expect, test } from "vitest";
import type { FrameSink } from "../link.ts";
import { kernelBytes } from "../memory/kernel.ts";
import { giveRegion, type PacketRegion, takeRegion } from "../memory/packet-memory.ts";
import { type ParsedFragment, parseFrame, reassemble } from "../testing/frames.ts";
import { GATEWAY, GUEST, Lan } from "../testing/lan.ts";
import { pattern } from "../testing/random.ts";

/** A stack that knows the guest's MAC. */
function knownLan(mtu: number): Lan {
  const lan = new Lan({ mtu });
  lan.announce();
  return lan;
}

function fragments(lan: Lan): ParsedFragment[] {
  return lan.all().map((frame) => {
    if (frame.kind !== "fragment") throw new Error(`a ${frame.kind}`);
    return frame;
  });
}

describe("a datagram", () => {
  test.each([
    [1500, 1472],
    [1500, 0],
    [1500, 1],
    [1501, 1473],
    [1499, 1471],
    [576, 548],
    [65_520, 65_492],
  ])("on a link of %i bytes with a payload of %i bytes leaves whole, and may be fragmented", (mtu, length) => {
    const lan = knownLan(mtu);
    lan.stack.udpSend(GATEWAY, 53, GUEST, 40000, pattern(0, length), 0, length);
    const datagram = lan.nextOf("udp");
    expect(datagram).toMatchObject({ sourcePort: 53, destinationPort: 40000, dontFragment: false, ttl: 64 });
    expect(datagram.payload).toEqual(pattern(0, length));
    lan.expectNothing();
  });

  test.each([
    [1500, 1473, 2],
    [1500, 2952, 2],
    [1500, 2953, 3],
    [1501, 1474, 2],
    [1503, 3000, 3],
    [576, 549, 2],
    [576, 65_507, 119],
    [1500, 65_507, 45],
    [65_520, 65_507, 2],
  ])("on a link of %i bytes with a payload of %i bytes leaves in %i fragments", (mtu, length, count) => {
    const lan = knownLan(mtu);
    lan.stack.udpSend(GATEWAY, 53, GUEST, 40000, pattern(0, length), 0, length);
    const parts = fragments(lan);
    expect(parts.length).toBe(count);
    for (const part of parts) {
      expect(20 + part.ipPayload.length).toBeLessThanOrEqual(mtu);
      expect(part.dontFragment).toBe(false);
    }
    const whole = reassemble(parts);
    expect(whole.kind === "udp" && whole.payload).toEqual(pattern(0, length));
  });

  test("has an identification that the next one does not share", () => {
    const lan = knownLan(1500);
    const seen = new Set<number>();
    for (let count = 0; count < 100; count++) {
      lan.stack.udpSend(GATEWAY, 53, GUEST, 40000, pattern(0, 3000), 0, 3000);
      const parts = fragments(lan);
      seen.add(parts[0].identification);
    }
    expect(seen.size).toBe(100);
  });

  test("longer than IPv4 can say is dropped and counted", () => {
    const lan = knownLan(1500);
    lan.stack.udpSend(GATEWAY, 53, GUEST, 40000, new Uint8Array(65_508), 0, 65_508);
    lan.stack.echoReply(GATEWAY, GUEST, 1, 1, new Uint8Array(65_508), 0, 65_508);
    lan.expectNothing();
    expect(lan.stack.statistics.dropMalformed).toBe(2);
  });

  test("that the link takes in part only is counted as lost, not as sent", () => {
    const lan = knownLan(1500);
    lan.link.room = 2;
    lan.stack.udpSend(GATEWAY, 53, GUEST, 40000, new Uint8Array(5000), 0, 5000);
    expect(lan.all().length).toBe(2);
    expect(lan.stack.statistics.dropLinkFull).toBe(1);
    expect(lan.stack.statistics.udpSent).toBe(0);
  });

  test("in fragments waits for the MAC as a whole", () => {
    const lan = new Lan();
    lan.hosts.clear();
    lan.stack.udpSend(GATEWAY, 53, GUEST, 40000, pattern(0, 20_000), 0, 20_000);
    lan.nextOf("arp");
    lan.announce();
    const whole = reassemble(fragments(lan));
    expect(whole.kind === "udp" && whole.payload).toEqual(pattern(0, 20_000));
  });

  test("is read from the middle of the caller's memory and has the time to live it is given", () => {
    const lan = knownLan(1500);
    lan.stack.udpSend(GATEWAY, 53, GUEST, 40000, pattern(0, 300), 100, 50, 7);
    expect(lan.nextOf("udp")).toMatchObject({ ttl: 7, payload: pattern(100, 50) });
  });
});

describe("from packet memory to a link in packet memory", () => {
  const regions: PacketRegion[] = [];
  afterEach(() => {
    for (const region of regions.splice(0)) giveRegion(region);
  });

  function take(size: number): PacketRegion {
    const region = takeRegion(size);
    regions.push(region);
    expect(region.bytes).toBe(kernelBytes);
    return region;
  }

  /** A link that builds frames one behind the other in one region, as a batch is. */
  class RegionLink implements FrameSink {
    readonly #region = take(256 * 1024);
    readonly bytes = this.#region.bytes;
    readonly view = this.#region.view;
    readonly frames: Uint8Array[] = [];
    #used = 3;

    reserve(): number {
      return this.#region.offset + this.#used;
    }

    commit(length: number): void {
      const start = this.#region.offset + this.#used;
      this.frames.push(this.bytes.slice(start, start + length));
      this.#used += length;
    }
  }

  test.each([0, 1, 17, 47, 48, 200, 1471, 1472])("a payload of %i bytes leaves in one frame", (length) => {
    const lan = knownLan(1500);
    const link = new RegionLink();
    lan.stack.attach(link);
    const source = take(2048);
    source.bytes.set(pattern(7, length), source.offset + 5);
    for (let count = 0; count < 3; count++) {
      lan.stack.udpSend(GATEWAY, 53, GUEST, 40000, source.bytes, source.offset + 5, length);
    }
    lan.stack.echoReply(GATEWAY, GUEST, 1, 2, source.bytes, source.offset + 5, length);
    // Parsing checks lengths and checksums.
    const payloads = link.frames.map(parseFrame).map((frame) => frame.kind === "udp" && frame.payload);
    expect(payloads).toEqual([...Array.from({ length: 3 }, () => pattern(7, length)), false]);
    expect(lan.stack.statistics).toMatchObject({ udpSent: 3, icmpSent: 1 });
  });

  test.each([1473, 8000, 65_507])("a payload of %i bytes leaves in fragments, and the next one as well", (length) => {
    const lan = knownLan(1500);
    const link = new RegionLink();
    lan.stack.attach(link);
    const source = take(length + 5);
    for (const seed of [1, 2]) {
      source.bytes.set(pattern(seed, length), source.offset + 5);
      lan.stack.udpSend(GATEWAY, 53, GUEST, 40000, source.bytes, source.offset + 5, length);
      const parts = link.frames.splice(0).map(parseFrame);
      const whole = reassemble(parts.filter((frame) => frame.kind === "fragment"));
      expect(whole.kind === "udp" && whole.payload).toEqual(pattern(seed, length));
    }
  });
});

test("a datagram that leaves in part gives back the memory that it was built in", () => {
  const lan = knownLan(1500);
  lan.link.room = 0;
  // More of them than there is packet memory for.
  for (let count = 0; count < 3000; count++) {
    lan.stack.udpSend(GATEWAY, 53, GUEST, 40000, new Uint8Array(65_507), 0, 65_507);
  }
  const region = takeRegion(65_536);
  expect(region.bytes).toBe(kernelBytes);
  giveRegion(region);
  expect(lan.stack.statistics).toMatchObject({ dropLinkFull: 3000, udpSent: 0 });
});

test("what was sent is counted in frames and bytes", () => {
  const lan = knownLan(1500);
  const { framesSent, bytesSent } = lan.stack.statistics;
  lan.stack.udpSend(GATEWAY, 53, GUEST, 40000, new Uint8Array(2000), 0, 2000);
  expect(lan.stack.statistics.framesSent - framesSent).toBe(2);
  expect(lan.stack.statistics.bytesSent - bytesSent).toBe(2008 + 2 * 34);
});
