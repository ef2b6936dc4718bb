import type { Measurement } from "./measure.ts";

/** How it went to measure a benchmark in a checkout. */
export type Outcome =
  | { readonly kind: "measured"; readonly measurement: Measurement }
  /** The checkout does not have what is measured. */
  | { readonly kind: "missing"; readonly reason: string }
  | { readonly kind: "failed"; readonly reason: string };
