import { expect, it } from "vitest";
import { makeWallClock } from "./wall-clock.ts";

it("tells the fractions of a millisecond that the wall clock lacks", () => {
  let elapsed = 5000;
  const clock = makeWallClock(
    () => Math.floor(1_700_000_000_000 + elapsed - 5000),
    () => elapsed,
  );
  const times = [0, 0.25, 0.5, 1.75, 2, 1000.125].map((later) => {
    elapsed = 5000 + later;
    return clock() - 1_700_000_000_000;
  });
  expect(times).toEqual([0, 0.25, 0.5, 1.75, 2, 1000.125]);
});

it("follows the wall clock when it is set, and when the machine has slept", () => {
  let wall = 1_700_000_000_000;
  let elapsed = 0;
  const clock = makeWallClock(
    () => Math.floor(wall),
    () => elapsed,
  );
  wall += 3_600_000;
  expect(clock()).toBe(wall);
  wall -= 60_000;
  expect(Math.abs(clock() - wall)).toBeLessThan(1);
  const before = clock();
  wall += 0.5;
  elapsed += 0.5;
  expect(clock() - before).toBeLessThanOrEqual(0.5);
  wall += 10;
  elapsed += 10;
  expect(Math.abs(clock() - wall)).toBeLessThan(1);
});

it("never leaves the millisecond of the wall clock, however the other one drifts", () => {
  let wall = 1_700_000_000_000;
  let elapsed = 0;
  const clock = makeWallClock(
    () => Math.floor(wall),
    () => elapsed,
  );
  for (const drift of [1.0005, 0.9995]) {
    let last = clock();
    for (let step = 0; step < 20_000; step++) {
      wall += 0.3;
      elapsed += 0.3 * drift;
      const time = clock();
      expect(Math.floor(time)).toBe(Math.floor(wall));
      expect(time).toBeGreaterThanOrEqual(last - 0.001);
      last = time;
    }
  }
});

it("is the time of this machine", () => {
  const clock = makeWallClock();
  const before = Date.now();
  const time = clock();
  expect(time).toBeGreaterThanOrEqual(before);
  expect(time).toBeLessThan(Date.now() + 1);
});
