import { expect, test } from "vitest";
import { runCommand } from "./command.ts";

const { signal } = new AbortController();

test("gives what a program wrote, with messages of the C locale", async () => {
  expect(await runCommand("sh", ["-c", 'printf "%s %s" "$LC_ALL" done'], signal)).toBe("C done");
});

test("says why a program failed", async () => {
  await expect(runCommand("sh", ["-c", "echo refused >&2; echo more >&2; exit 3"], signal)).rejects.toThrow(
    "sh: refused",
  );
  await expect(runCommand("sh", ["-c", "exit 3"], signal)).rejects.toThrow("sh: Command failed");
});

test("says that there is no such program", async () => {
  await expect(runCommand("no-such-program-of-hostd", [], signal)).rejects.toThrow(
    "no-such-program-of-hostd: there is no such program",
  );
});

test("kills a program that hangs, though it ignores signals that can be ignored", async () => {
  const script = "trap '' TERM; while :; do read line; done";
  await expect(runCommand("bash", ["-c", script], signal, 200)).rejects.toThrow("bash: killed after 200 ms");
});

test("kills a program that writes without end", async () => {
  await expect(runCommand("sh", ["-c", "while :; do echo a line of text; done"], signal)).rejects.toThrow(
    "sh: killed after it wrote more than 1048576 bytes",
  );
});

test("kills a program when the signal aborts", async () => {
  const abort = new AbortController();
  const running = runCommand("sleep", ["60"], abort.signal);
  abort.abort();
  await expect(running).rejects.toThrow("sleep: stopped");
});
