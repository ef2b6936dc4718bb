import { describe, expect, test } from "vitest";
import { combine, type Measurement, measure, median, quantile, ratioOf, spread, summarize } from "./measure.ts";

describe("quantile", () => {
  test("lies between two values in proportion", () => {
    expect(quantile([10, 20, 30, 40], 0.25)).toBe(17.5);
    expect(quantile([10, 20, 30, 40], 0.5)).toBe(25);
    expect(quantile([10, 20, 30, 40, 50], 0.75)).toBe(40);
  });

  test("of 0 and 1 are the smallest and the largest value", () => {
    expect(quantile([3, 1, 2], 0)).toBe(1);
    expect(quantile([3, 1, 2], 1)).toBe(3);
  });

  test("takes values in any order, compares them as numbers, and leaves them as they are", () => {
    const values = [100, 9, 20];
    expect(median(values)).toBe(20);
    expect(values).toEqual([100, 9, 20]);
  });

  test("of one value is that value", () => {
    expect(quantile([7], 0.3)).toBe(7);
  });

  test("of no values is refused", () => {
    expect(() => quantile([], 0.5)).toThrow(RangeError);
  });
});

describe("a summary", () => {
  test("has the median, the quartiles, the minimum and the number of samples", () => {
    expect(summarize([5, 1, 3, 2, 4])).toEqual({ median: 3, low: 2, high: 4, minimum: 1, samples: 5 });
  });

  test("is not moved by one sample that was disturbed", () => {
    expect(summarize([5, 1, 3, 2, 4000]).median).toBe(3);
  });

  test("has a spread of half the distance between the quartiles, as a part of the median", () => {
    expect(spread(summarize([8, 9, 10, 11, 12]))).toBeCloseTo(0.1);
    expect(spread(summarize([4, 4, 4]))).toBe(0);
    expect(spread(summarize([0, 0, 0]))).toBe(0);
  });
});

function measurement(nanoseconds: number, heapBytes = 0, bufferBytes = 0): Measurement {
  const summary = { median: nanoseconds, low: nanoseconds - 1, high: nanoseconds + 2, minimum: nanoseconds - 3 };
  return { nanoseconds: { ...summary, samples: 10 }, heapBytes, bufferBytes };
}

describe("several measurements", () => {
  test("combine to the medians, the least minimum, and all samples", () => {
    expect(combine([measurement(20, 8, 0), measurement(400, 16, 64), measurement(21, 8, 128)])).toEqual({
      nanoseconds: { median: 21, low: 20, high: 23, minimum: 17, samples: 30 },
      heapBytes: 8,
      bufferBytes: 64,
    });
  });

  test("of two sides compare turn by turn", () => {
    // The machine was twice as slow in the second turn, for both.
    const { median: middle, lowest, highest } = ratioOf([10, 20, 12], [20, 40, 20]);
    expect(middle).toBeCloseTo(0.5);
    expect(lowest).toBeCloseTo(0.5);
    expect(highest).toBeCloseTo(0.6);
  });

  test("of unequal numbers are not compared", () => {
    expect(() => ratioOf([1, 2], [1])).toThrow("2 turns of one side and 1 of the other");
  });
});

describe("measuring", () => {
  test("prepares every run, once", async () => {
    let prepared = 0;
    let runs = 0;
    let unprepared = 0;
    await measure(
      {
        operations: 1,
        prepare: () => {
          prepared++;
        },
        run() {
          runs++;
          if (prepared !== runs) unprepared++;
          return runs;
        },
      },
      0.01,
    );
    expect(runs).toBeGreaterThan(10);
    expect(unprepared).toBe(0);
  });

  test("waits for a run that goes on", async () => {
    let running = 0;
    let most = 0;
    const { nanoseconds } = await measure(
      {
        operations: 1000,
        run: async () => {
          most = Math.max(most, ++running);
          await new Promise((resolve) => setImmediate(resolve));
          return running--;
        },
      },
      0.01,
    );
    expect(most).toBe(1);
    expect(nanoseconds.median).toBeGreaterThan(0);
  });

  test("counts the memory of buffers apart from the heap's", async () => {
    let last = new Uint8Array(0);
    const { bufferBytes } = await measure(
      {
        operations: 16,
        run() {
          for (let buffer = 0; buffer < 16; buffer++) last = new Uint8Array(4096);
          return last.length;
        },
      },
      0.01,
    );
    expect(bufferBytes).toBe(4096);
  });
});
