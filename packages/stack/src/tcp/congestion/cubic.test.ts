import { expect, test } from "vitest";
import type { CongestionControl } from "./congestion-control.ts";
import { Cubic } from "./cubic.ts";
import { Reno } from "./reno.ts";

const SEGMENT = 1000;

/** Acknowledges the windows of `duration` ms, a segment at a time; returns the time at the end. */
function run(control: CongestionControl, from: number, duration: number, roundTrip: number): number {
  let now = from;
  let shrank = false;
  while (now < from + duration) {
    const before = control.window;
    now += (roundTrip * SEGMENT) / before;
    control.acknowledged(SEGMENT, true, now, -1, roundTrip, false);
    if (control.window < before) shrank = true;
  }
  expect(shrank).toBe(false);
  return now;
}

/** A loss with the whole window in flight, and the recovery from it. */
function lose(control: CongestionControl, now: number): void {
  control.lossDetected(control.window, now);
  control.window = control.threshold;
  control.recovered(now);
}

/** A connection in slow start at `segments`, which has had no loss. */
function grown(segments: number): CongestionControl {
  const control: CongestionControl = new Cubic(SEGMENT);
  while (control.window < segments * SEGMENT) {
    control.acknowledged(Math.min(control.window, segments * SEGMENT - control.window), true, 0, -1, 100, false);
  }
  expect(control.window).toBe(segments * SEGMENT);
  return control;
}

test("K is the time in which the window is back at its maximum", () => {
  // 1000 segments lose 300: K = cbrt(300 / 0.4) = cbrt(750) = 9.0856 s.
  const cubic = grown(1000);
  lose(cubic, 0);
  expect(cubic.window).toBe(700_000);
  const almost = run(cubic, 0, 9000 - 100, 100);
  expect(cubic.window).toBeLessThan(1_000_000);
  // On the plateau the curve is flat: 0.4 * 0.9^3 = 0.3 segments in the 900 ms around it.
  expect(cubic.window).toBeGreaterThan(999_000);
  run(cubic, almost, 200, 100);
  expect(cubic.window).toBeGreaterThan(999_900);
  expect(cubic.window).toBeLessThan(1_000_100);
});

test.each([
  // W(t) = 0.4 (t - 9.0856)^3 + 1000, in segments at t seconds after the loss, by hand.
  [1, 788.5],
  [3, 909.9],
  [5, 972.7],
  [9.0856, 1000],
  [12, 1009.9],
  [15, 1082.7],
  [18, 1283.3],
])("%d s after a loss at 1000 segments the window is that of the cubic function", (seconds, segments) => {
  const cubic = grown(1000);
  lose(cubic, 0);
  run(cubic, 0, 1000 * seconds, 100);
  // The window follows the curve of up to a round trip ahead.
  const ahead = 0.4 * (seconds + 0.1 - 9.0856) ** 3 + 1000;
  expect(cubic.window / SEGMENT).toBeGreaterThan(segments - 0.2);
  expect(cubic.window / SEGMENT).toBeLessThan(ahead + 0.2);
});

test.each([200, 536, 1460, 8960])("segments of %i bytes give the same curve in segments", (segment) => {
  const control: CongestionControl = new Cubic(segment);
  control.timedOut(0, 0, true);
  control.window = control.threshold = 500 * segment;
  control.lossDetected(control.window, 0);
  control.window = control.threshold;
  control.recovered(0);
  for (let now = 0; now < 5000; now += 10) control.acknowledged(control.window / 5, true, now, -1, 50, false);
  // K = cbrt(150 / 0.4) = 7.2112 s; 0.4 (5 - 7.2112)^3 + 500 = 495.67
  expect(control.window / segment).toBeGreaterThan(495.6);
  expect(control.window / segment).toBeLessThan(496.1);
});

test("how the acknowledgments are split does not matter for where the window is", () => {
  const windows = [1, 2, 10, 45].map((segments) => {
    const cubic = grown(1000);
    lose(cubic, 0);
    let now = 0;
    while (now < 14_000) {
      now += (100 * segments * SEGMENT) / cubic.window;
      cubic.acknowledged(segments * SEGMENT, true, now, -1, 100, false);
    }
    return cubic.window / SEGMENT;
  });
  for (const window of windows) expect(Math.abs(window - windows[0]!)).toBeLessThan(1);
});

test("the window grows by a half per round trip at most, whatever the curve", () => {
  const cubic = grown(1000);
  cubic.timedOut(10_000, 0, true);
  cubic.window = cubic.threshold;
  cubic.acknowledged(1, true, 0, -1, 5000, false);
  // A hundred seconds on, the curve is at 400000 segments: every acknowledgment in the round trip adds its share of a
  // half, which compounds to a factor of at most e^0.5.
  let now = 100_000;
  for (let round = 0; round < 5; round++) {
    const before = cubic.window;
    for (let left = before; left > 0; left -= SEGMENT) {
      cubic.acknowledged(Math.min(SEGMENT, left), true, now, -1, 100_000, false);
    }
    expect(cubic.window / before).toBeGreaterThan(1.4);
    expect(cubic.window / before).toBeLessThan(Math.exp(0.5) + 0.01);
    now += 5000;
  }
  const before = cubic.window;
  cubic.acknowledged(before, true, now, -1, 100_000, false);
  expect(cubic.window).toBe(Math.floor(1.5 * before));
});

test("with short round trips it grows as much as Reno would: 0.53 segments a round trip to the old window, then one", () => {
  // Two segments' growth of the curve take cbrt(2 / 0.4) = 1.7 s, Reno's a few ms.
  const cubic = grown(100);
  lose(cubic, 0);
  let now = 0;
  // One acknowledgment per round trip: Reno's estimate grows by alpha = 3 * 0.3 / 1.7 each.
  for (let round = 1; round <= 56; round++) {
    now += 1;
    cubic.acknowledged(cubic.window, true, now, -1, 1, false);
    expect(Math.abs(cubic.window - (70_000 + (900 / 1.7) * round))).toBeLessThanOrEqual(1);
  }
  expect(cubic.window).toBeLessThan(100_000);
  // The 57th reaches 100 segments; from there alpha is 1.
  cubic.acknowledged(cubic.window, true, ++now, -1, 1, false);
  const reached = cubic.window;
  expect(reached).toBeGreaterThan(100_000);
  for (let round = 1; round <= 50; round++) {
    cubic.acknowledged(cubic.window, true, ++now, -1, 1, false);
    expect(Math.abs(cubic.window - (reached + SEGMENT * round))).toBeLessThanOrEqual(1);
  }
});

test("Reno's slope resumes after an undone loss where it was, to the window of the loss before", () => {
  const cubic = grown(100);
  lose(cubic, 0);
  let now = 0;
  for (let round = 0; round < 20; round++) cubic.acknowledged(cubic.window, true, ++now, -1, 1, false);
  const before = cubic.window;
  lose(cubic, now);
  for (let round = 0; round < 5; round++) cubic.acknowledged(cubic.window, true, ++now, -1, 1, false);
  expect(cubic.window).toBeLessThan(before);
  cubic.undo(now);
  expect(cubic.window).toBe(before);
  for (let round = 1; round <= 20; round++) {
    cubic.acknowledged(cubic.window, true, ++now, -1, 1, false);
    expect(Math.abs(cubic.window - (before + (900 / 1.7) * round))).toBeLessThanOrEqual(1);
  }
});

test("after a timeout in a recovery, Reno's slope is 0.53 up to the window before the recovery", () => {
  const cubic = grown(100);
  cubic.lossDetected(100_000, 0);
  cubic.window = 20_000;
  cubic.timedOut(100_000, 0, true);
  while (cubic.window < cubic.threshold) cubic.acknowledged(cubic.window, true, 0, -1, 1, false);
  expect(cubic.threshold).toBe(70_000);
  const start = cubic.window;
  for (let round = 1; round <= 50; round++) {
    cubic.acknowledged(cubic.window, true, round, -1, 1, false);
    expect(Math.abs(cubic.window - (start + (900 / 1.7) * round))).toBeLessThanOrEqual(1);
  }
});

test("round trips that become shorter do not shrink the window", () => {
  const cubic = grown(1000);
  lose(cubic, 0);
  const now = run(cubic, 0, 4000, 100);
  cubic.acknowledged(cubic.window, true, now, -1, 2000, false);
  // The curve of two seconds later, 0.4 * 3.0856^3 = 11.8 segments below 1000; that of 10 ms later is 52 below.
  const before = cubic.window;
  expect(before).toBeGreaterThan(988_000);
  expect(before).toBeLessThan(989_000);
  cubic.acknowledged(before, true, now, -1, 10, false);
  expect(cubic.window).toBe(before);
});

test("it leaves the Reno-friendly region when the curve overtakes Reno's line", () => {
  // At 100 ms round trips Reno grows by 5.3 segments a second from 70; the curve, cbrt(75) = 4.217 s to its plateau,
  // is above it until they meet at 100 segments; in the convex part Reno's line of 10 a second is ahead until
  // 0.4 (t - 4.2)^3 overtakes it.
  const cubic = grown(100);
  lose(cubic, 0);
  run(cubic, 0, 2000, 100);
  // The curve: 100 - 0.4 * 2.217^3 = 95.6; Reno: 80.6.
  expect(cubic.window / SEGMENT).toBeGreaterThan(95.5);
  expect(cubic.window / SEGMENT).toBeLessThan(96.5);
  const steady = grown(100);
  lose(steady, 0);
  run(steady, 0, 7500, 100);
  // The curve: 100 + 0.4 * 3.283^3 = 114.2; Reno: 100 at 5.67 s, 118.3 at 7.5 s, less what follows from the window
  // being ahead of its estimate at first.
  expect(steady.window / SEGMENT).toBeGreaterThan(114.5);
  expect(steady.window / SEGMENT).toBeLessThan(118.4);
  const late = grown(100);
  lose(late, 0);
  run(late, 0, 12_000, 100);
  // The curve: 100 + 0.4 * 7.783^3 = 288.6; Reno's line is at 163.
  expect(late.window / SEGMENT).toBeGreaterThan(288);
  expect(late.window / SEGMENT).toBeLessThan(297);
});

test.each([
  // RFC 9438, table 1 (100 ms) and table 2 (10 ms): round trip, loss rate, average window.
  [100, 1e-2, 12],
  [100, 1e-3, 38],
  [100, 1e-4, 187],
  [100, 1e-5, 1054],
  [100, 1e-6, 5926],
  [10, 1e-2, 12],
  [10, 1e-3, 38],
  [10, 1e-4, 120],
  [10, 1e-5, 379],
])("at %i ms and a loss rate of %d the average window is about the RFC's %i segments", (roundTrip, rate, expected) => {
  const control: CongestionControl = new Cubic(SEGMENT);
  control.timedOut(20 * SEGMENT, 0, true);
  control.window = control.threshold;
  const epochs = 20;
  const segments = Math.round(1 / rate);
  let now = 0;
  let delivered = 0;
  let start = 0;
  for (let epoch = 0; epoch < epochs; epoch++) {
    if (epoch === epochs / 2) {
      start = now;
      delivered = 0;
    }
    for (let segment = 0; segment < segments; segment++) {
      now += (roundTrip * SEGMENT) / control.window;
      control.acknowledged(SEGMENT, true, now, -1, roundTrip, false);
    }
    delivered += segments;
    lose(control, now);
  }
  const average = (delivered * roundTrip) / (now - start);
  expect(average / expected).toBeGreaterThan(0.88);
  expect(average / expected).toBeLessThan(1.12);
});

test("a loss leaves 0.7 of what was in flight", () => {
  const cubic = grown(100);
  cubic.lossDetected(50_000, 0);
  expect(cubic.threshold).toBe(35_000);
});

test("fast convergence: a loss below the last maximum puts the next plateau at 0.85 of the window", () => {
  const cubic = grown(1000);
  lose(cubic, 0);
  const now = run(cubic, 0, 1000, 100);
  const lost = cubic.window / SEGMENT;
  expect(lost).toBeLessThan(800);
  lose(cubic, now);
  // The plateau is reached after cbrt((0.85 - 0.7) * lost / 0.4) s, 6.7 s here, and not after 8.4 s.
  const plateau = 0.85 * lost;
  const time = Math.cbrt((0.15 * lost) / 0.4) * 1000;
  run(cubic, now, time, 100);
  expect(cubic.window / SEGMENT).toBeGreaterThan(plateau - 0.5);
  expect(cubic.window / SEGMENT).toBeLessThan(plateau + 0.5);
});

test("a loss above the last maximum puts the next plateau at the window", () => {
  const cubic = grown(1000);
  lose(cubic, 0);
  const now = run(cubic, 0, 15_000, 100);
  const lost = cubic.window / SEGMENT;
  expect(lost).toBeGreaterThan(1080);
  lose(cubic, now);
  run(cubic, now, Math.cbrt((0.3 * lost) / 0.4) * 1000, 100);
  expect(cubic.window / SEGMENT).toBeGreaterThan(lost - 0.5);
  expect(cubic.window / SEGMENT).toBeLessThan(lost + 0.5);
});

test("after a timeout the curve begins at its plateau when slow start has reached the threshold", () => {
  const cubic = grown(1000);
  lose(cubic, 0);
  cubic.timedOut(700_000, 1000, true);
  expect(Math.abs(cubic.threshold - 490_000)).toBeLessThanOrEqual(1);
  let now = 1000;
  while (cubic.window < cubic.threshold) {
    now += 100;
    cubic.acknowledged(cubic.window, true, now, -1, 100, false);
  }
  const start = now;
  now = run(cubic, start, 5000, 100);
  // W(5) = 0.4 * 5^3 + 490 = 540; Reno's line 490 + 5.3 * 5 = 516.
  expect(cubic.window / SEGMENT).toBeGreaterThan(539.5);
  expect(cubic.window / SEGMENT).toBeLessThan(540.5 + 3.1);
});

test("the end of the first slow start by HyStart++ begins the curve at its plateau, with Reno's slope of one", () => {
  const cubic: CongestionControl = new Cubic(SEGMENT);
  let now = 0;
  let roundTrip = 50;
  // Rounds of ten acknowledgments; past 150 segments a queue builds up, by 20 ms a round.
  for (let round = 0; cubic.threshold === Number.POSITIVE_INFINITY; round++) {
    expect(round).toBeLessThan(20);
    const share = Math.floor(cubic.window / 10);
    if (cubic.window > 150_000) roundTrip += 20;
    for (let acknowledgment = 0; acknowledgment < 10; acknowledgment++) {
      now += 5;
      cubic.acknowledged(share, true, now, roundTrip, roundTrip, acknowledgment === 0);
    }
  }
  const exit = cubic.threshold;
  expect(exit).toBeGreaterThan(150_000);
  // Had slow start gone on for these rounds, it would be at 10 * 2^11 segments.
  expect(exit).toBeLessThan(1_500_000);
  const before = cubic.window;
  cubic.acknowledged(before, true, now + 10, -1, 10, false);
  expect(Math.abs(cubic.window - before - SEGMENT)).toBeLessThanOrEqual(1);
});

test.each([
  ["the sender had nothing to send", 0],
  ["the sender sent less than it could", 1],
])("time in which %s does not count", (_, trickle) => {
  const steady = grown(1000);
  lose(steady, 0);
  run(steady, run(steady, 0, 3000, 100), 3000, 100);
  const paused = grown(1000);
  lose(paused, 0);
  let now = run(paused, 0, 3000, 100);
  const before = paused.window;
  if (trickle) {
    for (let second = 0; second < 1000; second++) paused.acknowledged(SEGMENT, false, (now += 30), -1, 100, false);
  } else {
    now += 30_000;
  }
  expect(paused.window).toBe(before);
  run(paused, now, 3000, 100);
  // A pause of which nothing tells may count as one round trip: 0.1 s of a slope of 1.2 * (6 - 9.0856)^2 = 11.4
  // segments per second.
  expect(Math.abs(paused.window - steady.window)).toBeLessThan(1200);
});

test("time before the first window that is used up does not count", () => {
  const cubic = grown(1000);
  lose(cubic, 0);
  for (let now = 0; now < 60_000; now += 100) cubic.acknowledged(SEGMENT, false, now, -1, 100, false);
  run(cubic, 60_000, 3000, 100);
  // W(3) = 909.9
  expect(cubic.window / SEGMENT).toBeGreaterThan(909.5);
  expect(cubic.window / SEGMENT).toBeLessThan(915);
});

test("after an idle period that shrank the window, the curve begins anew with the plateau that is known", () => {
  const cubic = grown(1000);
  lose(cubic, 0);
  let now = run(cubic, 0, 3000, 100) + 5000;
  const before = cubic.window;
  cubic.restartAfterIdle(now);
  expect(cubic.window).toBe(10_000);
  expect(cubic.threshold).toBe(700_000);
  expect(before * 0.75).toBeLessThan(700_000);
  while (cubic.window < cubic.threshold) cubic.acknowledged(cubic.window, true, (now += 100), -1, 100, false);
  run(cubic, now, 3000, 100);
  expect(cubic.window / SEGMENT).toBeGreaterThan(909.5);
  expect(cubic.window / SEGMENT).toBeLessThan(915);
});

test("an undone loss leaves the curve as if it had not been", () => {
  const straight = grown(1000);
  lose(straight, 0);
  run(straight, run(straight, 0, 5000, 100), 6000, 100);
  for (const spurious of ["loss", "recovery", "timeout"]) {
    const undone = grown(1000);
    lose(undone, 0);
    let now = run(undone, 0, 5000, 100);
    const before = undone.window;
    if (spurious === "timeout") {
      undone.timedOut(before, now, true);
      undone.timedOut(before, now + 300, false);
      undone.acknowledged(SEGMENT, true, now + 400, -1, 100, true);
    } else {
      undone.lossDetected(before, now);
      undone.window = undone.threshold;
      if (spurious === "loss") {
        undone.recovered(now + 100);
        run(undone, now + 100, 300, 100);
      }
    }
    now += 400;
    undone.undo(now);
    expect(undone.window).toBe(before);
    expect(undone.threshold).toBe(700_000);
    run(undone, now, 6000, 100);
    expect(Math.abs(undone.window - straight.window) / SEGMENT).toBeLessThan(3);
  }
});

test("the maximum of an undone loss is forgotten: the next loss is compared with the one before", () => {
  const cubic = grown(1000);
  lose(cubic, 0);
  let now = run(cubic, 0, 5000, 100);
  const lost = cubic.window / SEGMENT;
  expect(lost).toBeLessThan(980);
  cubic.lossDetected(cubic.window, now);
  cubic.undo(now);
  lose(cubic, now);
  // Below 1000, so fast convergence: the plateau is at 0.85 of the window.
  now = run(cubic, now, Math.cbrt((0.15 * lost) / 0.4) * 1000, 100);
  expect(Math.abs(cubic.window / SEGMENT - 0.85 * lost)).toBeLessThan(0.5);
});

test("a new segment size begins the curve anew from the same bytes", () => {
  const cubic = grown(1000);
  lose(cubic, 0);
  const now = run(cubic, 0, 3000, 100);
  const before = cubic.window;
  cubic.setSegment(500);
  expect(cubic.window).toBe(before);
  // In segments of 500 bytes: from 2 * window to 2000 takes cbrt((2000 - 2 * window) / 0.4) s.
  const time = Math.cbrt((2000 - before / 500) / 0.4);
  run(cubic, now, 1000 * (time - 2), 100);
  // 0.4 * 2^3 = 3.2 segments before the plateau, and 2.7 of them a round trip later.
  expect(cubic.window / 500).toBeGreaterThan(2000 - 3.4);
  expect(cubic.window / 500).toBeLessThan(2000 - 2.6);
});

test("a loss undone after the segment size changed begins the curve anew too", () => {
  const cubic = grown(1000);
  lose(cubic, 0);
  const now = run(cubic, 0, 3000, 100);
  const before = cubic.window;
  cubic.lossDetected(before, now);
  cubic.setSegment(250);
  cubic.undo(now);
  expect(cubic.window).toBe(before);
  // In segments of 250 bytes the plateau is at 4000. The curve is cubic: after half of K an eighth is missing still.
  const missing = 4000 - before / 250;
  run(cubic, now, 500 * Math.cbrt(missing / 0.4), 100);
  const left = 4000 - cubic.window / 250;
  expect(left / missing).toBeGreaterThan(0.08);
  expect(left / missing).toBeLessThan(0.13);
});

test("a loss that turns out spurious when the window has outgrown it stays", () => {
  const cubic = grown(1000);
  lose(cubic, 0);
  run(cubic, 0, 12_000, 100);
  const { window, threshold } = cubic;
  expect(window).toBeGreaterThan(1_000_000);
  cubic.undo(12_000);
  expect(cubic.window).toBe(window);
  expect(cubic.threshold).toBe(threshold);
});

test("CUBIC and Reno share a short path within a factor of two", () => {
  const flows: CongestionControl[] = [new Cubic(SEGMENT), new Reno(SEGMENT)];
  for (const flow of flows) {
    flow.timedOut(0, 0, true);
    flow.window = flow.threshold = 20 * SEGMENT;
  }
  const delivered = [0, 0];
  let now = 0;
  for (let round = 0; round < 20_000; round++) {
    now += 5;
    const full = flows[0]!.window + flows[1]!.window > 100 * SEGMENT;
    for (const [index, flow] of flows.entries()) {
      delivered[index]! += flow.window;
      if (full) lose(flow, now);
      else flow.acknowledged(flow.window, true, now, -1, 5, true);
    }
  }
  expect(delivered[0]! / delivered[1]!).toBeGreaterThan(0.5);
  expect(delivered[0]! / delivered[1]!).toBeLessThan(2);
});
