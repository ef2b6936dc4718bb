import { describe, expect, test } from "vitest";
import { fuzzForgeries, fuzzSegments, noCoverage } from "../testing/segment-fuzz.ts";

const TIMEOUT = 120_000;

describe("a guest that sends any segments", () => {
  const coverage = noCoverage();

  test.each([1, 2, 3, 4])(
    "has the stack send nothing but what a TCP may, and hurts no other connection (seed %i)",
    (seed) => fuzzSegments({ seed, runs: 150 }, coverage),
    TIMEOUT,
  );

  test("gets to every state, every end and every way of repair", () => {
    expect(coverage.runs).toBe(600);
    expect([...coverage.states].sort()).toEqual([
      "CLOSE-WAIT",
      "CLOSED",
      "CLOSING",
      "ESTABLISHED",
      "FIN-WAIT-1",
      "FIN-WAIT-2",
      "LAST-ACK",
      "REQUESTED",
      "SYN-RECEIVED",
      "SYN-SENT",
      "TIME-WAIT",
    ]);
    expect([...coverage.reasons].sort()).toEqual(["aborted", "finished", "refused", "reset", "timeout", "unreachable"]);
    const seen = ["SACK sent", "D-SACK sent", "timestamps", "window closed by the stack"];
    expect([...coverage.seen]).toEqual(expect.arrayContaining(seen));
    for (const name of [
      "tcpRetransmissions",
      "tcpFastRetransmissions",
      "tcpTimeouts",
      "tcpSpuriousTimeouts",
      "tcpUndoneRecoveries",
      "tcpLossProbes",
      "tcpWindowProbes",
      "tcpKeepAlives",
      "tcpTimestampRejects",
      "tcpOutOfOrder",
      "tcpChallengeAcks",
      "tcpRejected",
      "dropMalformed",
      "dropConnectionLimit",
    ] as const) {
      expect(coverage.statistics[name], name).toBeGreaterThan(0);
    }
    // Many a connection survives and goes on.
    expect(coverage.recovered).toBeGreaterThan(100);
  });
});

describe("segments that somebody forges on the connection of two stacks", () => {
  test(
    "do not have the two answer each other for ever",
    () => {
      expect(fuzzForgeries({ seed: 1, runs: 1000 })).toBeGreaterThan(0);
    },
    TIMEOUT,
  );
});
