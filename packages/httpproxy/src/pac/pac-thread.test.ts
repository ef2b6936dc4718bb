import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { beforeEach, describe, expect, it } from "vitest";
import { FakeClock } from "../../../streams/src/testing/fake-clock.ts";
import { cleanUp } from "../../../streams/src/testing/peer.ts";
import { PacError } from "./pac-error.ts";
import type { PacQuestion } from "./pac-protocol.ts";
import { PacThread, ThreadGone } from "./pac-thread.ts";

let clock: FakeClock;

beforeEach(() => {
  clock = new FakeClock();
});

/** A thread that does this with each URL that it is asked about. */
function play(code: string): { readonly thread: PacThread; readonly worker: Worker } {
  const source = `
    const { parentPort } = require("node:worker_threads");
    const result = (text) => parentPort.postMessage({ kind: "result", text, alerts: [] });
    parentPort.on("message", ({ url }) => { ${code} });`;
  const worker = new Worker(source, { eval: true, resourceLimits: { maxOldGenerationSizeMb: 16 } });
  const thread = new PacThread(clock, worker);
  cleanUp(() => thread.end());
  return { thread, worker };
}

const question = (url: string): PacQuestion => ({ kind: "find", url, host: "a", addresses: new Map() });
const result = (text: string) => ({ kind: "result", text, alerts: [] });

describe("PacThread", () => {
  it("answers in the order of the questions", async () => {
    const { thread } = play("result(url);");
    const urls = Array.from({ length: 64 }, (_, index) => `${index}`);
    expect(await Promise.all(urls.map((url) => thread.ask(question(url), 1000)))).toEqual(urls.map(result));
    expect(clock.timers).toBe(0);
  });

  it("is ended by a question that takes too long, and those behind it are not to blame", async () => {
    const { thread, worker } = play("if (url === 'loop') for (;;); result(url);");
    const exit = once(worker, "exit");
    expect(await thread.ask(question("a"), 1000)).toEqual(result("a"));
    const asked = ["loop", "b", "c"].map((url) => thread.ask(question(url), 1000));
    const outcomes = Promise.allSettled(asked);
    clock.advance(999);
    expect(thread.hasEnded).toBe(false);
    clock.advance(1);
    expect(thread.hasEnded).toBe(true);
    expect((await outcomes).map((outcome) => outcome.status === "rejected" && outcome.reason)).toEqual([
      new PacError("it runs for over 1000 ms"),
      new ThreadGone(),
      new ThreadGone(),
    ]);
    await exit;
    await expect(thread.ask(question("d"), 1000)).rejects.toThrow(ThreadGone);
    expect(clock.timers).toBe(0);
  });

  it("counts the time of a question from when the one before is answered", async () => {
    const { thread } = play("if (url !== 'b') result(url);");
    const first = thread.ask(question("a"), 1000);
    const second = thread.ask(question("b"), 1000);
    const failure = expect(second).rejects.toThrow("over 1000 ms");
    clock.advance(900);
    await first;
    clock.advance(900);
    expect(thread.hasEnded).toBe(false);
    clock.advance(100);
    await failure;
  });

  it.each([
    ["throws", "throw new Error('broken');", "broken"],
    ["exits", "process.exit(0);", "its thread ended"],
    [
      "takes too much memory",
      "const all = []; for (;;) all.push(new Array(10000).fill(url));",
      "it takes too much memory",
    ],
  ])("ends with a thread that %s", async (_name, code, message) => {
    const { thread } = play(code);
    const [first, second] = await Promise.allSettled(["a", "b"].map((url) => thread.ask(question(url), 1000)));
    expect(first).toMatchObject({ status: "rejected", reason: new PacError(message) });
    expect(second).toMatchObject({ status: "rejected", reason: new ThreadGone() });
    expect(thread.hasEnded).toBe(true);
  });

  it("can be ended at any time, also twice", async () => {
    const { thread, worker } = play("for (;;);");
    const exit = once(worker, "exit");
    const asked = expect(thread.ask(question("a"), 1000)).rejects.toThrow(PacError);
    thread.end();
    thread.end();
    await Promise.all([asked, exit]);
  });
});
