import { expect, test } from "vitest";
import { type Participant, Simulation } from "./simulation.ts";

/** Acts at given times, and writes down when it did. */
class Clockwork implements Participant {
  readonly acted: number[] = [];
  readonly #simulation: Simulation;
  readonly #times: number[];

  constructor(simulation: Simulation, times: number[]) {
    this.#simulation = simulation;
    this.#times = times;
    simulation.add(this);
  }

  get nextAt(): number {
    return this.#times[0] ?? Number.POSITIVE_INFINITY;
  }

  turn(): void {
    this.#times.shift();
    this.acted.push(this.#simulation.now);
  }
}

test("time jumps to whatever is due next, and no further", () => {
  const simulation = new Simulation(1);
  const one = new Clockwork(simulation, [1005, 1020]);
  const other = new Clockwork(simulation, [1005, 1010.5]);
  simulation.run(() => one.acted.length === 2);
  expect([one.acted, other.acted, simulation.now]).toEqual([[1005, 1020], [1005, 1010.5], 1020]);
});

test("alarms go off at their time, in the order of their times", () => {
  const simulation = new Simulation(1);
  const went: string[] = [];
  simulation.after(20, () => went.push(`b ${simulation.now}`));
  simulation.after(10, () => went.push(`a ${simulation.now}`));
  simulation.pass(30);
  expect([...went, simulation.now]).toEqual(["a 1010", "b 1020", 1030]);
});

test("time passes without anything to do", () => {
  const simulation = new Simulation(1, 5);
  const clockwork = new Clockwork(simulation, [10, 11, 12]);
  simulation.pass(6);
  expect([clockwork.acted, simulation.now]).toEqual([[10, 11], 11]);
});

test("a run without an end is an error", () => {
  const simulation = new Simulation(1);
  expect(() => simulation.run(() => false)).toThrow("does not come to an end");
  new Clockwork(simulation, [5000]);
  expect(() => simulation.run(() => false, 1000)).toThrow("does not come to an end within 1000 ms");
});

test("a participant that is due again and again at one instant is an error", () => {
  const simulation = new Simulation(1);
  simulation.add({ nextAt: 0, turn: () => {} });
  expect(() => simulation.run(() => false)).toThrow("stands still at 1000 ms");
});
