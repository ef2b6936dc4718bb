import type { Checkout } from "./checkout.ts";
import type { Benchmark } from "./measure.ts";

/** A benchmark by its name, before anything of the code that it measures is loaded. */
export interface BenchmarkEntry {
  readonly name: string;
  /** @throws {NotInCheckout} when what it measures is not there. */
  readonly load: (checkout: Checkout) => Promise<Benchmark>;
}
