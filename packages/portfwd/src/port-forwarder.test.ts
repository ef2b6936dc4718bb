import { once } from "node:events";
import { connect, Socket } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { type FourTuple, formatIpv4, parseIpv4, type TcpFlow, type TcpHandler } from "@hostd/stack";
import { describe, expect, test } from "vitest";
import { BindPolicy, BindRefusedError } from "./bind-policy.ts";
import { FakeVm } from "./testing/fake-vm.ts";
import {
  addressOf,
  cleanUp,
  dialForward,
  failure,
  GATEWAY,
  listen,
  makeFolder,
  makeForwarder,
  rule,
  ruleFrom,
  until,
} from "./testing/harness.ts";

const CONTAINER = parseIpv4("172.17.0.2");

describe("a connection leads to", () => {
  test("the VM that was attached first, of those whose address is known", async () => {
    const { forwarder } = makeForwarder();
    const forward = await listen(forwarder, rule());
    const vms = [new FakeVm({}, null), new FakeVm({}, "192.168.65.4"), new FakeVm({}, "192.168.65.5")];
    for (const vm of vms) forwarder.attach(vm);
    dialForward(forward);
    expect(formatIpv4((await vms[1].flow()).remoteAddress)).toBe("192.168.65.4");
  });

  test("the VM that has the address that the rule names", async () => {
    const { forwarder } = makeForwarder();
    const forward = await listen(forwarder, rule({ address: parseIpv4("192.168.65.5") }));
    const vms = [new FakeVm({}, "192.168.65.4"), new FakeVm({}, "192.168.65.5")];
    for (const vm of vms) forwarder.attach(vm);
    dialForward(forward);
    expect(formatIpv4((await vms[1].flow()).remoteAddress)).toBe("192.168.65.5");
  });

  test("the VM whose own address is named, although another one claims it", async () => {
    const { forwarder } = makeForwarder();
    const address = parseIpv4("192.168.65.5");
    const forward = await listen(forwarder, rule({ address }));
    const vms = [new FakeVm({}, "192.168.65.4"), new FakeVm({}, "192.168.65.5")];
    for (const vm of vms) forwarder.attach(vm);
    vms[0].shown.add(address);
    dialForward(forward);
    await vms[1].flow();
    expect(vms[0].flows.events).toEqual([]);
  });

  test("the VM that a named address has been seen behind, or else the first one", async () => {
    const { forwarder } = makeForwarder();
    const forward = await listen(forwarder, rule({ address: CONTAINER }));
    const vms = [new FakeVm({}, null), new FakeVm({}, "192.168.65.5")];
    for (const vm of vms) forwarder.attach(vm);
    dialForward(forward);
    expect((await vms[0].flow()).remoteAddress).toBe(CONTAINER);
    vms[1].shown.add(CONTAINER);
    dialForward(forward);
    expect((await vms[1].flow()).remoteAddress).toBe(CONTAINER);
  });

  test("the VM that is named beforehand", () => {
    const { forwarder } = makeForwarder();
    const target = { address: null, port: 2375 };
    expect(forwarder.vmOf(target)).toBeNull();
    const vms = [new FakeVm({}, null), new FakeVm({}, "192.168.65.4"), new FakeVm({}, "192.168.65.5")];
    for (const [index, vm] of vms.entries()) {
      vm.name = `vm${index}`;
      forwarder.attach(vm);
    }
    const byAddress = { address: parseIpv4("192.168.65.5"), port: 22 };
    expect([target, byAddress].map((to) => forwarder.vmOf(to))).toEqual(["vm1", "vm2"]);
    const socket = { server: byAddress, user: "core", path: "/run/docker.sock", identity: "/key" };
    expect(forwarder.vmOf(socket)).toBe("vm2");
  });

  test("the next VM once the first has gone", async () => {
    const { forwarder } = makeForwarder();
    const forward = await listen(forwarder, rule());
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
    const forward = await listen(forwarder, rule());
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
      addresses.map((address) => listen(forwarder, rule({ address: parseIpv4(address) }))),
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
    const forwards = await Promise.all([first, second].map(({ address }) => listen(forwarder, rule({ address }))));
    for (const forward of forwards) dialForward(forward);
    const [flow] = await Promise.all([first.flow(), second.flow()]);
    for (const forward of forwards) expect(await failure(dialForward(forward))).toBe("ECONNRESET");
    expect(logger.lines).toMatchObject([{ level: "warn", fields: { limit: 2 } }]);
    expect(forwards.map((forward) => forward.stats().droppedLimit)).toEqual([1, 1]);
    flow.disappear();
    dialForward(forwards[0]);
    await first.flow(2);
  });

  test("counts those that wait for a VM", async () => {
    const { forwarder } = makeForwarder({ maxConnections: 2, waitTime: 1000 });
    const forwards = await Promise.all([listen(forwarder, rule()), listen(forwarder, rule())]);
    for (const forward of forwards) dialForward(forward);
    await until(() => forwards.every((forward) => forward.stats().pending === 1));
    expect(await failure(dialForward(forwards[0]))).toBe("ECONNRESET");
    expect(forwards[0].stats()).toMatchObject({ droppedLimit: 1, pending: 1 });
    const vm = new FakeVm();
    forwarder.attach(vm).ready();
    expect(vm.flows.events).toHaveLength(2);
  });
});

describe("with the clients' addresses", () => {
  const clientAddresses = {
    host: parseIpv4("192.168.65.2"),
    network: { address: parseIpv4("192.168.65.0"), prefixLength: 24 },
  };
  const host = formatIpv4(clientAddresses.host);

  /** What the guest sees a connection come from, and the port that the client has. */
  async function seenFrom(
    listenOn: string,
    client: { readonly host: string; readonly localAddress?: string },
    vm = new FakeVm(),
  ) {
    const { forwarder } = makeForwarder({ clientAddresses });
    forwarder.attach(vm);
    const { port } = addressOf(await listen(forwarder, rule({}, listenOn)));
    const socket = connect({ ...client, port });
    cleanUp(() => socket.destroy());
    await once(socket, "connect");
    const { localAddress, localPort } = await vm.flow();
    return { address: formatIpv4(localAddress), port: localPort, clientPort: socket.localPort };
  }

  test.each([
    ["of IPv4", "127.0.0.1", "127.0.0.1"],
    ["of IPv6", "::1", "::1"],
    ["of IPv4 at a port for both families", "", "127.0.0.1"],
  ])("a client %s on this host is seen as the host, with its own port", async (_name, listenOn, client) => {
    const seen = await seenFrom(listenOn, { host: client });
    expect(seen.address).toBe(host);
    expect(seen.port).toBe(seen.clientPort);
  });

  test("a connection whose port is in use in the guest's network has another", async () => {
    class BusyVm extends FakeVm {
      override tcpDial(tuple: FourTuple, handler: TcpHandler): TcpFlow | null {
        return tuple.localPort === 0 ? super.tcpDial(tuple, handler) : null;
      }
    }
    expect(await seenFrom("127.0.0.1", { host: "127.0.0.1" }, new BusyVm())).toMatchObject({ address: host, port: 0 });
  });

  test.each([
    ["another machine", "203.0.113.7", "203.0.113.7", 40_000],
    ["another machine, mapped", "::ffff:203.0.113.7", "203.0.113.7", 40_000],
    ["this host, mapped", "::ffff:127.0.0.9", host, 40_000],
    ["the VM's own network", "192.168.65.9", formatIpv4(GATEWAY), 0],
    ["an IPv6 network", "2001:db8::7", formatIpv4(GATEWAY), 0],
    ["nowhere any more", undefined, formatIpv4(GATEWAY), 0],
  ])("a client of %s is seen as it can be answered", async (_name, remoteAddress, address, port) => {
    const { forwarder } = makeForwarder({ clientAddresses });
    const vm = new FakeVm();
    forwarder.attach(vm);
    const forward = await listen(forwarder, rule());
    const socket = new Socket();
    cleanUp(() => socket.destroy());
    Object.defineProperties(socket, { remoteAddress: { value: remoteAddress }, remotePort: { value: 40_000 } });
    forward.connect({ forward, socket, until: 0 });
    const flow = await vm.flow();
    expect(formatIpv4(flow.localAddress)).toBe(address);
    expect(flow.localPort).toBe(port);
  });

  test("a client of a Unix socket is seen as the gateway", async () => {
    const { forwarder } = makeForwarder({ clientAddresses });
    const vm = new FakeVm();
    forwarder.attach(vm);
    dialForward(await listen(forwarder, ruleFrom({ path: join(await makeFolder(), "web.sock") })));
    expect(await vm.flow()).toMatchObject({ localAddress: GATEWAY, localPort: 0 });
  });

  test("is off unless asked for", async () => {
    const { forwarder } = makeForwarder();
    const vm = new FakeVm();
    forwarder.attach(vm);
    dialForward(await listen(forwarder, rule()));
    expect(await vm.flow()).toMatchObject({ localAddress: GATEWAY, localPort: 0 });
  });
});

describe("a policy", () => {
  test("keeps a forward from being opened, by who asks", async () => {
    const loopback = { address: "127.0.0.1", firstPort: 0, lastPort: 65_535 };
    const { forwarder } = makeForwarder({ policy: new BindPolicy({ host: [loopback], guest: [] }) });
    await expect(forwarder.listen(rule({}, "0.0.0.0"))).rejects.toBeInstanceOf(BindRefusedError);
    await expect(forwarder.listen(rule(), "guest")).rejects.toBeInstanceOf(BindRefusedError);
    expect(forwarder.stats()).toEqual([]);
    await forwarder.listen(rule());
  });
});

describe("a forwarder", () => {
  test("lists its forwards with the ports that the system chose", async () => {
    const { forwarder } = makeForwarder();
    const rules = [rule(), rule({ port: 443 })];
    const forwards = [await listen(forwarder, rules[0]), await listen(forwarder, rules[1])];
    expect(forwarder.stats()).toMatchObject(
      forwards.map(({ listening }, index) => ({ rule: rules[index], listening, tcp: { open: 0, connected: 0 } })),
    );
    expect(new Set(forwards.map((forward) => addressOf(forward).port)).size).toBe(2);
    await forwards[0].close();
    expect(forwarder.stats()).toMatchObject([{ rule: rules[1] }]);
  });

  test("listens on the addresses of both families, each by itself", async () => {
    const { forwarder } = makeForwarder();
    const vm = new FakeVm();
    forwarder.attach(vm);
    const any = await listen(forwarder, rule({}, "0.0.0.0"));
    const anyOfSix = { ...rule(), listen: { host: "::", port: addressOf(any).port } };
    expect((await listen(forwarder, anyOfSix)).listening).toEqual(anyOfSix.listen);
    const local = await listen(forwarder, rule({}, "::1"));
    dialForward(local);
    await vm.flow();
  });

  test("that is closed has closed every listener and reset every connection", async () => {
    const { forwarder } = makeForwarder();
    const vm = new FakeVm({ answers: false });
    forwarder.attach(vm);
    const forward = await listen(forwarder, rule());
    const sockets = [dialForward(forward), dialForward(forward)];
    const flow = await vm.flow();
    await vm.flow(2);
    flow.establish();
    const resets = Promise.all(sockets.map(failure));
    await Promise.all([forwarder.close(), forward.close()]);
    expect(await resets).toEqual(["ECONNRESET", "ECONNRESET"]);
    expect(vm.flows.events.map(({ closeReason }) => closeReason)).toEqual(["aborted", "aborted"]);
    expect(forwarder.stats()).toEqual([]);
    expect(await failure(connect(addressOf(forward).port, "127.0.0.1"))).toBe("ECONNREFUSED");
    await makeForwarder().forwarder.listen(ruleFrom(forward.listening));
  });

  test("refuses an address that is taken, and one that is not the host's", async () => {
    const { forwarder } = makeForwarder();
    const forward = await listen(forwarder, rule());
    const taken = `listen tcp 127.0.0.1:${addressOf(forward).port}: bind: address already in use`;
    await expect(forwarder.listen(ruleFrom(forward.listening))).rejects.toMatchObject({
      name: "BindError",
      code: "EADDRINUSE",
      goMessage: taken,
      message: `${taken} (held by hostd itself (process ${process.pid}))`,
    });
    await expect(forwarder.listen(rule({}, "192.0.2.1"))).rejects.toThrow(
      "listen tcp 192.0.2.1:0: bind: cannot assign requested address",
    );
    expect(forwarder.stats()).toHaveLength(1);
  });

  test("closes what was being opened when it was closed", async () => {
    const { forwarder } = makeForwarder();
    const opening = forwarder.listen(rule());
    const closing = forwarder.close();
    await expect(opening).rejects.toThrow("hostd is closing");
    await closing;
    expect(forwarder.stats()).toEqual([]);
  });
});
