import { describe, expect, test } from "vitest";
import { type JoinedOptions, JoinedStacks, Transfer } from "./testing/joined-stacks.ts";

const MIB = 1024 * 1024;

/** Sends `length` bytes both ways at once, on each of `flows` connections, and looks at what is left. */
function transferBothWays(options: JoinedOptions, length: number, flows = 1): JoinedStacks {
  const accepted: Transfer[] = [];
  const joined = new JoinedStacks(options, () => {
    const transfer = new Transfer(length);
    accepted.push(transfer);
    return transfer;
  });
  const opened = Array.from({ length: flows }, () => new Transfer(length));
  for (const transfer of opened) joined.connect(transfer);
  const all = () => [...opened, ...accepted];
  joined.run(() => accepted.length === flows && all().every((each) => each.closed !== null));
  for (const transfer of all()) {
    // The log has compared every byte.
    expect(transfer.log.receivedBytes).toBe(length);
    expect(transfer.log.events).toContain("end");
    expect(transfer.closed).toBe("finished");
  }
  joined.run(() => joined.left.tcp.size + joined.right.tcp.size === 0);
  expect(joined.left.tcp.reservedBytes + joined.right.tcp.reservedBytes).toBe(0);
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
    const { left, right } = transferBothWays({ seed, lost: 100 }, MIB);
    expect(left.statistics.tcpRetransmissions).toBeGreaterThan(0);
    expect(right.statistics.tcpRetransmissions).toBeGreaterThan(0);
  });

  test.each([1, 2, 3])("one way repair most losses without a timeout (seed %i)", (seed) => {
    const reader = new Transfer(0);
    const joined = new JoinedStacks({ seed, lost: 100, late: 2 }, () => reader);
    const writer = new Transfer(2 * MIB);
    joined.connect(writer);
    joined.run(() => writer.closed !== null && reader.closed !== null);
    expect(reader.log.receivedBytes).toBe(2 * MIB);
    const { tcpFastRetransmissions, tcpTimeouts } = joined.left.statistics;
    expect(tcpFastRetransmissions).toBeGreaterThan(2 * tcpTimeouts);
  });

  test.each([4, 5, 6])("that also reorders and repeats frames exchange everything (seed %i)", (seed) => {
    const { left, right } = transferBothWays({ seed, lost: 100, late: 10, twice: 50 }, MIB);
    expect(left.statistics.tcpOutOfOrder + right.statistics.tcpOutOfOrder).toBeGreaterThan(0);
  });

  test("that loses one frame in five exchange everything", () => {
    transferBothWays({ seed: 7, lost: 5, late: 5 }, 50_000);
  });

  test("that takes frames only now and then exchange everything", () => {
    transferBothWays({ seed: 8, refused: 3, lost: 200 }, MIB / 2);
  });

  test("on twenty connections exchange everything", () => {
    transferBothWays({ seed: 9, lost: 50, late: 20, refused: 20 }, 50_000, 20);
  });
});

describe("two stacks of which one reads slowly", () => {
  test.each([0, 50])("exchange everything, within the memory of a window (losing one frame in %i)", (lost) => {
    const slow = new Transfer(0, false);
    // A budget for the first buffers, not for larger ones.
    const tcpLimits = { bufferBudget: 2 * (65_536 - 16_384) };
    const joined = new JoinedStacks({ seed: 10, lost, tcpLimits }, () => slow);
    const fast = new Transfer(MIB);
    joined.connect(fast);
    let consumed = 0;
    let largest = 0;
    let next = joined.now;
    joined.run(
      () => fast.closed !== null && slow.closed !== null,
      () => {
        const unread = slow.log.receivedBytes - consumed;
        largest = Math.max(largest, unread);
        if (joined.now < next || slow.flow === null) return;
        next = joined.now + 20;
        const length = Math.min(unread, 10_000 + joined.random.below(10_000));
        slow.flow.consumed(length);
        consumed += length;
      },
    );
    expect(slow.log.receivedBytes).toBe(MIB);
    expect(largest).toBeLessThanOrEqual(65_536);
    expect(joined.left.statistics.tcpTimeouts === 0 || lost > 0).toBe(true);
  });
});
