import { beforeEach, expect, test, vi } from "vitest";
import { BackgroundReader } from "./background-reader.ts";

let time: number;
let version: string;
/** The reads that were started, to be ended by the test. */
let reads: { readonly signal: AbortSignal; resolve(value: string): void; reject(error: Error): void }[];
const onFailure = vi.fn();
const versionOf = vi.fn(() => version);

beforeEach(() => {
  time = 0;
  version = "1";
  reads = [];
  vi.clearAllMocks();
});

const open = () =>
  new BackgroundReader<string>({
    read: (signal) => new Promise((resolve, reject) => reads.push({ signal, resolve, reject })),
    version: versionOf,
    maxAge: 30_000,
    now: () => time,
    onFailure,
  });

/** Asks at a time, and ends the read that this starts. */
async function readAt(reader: BackgroundReader<string>, at: number, value: string) {
  time = at;
  const before = reads.length;
  reader.current();
  expect(reads.length).toBe(before + 1);
  reads[before].resolve(value);
  await reader.settled();
}

test("has nothing before the first read has ended, and then its value", async () => {
  const reader = open();
  expect(reader.current()).toBeNull();
  reads[0].resolve("one");
  await reader.settled();
  expect(reader.current()).toBe("one");
});

test("reads nothing until it is asked", () => {
  open();
  expect(reads).toEqual([]);
  expect(versionOf).not.toHaveBeenCalled();
});

test("gives the last value while it reads a newer one", async () => {
  const reader = open();
  await readAt(reader, 0, "one");
  version = "2";
  time = 1000;
  expect(reader.current()).toBe("one");
  expect(reads.length).toBe(2);
  expect(reader.current()).toBe("one");
  reads[1].resolve("two");
  await reader.settled();
  expect(reader.current()).toBe("two");
});

test("never has two reads at a time, and sees what changed during one", async () => {
  const reader = open();
  reader.current();
  version = "2";
  for (time = 1000; time <= 60_000; time += 1000) reader.current();
  expect(reads.length).toBe(1);
  reads[0].resolve("one");
  await reader.settled();
  await readAt(reader, time, "two");
  expect(reader.current()).toBe("two");
});

test("looks at the version at most once per second, and reads again only when it has changed", async () => {
  const reader = open();
  await readAt(reader, 0, "one");
  version = "2";
  time = 999;
  reader.current();
  expect(reads.length).toBe(1);
  expect(versionOf).toHaveBeenCalledOnce();
  await readAt(reader, 1000, "two");
  for (time = 2000; time < 20_000; time += 10) reader.current();
  expect(reads.length).toBe(2);
  expect(versionOf).toHaveBeenCalledTimes(20);
});

test("reads again after the longest age", async () => {
  const reader = open();
  await readAt(reader, 0, "one");
  time = 29_999;
  reader.current();
  expect(reads.length).toBe(1);
  await readAt(reader, 31_000, "two");
});

test("keeps the value when a read fails, says so once for one reason, and tries again two seconds later", async () => {
  const reader = open();
  await readAt(reader, 0, "one");
  version = "2";
  for (const [at, reason] of [
    [1000, "broken"],
    [3000, "broken"],
    [5000, "gone"],
  ] as const) {
    time = at;
    expect(reader.current()).toBe("one");
    reads.at(-1)?.reject(new Error(reason));
    await reader.settled();
    time = at + 1000;
    expect(reader.current()).toBe("one");
  }
  expect(reads.length).toBe(4);
  expect(onFailure.mock.calls).toEqual([["broken"], ["gone"]]);
  await readAt(reader, 7000, "two");
  expect(reader.current()).toBe("two");
  version = "3";
  time = 8000;
  reader.current();
  reads.at(-1)?.reject(new Error("gone"));
  await reader.settled();
  expect(onFailure.mock.calls).toEqual([["broken"], ["gone"], ["gone"]]);
});

test("tries again at once after a failure when something has changed", async () => {
  const reader = open();
  reader.current();
  reads[0].reject(new Error("broken"));
  await reader.settled();
  version = "2";
  await readAt(reader, 1000, "one");
  expect(reader.current()).toBe("one");
});

test("ends the read that is under way when it is closed, and starts no other", async () => {
  const reader = open();
  await readAt(reader, 0, "one");
  version = "2";
  time = 1000;
  reader.current();
  reader.close();
  expect(reads[1].signal.aborted).toBe(true);
  reads[1].reject(new Error("stopped"));
  await reader.settled();
  time = 100_000;
  expect(reader.current()).toBe("one");
  expect(reads.length).toBe(2);
  expect(onFailure).not.toHaveBeenCalled();
});
