import { EventEmitter } from "node:events";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { firstStopSignal } from "./stop-signals.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

describe("firstStopSignal", () => {
  it("keeps the process alive until the signal comes, and gives it 5 seconds then", async () => {
    const source = new EventEmitter();
    const onDeadline = vi.fn();
    const signal = firstStopSignal(onDeadline, source);
    expect(vi.getTimerCount()).toBe(1);
    source.emit("SIGTERM", "SIGTERM");
    expect(await signal).toBe("SIGTERM");
    vi.advanceTimersByTime(4999);
    expect(onDeadline).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1);
    expect(onDeadline).toHaveBeenCalledOnce();
  });

  it.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ])("ends the process at a second signal, %s with code %i", async (second, code) => {
    const exit = vi.spyOn(process, "exit").mockImplementation(() => {
      throw new Error("exited");
    });
    const source = new EventEmitter();
    const signal = firstStopSignal(vi.fn(), source);
    source.emit("SIGINT", "SIGINT");
    await signal;
    expect(() => source.emit(second, second)).toThrow("exited");
    expect(exit).toHaveBeenCalledWith(code);
  });
});
