import { expect, test } from "vitest";
import { Random } from "./testing/random.ts";
import { type Timed, TimerQueue } from "./timer-queue.ts";

function entry(): Timed {
  return { queuedAt: 0, queueIndex: -1 };
}

test("entries come out in the order of their deadlines, however they were put in, moved and taken out", () => {
  for (let seed = 0; seed < 10; seed++) {
    const random = new Random(seed);
    const queue = new TimerQueue<Timed>();
    const entries = Array.from({ length: 60 }, entry);
    // The model: what is queued, by deadline.
    const model = new Map<Timed, number>();
    let now = 0;
    for (let step = 0; step < 800; step++) {
      const chosen = random.pick(entries);
      switch (random.below(4)) {
        case 0:
        case 1: {
          const deadline = now + random.below(100);
          queue.schedule(chosen, deadline);
          model.set(chosen, Math.min(model.get(chosen) ?? Number.POSITIVE_INFINITY, deadline));
          break;
        }
        case 2:
          queue.remove(chosen);
          model.delete(chosen);
          break;
        case 3: {
          now += random.below(10);
          for (;;) {
            const earliest = Math.min(...model.values());
            const taken = queue.takeDue(now);
            if (taken === null) {
              expect(earliest).toBeGreaterThan(now);
              break;
            }
            expect(model.get(taken)).toBe(earliest);
            expect(taken.queueIndex).toBe(-1);
            model.delete(taken);
          }
        }
      }
      expect(queue.size).toBe(model.size);
      expect(queue.nextDeadline).toBe(Math.min(...model.values()));
      expect([...model].every(([each, deadline]) => each.queuedAt === deadline)).toBe(true);
    }
  }
});

test("a deadline that moves away leaves the entry where it was", () => {
  const queue = new TimerQueue<Timed>();
  const timed = entry();
  queue.schedule(timed, 10);
  queue.schedule(timed, 20);
  expect(queue.nextDeadline).toBe(10);
  queue.schedule(timed, 5);
  expect(queue.nextDeadline).toBe(5);
  expect(queue.size).toBe(1);
});

test("an empty queue has nothing due, ever", () => {
  const queue = new TimerQueue<Timed>();
  expect(queue.nextDeadline).toBe(Number.POSITIVE_INFINITY);
  expect(queue.takeDue(Number.MAX_VALUE)).toBeNull();
  queue.remove(entry());
  expect(queue.size).toBe(0);
});
