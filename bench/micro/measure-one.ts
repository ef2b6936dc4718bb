/**
 * Measures one benchmark in a process of its own; started by bench/micro.ts:
 *
 *   node bench/micro/measure-one.ts CHECKOUT NAME SECONDS
 *
 * Prints an {@link Outcome} as one line of JSON.
 */
import { BENCHMARKS } from "./benchmarks.ts";
import { Checkout, NotInCheckout } from "./checkout.ts";
import { measure } from "./measure.ts";
import type { Outcome } from "./outcome.ts";

async function outcome(folder: string, name: string, seconds: number): Promise<Outcome> {
  const entry = BENCHMARKS.find((benchmark) => benchmark.name === name);
  if (entry === undefined) throw new RangeError(`there is no benchmark ${JSON.stringify(name)}`);
  const checkout = new Checkout(folder);
  checkout.resolvePackages();
  try {
    const benchmark = await entry.load(checkout);
    return { kind: "measured", measurement: await measure(benchmark, seconds) };
  } catch (error) {
    if (error instanceof NotInCheckout) return { kind: "missing", reason: error.message };
    return { kind: "failed", reason: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
}

const [folder, name, seconds] = process.argv.slice(2);
console.log(JSON.stringify(await outcome(folder, name, Number(seconds))));
