import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { FakeClock } from "../../../streams/src/testing/fake-clock.ts";
import { RecordingLogger } from "../../../streams/src/testing/recording-logger.ts";
import { ScriptedEngine } from "../testing/scripted-engine.ts";
import { EngineClient } from "./engine-client.ts";
import { EngineWatch } from "./engine-watch.ts";

let folder: string;
let engine: ScriptedEngine;
let clock: FakeClock;
let logger: RecordingLogger;
let watch: EngineWatch;
/** What two watchers were told; the second does not ask to be told of all. */
let told: string[];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "hostd-watch-"));
  engine = new ScriptedEngine(join(folder, "engine.sock"));
  clock = new FakeClock();
  logger = new RecordingLogger();
  told = [];
  const tell = (what: string) => void told.push(what);
  watch = new EngineWatch({
    client: new EngineClient({ dial: engine.dial, clock }),
    watchers: [
      { relist: () => tell("1 relist"), event: ({ action }) => tell(`1 ${action}`), lost: () => tell("1 lost") },
      { relist: () => tell("2 relist"), event: ({ action }) => tell(`2 ${action}`) },
    ],
    clock,
    logger,
  });
  await engine.start();
});
afterEach(async () => {
  await watch.close();
  expect(clock.timers).toBe(0);
  await engine.stop();
  rmSync(folder, { recursive: true });
});

/** Waits for one of the things that are told, while time passes. */
async function until(what: string): Promise<void> {
  for (; !told.includes(what); clock.advance(100)) await setImmediate();
}

test("every watcher is told everything, over one stream of events", async () => {
  watch.start();
  watch.start();
  await engine.followed();
  engine.emit("container", "start", "a".repeat(64));
  await until("2 start");
  expect(told).toEqual(["1 relist", "2 relist", "1 start", "2 start"]);
  expect(engine.requests.filter((request) => request === "GET /events")).toHaveLength(1);
});

test("watchers are told when the events end, and to list anew when they are there again", async () => {
  watch.start();
  await until("2 relist");
  told.length = 0;
  engine.endStreams();
  await until("2 relist");
  expect(told).toEqual(["1 lost", "1 relist", "2 relist"]);
});

test("watchers are told of every try that fails, and of nothing after the end", async () => {
  await engine.stop();
  watch.start();
  await until("1 lost");
  told.length = 0;
  await until("1 lost");
  expect(new Set(told)).toEqual(new Set(["1 lost"]));
  expect(logger.lines.map(({ level }) => level)).toEqual(["info"]);
  told.length = 0;
  await watch.close();
  expect(told).toEqual([]);
});
