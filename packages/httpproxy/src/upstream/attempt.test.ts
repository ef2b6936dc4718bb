import { PassThrough } from "node:stream";
import { expect, test } from "vitest";
import { FakeClock } from "../../../streams/src/testing/fake-clock.ts";
import { settle } from "../../../streams/src/testing/peer.ts";
import { Attempt } from "./attempt.ts";

function makeAttempt() {
  const clock = new FakeClock();
  const caller = new AbortController();
  return { clock, caller, attempt: new Attempt(caller.signal, clock) };
}

test("a try that succeeds leaves its streams, and nothing else", async () => {
  const { clock, caller, attempt } = makeAttempt();
  const stream = new PassThrough();
  const result = await attempt.run(async () => {
    attempt.limit(1000, () => new Error("late"));
    attempt.limit(2000, () => new Error("late"));
    return attempt.own(stream);
  });
  expect(result).toBe(stream);
  expect(clock.timers).toBe(0);
  caller.abort();
  expect(stream.destroyed).toBe(false);
  expect(attempt.signal.aborted).toBe(false);
});

test("a try that fails closes its streams", async () => {
  const { clock, attempt } = makeAttempt();
  const streams = [new PassThrough(), new PassThrough()];
  const work = attempt.run(async () => {
    attempt.limit(1000, () => new Error("late"));
    for (const stream of streams) attempt.own(stream);
    throw new Error("broken");
  });
  await expect(work).rejects.toThrow("broken");
  expect(streams.every((stream) => stream.destroyed)).toBe(true);
  expect(attempt.signal.aborted).toBe(true);
  expect(clock.timers).toBe(0);
});

test("a limit ends work that goes on, and counts from when it was set", async () => {
  const { clock, attempt } = makeAttempt();
  const stream = new PassThrough();
  const work = attempt.run(async () => {
    attempt.own(stream);
    attempt.limit(1000, () => new Error("first"));
    clock.advance(900);
    attempt.limit(1000, () => new Error("second"));
    await new Promise(() => {});
  });
  clock.advance(999);
  await settle();
  expect(stream.destroyed).toBe(false);
  clock.advance(1);
  await expect(work).rejects.toThrow("second");
  expect(stream.destroyed).toBe(true);
  expect(clock.timers).toBe(0);
});

test("the caller's signal ends it with its own reason", async () => {
  const { clock, caller, attempt } = makeAttempt();
  const stream = new PassThrough();
  const work = attempt.run(async () => {
    attempt.own(stream);
    attempt.limit(1000, () => new Error("late"));
    await new Promise(() => {});
  });
  const reason = new Error("nobody wants it");
  caller.abort(reason);
  await expect(work).rejects.toBe(reason);
  expect(stream.destroyed).toBe(true);
  expect(clock.timers).toBe(0);
});

test("nothing is begun for a caller who has gone", async () => {
  const { caller, attempt } = makeAttempt();
  caller.abort(new Error("gone"));
  const work = attempt.run(() => Promise.reject(new Error("it was begun")));
  await expect(work).rejects.toThrow("gone");
});

test("a stream that is there after the end is closed, and its errors are nobody's", async () => {
  const { caller, attempt } = makeAttempt();
  const opened = Promise.withResolvers<PassThrough>();
  const work = attempt.run(async () => attempt.own(await opened.promise));
  caller.abort(new Error("gone"));
  await expect(work).rejects.toThrow("gone");
  const stream = new PassThrough();
  opened.resolve(stream);
  await settle();
  expect(stream.destroyed).toBe(true);
  stream.emit("error", new Error("not listened to by others"));
});

test("a result that comes in the same turn as the end is not given", async () => {
  const { caller, attempt } = makeAttempt();
  const stream = new PassThrough();
  const opened = Promise.withResolvers<PassThrough>();
  const work = attempt.run(async () => attempt.own(await opened.promise));
  opened.resolve(stream);
  caller.abort(new Error("gone"));
  await expect(work).rejects.toThrow("gone");
  expect(stream.destroyed).toBe(true);
});

test("whenever the caller goes, the stream is either given or closed", async () => {
  const seen = { given: 0, closed: 0 };
  for (let turns = 0; turns < 12; turns++) {
    const { clock, caller, attempt } = makeAttempt();
    const stream = new PassThrough();
    const work = attempt
      .run(async () => attempt.own(stream))
      .then(
        () => "given" as const,
        () => "closed" as const,
      );
    for (let turn = 0; turn < turns; turn++) await null;
    caller.abort();
    const result = await work;
    expect(stream.destroyed).toBe(result === "closed");
    expect(clock.timers).toBe(0);
    seen[result]++;
  }
  expect(seen.given).toBeGreaterThan(0);
  expect(seen.closed).toBeGreaterThan(0);
});
