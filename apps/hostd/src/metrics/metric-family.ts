/** A metric with all of its values. The names follow Prometheus' conventions: base units, `_total` for counters. */
export interface MetricFamily {
  readonly type: "counter" | "gauge";
  readonly name: string;
  readonly help: string;
  readonly labelNames: readonly string[];
  readonly samples: readonly Sample[];
}

/** A value for each label name of the family. No label may have values that a guest makes up. */
export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export function counter(name: string, help: string, value: number): MetricFamily {
  return { type: "counter", name, help, labelNames: [], samples: [{ labels: {}, value }] };
}

export function gauge(name: string, help: string, value: number): MetricFamily {
  return { type: "gauge", name, help, labelNames: [], samples: [{ labels: {}, value }] };
}

/** @param values - by the value of the label. */
export function counterBy(
  name: string,
  help: string,
  label: string,
  values: Readonly<Record<string, number>>,
): MetricFamily {
  return { type: "counter", name, help, labelNames: [label], samples: samplesBy(label, values) };
}

/** @param values - by the value of the label. */
export function gaugeBy(
  name: string,
  help: string,
  label: string,
  values: Readonly<Record<string, number>>,
): MetricFamily {
  return { type: "gauge", name, help, labelNames: [label], samples: samplesBy(label, values) };
}

/** A sample for each value of a label. */
export function samplesBy(
  label: string,
  values: Readonly<Record<string, number>>,
  others: Readonly<Record<string, string>> = {},
): Sample[] {
  return Object.entries(values).map(([name, value]) => ({ labels: { ...others, [label]: name }, value }));
}
