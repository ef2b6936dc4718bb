import { describe, expect, test } from "vitest";
import { sequenceAdd } from "../sequence.ts";
import { TailLossProbe } from "./tail-loss-probe.ts";

/** The probe's end, just behind the change of the sign. */
const END = -0x80000000 + 20;
const BEFORE = sequenceAdd(END, -100);
const BEYOND = sequenceAdd(END, 100);

function sent(isRetransmission: boolean): TailLossProbe {
  const probe = new TailLossProbe();
  probe.isDue = true;
  probe.sent(END, isRetransmission);
  return probe;
}

describe("the timeout (RFC 8985, 7.2)", () => {
  const probe = new TailLossProbe();

  test("is two smoothed round trips", () => {
    expect(probe.timeout(50, 2, false)).toBe(100);
    expect(probe.timeout(7.5, 1000, false)).toBe(15);
  });

  test("leaves a single segment the time of a delayed acknowledgment", () => {
    expect(probe.timeout(50, 1, false)).toBe(300);
    expect(probe.timeout(0, 1, false)).toBe(210);
  });

  test("is no shorter than a pause of a scheduler", () => {
    expect(probe.timeout(0, 2, false)).toBe(10);
    expect(probe.timeout(4, 2, false)).toBe(10);
    expect(probe.timeout(5.5, 2, false)).toBe(11);
  });

  test("is no shorter than any delayed acknowledgment while nothing was ever lost", () => {
    expect(probe.timeout(0, 2, true)).toBe(50);
    expect(probe.timeout(24, 3, true)).toBe(50);
    expect(probe.timeout(26, 3, true)).toBe(52);
    expect(probe.timeout(0, 1, true)).toBe(250);
  });
});

describe("the answer (RFC 8985, 7.4.2)", () => {
  test("is awaited once a probe was sent, until it is cancelled", () => {
    const probe = new TailLossProbe();
    expect(probe.isOutstanding).toBe(false);
    expect(probe.acknowledged(END, true, true)).toBe(false);
    probe.isDue = true;
    probe.sent(END, false);
    expect(probe).toMatchObject({ isOutstanding: true, isDue: false });
    probe.isDue = true;
    probe.cancel();
    expect(probe).toMatchObject({ isOutstanding: false, isDue: false });
    expect(probe.acknowledged(BEYOND, false, false)).toBe(false);
  });

  test("is not an acknowledgment of less than the probe", () => {
    for (const isRetransmission of [false, true]) {
      const probe = sent(isRetransmission);
      expect(probe.acknowledged(BEFORE, false, false)).toBe(false);
      expect(probe.acknowledged(BEFORE, true, true)).toBe(false);
      expect(probe.acknowledged(sequenceAdd(END, -1), true, false)).toBe(false);
      expect(probe.isOutstanding).toBe(true);
    }
  });

  test("to new data tells of no loss", () => {
    for (const acknowledgment of [END, BEYOND]) {
      const probe = sent(false);
      expect(probe.acknowledged(acknowledgment, false, false)).toBe(false);
      expect(probe.isOutstanding).toBe(false);
    }
  });

  test("to a retransmission that reports a duplicate tells of no loss", () => {
    for (const acknowledgment of [END, BEYOND]) {
      const probe = sent(true);
      expect(probe.acknowledged(acknowledgment, false, true)).toBe(false);
      expect(probe.isOutstanding).toBe(false);
    }
  });

  test("to a retransmission that is a duplicate acknowledgment tells of no loss", () => {
    const probe = sent(true);
    expect(probe.acknowledged(END, false, false)).toBe(false);
    expect(probe.isOutstanding).toBe(true);
    expect(probe.acknowledged(END, true, false)).toBe(false);
    expect(probe.isOutstanding).toBe(false);
    expect(probe.acknowledged(BEYOND, false, false)).toBe(false);
  });

  test("to a retransmission, of more than it and without a report of a duplicate, tells of a loss, once", () => {
    const probe = sent(true);
    expect(probe.acknowledged(END, false, false)).toBe(false);
    expect(probe.acknowledged(BEYOND, false, false)).toBe(true);
    expect(probe.isOutstanding).toBe(false);
    expect(probe.acknowledged(BEYOND, false, false)).toBe(false);
    expect(sent(true).acknowledged(sequenceAdd(END, 1), true, false)).toBe(true);
  });

  test("is of the probe that was sent last", () => {
    const probe = sent(true);
    probe.cancel();
    probe.sent(BEYOND, false);
    expect(probe.acknowledged(END, false, false)).toBe(false);
    expect(probe.isOutstanding).toBe(true);
    expect(probe.acknowledged(BEYOND, false, false)).toBe(false);
    expect(probe.isOutstanding).toBe(false);
  });
});
