import { expect, test, vi } from "vitest";
import { parseServerAddress, type ServerAddress } from "../server-address.ts";
import { ServerHealth } from "./server-health.ts";

const [first, second, third] = ["192.0.2.1", "192.0.2.2", "[2001:db8::3]:5353"].map(parseServerAddress);
const all = [first, second, third];

function die(health: ServerHealth, server: ServerAddress, now: number): void {
  health.failed(server, now);
  health.failed(server, now);
}

test("servers are asked as configured, as long as none is much slower", () => {
  const health = new ServerHealth();
  expect(health.order(all, 0)).toEqual({ order: [0, 1, 2], retried: null });
  health.answered(first, 0, 99);
  health.answered(second, 0, 5);
  expect(health.order(all, 0)).toEqual({ order: [0, 1, 2], retried: null });
  expect(health.order([second, first], 0)).toEqual({ order: [0, 1], retried: null });
});

test("a single server is asked however it is doing", () => {
  const health = new ServerHealth();
  die(health, first, 0);
  expect(health.order([first], 0)).toEqual({ order: [0], retried: null });
  expect(health.order([first], 100_000)).toEqual({ order: [0], retried: null });
});

test.each([
  ["slower by 100 ms", 10, 110, 110.1],
  ["three times as slow", 200, 600, 600.1],
])("a server that is more than %s is behind the others", (_, fast, stillFirst, behind) => {
  const order = (roundTrip: number) => {
    const health = new ServerHealth();
    health.answered(first, 0, roundTrip);
    health.answered(second, 0, fast);
    return health.order(all, 0).order;
  };
  expect(order(stillFirst)).toEqual([0, 1, 2]);
  expect(order(behind)).toEqual([1, 2, 0]);
});

test("a slow server is retried beside the first once a minute, and what is measured then stands alone", () => {
  const health = new ServerHealth();
  health.answered(first, 0, 900);
  health.answered(second, 0, 10);
  expect(health.order([first, second], 0)).toEqual({ order: [1, 0], retried: 0 });
  health.answered(first, 0, 900);
  expect(health.order([first, second], 0)).toEqual({ order: [1, 0], retried: null });
  expect(health.order([first, second], 59_999)).toEqual({ order: [1, 0], retried: null });
  expect(health.order([first, second], 60_000)).toEqual({ order: [1, 0], retried: 0 });
  health.answered(first, 60_000, 20);
  expect(health.order([first, second], 60_000)).toEqual({ order: [0, 1], retried: null });
});

test("an answer whose round trip is not known changes no average", () => {
  const health = new ServerHealth();
  health.answered(first, 0, null);
  expect(health.report([first])).toMatchObject([{ state: "alive", roundTrip: null, answers: 1 }]);
  health.answered(first, 0, 40);
  health.answered(first, 0, null);
  expect(health.report([first])).toMatchObject([{ roundTrip: 40, answers: 3 }]);
  health.answered(first, 0, 120);
  expect(health.report([first])).toMatchObject([{ roundTrip: 50, answers: 4 }]);
});

test("two failures in a row make a server the last, and an answer between them does not", () => {
  const health = new ServerHealth();
  health.failed(first, 0);
  health.answered(first, 0, 10);
  health.failed(first, 0);
  expect(health.order(all, 0)).toEqual({ order: [0, 1, 2], retried: null });
  health.failed(first, 0);
  expect(health.order(all, 0)).toEqual({ order: [1, 2, 0], retried: null });
});

test("the dead are behind the slow", () => {
  const health = new ServerHealth();
  die(health, first, 0);
  health.answered(second, 0, 900);
  health.answered(third, 0, 10);
  expect(health.order(all, 0).order).toEqual([2, 1, 0]);
});

test("the dead do not make the others look slow", () => {
  const health = new ServerHealth();
  health.answered(first, 0, 1);
  die(health, first, 0);
  health.answered(second, 0, 900);
  expect(health.order(all, 0).order).toEqual([1, 2, 0]);
});

test("when all are dead the order is the configured one", () => {
  const health = new ServerHealth();
  for (const server of all) die(health, server, 0);
  expect(health.order(all, 0)).toEqual({ order: [0, 1, 2], retried: null });
});

test("a dead server is retried by one query after 5, 10, 20, 40 and 60 seconds, however often it fails", () => {
  const health = new ServerHealth();
  die(health, first, 0);
  for (const from of [0, 4999]) health.failed(first, from);
  let now = 0;
  for (const rest of [5000, 10_000, 20_000, 40_000, 60_000, 60_000, 60_000]) {
    expect(health.order(all, now + rest - 1)).toEqual({ order: [1, 2, 0], retried: null });
    now += rest;
    expect(health.order(all, now)).toEqual({ order: [1, 2, 0], retried: 0 });
    expect(health.order(all, now)).toEqual({ order: [1, 2, 0], retried: null });
    health.failed(first, now + 300);
  }
});

test("of several dead servers one is retried at a time", () => {
  const health = new ServerHealth();
  die(health, first, 0);
  die(health, third, 0);
  expect(health.order(all, 5000)).toEqual({ order: [1, 0, 2], retried: 0 });
  expect(health.order(all, 5000)).toEqual({ order: [1, 0, 2], retried: 2 });
  expect(health.order(all, 5000)).toEqual({ order: [1, 0, 2], retried: null });
});

test("an answer makes a dead server alive, in its place, and its next rest short again", () => {
  const health = new ServerHealth();
  die(health, first, 0);
  for (const now of [5000, 15_000]) expect(health.order(all, now).retried).toBe(0);
  health.answered(first, 15_010, 10);
  expect(health.order(all, 15_010)).toEqual({ order: [0, 1, 2], retried: null });
  die(health, first, 20_000);
  expect(health.order(all, 24_999).retried).toBeNull();
  expect(health.order(all, 25_000).retried).toBe(0);
});

test("the wait is a second until a round trip is known, then four of them within the bounds", () => {
  const health = new ServerHealth();
  expect(health.wait(first)).toBe(1000);
  for (const [roundTrip, wait] of [
    [1, 300],
    [100, 400],
    [249, 996],
    [800, 1000],
  ]) {
    const measured = new ServerHealth();
    measured.answered(first, 0, roundTrip);
    expect(measured.wait(first)).toBe(wait);
    expect(measured.wait(second)).toBe(1000);
  }
  const bounded = new ServerHealth({ shortest: 20, longest: 50 });
  expect(bounded.wait(first)).toBe(50);
  bounded.answered(first, 0, 1);
  expect(bounded.wait(first)).toBe(20);
});

test("the report has the state of each server and its figures", () => {
  const health = new ServerHealth();
  const states = () => health.report(all).map(({ state }) => state);
  expect(health.report([third])).toEqual([
    { server: "[2001:db8::3]:5353", state: "untried", roundTrip: null, answers: 0, failures: 0 },
  ]);
  health.answered(first, 0, 12);
  health.failed(second, 0);
  die(health, third, 0);
  expect(states()).toEqual(["alive", "failing", "dead"]);
  expect(health.report([first])).toEqual([
    { server: "192.0.2.1", state: "alive", roundTrip: 12, answers: 1, failures: 0 },
  ]);
  expect(health.report([third])).toMatchObject([{ answers: 0, failures: 2 }]);
  health.answered(third, 0, 10);
  expect(states()).toEqual(["alive", "failing", "alive"]);
  health.reset();
  expect(states()).toEqual(["untried", "untried", "untried"]);
});

test("a listener is told of each failure", () => {
  const health = new ServerHealth();
  const listener = vi.fn();
  health.onFailure(listener);
  health.answered(first, 0, 10);
  health.failed(first, 7);
  health.failed(second, 8);
  expect(listener.mock.calls).toEqual([
    [first, 7],
    [second, 8],
  ]);
});
