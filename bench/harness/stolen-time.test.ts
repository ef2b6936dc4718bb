import { expect, test } from "vitest";
import { StolenTime } from "./stolen-time.ts";

/** A measurement between two texts of /proc/stat. */
function shareBetween(...texts: readonly [string, string]): number {
  const left = [...texts];
  return new StolenTime(() => left.shift() ?? "").share();
}

test("the share of the hypervisor is that of all time, idle time too, and time of guests is not counted twice", () => {
  const begin = "cpu  100 10 200 4000 5 6 7 50 90 9\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 5 6\n";
  const end = "cpu  130 10 230 4020 5 6 7 70 120 9\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 5 6\n";
  expect(shareBetween(begin, end)).toBe(0.2);
});

test("nothing is stolen before the clock of these times has moved", () => {
  const text = "cpu  100 10 200 4000 5 6 7 50 90 9\n";
  expect(shareBetween(text, text)).toBe(0);
});

test("a text without these times is refused, with its beginning", () => {
  expect(() => shareBetween("cpu  100 10 200 4000\n", "")).toThrow(
    '/proc/stat has no line of all processors with 8 times: "cpu  100 10 200 4000\\n"',
  );
});

test("this machine's times can be read", () => {
  const share = new StolenTime().share();
  expect(share).toBeGreaterThanOrEqual(0);
  expect(share).toBeLessThanOrEqual(1);
});
