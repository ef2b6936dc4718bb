import { describe, expect, test } from "vitest";
import { isLookedInto } from "./transparent-ports.ts";

describe("connections are looked into", () => {
  test.each([
    ["none", [], [80, 443, 22]],
    ["all", [80, 443, 22, 65_535], []],
    [
      [443, 8443],
      [443, 8443],
      [80, 22, 4430],
    ],
  ] as const)("by the list %j", (ports, wanted, others) => {
    const rules = { ports, other: "direct", router: { isAlwaysDirect: false } } as const;
    expect(wanted.filter((port) => !isLookedInto(port, rules))).toEqual([]);
    expect(others.filter((port) => isLookedInto(port, rules))).toEqual([]);
  });

  test("only while something may come of it", () => {
    for (const other of ["direct", "refuse"] as const) {
      const router = { isAlwaysDirect: false };
      const rules = { ports: [443], other, router };
      expect(isLookedInto(443, rules)).toBe(true);
      router.isAlwaysDirect = true;
      expect(isLookedInto(443, rules)).toBe(other === "refuse");
    }
  });
});
