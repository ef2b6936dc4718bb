import { rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { beforeEach, describe, expect, it } from "vitest";
import { EventLog } from "../../../streams/src/testing/event-log.ts";
import { FakeClock } from "../../../streams/src/testing/fake-clock.ts";
import { cleanUp, makeFolder, settle } from "../../../streams/src/testing/peer.ts";
import { PacSource } from "./pac-source.ts";

/** A fetch whose outcome the test decides. */
interface Fetch {
  readonly url: URL;
  readonly signal: AbortSignal;
  readonly answer: (text: string) => void;
  readonly fail: (error: Error) => void;
}

let clock: FakeClock;
let fetches: EventLog<Fetch>;
let failures: EventLog<string>;
let taken: EventLog<{ readonly script: string; readonly isAnew: boolean }>;
/** What taking a script over fails with. */
let refusal: Error | null;

beforeEach(() => {
  clock = new FakeClock();
  fetches = new EventLog();
  failures = new EventLog();
  taken = new EventLog();
  refusal = null;
});

function open(url = new URL("http://wpad.example/proxy.pac")): PacSource {
  const source = new PacSource({
    url,
    clock,
    refetchSeconds: 300,
    fetch: (to, signal) => {
      const { promise, resolve, reject } = Promise.withResolvers<{ text: string }>();
      fetches.push({ url: to, signal, answer: (text) => resolve({ text }), fail: reject });
      return promise;
    },
    takeOver: async (script, isAnew) => {
      taken.push({ script, isAnew });
      if (refusal !== null) throw refusal;
    },
    failed: (error) => failures.push(error instanceof Error ? error.message : String(error)),
  });
  cleanUp(() => source.close());
  return source;
}

/** The fetch with this number, counted from 1. */
const fetch = async (count: number) => (await fetches.take(count))[count - 1];

describe("PacSource", () => {
  it("fetches at once, and again when the script is as old as it may get", async () => {
    open();
    (await fetch(1)).answer("one");
    await taken.take(1);
    await settle();
    clock.advance(299_999);
    expect(fetches.events).toHaveLength(1);
    clock.advance(1);
    (await fetch(2)).answer("two");
    expect(await taken.take(2)).toEqual([
      { script: "one", isAnew: false },
      { script: "two", isAnew: false },
    ]);
    expect(fetches.events.map(({ url }) => url.href)).toEqual(Array(2).fill("http://wpad.example/proxy.pac"));
  });

  it("tries again after 1 s, and twice as long each time, up to 60 s", async () => {
    open();
    for (const [index, seconds] of [1, 2, 4, 8, 16, 32, 60, 60].entries()) {
      (await fetch(index + 1)).fail(new Error(`failure ${index}`));
      await failures.take(index + 1);
      await settle();
      clock.advance(seconds * 1000 - 1);
      expect(fetches.events).toHaveLength(index + 1);
      clock.advance(1);
    }
    (await fetch(9)).answer("one");
    await taken.take(1);
    await settle();
    clock.advance(300_000);
    (await fetch(10)).fail(new Error("again"));
    await failures.take(9);
    await settle();
    clock.advance(1000);
    await fetch(11);
  });

  it("takes a script that is not taken over for a failure", async () => {
    refusal = new Error("it has no function");
    open();
    (await fetch(1)).answer("<html>");
    expect(await failures.take(1)).toEqual(["it has no function"]);
    await settle();
    clock.advance(1000);
    await fetch(2);
  });

  it("gives up a fetch after 10 s", async () => {
    open();
    const { signal } = await fetch(1);
    clock.advance(9999);
    await settle();
    expect(signal.aborted).toBe(false);
    clock.advance(1);
    expect(await failures.take(1)).toEqual(["it has not come within 10000 ms"]);
    expect(signal.aborted).toBe(true);
  });

  it("fetches at once for another network, and has the same script taken over anew", async () => {
    const source = open();
    (await fetch(1)).fail(new Error("no network"));
    await failures.take(1);
    await settle();
    source.refresh();
    (await fetch(2)).answer("one");
    expect(await taken.take(1)).toEqual([{ script: "one", isAnew: true }]);
    await settle();
    clock.advance(300_000);
    (await fetch(3)).answer("one");
    expect((await taken.take(2))[1]).toEqual({ script: "one", isAnew: false });
  });

  it("fetches once more when the network changes during a fetch", async () => {
    const source = open();
    const first = await fetch(1);
    source.refresh();
    source.refresh();
    first.answer("one");
    (await fetch(2)).answer("two");
    expect((await taken.take(2))[1]).toEqual({ script: "two", isAnew: true });
    await settle();
    expect(fetches.events).toHaveLength(2);
  });

  it("still takes a script over anew when that comes after failures", async () => {
    const source = open();
    (await fetch(1)).answer("one");
    await taken.take(1);
    await settle();
    source.refresh();
    (await fetch(2)).fail(new Error("no network yet"));
    await failures.take(1);
    await settle();
    clock.advance(1000);
    (await fetch(3)).answer("one");
    expect((await taken.take(2))[1]).toEqual({ script: "one", isAnew: true });
  });

  it("does nothing once it is closed", async () => {
    const source = open();
    const { signal, answer } = await fetch(1);
    source.close();
    expect(signal.aborted).toBe(true);
    answer("one");
    source.refresh();
    await settle();
    clock.advance(600_000);
    expect([fetches.events.length, taken.events, failures.events, clock.timers]).toEqual([1, [], [], 0]);
  });

  it("looks at a file every 2 s, and reads it when it has changed", async () => {
    const path = join(await makeFolder(), "proxy.pac");
    await writeFile(path, "one");
    const source = open(pathToFileURL(path));
    await taken.take(1);
    await pass(10_000);
    expect(taken.events).toHaveLength(1);
    // At once: else it might be looked at while it is empty.
    await writeFile(`${path}.new`, "three");
    await rename(`${path}.new`, path);
    while (taken.events.length < 2) await pass(2000);
    expect((await taken.take(2))[1]).toEqual({ script: "three", isAnew: false });
    source.refresh();
    expect((await taken.take(3))[2]).toEqual({ script: "three", isAnew: true });
    expect(fetches.events).toEqual([]);
  });

  it("tries a file again that was not taken over, changed or not", async () => {
    const path = join(await makeFolder(), "proxy.pac");
    await writeFile(path, "one");
    refusal = new Error("no memory");
    open(pathToFileURL(path));
    while (failures.events.length < 6) await pass(1000);
    expect(taken.events).toEqual(Array(taken.events.length).fill({ script: "one", isAnew: false }));
  });
});

/** Lets time pass, and what reads files go on, whose end cannot be seen. */
async function pass(milliseconds: number): Promise<void> {
  for (let passed = 0; passed < milliseconds; passed += 1000) {
    clock.advance(1000);
    await settle();
  }
}
