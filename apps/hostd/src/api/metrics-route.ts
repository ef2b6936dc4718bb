import { type MetricsControl, metricFamilies } from "../metrics/families.ts";
import type { Route } from "./route.ts";

/** The metrics, for Prometheus. */
export function metricsRoute(control: MetricsControl): Route {
  return {
    method: "GET",
    path: "/metrics",
    name: "getMetrics",
    summary: "What is counted and measured, for Prometheus",
    contentType: "text/plain",
    answerDescription: "Prometheus' text format, version 0.0.4",
    stream: async (_, response) => {
      // The client library is not loaded where nobody scrapes.
      const { EXPOSITION_TYPE, exposeMetrics } = await import("../metrics/exposition.ts");
      const text = await exposeMetrics(metricFamilies(control));
      response.writeHead(200, { "content-type": EXPOSITION_TYPE, "content-length": Buffer.byteLength(text) });
      response.end(text);
    },
  };
}
