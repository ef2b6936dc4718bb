import { expect, test } from "vitest";
import { NewReno } from "./congestion.ts";

test.each([
  [1460, 14_600],
  [536, 5360],
  [28, 280],
  [3960, 14_600],
  [9000, 18_000],
  [65_000, 130_000],
])("a segment of %i bytes begins with a window of %i (RFC 6928)", (segment, window) => {
  expect(new NewReno(segment).window).toBe(window);
});

test("slow start grows by what is acknowledged, at most two segments at a time (RFC 3465)", () => {
  const reno = new NewReno(1000);
  reno.acknowledged(1000);
  expect(reno.window).toBe(11_000);
  reno.acknowledged(100);
  expect(reno.window).toBe(11_100);
  reno.acknowledged(100_000);
  expect(reno.window).toBe(13_100);
});

test("a timeout leaves one segment, slow start to half of what was in flight, and then a segment a round trip", () => {
  const reno = new NewReno(1000);
  reno.timedOut(20_000);
  expect(reno.window).toBe(1000);
  while (reno.window < 10_000) reno.acknowledged(1000);
  expect(reno.window).toBe(10_000);
  for (let acknowledgment = 0; acknowledgment < 10; acknowledgment++) reno.acknowledged(1000);
  expect(reno.window).toBeGreaterThan(10_900);
  expect(reno.window).toBeLessThanOrEqual(11_000);
});

test("the threshold is never less than two segments", () => {
  const reno = new NewReno(1000);
  reno.timedOut(0);
  reno.acknowledged(1000);
  expect(reno.window).toBe(2000);
  reno.acknowledged(1000);
  expect(reno.window).toBe(2500);
});

test("recovery halves the window, inflates it by what has left, and deflates it (RFC 5681, 3.2; RFC 6582, 3.2)", () => {
  const reno = new NewReno(1000);
  reno.enterRecovery(20_000);
  expect(reno.window).toBe(13_000);
  reno.inflate();
  expect(reno.window).toBe(14_000);
  reno.partialAcknowledgment(3000);
  expect(reno.window).toBe(12_000);
  reno.partialAcknowledgment(500);
  expect(reno.window).toBe(11_500);
  reno.partialAcknowledgment(100_000);
  expect(reno.window).toBe(1000);
  reno.leaveRecovery();
  expect(reno.window).toBe(10_000);
  reno.acknowledged(1000);
  expect(reno.window).toBe(10_100);
});

test("growth ends at 16 MiB", () => {
  const reno = new NewReno(65_000);
  for (let acknowledgment = 0; acknowledgment < 1000; acknowledgment++) reno.acknowledged(1_000_000);
  expect(reno.window).toBeLessThan(16 * 1024 * 1024 + 130_000);
});

test("after a pause the window is at most ten segments", () => {
  const reno = new NewReno(1000);
  for (let acknowledgment = 0; acknowledgment < 100; acknowledgment++) reno.acknowledged(2000);
  reno.restartAfterIdle();
  expect(reno.window).toBe(10_000);
  reno.timedOut(0);
  reno.restartAfterIdle();
  expect(reno.window).toBe(1000);
});
