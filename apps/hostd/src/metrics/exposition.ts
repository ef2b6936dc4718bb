import { Counter, Gauge, Registry } from "prom-client";
import type { MetricFamily } from "./metric-family.ts";

/** The media type of {@link exposeMetrics}. */
export const EXPOSITION_TYPE: string = Registry.PROMETHEUS_CONTENT_TYPE;

/** Writes metrics in Prometheus' text format, version 0.0.4. */
export async function exposeMetrics(families: readonly MetricFamily[]): Promise<string> {
  const registry = new Registry();
  for (const { type, name, help, labelNames, samples } of families) {
    const options = { name, help, labelNames: [...labelNames], registers: [registry] };
    if (type === "counter") {
      const metric = new Counter(options);
      for (const { labels, value } of samples) metric.inc(labels, value);
    } else {
      const metric = new Gauge(options);
      for (const { labels, value } of samples) metric.set(labels, value);
    }
  }
  return await registry.metrics();
}
