import { describe, expect, it } from "vitest";
import { matchesShellExpression } from "./shell-expression.ts";

describe("matchesShellExpression", () => {
  it.each([
    ["www.example.com", "*.example.com"],
    ["www.example.com", "www.*"],
    ["www.example.com", "*"],
    ["www.example.com", "www.?xample.com"],
    ["http://home.example.com/people/ari/index.html", "*/ari/*"],
    ["aab", "*ab"],
    ["abcabd", "*abd"],
    ["abxbxc", "a*b?c"],
    ["", ""],
    ["", "**"],
    ["a[b]+(c)", "a[b]+(*)"],
  ])("has %j match %j", (text, pattern) => {
    expect(matchesShellExpression(text, pattern)).toBe(true);
  });

  it.each([
    ["www.example.com", "example.com"],
    ["wwwxexample.com", "www.example.com"],
    ["example.com.evil", "*.com"],
    ["Example.com", "example.com"],
    ["a", "a?"],
    ["", "?"],
    ["ab", ""],
    ["aaab", "*a"],
    // What regular expressions would make of these.
    ["b", "[ab]"],
    ["aa", "a+"],
    ["x\n", "x"],
  ])("has %j not match %j", (text, pattern) => {
    expect(matchesShellExpression(text, pattern)).toBe(false);
  });

  it("takes no longer than the product of the lengths", () => {
    expect(matchesShellExpression("a".repeat(5000), `${"*a".repeat(50)}*b`)).toBe(false);
  });
});
