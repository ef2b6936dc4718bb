import { expect, test } from "vitest";
import { HyStart } from "./hystart.ts";

/** One round of `count` samples; returns whether the slow start ended in it. */
function round(hystart: HyStart, roundTrip: number, count = 8): boolean {
  let over = false;
  for (let index = 0; index < count; index++) over = hystart.acknowledged(roundTrip, index === 0) || over;
  return over;
}

test.each([
  // An eighth of the round trip before, but 4 ms at least and 16 ms at most (RFC 9406, 4.3).
  [0.2, 4],
  [10, 4],
  [32, 4],
  [80, 10],
  [128, 16],
  [1000, 16],
])(
  "after rounds of %d ms an increase by %d ms begins the conservative slow start, and no smaller one",
  (base, increase) => {
    const under = new HyStart();
    round(under, base);
    round(under, base + increase - 0.01);
    expect(under.conservative).toBe(false);
    const hystart = new HyStart();
    round(hystart, base);
    round(hystart, base + increase);
    expect(hystart.conservative).toBe(true);
  },
);

test("a round is judged from its eighth sample on, by its shortest", () => {
  const hystart = new HyStart();
  round(hystart, 20);
  round(hystart, 100, 7);
  expect(hystart.conservative).toBe(false);
  hystart.acknowledged(-1, false);
  expect(hystart.conservative).toBe(false);
  hystart.acknowledged(24, false);
  expect(hystart.conservative).toBe(true);

  const delayed = new HyStart();
  round(delayed, 20);
  delayed.acknowledged(23, true);
  for (let sample = 0; sample < 100; sample++) delayed.acknowledged(500, false);
  expect(delayed.conservative).toBe(false);
});

test("the first round, and one after a round without samples, have nothing to be compared with", () => {
  const hystart = new HyStart();
  round(hystart, 500);
  expect(hystart.conservative).toBe(false);
  hystart.acknowledged(-1, true);
  round(hystart, 900);
  expect(hystart.conservative).toBe(false);
});

test("an increase by less than the bound in every round is not noticed, as by the RFC", () => {
  const hystart = new HyStart();
  for (let roundTrip = 10; roundTrip < 30; roundTrip += 3) expect(round(hystart, roundTrip)).toBe(false);
  expect(hystart.conservative).toBe(false);
});

test("slow start is over after five conservative rounds, of which the rest of the one that began them is the first", () => {
  const hystart = new HyStart();
  round(hystart, 20);
  expect(round(hystart, 30, 20)).toBe(false);
  for (let following = 0; following < 4; following++) {
    expect(round(hystart, 30)).toBe(false);
    expect(hystart.conservative).toBe(true);
  }
  expect(hystart.acknowledged(30, true)).toBe(true);
});

test("conservative rounds without samples count too", () => {
  const hystart = new HyStart();
  round(hystart, 20);
  round(hystart, 30);
  for (let following = 0; following < 4; following++) expect(hystart.acknowledged(-1, true)).toBe(false);
  expect(hystart.acknowledged(-1, true)).toBe(true);
});

test("round trips that shorten again were jitter: slow start resumes, and five more conservative rounds are needed", () => {
  const hystart = new HyStart();
  round(hystart, 20);
  round(hystart, 30);
  for (let following = 0; following < 3; following++) round(hystart, 30);
  expect(round(hystart, 29.9, 7)).toBe(false);
  expect(hystart.conservative).toBe(true);
  hystart.acknowledged(29.9, false);
  expect(hystart.conservative).toBe(false);
  round(hystart, 29.9);
  round(hystart, 40);
  expect(hystart.conservative).toBe(true);
  for (let following = 0; following < 4; following++) expect(round(hystart, 40)).toBe(false);
  expect(round(hystart, 40)).toBe(true);
});
