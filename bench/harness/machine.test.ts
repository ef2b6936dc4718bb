import { describe, expect, it } from "vitest";
import { openFiles } from "./machine.ts";

describe("openFiles", () => {
  it("is the hard limit", () => {
    const limits = "Limit                     Soft Limit           Hard Limit           Units     \n";
    expect(openFiles(`${limits}Max open files            1024                 524288               files     \n`)).toBe(
      524_288,
    );
  });

  it("is infinite without one", () => {
    expect(openFiles("Max open files            1024                 unlimited            files\n")).toBe(
      Number.POSITIVE_INFINITY,
    );
  });
});
