import { CommandError } from "@hostd/host";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { FakeClock } from "../../../streams/src/testing/fake-clock.ts";
import { settle } from "../../../streams/src/testing/peer.ts";
import { RecordingLogger } from "../../../streams/src/testing/recording-logger.ts";
import { PlayedCommands } from "../testing/played-commands.ts";
import { directSettings } from "./proxy-settings.ts";
import { type SystemProgram, SystemSettings } from "./system-settings.ts";

/** Its settings are named by what it writes; "?" cannot be read. */
const PROGRAM: SystemProgram = {
  name: "the settings of a test",
  read: { program: "read", args: [] },
  parse: (text) => {
    if (text === "?") throw new Error("it wrote something else");
    return { settings: directSettings(text), problems: [] };
  },
  watch: [
    { program: "watch", args: ["one"] },
    { program: "watch", args: ["two"] },
  ],
  isAbsent: ({ isMissing }) => isMissing,
};

describe("the settings of an operating system", () => {
  let clock: FakeClock;
  let commands: PlayedCommands;
  let logger: RecordingLogger;
  let changes: (string | undefined)[];
  let system: SystemSettings;

  function make(program: SystemProgram | null = PROGRAM): SystemSettings {
    system = new SystemSettings({
      program,
      clock,
      commands,
      logger,
      onChange: () => changes.push(says()),
    });
    return system;
  }

  const says = () => system.current()?.settings?.from;

  /** Lets time pass, and what was started then come to its end. */
  async function pass(milliseconds: number): Promise<void> {
    clock.advance(milliseconds);
    await settle();
  }

  beforeEach(() => {
    clock = new FakeClock();
    commands = new PlayedCommands();
    logger = new RecordingLogger();
    changes = [];
    commands.output = "one";
    make();
  });

  afterEach(() => system.close());

  test("have nothing run before they are asked for", async () => {
    await pass(60_000);
    expect(commands.runs).toEqual([]);
    expect(clock.timers).toBe(0);
  });

  test("are unknown until they are read, and then told", async () => {
    const release = commands.hold();
    expect(system.current()).toBeNull();
    let isSettled = false;
    void system.settled().then(() => {
      isSettled = true;
    });
    await settle();
    expect(isSettled).toBe(false);
    release();
    await system.settled();
    expect(says()).toBe("one");
    expect(changes).toEqual(["one"]);
  });

  test("are watched once they could be read", async () => {
    const release = commands.hold();
    system.current();
    await settle();
    expect(commands.followed).toBe(0);
    release();
    await system.settled();
    expect([...commands.watchers].map(({ command }) => command)).toEqual(PROGRAM.watch);
  });

  test("are read anew when a watcher tells of something, within a tenth of a second", async () => {
    await system.settled();
    commands.output = "two";
    for (const watcher of commands.watchers) watcher.onOutput();
    await pass(99);
    expect(says()).toBe("one");
    await pass(1);
    expect(says()).toBe("two");
    expect(changes).toEqual(["one", "two"]);
    expect(commands.runs).toHaveLength(2);
  });

  test("are the same object, and nobody is told, when what is read is the same", async () => {
    await system.settled();
    const reading = system.current();
    const [watcher] = commands.watchers;
    watcher.onOutput();
    await pass(100);
    expect(commands.runs).toHaveLength(2);
    expect(system.current()).toBe(reading);
    expect(changes).toEqual(["one"]);
  });

  test("are read once more when there is news while they are read", async () => {
    await system.settled();
    const [watcher] = commands.watchers;
    const release = commands.hold();
    commands.output = "two";
    watcher.onOutput();
    await pass(100);
    commands.output = "three";
    watcher.onOutput();
    await pass(100);
    expect(commands.runs).toHaveLength(2);
    release();
    await settle();
    expect(says()).toBe("two");
    await pass(100);
    expect(says()).toBe("three");
    expect(commands.runs).toHaveLength(3);
  });

  test("are read ten times per second at most, however much a watcher writes", async () => {
    await system.settled();
    const [watcher] = commands.watchers;
    for (let time = 0; time < 1000; time += 5) {
      watcher.onOutput();
      await pass(5);
    }
    expect(commands.runs.length).toBeLessThanOrEqual(11);
  });

  test("are read every 5 s until the watchers surely listen, and then once per minute", async () => {
    await system.settled();
    await pass(5000);
    expect(commands.runs).toHaveLength(2);
    await pass(55_000);
    expect(commands.runs).toHaveLength(2);
    await pass(5000);
    expect(commands.runs).toHaveLength(3);
    await pass(60_000);
    expect(commands.runs).toHaveLength(4);
  });

  test("are read every 5 s while a watcher does not run, which is started again ever more seldom", async () => {
    await system.settled();
    await pass(10_000);
    const before = commands.runs.length;
    const end = () => [...commands.watchers].find(({ command }) => command.args[0] === "two")?.onEnd("watch: killed");
    end();
    expect(logger.lines).toEqual([
      { level: "debug", fields: { reason: "watch: killed" }, message: "a watcher of the settings of a test has ended" },
    ]);
    expect(commands.watchers.size).toBe(1);
    commands.output = "two";
    await pass(5000);
    expect(says()).toBe("two");
    expect(commands.runs).toHaveLength(before + 1);
    expect(commands.watchers.size).toBe(2);
    end();
    await pass(5000);
    expect(commands.watchers.size).toBe(1);
    await pass(5000);
    expect(commands.watchers.size).toBe(2);

    // After five minutes at most.
    const started: number[] = [];
    for (let time = 0; time < 3_000_000; time += 5000) {
      const { followed } = commands;
      end();
      await pass(5000);
      if (commands.followed > followed) started.push(clock.now());
    }
    const pauses = started.map((at, index) => at - started[index - 1]).slice(1);
    expect(Math.min(...pauses.slice(0, 2))).toBeGreaterThan(20_000);
    expect(pauses.at(-1)).toBe(300_000);
  });

  test("follow a watcher again without delay once it has told of something", async () => {
    await system.settled();
    const find = () => [...commands.watchers].find(({ command }) => command.args[0] === "one");
    for (let times = 0; times < 5; times++) {
      find()?.onEnd("watch: killed");
      await pass(5000 * 2 ** times);
    }
    find()?.onOutput();
    find()?.onEnd("watch: killed");
    expect(find()).toBeUndefined();
    await pass(5000);
    expect(find()).toBeDefined();
  });

  test("are polled when there is no watcher for them", async () => {
    system.close();
    make({ ...PROGRAM, watch: [] });
    await system.settled();
    commands.output = "two";
    await pass(5000);
    expect(says()).toBe("two");
    commands.output = "three";
    await pass(5000);
    expect(says()).toBe("three");
  });

  test("stay in force when they cannot be read, which is said once for each reason", async () => {
    await system.settled();
    commands.output = "?";
    await pass(5000);
    expect(says()).toBe("one");
    expect(system.current()?.problems).toEqual(["the settings of a test: it wrote something else"]);
    const reading = system.current();
    await pass(60_000);
    expect(system.current()).toBe(reading);
    commands.output = new CommandError("read: killed after 5000 ms");
    await pass(60_000);
    expect(says()).toBe("one");
    expect(system.current()?.problems).toEqual(["the settings of a test: read: killed after 5000 ms"]);
    commands.output = "one";
    await pass(60_000);
    expect(system.current()?.problems).toEqual([]);
    expect(changes).toHaveLength(4);
  });

  test("say nothing when they could not be read from the start, and are tried again", async () => {
    commands.output = new CommandError("read: killed after 5000 ms");
    await system.settled();
    expect(system.current()).toEqual({
      settings: null,
      problems: ["the settings of a test: read: killed after 5000 ms"],
    });
    expect(commands.followed).toBe(0);
    commands.output = "one";
    await pass(5000);
    expect(says()).toBe("one");
    expect(commands.watchers.size).toBe(2);
  });

  test("say nothing, without a word, on a host that has none", async () => {
    commands.output = new CommandError("read: there is no such program", true);
    await system.settled();
    expect(system.current()).toEqual({ settings: null, problems: [] });
    expect(commands.followed).toBe(0);
    expect(clock.timers).toBe(0);
    expect(logger.lines).toEqual([]);
    make(null);
    expect(system.current()).toEqual({ settings: null, problems: [] });
    expect(system.name).toBe("the settings of the operating system");
    expect(clock.timers).toBe(0);
  });

  test("have nothing run after they were closed", async () => {
    await system.settled();
    for (const watcher of commands.watchers) watcher.onOutput();
    system.close();
    expect(commands.watchers.size).toBe(0);
    expect(clock.timers).toBe(0);
    await pass(60_000);
    expect(commands.runs).toHaveLength(1);
    expect(says()).toBe("one");
  });

  test("are not read to the end when they are closed meanwhile, and nobody waits for them", async () => {
    const release = commands.hold();
    const settled = system.settled();
    system.close();
    await settled;
    release();
    await settle();
    expect(system.current()).toEqual({ settings: null, problems: [] });
    expect(commands.followed).toBe(0);
    expect(changes).toEqual([]);
  });

  test("have nothing started when they were closed before", async () => {
    system.close();
    expect(system.current()).toEqual({ settings: null, problems: [] });
    await settle();
    expect(commands.runs).toEqual([]);
  });
});
