import { describe, expect, test } from "vitest";
import { type ModelScenario, runModelScenario } from "./model-scenario.ts";
import type { FrameObserver } from "./station.ts";

const PLAIN: ModelScenario = {
  seed: 1,
  mtu: 1500,
  firstSequences: [-1000, -3000],
  link: [{ delay: 1 }, { delay: 1 }],
  owner: { length: 60_000 },
  peer: { opens: true, mss: 1460, buffer: 65_535, length: 40_000, largestSegment: 1460, closes: "when written" },
};

function scenario(peer: Partial<ModelScenario["peer"]>, rest: Partial<ModelScenario> = {}): ModelScenario {
  return { ...PLAIN, ...rest, peer: { ...PLAIN.peer, ...peer } };
}

const LOSSY: Pick<ModelScenario, "link"> = {
  link: [
    { delay: 1, loss: 0.1, reordering: 0.05 },
    { delay: 1, loss: 0.03, duplication: 0.02 },
  ],
};

// The run itself checks every byte, every segment that the stack sends, and what is left of the connection.
describe("a stack and a simple TCP exchange everything", () => {
  test.each([true, false])("when the peer opens the connection: %s", (opens) => {
    const { stack } = runModelScenario(scenario({ opens }));
    const { tcpAccepted, tcpDialed, tcpRetransmissions } = stack.statistics;
    expect([tcpAccepted, tcpDialed, tcpRetransmissions]).toEqual(opens ? [1, 0, 0] : [0, 1, 0]);
  });

  test.each([
    ["nothing", {}],
    ["scaling", { windowScale: 4, buffer: 300_000 }],
    ["selective acknowledgments", { sack: true }],
    ["timestamps", { timestamps: true }],
    ["everything", { sack: true, timestamps: true, windowScale: 14, buffer: 300_000 }],
  ])("when the peer offers %s, and frames are lost", (_, peer) => {
    const { stack } = runModelScenario(scenario(peer, LOSSY));
    expect(stack.statistics.tcpRetransmissions).toBeGreaterThan(0);
  });

  test.each([1, 10, 700])("when the peer has a buffer of %i bytes", (buffer) => {
    runModelScenario(scenario({ buffer }, { owner: { length: Math.min(60_000, 100 * buffer) } }));
  });

  test("when the peer reads slowly, so that the window closes again and again", () => {
    const windows: number[] = [];
    const observer: FrameObserver = {
      sent: () => {},
      // The window field of the TCP header.
      received: (frame) => windows.push(frame.length > 54 ? 1 : new DataView(frame.buffer).getUint16(14 + 20 + 14)),
    };
    runModelScenario(scenario({ buffer: 3000, reads: { bytes: 700, every: 50 }, delaysAcknowledgments: true }), [
      observer,
    ]);
    expect(windows).toContain(0);
  });

  test("when the peer takes its window back, and forgets what it has selectively acknowledged", () => {
    const peer = { shrinks: true, reneges: true, sack: true, buffer: 20_000, reads: { bytes: 3000, every: 20 } };
    runModelScenario(scenario(peer, LOSSY));
  });

  test.each([576, 9000, 65_520])("with an MTU of %i", (mtu) => {
    runModelScenario(scenario({ mss: mtu - 40, largestSegment: mtu - 40 }, { mtu }));
  });

  test("when the peer sends one byte at a time", () => {
    runModelScenario(scenario({ largestSegment: 1, length: 500 }));
  });
});
