import { execFileSync } from "node:child_process";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, expect, onTestFinished, test } from "vitest";
import { PolledFile } from "./polled-file.ts";

let folder: string;
let path: string;
let time: number;
let file: PolledFile;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "hostd-host-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  path = join(folder, "file");
  time = 0;
  file = new PolledFile(path, () => time);
});

test("gives the text at first, and then nothing until it has changed", () => {
  writeFileSync(path, "one");
  expect(file.changed()).toEqual({ kind: "text", text: "one" });
  for (time = 1000; time <= 10_000; time += 1000) expect(file.changed()).toBeNull();
  writeFileSync(path, "other");
  expect(file.changed()).toEqual({ kind: "text", text: "other" });
});

test("looks at most once per second", () => {
  writeFileSync(path, "one");
  time = 500;
  file.changed();
  writeFileSync(path, "other");
  time = 1499;
  expect(file.changed()).toBeNull();
  time = 1500;
  expect(file.changed()).toEqual({ kind: "text", text: "other" });
});

test("sees a file of the same size and time of change that has taken the place of another", () => {
  const sameTime = new Date(1_700_000_000_000);
  writeFileSync(path, "one");
  utimesSync(path, sameTime, sameTime);
  file.changed();
  writeFileSync(join(folder, "new"), "two");
  utimesSync(join(folder, "new"), sameTime, sameTime);
  renameSync(join(folder, "new"), path);
  time = 1000;
  expect(file.changed()).toEqual({ kind: "text", text: "two" });
});

test("says once that the file is not there, and gives it when it comes", () => {
  expect(file.changed()).toEqual({ kind: "unreadable", reason: expect.stringContaining("ENOENT"), isMissing: true });
  time = 1000;
  expect(file.changed()).toBeNull();
  writeFileSync(path, "one");
  time = 2000;
  expect(file.changed()).toEqual({ kind: "text", text: "one" });
  unlinkSync(path);
  time = 3000;
  expect(file.changed()).toMatchObject({ kind: "unreadable", isMissing: true });
});

test("gives the same file again when it was away in between", () => {
  writeFileSync(path, "one");
  file.changed();
  renameSync(path, join(folder, "aside"));
  time = 1000;
  expect(file.changed()).toMatchObject({ kind: "unreadable", isMissing: true });
  renameSync(join(folder, "aside"), path);
  time = 2000;
  expect(file.changed()).toEqual({ kind: "text", text: "one" });
});

test("tells what is no file from one that is not there, and does not wait for a pipe", () => {
  mkdirSync(path);
  expect(file.changed()).toEqual({ kind: "unreadable", reason: "it is no file", isMissing: false });
  time = 1000;
  expect(file.changed()).toBeNull();
  rmdirSync(path);
  execFileSync("mkfifo", [path]);
  time = 2000;
  expect(file.changed()).toEqual({ kind: "unreadable", reason: "it is no file", isMissing: false });
});

test("does not read a file that is too long", () => {
  writeFileSync(path, "");
  truncateSync(path, 1024 * 1024);
  expect(file.changed()).toMatchObject({ kind: "text" });
  truncateSync(path, 1024 * 1024 + 1);
  time = 1000;
  const reason = "it is longer than 1048576 bytes";
  expect(file.changed()).toEqual({ kind: "unreadable", reason, isMissing: false });
  expect(new PolledFile(path, () => time, { maxSize: 2 * 1024 * 1024 }).changed()).toMatchObject({ kind: "text" });
});

test("tells a file that cannot be read from one that is not there", () => {
  symlinkSync("file", path);
  expect(file.changed()).toEqual({ kind: "unreadable", reason: expect.stringContaining("ELOOP"), isMissing: false });
});

test("sees that only the permissions have changed", () => {
  writeFileSync(path, "one");
  file.changed();
  chmodSync(path, 0o600);
  time = 1000;
  expect(file.changed()).toEqual({ kind: "text", text: "one" });
});
