import { expect, it } from "vitest";
import { dnsperfCommand, dnsperfNames, parseDnsperf } from "./dnsperf.ts";

const OUTPUT = `[Status] Testing complete (time limit)

Statistics:

  Queries sent:         20000
  Queries completed:    19998 (99.99%)
  Queries lost:         2 (0.01%)

  Response codes:       NOERROR 19990 (99.96%), NXDOMAIN 8 (0.04%)
  Average packet size:  request 31, response 47
  Run time (s):         4.000440
  Queries per second:   4998.950115

  Average Latency (s):  0.000214 (min 0.000071, max 0.012345)
  Latency StdDev (s):   0.000100
`;

it("reads what dnsperf prints", () => {
  expect(parseDnsperf(OUTPUT)).toEqual({
    sent: 20_000,
    lost: 2,
    perSecond: 4998.950115,
    mean: 0.214,
    slowest: 12.345,
    codes: new Map([
      ["NOERROR", 19_990],
      ["NXDOMAIN", 8],
    ]),
  });
});

it("says what is missing in anything else", () => {
  expect(() => parseDnsperf("unable to open file")).toThrow(/Queries sent.*unable to open file/s);
});

it("limits the rate only where one is given", () => {
  const options = { server: "192.0.2.1", names: "/tmp/names", seconds: 2, outstanding: 10 };
  expect(dnsperfCommand(options)).not.toContain("-Q");
  expect(dnsperfCommand({ ...options, perSecond: 5000 }).join(" ")).toMatch(/ -t 2 -Q 5000$/);
});

it("writes a name and a type in each line", () => {
  expect(dnsperfNames("kept", "example", 2)).toBe("kept0.example A\nkept1.example A\n");
});
