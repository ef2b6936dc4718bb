import { expect, test } from "vitest";
import { KeyedTasks } from "./keyed-tasks.ts";

/** Work that ends when it is told to. */
function makeTasks(maxConcurrent = 8) {
  const begun: string[] = [];
  const ends: (() => void)[] = [];
  const work = async (key: string) => {
    begun.push(key);
    await new Promise<void>((resolve) => ends.push(resolve));
    return true;
  };
  return { tasks: new KeyedTasks({ work, maxConcurrent }), begun, ends, end: () => ends.shift()?.() };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test("what is asked for while it is done is done once more, however often it is asked for", async () => {
  const { tasks, begun, end } = makeTasks();
  const first = tasks.request("a");
  await turn();
  const later = [tasks.request("a"), tasks.request("a"), tasks.request("a")];
  end();
  await first;
  await turn();
  expect(begun).toEqual(["a", "a"]);
  end();
  await Promise.all(later);
  expect(begun).toEqual(["a", "a"]);
  expect(tasks.size).toBe(0);
});

test("keys do not wait for each other, as far as there is room", async () => {
  const { tasks, begun, end } = makeTasks(2);
  const all = ["a", "b", "c", "d"].map((key) => tasks.request(key));
  await turn();
  expect(begun).toEqual(["a", "b"]);
  void tasks.request("c");
  end();
  await turn();
  expect(begun).toEqual(["a", "b", "c"]);
  for (let count = 0; count < 3; count++) {
    end();
    await turn();
  }
  await Promise.all(all);
  expect(begun).toEqual(["a", "b", "c", "d"]);
});

test("something else for a key waits for what was asked for before it", async () => {
  const { tasks, begun, end } = makeTasks();
  void tasks.request("a");
  const other = tasks.run("a", async () => {
    begun.push("other");
    return 5;
  });
  await turn();
  expect(begun).toEqual(["a"]);
  end();
  expect(await other).toBe(5);
  await tasks.idle();
  expect(tasks.has("a")).toBe(false);
});

test("what fails holds nothing up", async () => {
  const { tasks } = makeTasks();
  const failed = tasks.run("a", async () => {
    throw new Error("no");
  });
  const next = tasks.run("a", async () => "next");
  await expect(failed).rejects.toThrow("no");
  expect(await next).toBe("next");
  await tasks.idle();
});
