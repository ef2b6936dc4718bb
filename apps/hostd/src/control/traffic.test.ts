import { expect, it } from "vitest";
import { addTraffic, noTraffic } from "./traffic.ts";

it("adds up every counter of two VMs, and changes neither", () => {
  const one = noTraffic();
  const other = noTraffic();
  const counters = [
    ...[one.stack, one.egress.tcp, one.egress.udp, one.egress.icmp, one.dns],
    ...[other.stack, other.egress.tcp, other.egress.udp, other.egress.icmp, other.dns],
  ];
  let next = 1;
  for (const group of counters) for (const name of Object.keys(group)) Object.assign(group, { [name]: next++ });
  const before = structuredClone([one, other]);
  const total = addTraffic(one, other);
  const numbers = (group: object): number[] => {
    return Object.values(group).flatMap((value) => (typeof value === "number" ? value : numbers(value)));
  };
  const [left, right, both] = [one, other, total].map(numbers);
  expect(both).toEqual(left.map((value, index) => value + right[index]));
  expect(Math.min(...both)).toBeGreaterThan(1);
  expect([one, other]).toEqual(before);
  expect(addTraffic(noTraffic(), one)).toEqual(one);
});
