import { expect, test } from "vitest";
import type { CongestionAlgorithm } from "./tcp/settings.ts";
import { type BulkFlow, BulkStacks } from "./testing/simulator/bulk-stacks.ts";
import type { LinkOptions } from "./testing/simulator/link.ts";

const MIB = 1024 * 1024;
const ALGORITHMS: readonly CongestionAlgorithm[] = ["cubic", "reno"];
const BANDWIDTHS = [100, 1000];
const DELAYS = [0.1, 5, 50];
const QUEUES = [64, 256, 1000];
/** Per cent of the frames in each direction, and how much is sent over such a link. */
const LOSSES = [
  { percent: 0, mebibytes: 12 },
  { percent: 0.1, mebibytes: 12 },
  { percent: 1, mebibytes: 6 },
  { percent: 5, mebibytes: 2 },
  { percent: 10, mebibytes: 1 },
];

/** The table's lines: columns as wide as their widest cell, numbers to the right. */
function table(title: string, heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [heads, ...rows];
  const widths = heads.map((_, column) => Math.max(...all.map((row) => row[column].length)));
  const lines = all.map((row) =>
    row
      .map((cell, column) => cell.padStart(widths[column]))
      .join("  ")
      .trimEnd(),
  );
  return [title, "", ...lines, ""].join("\n");
}

function simulate(algorithm: CongestionAlgorithm, link: LinkOptions): BulkStacks {
  return new BulkStacks({ seed: 1, link, stack: { tcp: { congestionControl: algorithm } } });
}

function megabits(bytes: number, milliseconds: number): string {
  const value = (bytes * 8) / milliseconds / 1000;
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

/** Goodput from the first SYN to the arrival of the end, retransmitted segments, and timeouts. */
function transfer(algorithm: CongestionAlgorithm, link: LinkOptions, mebibytes: number): [string, string, string] {
  const stacks = simulate(algorithm, link);
  const beganAt = stacks.now;
  const flow = stacks.open(mebibytes * MIB);
  stacks.run(() => flow.finishedAt !== null);
  expect(flow.received).toBe(mebibytes * MIB);
  const { tcpRetransmissions, tcpTimeouts } = stacks.left.statistics;
  const duration = (flow.finishedAt ?? 0) - beganAt;
  return [megabits(flow.received, duration), String(tcpRetransmissions), String(tcpTimeouts)];
}

function byLoss(algorithm: CongestionAlgorithm, bandwidth: number): string {
  const heads = ["delay", "queue", ...LOSSES.flatMap(({ percent }) => [`| ${percent} %`, "again", "rto"])];
  const rows = DELAYS.flatMap((delay) =>
    QUEUES.map((queue) => {
      const link = { bandwidth: bandwidth * 1e6, delay, queue };
      const cells = LOSSES.flatMap(({ percent, mebibytes }) => {
        const [goodput, ...rest] = transfer(algorithm, { ...link, loss: percent / 100 }, mebibytes);
        return [`| ${goodput.padStart(4)}`, ...rest];
      });
      return [String(delay), String(queue), ...cells];
    }),
  );
  return table(`One flow, ${algorithm}, ${bandwidth} Mbit/s, by loss`, heads, rows);
}

function shallowQueue(): string {
  const rows = ALGORITHMS.flatMap((algorithm) =>
    [5, 50].flatMap((delay) =>
      [4, 8, 16, 32].map((queue) => {
        const link = { bandwidth: 100e6, delay, queue };
        return [algorithm, String(delay), String(queue), ...transfer(algorithm, link, 8)];
      }),
    ),
  );
  const heads = ["algorithm", "delay", "queue", "goodput", "again", "rto"];
  return table("One flow over a shallow queue, 100 Mbit/s", heads, rows);
}

function reordering(): string {
  const rows = ALGORITHMS.flatMap((algorithm) =>
    [0.5, 5, 20].flatMap((late) =>
      [1, 10, 50].map((percent) => {
        const link = { bandwidth: 100e6, delay: 5, queue: 256, reordering: percent / 100, reorderingDelay: late };
        return [algorithm, String(percent), String(late), ...transfer(algorithm, link, 8)];
      }),
    ),
  );
  const heads = ["algorithm", "% late", "by up to ms", "goodput", "again", "rto"];
  return table("One flow over a link that reorders, 100 Mbit/s, delay 5, queue 256", heads, rows);
}

/** Two flows, of which the second begins after the first has the link to itself; what each gets some time later. */
function fairness(): string {
  const rows = ALGORITHMS.flatMap((algorithm) =>
    [0.1, 5, 50].flatMap((delay) =>
      [64, 256].map((queue) => {
        const stacks = simulate(algorithm, { bandwidth: 10e6, delay, queue });
        const flows: BulkFlow[] = [stacks.open(Number.MAX_SAFE_INTEGER)];
        stacks.pass(5000);
        flows.push(stacks.open(Number.MAX_SAFE_INTEGER));
        stacks.pass(10_000);
        const before = flows.map(({ received }) => received);
        stacks.pass(15_000);
        const shares = flows.map(({ received }, index) => received - before[index]);
        const [first, second] = shares;
        const index = (first + second) ** 2 / (2 * (first ** 2 + second ** 2));
        const { tcpRetransmissions, tcpTimeouts } = stacks.left.statistics;
        return [
          algorithm,
          String(delay),
          String(queue),
          ...shares.map((share) => megabits(share, 15_000)),
          index.toFixed(3),
          String(tcpRetransmissions),
          String(tcpTimeouts),
        ];
      }),
    ),
  );
  const heads = ["algorithm", "delay", "queue", "first", "second", "fairness", "again", "rto"];
  return table("Two flows share a queue, 10 Mbit/s", heads, rows);
}

const EXPLANATION = `\
What TCP achieves on simulated links: two stacks, an MTU of 1500 bytes, in virtual time. Goodput in Mbit/s from the
first SYN to the arrival of the last byte; "again" counts segments sent again, "rto" expired retransmission timers.
Delay is one way, in milliseconds; the queue is in frames, and drops what does not fit. Loss is of frames, each way.
Sent are, by loss, ${LOSSES.map(({ percent, mebibytes }) => `${percent} %: ${mebibytes} MiB`).join(", ")}.
Fairness is Jain's index of the two flows' goodput, from 10 s after the second began: 1 when it is equal, 0.5 when
one flow has everything.
`;

// A change that moves these figures has to show them: vitest --update writes the file anew.
test("TCP achieves on simulated links what the committed table says", { timeout: 120_000 }, async () => {
  const tables = [
    ...ALGORITHMS.flatMap((algorithm) => BANDWIDTHS.map((bandwidth) => byLoss(algorithm, bandwidth))),
    shallowQueue(),
    reordering(),
    fairness(),
  ];
  await expect([EXPLANATION, ...tables].join("\n")).toMatchFileSnapshot("./__snapshots__/netsim.txt");
});
