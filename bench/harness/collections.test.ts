import { describe, expect, test } from "vitest";
import { readCollections } from "./collections.ts";

const YOUNG =
  "[24918:0x32dbc000]     1234 ms: Scavenge 12.3 (20.1) -> 10.1 (22.1) MB, pooled: 0.0 MB, 3.10 / 0.00 ms  (average mu = 0.953, current mu = 0.953) task;";
const FULL =
  "[63:0x32dbc000]      105 ms: Incremental Mark-Compact 9.3 (11.4) -> 8.1 (12.1) MB, pooled: 0.0 MB, 4.45 / 0.00 ms (+ 0.3 ms in 12 steps since start of marking, biggest step 0.2 ms, walltime since start of marking 11 ms) (average mu = 0.953, current mu = 0.953) finalize incremental marking via stack guard; GC in old space requested";
const REDUCING =
  "[63:0x32dbc000]    52105 ms: Mark-Compact (reduce) 9.3 (11.4) -> 8.1 (12.1) MB, pooled: 0.0 MB, 2.05 / 0.00 ms (+ 9.3 ms in 12 steps since start of marking, biggest step 7.5 ms, walltime since start of marking 11 ms) (average mu = 0.953, current mu = 0.953) task; GC in old space requested";

describe("collections of garbage", () => {
  test("are found among what a program says", () => {
    const output = ["qemu ... -netdev stream", YOUNG, '{"level":"info","msg":"a -> b"}', FULL, ""].join("\n");
    expect(readCollections(output)).toEqual([
      { kind: "young", pause: 3.1 },
      { kind: "full", pause: 4.45 },
    ]);
  });

  test("last as long as their longest step", () => {
    expect(readCollections(REDUCING)).toEqual([{ kind: "full", pause: 7.5 }]);
  });

  test("that are worded in another way are not overlooked", () => {
    const line = "[63:0x32dbc000] 105 ms: Scavenge from 12 MB -> to 10 MB in 3 ms";
    expect(() => readCollections(line)).toThrow(`not the line of a collection that this knows: ${line}`);
  });
});
