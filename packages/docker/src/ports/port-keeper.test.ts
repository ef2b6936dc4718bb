import { setImmediate } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { PortHarness, publish } from "../testing/port-harness.ts";

let harness: PortHarness;

beforeEach(async () => {
  harness = await PortHarness.start();
});
afterEach(() => harness.close());

/** A container that the engine has started by itself. */
function run(options: Parameters<typeof harness.engine.create>[0]): string {
  const id = harness.engine.create(options);
  harness.engine.startContainer(id);
  return id;
}

describe("a container that runs", () => {
  test("has the ports that it asked for, which lead to its own address", async () => {
    run({ portBindings: publish("8080:80", "5353:53/udp") });
    await harness.settle();
    expect(harness.host.listening).toEqual([":5353/udp > 172.17.0.2:53", ":8080/tcp > 172.17.0.2:80"]);
  });

  test("publishes on the address that it asked for", async () => {
    run({ portBindings: publish("127.0.0.1:80:80", "0.0.0.0:81:81", "[::1]:82:82", "[::]:83:83") });
    await harness.settle();
    expect(harness.host.listening).toEqual([
      "0.0.0.0:81/tcp > 172.17.0.2:81",
      "127.0.0.1:80/tcp > 172.17.0.2:80",
      "[::1]:82/tcp > 172.17.0.2:82",
      "[::]:83/tcp > 172.17.0.2:83",
    ]);
  });

  test("is known to those who list the ports", async () => {
    run({ name: "web", portBindings: publish("8080:80") });
    await harness.settle();
    expect(harness.keeper.list()).toEqual([
      { owner: "web", protocol: "tcp", address: "", port: 8080, containerPort: 80, state: "open" },
    ]);
  });

  test("has none in the network of the host, in none, and in that of another container", async () => {
    for (const networkMode of ["host", "none", `container:${"a".repeat(64)}`]) {
      const id = run({ networkMode, portBindings: publish("80:80") });
      const container = harness.engine.containers.get(id);
      if (container !== undefined) container.ports = publish("80:80");
      await harness.settle();
      expect(harness.host.listening, networkMode).toEqual([]);
      harness.engine.remove(id);
    }
  });

  test("keeps its ports while it is paused, renamed, or sent a signal", async () => {
    const id = run({ portBindings: publish("80:80") });
    await harness.settle();
    harness.engine.setPaused(id, true);
    await harness.settle();
    harness.engine.setPaused(id, false);
    harness.engine.signal(id);
    harness.engine.rename(id, "other");
    await harness.settle();
    expect(harness.host.log).toEqual(["+80/tcp", "80/tcp > 172.17.0.2:80"]);
    expect(harness.keeper.list()[0].owner).toBe("other");
  });

  test("has them no more when it ends, and again when it is started", async () => {
    const id = run({ portBindings: publish("80:80") });
    await harness.settle();
    harness.engine.die(id);
    await harness.settle();
    expect(harness.host.listening).toEqual([]);
    harness.engine.startContainer(id);
    await harness.settle();
    expect(harness.host.listening).toEqual([":80/tcp > 172.17.0.3:80"]);
  });

  test("has none while it waits for its restart policy", async () => {
    const id = run({ portBindings: publish("80:80") });
    harness.engine.die(id, "restarting");
    await harness.settle();
    expect(harness.host.listening).toEqual([]);
    harness.engine.revive(id);
    await harness.settle();
    expect(harness.host.listening).toEqual([":80/tcp > 172.17.0.3:80"]);
  });

  test("costs one question for a burst of news", async () => {
    const id = run({ portBindings: publish("80:80") });
    await harness.settle();
    const path = `/containers/${id}/json`;
    const before = harness.engine.requests.filter((one) => one === `GET ${path}`).length;
    harness.engine.held.add(path);
    for (let time = 0; time < 100; time++) harness.engine.emit("container", "start", id);
    await harness.engine.asked(`GET ${path}`, before + 1);
    harness.engine.emit("container", "start", id);
    harness.engine.held.delete(path);
    harness.engine.letGo();
    await harness.settle();
    expect(harness.engine.requests.filter((one) => one === `GET ${path}`).length).toBeLessThanOrEqual(before + 3);
    expect(harness.host.listening).toEqual([":80/tcp > 172.17.0.2:80"]);
  });

  test("that has no ports is not asked about when it ends", async () => {
    const id = run({});
    await harness.settle();
    harness.engine.requests.length = 0;
    harness.engine.die(id);
    harness.engine.remove(id);
    await harness.settle();
    expect(harness.engine.requests).not.toContain(`GET /containers/${id}/json`);
  });
});

describe("the address that ports lead to", () => {
  test("is that in the network whose gateway the engine takes: by priority, families, and name", async () => {
    const { networks } = harness.engine;
    networks.set("b", { gateway: "172.18.0.1" });
    networks.set("a", { gateway: "172.19.0.1", isInternal: true });
    networks.set("c", { gateway: "172.20.0.1" });
    const id = run({ portBindings: publish("80:80"), networks: ["c", "b", "a"] });
    await harness.settle();
    const addresses = harness.engine.containers.get(id)?.addresses;
    const target = () => [...harness.host.open].map(({ to }) => to?.address);
    expect(target()).toEqual([addresses?.get("b")]);
    networks.set("c", { gateway: "172.20.0.1", ipv6Gateway: "fd00::1" });
    harness.engine.emit("container", "start", id);
    await harness.settle();
    expect(target()).toEqual([addresses?.get("c")]);
    networks.set("b", { gateway: "172.18.0.1", priority: 1 });
    harness.engine.emit("container", "start", id);
    await harness.settle();
    expect(target()).toEqual([addresses?.get("b")]);
  });

  test("is the VM's own where the engine leads ports through a network that is not the container's", async () => {
    harness.engine.networks.set("ingress", { driver: "overlay", gateway: "" });
    run({ portBindings: publish("8089:81"), networks: ["ingress"] });
    await harness.settle();
    expect(harness.host.listening).toEqual([":8089/tcp > vm:8089"]);
  });

  test("is the VM's own for all containers when the engine's networks cannot be reached", async () => {
    await harness.restartKeeper({ reach: "vm" });
    run({ portBindings: publish("8080:80") });
    await harness.settle();
    expect(harness.host.listening).toEqual([":8080/tcp > vm:8080"]);
  });

  test("is the VM's own for a container that is in no network the engine tells of", async () => {
    run({ portBindings: publish("8080:80"), networks: [] });
    await harness.settle();
    expect(harness.host.listening).toEqual([":8080/tcp > vm:8080"]);
  });

  test("is none in an internal network, whatever rows the engine still has", async () => {
    harness.engine.networks.set("inside", { gateway: "172.21.0.1", isInternal: true });
    const id = run({ portBindings: publish("8080:80"), networks: ["bridge", "inside"] });
    await harness.settle();
    expect(harness.host.listening).toEqual([":8080/tcp > 172.17.0.2:80"]);
    harness.engine.disconnect(id, "bridge");
    await harness.settle();
    expect(harness.host.listening).toEqual([]);
  });
});

describe("a port that cannot be had", () => {
  test("is listed with the reason, and had as soon as it is free", async () => {
    harness.host.taken.add("80/tcp");
    run({ name: "web", portBindings: publish("80:80", "81:81") });
    await harness.settle();
    expect(harness.host.listening).toEqual([":81/tcp > 172.17.0.2:81"]);
    expect(harness.keeper.list()[0]).toEqual({
      owner: "web",
      protocol: "tcp",
      address: "",
      port: 80,
      containerPort: 80,
      state: "failed",
      error: "listen tcp4 0.0.0.0:80: bind: address already in use (held by another)",
    });
    const warnings = () => harness.logger.lines.filter(({ level }) => level === "warn");
    expect(warnings()).toHaveLength(1);
    await harness.pass(5000);
    expect(warnings()).toHaveLength(1);
    harness.host.taken.clear();
    await harness.pass(5000);
    expect(harness.host.listening).toEqual([":80/tcp > 172.17.0.2:80", ":81/tcp > 172.17.0.2:81"]);
    expect(harness.clock.timers).toBe(0);
  });

  test("is not tried without end by two containers that both lack it", async () => {
    const { engine, host } = harness;
    host.taken.add("80/tcp");
    const first = run({ portBindings: publish("80:80") });
    await harness.settle();
    const container = engine.containers.get(first);
    if (container !== undefined) Object.assign(container, { state: "exited", ports: {} });
    run({ portBindings: publish("80:80") });
    await harness.settle();
    await harness.pass(5000);
    expect(harness.keeper.list().map(({ state }) => state)).toEqual(["failed", "failed"]);
    host.taken.clear();
    engine.endStreams();
    await harness.reconnect();
    await harness.pass(5000);
    expect(host.listening).toEqual([":80/tcp > 172.17.0.3:80"]);
  });

  test("is not tried for ever when its container has gone", async () => {
    harness.host.taken.add("80/tcp");
    const id = run({ portBindings: publish("80:80") });
    await harness.settle();
    harness.engine.remove(id);
    await harness.settle();
    harness.host.taken.clear();
    await harness.pass(5000);
    expect(harness.host.listening).toEqual([]);
    expect(harness.clock.timers).toBe(0);
  });

  test("is one of SCTP, which is not tried again", async () => {
    run({ portBindings: publish("3000:3000/sctp") });
    await harness.settle();
    expect(harness.keeper.list()).toMatchObject([
      { protocol: "sctp", state: "failed", error: expect.stringContaining("only TCP and UDP") },
    ]);
    expect(harness.host.log).toEqual([]);
    await harness.pass(5000);
    expect(harness.clock.timers).toBe(0);
  });

  test("is had by the container that comes after the one whose end was not told", async () => {
    const { engine } = harness;
    const first = run({ portBindings: publish("80:80") });
    await harness.settle();
    const container = engine.containers.get(first);
    if (container !== undefined) Object.assign(container, { state: "exited", ports: {} });
    run({ portBindings: publish("80:80") });
    await harness.settle();
    expect(harness.host.listening).toEqual([":80/tcp > 172.17.0.3:80"]);
    expect(harness.keeper.list()).toHaveLength(1);
  });
});

test("what the engine does not tell is asked again after 5 s, and ports stay until then", async () => {
  const id = run({ portBindings: publish("80:80") });
  await harness.settle();
  harness.engine.broken.set(`/containers/${id}/json`, 500);
  harness.engine.die(id);
  await harness.settle();
  expect(harness.host.listening).toEqual([":80/tcp > 172.17.0.2:80"]);
  await harness.pass(5000);
  expect(harness.host.listening).toEqual([":80/tcp > 172.17.0.2:80"]);
  harness.engine.broken.clear();
  await harness.pass(5000);
  expect(harness.host.listening).toEqual([]);
  expect(harness.clock.timers).toBe(0);
});

describe("an engine that goes and comes back", () => {
  test("finds the ports of its containers as they were, and those that ended in between gone", async () => {
    const stays = run({ portBindings: publish("80:80") });
    run({ portBindings: publish("81:81") });
    await harness.settle();
    await harness.engine.stop();
    await harness.pass(1000);
    expect(harness.host.listening).toHaveLength(2);
    await harness.engine.reboot([stays]);
    await harness.reconnect();
    expect(harness.host.listening).toEqual([":80/tcp > 172.17.0.4:80"]);
    expect(harness.host.log).not.toContain("-80/tcp");
  });

  test("may have made a network anew that leads elsewhere", async () => {
    const { engine } = harness;
    engine.networks.set("net", { gateway: "172.18.0.1" });
    const id = run({ portBindings: publish("80:80"), networks: ["net"] });
    await harness.settle();
    engine.networks.set("net", { driver: "overlay" });
    await engine.reboot([id]);
    await harness.reconnect();
    expect(harness.host.listening).toEqual([":80/tcp > vm:80"]);
  });

  test("is tried again after 100 ms, then 200, and so on to 5 s", async () => {
    const { engine, clock } = harness;
    const times: number[] = [];
    const dial = engine.dial;
    engine.dial = () => {
      times.push(clock.now());
      return dial();
    };
    await harness.restartKeeper();
    await engine.stop();
    await harness.pass(1);
    times.length = 0;
    const start = clock.now();
    while (times.length < 9) await harness.pass(50);
    expect(times.map((time) => Math.round((time - start) / 50) * 50)).toEqual([
      100, 300, 700, 1500, 3100, 6300, 11_300, 16_300, 21_300,
    ]);
  });

  test("and ends each stream at once is not asked more and more often", async () => {
    const { engine } = harness;
    engine.raw.set("/events", "");
    engine.endStreams();
    engine.requests.length = 0;
    for (let step = 0; step < 600; step++) await harness.pass(100);
    expect(engine.requests.filter((one) => one === "GET /events").length).toBeLessThanOrEqual(18);
  });

  test("and has no events to give is listed every 5 s", async () => {
    const { engine } = harness;
    engine.broken.set("/events", 500);
    engine.endStreams();
    for (let step = 0; step < 100; step++) await harness.pass(100);
    const id = run({ portBindings: publish("80:80") });
    for (let step = 0; step < 51; step++) await harness.pass(100);
    expect(harness.host.listening).toEqual([":80/tcp > 172.17.0.2:80"]);
    engine.die(id);
    for (let step = 0; step < 51; step++) await harness.pass(100);
    expect(harness.host.listening).toEqual([]);
  });
});

describe("a keeper that is closed", () => {
  test("waits for no engine that is not there", async () => {
    run({ portBindings: publish("80:80") });
    await harness.settle();
    await harness.engine.stop();
    await harness.pass(1);
    await harness.stopKeeper();
    expect(harness.host.listening).toEqual([]);
    expect(harness.clock.timers).toBe(0);
  });

  test.each(["/version", "/events", "/containers/json", "/services", "/networks/bridge"])(
    "waits for no answer to %s",
    async (path) => {
      const { engine } = harness;
      engine.held.add(path);
      engine.endStreams();
      run({ portBindings: publish("80:80") });
      engine.requests.length = 0;
      while (!engine.requests.includes(`GET ${path}`)) {
        harness.clock.advance(100);
        await setImmediate();
      }
      await harness.stopKeeper();
      expect(harness.host.listening).toEqual([]);
      expect(harness.clock.timers).toBe(0);
    },
  );
});

describe("an engine that means harm", () => {
  test("has no more than 16384 ports of the host", async () => {
    const many = (first: number) =>
      publish(...Array.from({ length: 9000 }, (_, index) => `${first + index}:${index + 1}`));
    run({ name: "one", portBindings: many(1) });
    run({ name: "other", portBindings: many(20_001) });
    await harness.settle();
    expect(harness.host.open.size).toBe(16_384);
    expect(harness.logger.lines.filter(({ level }) => level === "warn")).toHaveLength(1);
    const third = harness.engine.create({ portBindings: publish("80:80") });
    expect(await harness.start(third)).toContain("containers have 16384 ports, which is the most");
  });

  test("has no more than 4096 containers asked about for its events; beyond, it is listed", async () => {
    const { engine } = harness;
    engine.requests.length = 0;
    const ids = Array.from({ length: 20_000 }, (_, index) => index.toString(16).padStart(64, "e"));
    for (const id of ids.slice(0, 8)) engine.held.add(`/containers/${id}/json`);
    for (const id of ids) engine.emit("container", "start", id);
    await engine.flushed();
    for (let turn = 0; turn < 50; turn++) await setImmediate();
    expect(engine.requests).toHaveLength(8);
    engine.held.clear();
    engine.letGo();
    await harness.keeper.settled();
    expect(engine.requests).toContain("GET /containers/json");
    expect(engine.requests.length).toBeLessThan(4200);
  });

  test("is not asked without end about containers that have each other's ports", async () => {
    const { engine } = harness;
    const ids = [run({ portBindings: publish("80:80") }), run({ portBindings: publish("81:81") })];
    await harness.settle();
    for (const id of ids) {
      const container = engine.containers.get(id);
      if (container !== undefined) container.ports = publish("80:80", "81:81");
      engine.emit("container", "start", id);
    }
    await harness.settle();
    expect(harness.host.open.size).toBe(2);
    engine.requests.length = 0;
    await harness.pass(5000);
    await harness.settle();
    expect(engine.requests).toHaveLength(1);
  });

  test("has no more than 4096 of its containers asked about, however many it lists", async () => {
    const { engine } = harness;
    const row = (index: number) => ({ Id: index.toString(16).padStart(64, "e"), Ports: [{ PublicPort: 80 }] });
    engine.raw.set("/containers/json", JSON.stringify(Array.from({ length: 10_000 }, (_, index) => row(index))));
    engine.endStreams();
    engine.requests.length = 0;
    await harness.reconnect();
    expect(engine.requests.filter((one) => one.includes("/eeee"))).toHaveLength(4096);
  });

  test("is not asked for what is no id of a container", async () => {
    const { engine } = harness;
    engine.requests.length = 0;
    for (const id of ["../../version", "x", "", "A".repeat(64), "a".repeat(65)]) {
      engine.emit("container", "start", id);
      engine.emit("network", "connect", "bridge", id);
    }
    engine.raw.set("/containers/json", JSON.stringify([{ Id: "../x", Ports: [{ PublicPort: 80 }] }, null, 5]));
    engine.endStreams();
    await harness.reconnect();
    const asked = engine.requests.filter((one) => !one.includes("/ffff"));
    expect(new Set(asked)).toEqual(new Set(["GET /version", "GET /events", "GET /containers/json", "GET /services"]));
  });

  test("and tells nonsense is followed anew", async () => {
    const { engine } = harness;
    engine.emitText("nonsense\n");
    await engine.unfollowed();
    run({ portBindings: publish("80:80") });
    await harness.reconnect();
    expect(harness.host.listening).toEqual([":80/tcp > 172.17.0.2:80"]);
  });

  test.each(["[]", "{}", "null", "5", '{"Id":5}', "nonsense"])(
    "and answers %s leaves the host as it is",
    async (answer) => {
      const { engine } = harness;
      for (const path of ["/containers/json", "/services", "/version", "/networks/bridge"])
        engine.raw.set(path, answer);
      const id = run({ portBindings: publish("80:80") });
      engine.raw.set(`/containers/${id}/json`, answer);
      await harness.settle();
      expect(harness.host.listening).toEqual([]);
      engine.endStreams();
      engine.raw.delete("/version");
      await harness.reconnect();
      expect(harness.host.listening).toEqual([]);
    },
  );
});
