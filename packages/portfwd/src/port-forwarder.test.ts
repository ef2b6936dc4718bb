import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { formatIpv4, parseIpv4 } from "@hostd/stack";
import { describe, expect, test } from "vitest";
import { FakeVm } from "./testing/fake-vm.ts";
import { dialForward, failure, makeForwarder, rule } from "./testing/harness.ts";

const CONTAINER = parseIpv4("172.17.0.2");

describe("a connection leads to", () => {
  test("the VM that was attached first, of those whose address is known", async () => {
    const { forwarder } = makeForwarder();
    const forward = await forwarder.listen(rule());
    const vms = [new FakeVm({}, null), new FakeVm({}, "192.168.65.4"), new FakeVm({}, "192.168.65.5")];
    for (const vm of vms) forwarder.attach(vm);
    dialForward(forward);
    expect(formatIpv4((await vms[1].flow()).remoteAddress)).toBe("192.168.65.4");
  });

  test("the VM that has the address that the rule names", async () => {
    const { forwarder } = makeForwarder();
    const forward = await forwarder.listen(rule({ address: parseIpv4("192.168.65.5") }));
    const vms = [new FakeVm({}, "192.168.65.4"), new FakeVm({}, "192.168.65.5")];
    for (const vm of vms) forwarder.attach(vm);
    dialForward(forward);
    expect(formatIpv4((await vms[1].flow()).remoteAddress)).toBe("192.168.65.5");
  });

  test("the VM whose own address is named, although another one claims it", async () => {
    const { forwarder } = makeForwarder();
    const address = parseIpv4("192.168.65.5");
    const forward = await forwarder.listen(rule({ address }));
    const vms = [new FakeVm({}, "192.168.65.4"), new FakeVm({}, "192.168.65.5")];
    for (const vm of vms) forwarder.attach(vm);
    vms[0].shown.add(address);
    dialForward(forward);
    await vms[1].flow();
    expect(vms[0].flows.events).toEqual([]);
  });

  test("the VM that a named address has been seen behind, or else the first one", async () => {
    const { forwarder } = makeForwarder();
    const forward = await forwarder.listen(rule({ address: CONTAINER }));
    const vms = [new FakeVm({}, null), new FakeVm({}, "192.168.65.5")];
    for (const vm of vms) forwarder.attach(vm);
    dialForward(forward);
    expect((await vms[0].flow()).remoteAddress).toBe(CONTAINER);
    vms[1].shown.add(CONTAINER);
    dialForward(forward);
    expect((await vms[1].flow()).remoteAddress).toBe(CONTAINER);
  });

  test("the next VM once the first has gone", async () => {
    const { forwarder } = makeForwarder();
    const forward = await forwarder.listen(rule());
    const [first, next] = [new FakeVm({}, "192.168.65.4"), new FakeVm({}, "192.168.65.5")];
    const attached = forwarder.attach(first);
    forwarder.attach(next);
    attached.detach();
    dialForward(forward);
    expect(formatIpv4((await next.flow()).remoteAddress)).toBe("192.168.65.5");
    expect(first.flows.events).toEqual([]);
  });

  test("nowhere while no VM has an address, and is reset then; the log says so once", async () => {
    const { forwarder, logger } = makeForwarder();
    const forward = await forwarder.listen(rule());
    expect(await failure(dialForward(forward))).toBe("ECONNRESET");
    const vm = new FakeVm({}, null);
    forwarder.attach(vm);
    expect(await failure(dialForward(forward))).toBe("ECONNRESET");
    expect(logger.lines).toMatchObject([
      { level: "warn", message: "a connection to a published port was reset: no VM with a known address is attached" },
    ]);
    expect(forward.stats()).toMatchObject({ droppedNoVm: 2, pending: 0, open: 0 });
    vm.address = parseIpv4("192.168.65.3");
    dialForward(forward);
    await vm.flow();
  });
});

describe("the VM's end", () => {
  test("resets its connections, those that wait included, and no other VM's", async () => {
    const { forwarder } = makeForwarder();
    const addresses = ["192.168.65.4", "192.168.65.5"];
    const vms = addresses.map((address, index) => new FakeVm({ answers: index === 1 }, address));
    const [gone] = vms.map((vm) => forwarder.attach(vm));
    const forwards = await Promise.all(
      addresses.map((address) => forwarder.listen(rule({ address: parseIpv4(address) }))),
    );
    const [open, waiting, other] = [forwards[0], forwards[0], forwards[1]].map(dialForward);
    const flow = await vms[0].flow();
    flow.establish();
    flow.segment(Buffer.from("hello"));
    const [waitingFlow, otherFlow] = await Promise.all([vms[0].flow(2), vms[1].flow()]);
    await otherFlow.until(() => forwards[1].stats().open === 1);
    const resets = Promise.all([failure(open), failure(waiting)]);
    gone.detach();
    gone.detach();
    expect(await resets).toEqual(["ECONNRESET", "ECONNRESET"]);
    expect([flow.closeReason, waitingFlow.closeReason, otherFlow.closeReason]).toEqual(["aborted", "aborted", null]);
    expect(forwards[0].stats()).toMatchObject({ connected: 1, failed: 1, pending: 0, open: 0 });
    otherFlow.end();
    other.end();
    expect(await text(other)).toBe("");
  });
});

describe("the limit of all connections", () => {
  test("counts those of all forwards and VMs, and resets what is beyond; the log says so once", async () => {
    const { forwarder, logger } = makeForwarder({ maxConnections: 2 });
    const [first, second] = [new FakeVm({}, "192.168.65.4"), new FakeVm({ answers: false }, "192.168.65.5")];
    forwarder.attach(first);
    forwarder.attach(second);
    const forwards = await Promise.all([first, second].map(({ address }) => forwarder.listen(rule({ address }))));
    for (const forward of forwards) dialForward(forward);
    const [flow] = await Promise.all([first.flow(), second.flow()]);
    for (const forward of forwards) expect(await failure(dialForward(forward))).toBe("ECONNRESET");
    expect(logger.lines).toMatchObject([{ level: "warn", fields: { limit: 2 } }]);
    expect(forwards.map((forward) => forward.stats().droppedLimit)).toEqual([1, 1]);
    flow.disappear();
    dialForward(forwards[0]);
    await first.flow(2);
  });
});

describe("a forwarder", () => {
  test("lists its forwards with the ports that the system chose", async () => {
    const { forwarder } = makeForwarder();
    const rules = [rule(), rule({ port: 443 })];
    const forwards = [await forwarder.listen(rules[0]), await forwarder.listen(rules[1])];
    expect(forwarder.stats()).toMatchObject(
      forwards.map(({ address }, index) => ({ rule: rules[index], address, tcp: { open: 0, connected: 0 } })),
    );
    expect(new Set(forwards.map(({ address }) => address.port)).size).toBe(2);
    await forwards[0].close();
    expect(forwarder.stats()).toMatchObject([{ rule: rules[1] }]);
  });

  test("listens on the addresses of both families, each by itself", async () => {
    const { forwarder } = makeForwarder();
    const vm = new FakeVm();
    forwarder.attach(vm);
    const any = await forwarder.listen(rule({}, "0.0.0.0"));
    const anyOfSix = { ...rule(), listen: { host: "::", port: any.address.port } };
    expect((await forwarder.listen(anyOfSix)).address).toEqual({ host: "::", port: any.address.port });
    const local = await forwarder.listen(rule({}, "::1"));
    dialForward(local);
    await vm.flow();
  });

  test("that is closed has closed every listener and reset every connection", async () => {
    const { forwarder } = makeForwarder();
    const vm = new FakeVm({ answers: false });
    forwarder.attach(vm);
    const forward = await forwarder.listen(rule());
    const sockets = [dialForward(forward), dialForward(forward)];
    const flow = await vm.flow();
    await vm.flow(2);
    flow.establish();
    const resets = Promise.all(sockets.map(failure));
    await Promise.all([forwarder.close(), forward.close()]);
    expect(await resets).toEqual(["ECONNRESET", "ECONNRESET"]);
    expect(vm.flows.events.map(({ closeReason }) => closeReason)).toEqual(["aborted", "aborted"]);
    expect(forwarder.stats()).toEqual([]);
    expect(await failure(connect(forward.address.port, "127.0.0.1"))).toBe("ECONNREFUSED");
    await forwarder.listen({ ...rule(), listen: forward.address });
  });

  test("refuses an address that is taken, and one that is not the host's", async () => {
    const { forwarder } = makeForwarder();
    const { address } = await forwarder.listen(rule());
    await expect(forwarder.listen({ ...rule(), listen: address })).rejects.toMatchObject({
      name: "BindError",
      code: "EADDRINUSE",
      message: `listen tcp 127.0.0.1:${address.port}: bind: address already in use`,
    });
    await expect(forwarder.listen(rule({}, "192.0.2.1"))).rejects.toThrow(
      "listen tcp 192.0.2.1:0: bind: cannot assign requested address",
    );
    expect(forwarder.stats()).toHaveLength(1);
  });
});
