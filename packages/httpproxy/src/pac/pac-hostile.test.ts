import { once } from "node:events";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { describe, expect, it } from "vitest";
import { settle } from "../../../streams/src/testing/peer.ts";
import { find, livePac, PlayedPac } from "../testing/played-pac.ts";
import { PacError } from "./pac-error.ts";
import { startPacWorker } from "./pac-thread.ts";

/** Does something to hosts named `bad` and is in order for all others. */
const bad = (body: string): string => find(`if (host === "bad") { ${body} } return "PROXY " + host + ":1";`);

describe("a hostile PAC script", () => {
  it.each([
    ["a loop", "for (;;);"],
    ["a loop of the engine's own", "[].indexOf.call({ length: Math.pow(2, 52) }, 1);"],
    ["a regular expression", "'x'.repeat(1000000).match(/(x+x+)+y/);"],
    ["a loop in an error", "throw new Proxy({}, { get: function () { for (;;); } });"],
    ["functions of ours", "for (;;) shExpMatch('a'.repeat(8000), '*a'.repeat(4000) + 'b');"],
  ])("is stopped after a second in %s, while the event loop goes on, and starts anew", async (_name, body) => {
    const played = livePac(bad(body));
    expect(await played.ask("ok")).toBe("http://ok:1");
    const [worker] = played.workers;
    const exit = once(worker, "exit");
    const delays = monitorEventLoopDelay({ resolution: 5 });
    delays.enable();
    await expect(played.ask("bad")).rejects.toThrow("it runs for over 1000 ms");
    delays.disable();
    // A loop of this thread would have been one of a second. Other processes may take the processor for a while.
    expect(delays.percentile(90) / 1e6).toBeLessThan(50);
    expect(delays.max / 1e6).toBeLessThan(500);
    await exit;
    expect(await eventually(() => played.ask("fine"))).toBe("http://fine:1");
    expect(played.workers).toHaveLength(2);
  });

  it("is stopped when it loops as it is loaded", async () => {
    const played = new PlayedPac("for (;;);");
    const failure = expect(played.ask("a")).rejects.toThrow(/over 5000 ms|within 5000 ms/);
    while (played.workers.length === 0) await settle();
    const exit = once(played.workers[0], "exit");
    played.clock.advance(5000);
    await Promise.all([failure, exit]);
  });

  it("has those who asked at the same time wait no longer than for its end", async () => {
    const played = new PlayedPac(bad("for (;;);"));
    await played.ask("ok");
    const failure = expect(played.ask("bad")).rejects.toThrow("it runs for over 1000 ms");
    const others = Promise.all(Array.from({ length: 63 }, (_, index) => played.ask(`h${index}`)));
    await settle();
    played.clock.advance(1000);
    await failure;
    expect(await others).toEqual(Array.from({ length: 63 }, (_, index) => `http://h${index}:1`));
    expect(played.workers).toHaveLength(2);
  });

  it("has all fail within 2 s when it loops for all, in no more than a thread each second", async () => {
    const played = new PlayedPac(find("if (host !== 'ok') for (;;); return 'DIRECT';"));
    await played.ask("ok");
    const outcomes = Promise.allSettled(Array.from({ length: 64 }, (_, index) => played.ask(`h${index}`)));
    for (let second = 0; second < 2; second++) {
      await settle();
      played.clock.advance(1000);
    }
    expect((await outcomes).map(({ status }) => status)).toEqual(Array(64).fill("rejected"));
    expect(played.workers.length).toBeLessThanOrEqual(3);
    expect(played.warnings).toHaveLength(1);
  });

  it.each([
    ["memory", "var all = []; for (var i = 0; ; i++) all.push('x'.repeat(100000) + i);"],
    ["the stack", "function again() { return again() + 1; } again();"],
    ["nested objects", "for (var all = []; ; all = [all]);"],
  ])("that takes all of %s gets a new sandbox, and not at once", async (_name, body) => {
    const played = new PlayedPac(bad(body));
    await played.ask("ok");
    await expect(played.ask("bad")).rejects.toThrow(PacError);
    await played.ended();
    const next = played.ask("fine");
    await settle();
    expect(played.workers).toHaveLength(1);
    played.clock.advance(1000);
    expect(await next).toBe("http://fine:1");
    expect(played.workers).toHaveLength(2);
  });

  it("is stood with errors of many megabytes", async () => {
    const played = livePac(bad("throw new Error('x'.repeat(9e6) + '\\u1234');"));
    await played.ask("ok");
    await expect(played.ask("bad")).rejects.toThrow(PacError);
    expect(await eventually(() => played.ask("fine"))).toBe("http://fine:1");
  });

  it("gets what it looks up within limits", async () => {
    const loop = (catching: string) => find(`for (var i = 0; i < 100; i++) ${catching} return "DIRECT";`);
    const one = new PlayedPac(loop("dnsResolve('n' + i + '.example');"));
    await expect(one.ask("a")).rejects.toThrow("it looks up more than 16 names");
    expect(one.lookups).toHaveLength(16);
    const all = new PlayedPac(loop("try { dnsResolve('n' + i + '.example'); } catch (e) {}"));
    await expect(all.ask("a")).rejects.toThrow("it looks up more than 16 names");
    expect(all.lookups).toHaveLength(0);
    const sixteen = new PlayedPac(
      find("for (var i = 0; i < 16; i++) dnsResolve('n' + i + '.example'); return 'DIRECT';"),
    );
    expect(await sixteen.ask("a")).toBe("direct");
  });

  it("has its words logged without control characters, and once", async () => {
    const played = new PlayedPac(find("throw new Error('\\n\\x1b[2J{\"level\":50}' + host);"));
    for (const host of ["a", "b", "c"]) await expect(played.ask(host)).rejects.toThrow(PacError);
    expect(played.warnings).toEqual(['the PAC script fails for a request: Error:  [2J{"level":50}a']);
  });

  it("may have its thread die at any time", async () => {
    const played = new PlayedPac(bad(""), {
      startWorker: () => {
        const worker = startPacWorker();
        played.workers.push(worker);
        return worker;
      },
    });
    await played.ask("ok");
    await played.workers[0].terminate();
    const next = played.ask("fine");
    await settle();
    played.clock.advance(1000);
    expect(await next).toBe("http://fine:1");
    expect(played.workers).toHaveLength(2);
  });

  it("whose thread cannot be started is not in force", async () => {
    const played = new PlayedPac(bad(""), {
      startWorker: () => {
        throw new Error("no threads left");
      },
    });
    await expect(played.ask("a")).rejects.toThrow("no threads left");
  });
});

/** Asks until there is an answer: a busy machine may take its time to start a thread. */
async function eventually<T>(ask: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await ask();
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}
