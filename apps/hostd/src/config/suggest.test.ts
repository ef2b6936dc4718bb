import { describe, expect, it } from "vitest";
import { nearest } from "./suggest.ts";

describe("nearest", () => {
  it.each([
    ["mut", "mtu", "two neighbours swapped"],
    ["gatewy", "gateway", "a letter missing"],
    ["subnett", "subnet", "a letter too many"],
    ["lease_seconds", "leaseSeconds", "another way of joining words"],
    ["RESOLVCONF", "resolvConf", "another case"],
  ])("takes %s for %s: %s", (word, known) => {
    expect(nearest(word, ["mtu", "mac", "gateway", "subnet", "leaseSeconds", "resolvConf"])).toBe(known);
  });

  it("takes the nearer of two", () => {
    expect(nearest("lasst", ["list", "last"])).toBe("last");
  });

  it("guesses nothing when more would change than stay", () => {
    expect(nearest("x", ["mtu", "mac"])).toBeUndefined();
    expect(nearest("colour", ["mtu", "mac", "subnet"])).toBeUndefined();
    expect(nearest("", ["mtu"])).toBeUndefined();
  });
});
