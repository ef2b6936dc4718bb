import { expect, it } from "vitest";
import { EXPOSITION_TYPE, exposeMetrics } from "./exposition.ts";
import { counter, gaugeBy } from "./metric-family.ts";

it("writes metrics as Prometheus reads them, each time anew", async () => {
  const families = [
    counter("a_total", 'Help with a \\ and a\nline, and a "quote".', 2 ** 40),
    gaugeBy("b_bytes", "B.", "kind", { 'od"d\\\n': 0.5, plain: 0 }),
    { type: "counter", name: "c_total", help: "C.", labelNames: ["forward", "result"], samples: [] } as const,
  ];
  const text = [
    '# HELP a_total Help with a \\\\ and a\\nline, and a "quote".',
    "# TYPE a_total counter",
    "a_total 1099511627776",
    "",
    "# HELP b_bytes B.",
    "# TYPE b_bytes gauge",
    'b_bytes{kind="od\\"d\\\\\\n"} 0.5',
    'b_bytes{kind="plain"} 0',
    "",
    "# HELP c_total C.",
    "# TYPE c_total counter",
    "",
  ].join("\n");
  expect(await exposeMetrics(families)).toBe(text);
  expect(await exposeMetrics(families)).toBe(text);
  expect(EXPOSITION_TYPE).toBe("text/plain; version=0.0.4; charset=utf-8");
});
