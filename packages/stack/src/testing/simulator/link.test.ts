import { describe, expect, test } from "vitest";
import { parseIpv4, parseMac } from "../../address.ts";
import { ethernet, ipv4, parseFrame, tcp } from "../frames.ts";
import { pattern } from "../random.ts";
import { type FrameInFlight, type LinkOptions, SimulatedLink } from "./link.ts";
import { Simulation } from "./simulation.ts";

const SENDER = parseIpv4("10.0.0.1");
const RECEIVER = parseIpv4("10.0.0.2");

/** A link that a test sends numbered frames over, at times of its own. */
class Wire {
  readonly simulation = new Simulation(1, 0);
  readonly link: SimulatedLink;
  readonly arrived: { number: number; at: number; isCorrupt: boolean }[] = [];
  #sent = 0;

  constructor(options: LinkOptions) {
    this.link = new SimulatedLink(this.simulation, options);
  }

  /** Sends frames of `length` bytes; false when one is refused. */
  send(count = 1, length = 1250): boolean {
    for (let index = 0; index < count; index++) {
      const at = this.link.reserve(length);
      if (at < 0) return false;
      this.link.view.setUint32(at, this.#sent++);
      this.link.commit(length);
    }
    return true;
  }

  /** Lets everything arrive. */
  drain(): void {
    while (this.link.nextArrival !== Number.POSITIVE_INFINITY) {
      this.simulation.now = Math.max(this.simulation.now, this.link.nextArrival);
      this.take();
    }
  }

  take(): void {
    for (let frame = this.link.take(); frame !== null; frame = this.link.take()) {
      this.arrived.push({ number: frame.view.getUint32(0), at: frame.arrivesAt, isCorrupt: frame.isCorrupt });
    }
  }

  get numbers(): number[] {
    return this.arrived.map(({ number }) => number);
  }

  get times(): number[] {
    return this.arrived.map(({ at }) => Math.round(at * 1e6) / 1e6);
  }
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}

/** How many of 10000 frames arrive. */
function arrivals(options: LinkOptions): Wire {
  const wire = new Wire(options);
  wire.send(10_000);
  wire.drain();
  return wire;
}

describe("a link", () => {
  test("delivers every frame in order, after its delay", () => {
    const wire = new Wire({ delay: 5 });
    wire.send(3);
    wire.simulation.now = 4.9;
    wire.take();
    expect(wire.numbers).toEqual([]);
    wire.simulation.now = 5;
    wire.take();
    expect([wire.numbers, wire.times]).toEqual([range(3), [5, 5, 5]]);
  });

  test("takes as long for a frame as its bandwidth says", () => {
    const wire = new Wire({ bandwidth: 10e6, delay: 2 });
    wire.send(3, 1250);
    wire.drain();
    expect(wire.times).toEqual([3, 4, 5]);
    wire.simulation.now = 10;
    wire.send(1, 12_500);
    wire.drain();
    expect(wire.times.at(-1)).toBe(22);
  });

  test("drops what its queue has no room for", () => {
    const wire = new Wire({ bandwidth: 10e6, queue: 4 });
    wire.send(6);
    expect(wire.link.counts.dropped).toBe(2);
    wire.simulation.now = 2;
    wire.send(3);
    wire.drain();
    expect(wire.numbers).toEqual([0, 1, 2, 3, 6, 7]);
  });

  test("refuses what its queue has no room for, when told so, until a frame has left", () => {
    const wire = new Wire({ bandwidth: 10e6, queue: 4, refusesWhenFull: true });
    expect(wire.send(6)).toBe(false);
    expect([wire.link.writableAt, wire.link.counts.refused]).toEqual([1, 1]);
    wire.simulation.now = 1;
    expect([wire.send(1), wire.send(1)]).toEqual([true, false]);
    wire.drain();
    expect(wire.numbers).toEqual(range(5));
  });

  test("refuses now and then", () => {
    const wire = new Wire({ refusal: 0.5 });
    const taken = range(1000).filter(() => wire.send());
    expect(taken.length).toBeGreaterThan(400);
    expect(taken.length).toBeLessThan(600);
    expect(wire.link.writableAt).toBeGreaterThan(0);
  });

  test("loses the share of frames that it is to lose", () => {
    const { link, arrived } = arrivals({ loss: 0.05 });
    expect(link.counts.lost).toBe(10_000 - arrived.length);
    expect(link.counts.lost).toBeGreaterThan(400);
    expect(link.counts.lost).toBeLessThan(600);
  });

  test("loses in bursts", () => {
    const { link, numbers } = arrivals({ bursts: { enter: 0.01, leave: 0.2 } });
    // A burst is five frames long on average.
    const bursts = numbers.filter((number, index) => index > 0 && number !== numbers[index - 1] + 1).length;
    expect(link.counts.lost / bursts).toBeGreaterThan(3.5);
    expect(link.counts.lost / bursts).toBeLessThan(6.5);
  });

  test("duplicates", () => {
    const { link, arrived, numbers } = arrivals({ duplication: 0.1 });
    expect(arrived.length).toBe(10_000 + link.counts.duplicated);
    expect(link.counts.duplicated).toBeGreaterThan(900);
    expect(new Set(numbers).size).toBe(10_000);
  });

  test("jitters without changing the order", () => {
    const { numbers, times } = arrivals({ jitter: 10, delay: 1 });
    expect(numbers).toEqual(range(10_000));
    expect(new Set(times).size).toBeGreaterThan(5);
    expect(Math.max(...times)).toBeLessThanOrEqual(11);
  });

  test("lets later frames overtake", () => {
    const { link, numbers } = arrivals({ bandwidth: 100e6, reordering: 0.1, reorderingDelay: 5 });
    expect(numbers).not.toEqual(range(10_000));
    expect(numbers.toSorted((a, b) => a - b)).toEqual(range(10_000));
    expect(link.counts.reordered).toBeGreaterThan(900);
  });

  test("carries nothing during an outage, ARP included, and everything else of ARP", () => {
    const wire = new Wire({ outages: [{ from: 10, to: 20 }], loss: 1, corruption: 1 });
    for (const now of [0, 9.9, 10, 19.9, 20]) {
      wire.simulation.now = now;
      wire.send(1, 42);
    }
    wire.send(10, 60);
    wire.drain();
    expect(wire.numbers).toEqual([0, 1, 4]);
    expect(wire.link.counts.outage).toBe(2);
  });

  test("hands frames over at the times at which its receiver looks", () => {
    const wire = new Wire({ bandwidth: 10e6, coalescing: 2.5 });
    wire.send(6);
    wire.drain();
    expect(wire.times).toEqual([2.5, 2.5, 5, 5, 5, 7.5]);
  });

  test("does the same again for the same seed", () => {
    const run = () => arrivals({ loss: 0.1, jitter: 1, reordering: 0.1, duplication: 0.1, corruption: 0.1 }).arrived;
    expect(run()).toEqual(run());
  });
});

describe("a corrupted frame", () => {
  const frame = ethernet(
    parseMac("02:00:00:00:00:02"),
    parseMac("02:00:00:00:00:01"),
    0x0800,
    ipv4({
      source: SENDER,
      destination: RECEIVER,
      protocol: 6,
      identification: 0,
      dontFragment: true,
      payload: tcp({
        source: SENDER,
        sourcePort: 1,
        destination: RECEIVER,
        destinationPort: 2,
        sequence: 3,
        acknowledgment: 4,
        flags: "A",
        window: 5,
        payload: pattern(0, 40),
      }),
    }),
  );

  test("differs from what was sent, and does not pass the checks behind the Ethernet header", () => {
    const simulation = new Simulation(1);
    const link = new SimulatedLink(simulation, { corruption: 1, duplication: 0.5 });
    for (let index = 0; index < 1000; index++) {
      const at = link.reserve(frame.length);
      link.bytes.set(frame, at);
      link.commit(frame.length);
    }
    let inHeader = 0;
    for (let each: FrameInFlight | null = link.take(); each !== null; each = link.take()) {
      expect(each.isCorrupt).toBe(true);
      expect(each.bytes).not.toEqual(frame);
      const isHeader = each.bytes.subarray(14).every((byte, index) => byte === frame[14 + index]);
      if (isHeader) inHeader++;
      else expect(() => parseFrame(Uint8Array.of(...frame.subarray(0, 14), ...each.bytes.subarray(14)))).toThrow();
    }
    expect(inHeader).toBeGreaterThan(50);
  });
});
