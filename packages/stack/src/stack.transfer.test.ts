import { describe, expect, test } from "vitest";
import { type JoinedOptions, JoinedStacks } from "./testing/simulator/joined-stacks.ts";
import type { LinkOptions } from "./testing/simulator/link.ts";
import { expectNothingLeft } from "./testing/simulator/nothing-left.ts";
import { Transfer } from "./testing/simulator/transfer.ts";

const MIB = 1024 * 1024;

/** A link with a short delay, and with faults. */
function bad(faults: LinkOptions): { link: LinkOptions } {
  return { link: { delay: 0.25, ...faults } };
}

/** Sends `length` bytes both ways at once, on each of `flows` connections, and looks at what is left. */
function transferBothWays(options: JoinedOptions, length: number, flows = 1): JoinedStacks {
  const accepted: Transfer[] = [];
  const joined = new JoinedStacks(options, (request) => {
    const transfer = new Transfer(joined, { length });
    transfer.flow = request.accept(transfer.log);
    accepted.push(transfer);
  });
  const opened = Array.from({ length: flows }, () => new Transfer(joined, { length }));
  for (const transfer of opened) joined.connect(transfer);
  const all = () => [...opened, ...accepted];
  joined.run(() => accepted.length === flows && all().every((each) => each.closed !== null));
  for (const transfer of all()) {
    // The log has compared every byte.
    expect(transfer.log.receivedBytes).toBe(length);
    expect(transfer.log.events).toContain("end");
    expect(transfer.closed).toBe("finished");
  }
  expectNothingLeft(joined, joined.stations);
  return joined;
}

describe("two stacks back to back", () => {
  test("exchange megabytes both ways at once, across the wrap of the sequence numbers", () => {
    const { left, right } = transferBothWays({ seed: 1 }, 3 * MIB);
    for (const { statistics } of [left, right]) {
      expect(statistics).toMatchObject({ tcpRetransmissions: 0, tcpTimeouts: 0, tcpOutOfOrder: 0, dropMalformed: 0 });
    }
  });

  test("exchange bytes across the change of sign of the sequence numbers", () => {
    transferBothWays({ seed: 2, firstSequences: [0x7fff_ff00, 0x7ff0_0000] }, 2 * MIB);
  });

  test.each([576, 1499, 9000, 65_520])("exchange bytes with an MTU of %i", (mtu) => {
    transferBothWays({ seed: mtu, mtu }, MIB / 2);
  });

  test("exchange nothing", () => {
    transferBothWays({ seed: 3 }, 0);
  });

  test("exchange little on a hundred connections", () => {
    transferBothWays({ seed: 4 }, 5000, 100);
  });
});

describe("two stacks on a bad link", () => {
  test.each([1, 2, 3])("that loses one frame in a hundred exchange everything (seed %i)", (seed) => {
    const { left, right } = transferBothWays({ seed, ...bad({ loss: 0.01 }) }, MIB);
    expect(left.statistics.tcpRetransmissions).toBeGreaterThan(0);
    expect(right.statistics.tcpRetransmissions).toBeGreaterThan(0);
  });

  test.each([1, 2, 3])("one way repair most losses without a timeout (seed %i)", (seed) => {
    const options = { seed, ...bad({ loss: 0.01, reordering: 0.5 }) };
    const joined = new JoinedStacks(options, (request) => {
      reader.flow = request.accept(reader.log);
    });
    const reader = new Transfer(joined, { length: 0 });
    const writer = new Transfer(joined, { length: 2 * MIB });
    joined.connect(writer);
    joined.run(() => writer.closed !== null && reader.closed !== null);
    expect(reader.log.receivedBytes).toBe(2 * MIB);
    const { tcpFastRetransmissions, tcpTimeouts } = joined.left.statistics;
    expect(tcpFastRetransmissions).toBeGreaterThan(2 * tcpTimeouts);
  });

  test.each([4, 5, 6])("that also reorders and repeats frames exchange everything (seed %i)", (seed) => {
    const { left, right } = transferBothWays({ seed, ...bad({ loss: 0.01, reordering: 0.1, duplication: 0.02 }) }, MIB);
    expect(left.statistics.tcpOutOfOrder + right.statistics.tcpOutOfOrder).toBeGreaterThan(0);
  });

  test("that loses one frame in five exchange everything", () => {
    transferBothWays({ seed: 7, ...bad({ loss: 0.2, reordering: 0.2 }) }, 50_000);
  });

  test("that takes frames only now and then exchange everything", () => {
    transferBothWays({ seed: 8, ...bad({ refusal: 0.33, loss: 0.005 }) }, MIB / 2);
  });

  test("on twenty connections exchange everything", () => {
    transferBothWays({ seed: 9, ...bad({ loss: 0.02, reordering: 0.05, refusal: 0.05 }) }, 50_000, 20);
  });
});

describe("two stacks of which one reads slowly", () => {
  test.each([0, 0.02])("exchange everything, within the memory of a window (loss %d)", (loss) => {
    // A budget for the first buffers, not for larger ones.
    const stack = { tcp: { bufferBudget: 2 * (65_536 - 16_384) } };
    const joined = new JoinedStacks({ seed: 10, ...bad({ loss }), stack }, (request) => {
      slow.flow = request.accept(slow.log);
    });
    const slow = new Transfer(joined, { length: 0, reads: { bytes: 15_000, every: 20 } });
    const fast = new Transfer(joined, { length: MIB });
    joined.connect(fast);
    joined.run(() => fast.closed !== null && slow.closed !== null);
    expect(slow.log.receivedBytes).toBe(MIB);
    expect(slow.largestUnread).toBeLessThanOrEqual(65_536);
    expect(joined.left.statistics.tcpTimeouts === 0 || loss > 0).toBe(true);
  });
});
