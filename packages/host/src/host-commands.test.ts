import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test, vi } from "vitest";
import { EventLog } from "../../streams/src/testing/event-log.ts";
import { cleanUp, makeFolder } from "../../streams/src/testing/peer.ts";
import { type CommandError, type HostCommand, hostCommands } from "./host-commands.ts";

const { signal } = new AbortController();
const shell = (script: string): HostCommand => ({ program: "sh", args: ["-c", script] });

describe("a program that is run", () => {
  const { run } = hostCommands();

  test("gives what it wrote, with messages of the C locale, in UTF-8", async () => {
    expect(await run(shell('printf "%s %s" "$LC_ALL" done'), signal)).toBe("C.UTF-8 done");
  });

  test("has its input, and the end of it", async () => {
    expect(await run({ program: "cat", args: [], input: "some text" }, signal)).toBe("some text");
    expect(await run(shell("cat"), signal)).toBe("");
  });

  test("may end without reading its input", async () => {
    expect(await run({ ...shell("echo done"), input: "x".repeat(200_000) }, signal)).toBe("done\n");
  });

  test("says why it failed", async () => {
    await expect(run(shell("echo refused >&2; echo more >&2; exit 3"), signal)).rejects.toThrow(/^sh: refused$/);
    await expect(run(shell("exit 3"), signal)).rejects.toThrow("sh: Command failed");
  });

  test("is known not to be there", async () => {
    const error = await run({ program: "no-such-program-of-hostd", args: [] }, signal).catch((error) => error);
    expect(error.message).toBe("no-such-program-of-hostd: there is no such program");
    expect((error as CommandError).isMissing).toBe(true);
  });

  test("is killed when it hangs, though it ignores signals that can be ignored", async () => {
    const script = "trap '' TERM; while :; do read line || sleep 1; done";
    await expect(hostCommands(200).run(shell(script), signal)).rejects.toThrow("sh: killed after 200 ms");
  });

  test("is killed when it writes without end", async () => {
    const script = "while :; do echo a line of text; done";
    await expect(run(shell(script), signal)).rejects.toThrow("sh: killed after it wrote more than 1048576 bytes");
  });

  test("is killed when the signal aborts", async () => {
    const abort = new AbortController();
    const running = run(shell("sleep 60"), abort.signal);
    abort.abort();
    await expect(running).rejects.toThrow("sh: stopped");
  });
});

describe("a program that is followed", () => {
  /** Follows a program, with a log of what it does. */
  function follow(command: HostCommand) {
    const events = new EventLog<string>();
    const stop = hostCommands().follow(command, {
      onOutput: () => events.push("output"),
      onEnd: (reason) => events.push(reason),
    });
    cleanUp(stop);
    return { events, stop };
  }

  test("is heard each time that it writes", async () => {
    const { events } = follow({
      ...shell("read line; echo $line; read more; echo $more; exec sleep 60"),
      input: "one\ntwo\n",
    });
    await events.until(() => events.events.length > 0);
    expect(new Set(events.events)).toEqual(new Set(["output"]));
  });

  test("has its input open for as long as it runs", async () => {
    const { events } = follow({ ...shell("read line; echo $line; read more; echo the end >&2"), input: "one\n" });
    await events.take(1);
    // It would see the end of its input meanwhile.
    await hostCommands().run(shell("sleep 0.2"), signal);
    expect(events.events).toEqual(["output"]);
  });

  test("says why it ended", async () => {
    expect(await follow(shell("echo refused >&2; exit 1")).events.take(1)).toEqual(["sh: refused"]);
    expect(await follow(shell("exit 3")).events.take(1)).toEqual(["sh: ended with 3"]);
    expect(await follow(shell("kill -TERM $$")).events.take(1)).toEqual(["sh: ended with SIGTERM"]);
  });

  test("says that there is no such program", async () => {
    const { events } = follow({ program: "no-such-program-of-hostd", args: [] });
    expect(await events.take(1)).toEqual(["no-such-program-of-hostd: there is no such program"]);
  });

  test("says that it cannot be started at all", async () => {
    const { events } = follow({ program: "sh", args: ["\0"] });
    expect(events.events).toEqual([]);
    expect(await events.take(1)).toEqual([expect.stringMatching(/^sh: .*null bytes/)]);
    await expect(hostCommands().run({ program: "sh", args: ["\0"] }, signal)).rejects.toThrow("null bytes");
  });

  test("keeps nothing of a complaint without end but its beginning", async () => {
    const { events } = follow(shell("head -c 1000000 /dev/zero | tr '\\0' x >&2"));
    const [reason] = await events.take(1);
    expect(reason).toBe(`sh: ${"x".repeat(1000)}`);
  });

  test("is ended, and not heard any more", async () => {
    const path = join(await makeFolder(), "pid");
    const { events, stop } = follow(shell(`echo $$ > ${path}; echo ready; exec sleep 60`));
    await events.take(1);
    const pid = Number(readFileSync(path, "utf8"));
    expect(process.kill(pid, 0)).toBe(true);
    stop();
    await vi.waitFor(() => expect(() => process.kill(pid, 0)).toThrow("ESRCH"));
    expect(events.events).toEqual(["output"]);
  });
});
