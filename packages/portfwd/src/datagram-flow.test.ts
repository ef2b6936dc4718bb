import { parseIpv4 } from "@hostd/stack";
import { expect, test, vi } from "vitest";
import { AttachedVm } from "./attached-vm.ts";
import { DatagramFlow, type DatagramFlowOwner } from "./datagram-flow.ts";
import { FakeVm } from "./testing/fake-vm.ts";

const SOURCE = parseIpv4("203.0.113.5");
const DYNAMIC_PORT = 49_152;

function setUp() {
  const vm = new FakeVm();
  const ignore = () => {};
  const events = { outOfMemory: ignore, ready: ignore, detached: ignore };
  const attached = new AttachedVm(vm, { maxQueuedBytes: 0, ...events });
  const owner: DatagramFlowOwner = { answered: () => true, reset: (flow) => flow.close() };
  const target = { address: parseIpv4("192.168.65.3"), port: 53 };
  const makeFlow = () =>
    new DatagramFlow(owner, attached, { client: { address: "::1", port: 9 }, source: SOURCE, target }, 1000, 0);
  return { vm, makeFlow };
}

test("has the client's own port if it is free", () => {
  const { makeFlow } = setUp();
  const [first, second] = [makeFlow(), makeFlow()];
  expect([first.listen(40_000), first.sourcePort]).toEqual([true, 40_000]);
  expect(second.listen(40_000)).toBe(true);
  expect(second.sourcePort).toBeGreaterThanOrEqual(DYNAMIC_PORT);
  first.reset();
  const third = makeFlow();
  expect([third.listen(40_000), third.sourcePort]).toEqual([true, 40_000]);
});

test("gives up after some ports that are taken, and listens on none", () => {
  const { vm, makeFlow } = setUp();
  const taken = vi.spyOn(vm, "udpListen").mockImplementation(() => {
    throw new Error("taken");
  });
  const flow = makeFlow();
  expect([flow.listen(40_000), flow.sourcePort]).toEqual([false, 0]);
  expect(taken.mock.calls.length).toBeLessThan(50);
  flow.close();
  expect(vm.listening).toBe(0);
});
