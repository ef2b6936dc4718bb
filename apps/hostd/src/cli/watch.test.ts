import { describe, expect, it } from "vitest";
import { frame } from "./watch.ts";

describe("frame", () => {
  it("writes each line over the one that was there, and empties the rest of the screen", () => {
    expect(frame(["one", "two"], 80, 24)).toBe("\x1b[H\x1b[Kone\r\n\x1b[Ktwo\r\n\x1b[J");
  });

  it("does not scroll a screen that is full", () => {
    expect(frame(["one", "two"], 80, 2)).toBe("\x1b[H\x1b[Kone\r\n\x1b[Ktwo");
  });

  it("says how many lines there was no room for", () => {
    expect(frame(["1", "2", "3", "4"], 80, 3)).toBe("\x1b[H\x1b[K1\r\n\x1b[K2\r\n\x1b[K... 2 more lines");
  });

  it("cuts lines that would take two, and counts nothing for what makes them stand out", () => {
    expect(frame(["\x1b[1mtitle\x1b[22m", "\x1b[1mlong title\x1b[22m"], 5, 2)).toBe(
      "\x1b[H\x1b[K\x1b[1mtitle\x1b[22m\r\n\x1b[Klong ",
    );
  });
});
