import { expect, test } from "vitest";
import { FailureLog } from "./failure-log.ts";
import { FakeClock } from "./testing/fake-clock.ts";
import { RecordingLogger } from "./testing/recording-logger.ts";

test("a kind of failure is logged once a minute, with how many were left out", () => {
  const clock = new FakeClock();
  const logger = new RecordingLogger();
  const failures = new FailureLog(logger, clock);
  for (let count = 0; count < 5; count++) failures.warn("one", { code: "EMFILE" }, "first");
  failures.warn("two", {}, "second");
  clock.advance(60_000);
  failures.warn("one", { code: "EMFILE" }, "first");
  failures.warn("one", { code: "EMFILE" }, "first");
  expect(logger.lines).toEqual([
    { level: "warn", fields: { code: "EMFILE" }, message: "first" },
    { level: "warn", fields: {}, message: "second" },
    { level: "warn", fields: { code: "EMFILE", suppressed: 4 }, message: "first" },
  ]);
});
