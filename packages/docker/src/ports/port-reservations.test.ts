import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { PortHarness, publish } from "../testing/port-harness.ts";

let harness: PortHarness;

beforeEach(async () => {
  harness = await PortHarness.start();
});
afterEach(() => harness.close());

/** Begins a request to start a container that may go to the engine. */
async function reserve(id: string, request: "start" | "restart" = "start") {
  const reservation = await harness.reservations.before(id, request);
  if (reservation.kind !== "reserved") throw new Error(reservation.message);
  return reservation;
}

/** Has a container end without an event that tells it. */
function end(id: string): void {
  const container = harness.engine.containers.get(id);
  if (container === undefined) throw new Error(`no container ${id}`);
  container.state = "exited";
  container.ports = {};
}

const IN_USE = "bind: address already in use";

describe("a container that is started", () => {
  test("has its ports before the engine is asked, and clients are held", async () => {
    const id = harness.engine.create({ portBindings: publish("80:80", "127.0.0.1:53:53/udp") });
    const reservation = await reserve(id);
    expect(harness.host.listening).toEqual(["127.0.0.1:53/udp > nowhere", ":80/tcp > nowhere"]);
    expect(harness.keeper.list().map(({ state }) => state)).toEqual(["held", "held"]);
    const status = harness.engine.startContainer(id);
    await reservation.after(status);
    expect(harness.host.listening).toEqual(["127.0.0.1:53/udp > 172.17.0.2:53", ":80/tcp > 172.17.0.2:80"]);
    await harness.settle();
    expect(harness.host.log.filter((one) => one.startsWith("+"))).toHaveLength(2);
  });

  test("may be named by its name, its id, or the beginning of that", async () => {
    const id = harness.engine.create({ name: "web", portBindings: publish("80:80") });
    for (const name of ["web", id, id.slice(0, 60)]) {
      const reservation = await reserve(name);
      expect(harness.host.listening, name).toEqual([":80/tcp > nowhere"]);
      await reservation.after(500);
      expect(harness.host.listening, name).toEqual([]);
    }
  });

  test("has the ports that the engine chose once it has", async () => {
    const id = harness.engine.create({ portBindings: publish("80", "0:81", "7000-7005:82") });
    const reservation = await reserve(id);
    expect(harness.host.listening).toEqual([]);
    await reservation.after(harness.engine.startContainer(id));
    expect(harness.host.listening).toEqual([
      ":20000/tcp > 172.17.0.2:80",
      ":20001/tcp > 172.17.0.2:81",
      ":7000/tcp > 172.17.0.2:82",
    ]);
  });

  test("stays when a port that the engine chose is taken on the host, which the list shows", async () => {
    harness.host.taken.add("20000/tcp");
    const id = harness.engine.create({ name: "web", portBindings: publish("80", "81:81") });
    expect(await harness.start(id)).toBe(204);
    expect(harness.host.listening).toEqual([":81/tcp > 172.17.0.2:81"]);
    expect(harness.keeper.list()).toMatchObject([
      { port: 81, state: "open" },
      { port: 20_000, state: "failed", error: expect.stringContaining(IN_USE) },
    ]);
    expect(harness.logger.lines.filter(({ level }) => level === "warn")).toHaveLength(1);
  });

  test("lets go of its ports when the engine does not start it, or nobody knows", async () => {
    const id = harness.engine.create({ portBindings: publish("80:80", "81") });
    for (const status of [400, 404, 409, 500, null]) {
      const reservation = await reserve(id);
      expect(harness.host.listening).toEqual([":80/tcp > nowhere"]);
      await reservation.after(status);
      expect(harness.host.listening).toEqual([]);
      expect(harness.keeper.list()).toEqual([]);
    }
  });

  test("lets go of its ports when the engine goes before it answers", async () => {
    const id = harness.engine.create({ portBindings: publish("80:80") });
    const reservation = await reserve(id);
    await harness.engine.stop();
    await reservation.after(null);
    expect(harness.host.listening).toEqual([]);
  });

  test("keeps its ports when the engine has started it and then goes", async () => {
    const id = harness.engine.create({ portBindings: publish("80:80") });
    const reservation = await reserve(id);
    const status = harness.engine.startContainer(id);
    await harness.engine.stop();
    await reservation.after(status);
    expect(harness.host.listening).toEqual([":80/tcp > nowhere"]);
    await harness.engine.start();
    await harness.reconnect();
    expect(harness.host.listening).toEqual([":80/tcp > 172.17.0.2:80"]);
  });

  test("and ends at once leaves nothing", async () => {
    const id = harness.engine.create({ portBindings: publish("80:80") });
    const reservation = await reserve(id);
    const status = harness.engine.startContainer(id);
    harness.engine.die(id);
    await reservation.after(status);
    expect(harness.host.listening).toEqual([]);
  });

  test("keeps its ports while the engine is listed anew", async () => {
    const id = harness.engine.create({ portBindings: publish("80:80") });
    const reservation = await reserve(id);
    harness.engine.endStreams();
    await harness.reconnect();
    expect(harness.host.listening).toEqual([":80/tcp > nowhere"]);
    await reservation.after(harness.engine.startContainer(id));
    expect(harness.host.log).toEqual(["+80/tcp", "80/tcp > 172.17.0.2:80"]);
  });

  test("publishes nothing in the network of the host", async () => {
    const id = harness.engine.create({ networkMode: "host", portBindings: publish("80:80") });
    expect(await harness.start(id)).toBe(204);
    expect(harness.host.log).toEqual([]);
  });

  test("that does not exist is left to the engine", async () => {
    expect(await harness.start("a".repeat(64))).toBe(404);
  });

  test("is left to the engine when that does not answer", async () => {
    const id = harness.engine.create({ name: "web", portBindings: publish("80:80") });
    harness.engine.broken.set("/containers/web/json", 500);
    const reservation = await reserve("web");
    expect(harness.host.listening).toEqual([]);
    await reservation.after(harness.engine.startContainer(id));
    await harness.settle();
    expect(harness.host.listening).toEqual([":80/tcp > 172.17.0.2:80"]);
  });
});

describe("a port that the host does not have", () => {
  test("is an error in the words of Docker Desktop, and nothing is left of the others", async () => {
    harness.host.taken.add("80/tcp");
    const id = harness.engine.create({ portBindings: publish("79:79", "80:80", "81:81") });
    const reservation = await harness.reservations.before(id, "start");
    expect(reservation).toEqual({
      kind: "refused",
      status: 500,
      message: `ports are not available: exposing port TCP 0.0.0.0:80 -> 127.0.0.1:0: listen tcp4 0.0.0.0:80: ${IN_USE}`,
    });
    expect(harness.host.open.size).toBe(0);
    expect(harness.keeper.list()).toEqual([]);
    harness.host.taken.clear();
    expect(await harness.start(id)).toBe(204);
    expect(harness.host.open.size).toBe(3);
  });

  test.each([
    ["127.0.0.1:80:80", "TCP 127.0.0.1:80 -> 127.0.0.1:0: listen tcp4 127.0.0.1:80"],
    ["[::1]:80:80", "TCP [::1]:80 -> 127.0.0.1:0: listen tcp6 [::1]:80"],
    ["53:53/udp", "UDP 0.0.0.0:53 -> 127.0.0.1:0: listen udp4 0.0.0.0:53"],
  ])("is told for %s", async (port, expected) => {
    harness.host.taken.add("80/tcp").add("53/udp");
    const id = harness.engine.create({ portBindings: publish(port) });
    expect(await harness.start(id)).toBe(`ports are not available: exposing port ${expected}: ${IN_USE}`);
  });

  test("is one of SCTP", async () => {
    const id = harness.engine.create({ portBindings: publish("80:80", "3000:3000/sctp") });
    expect(await harness.start(id)).toBe(
      "ports are not available: exposing port SCTP 0.0.0.0:3000 -> 127.0.0.1:0: " +
        "this protocol is not supported, only TCP and UDP are",
    );
    expect(harness.host.log).toEqual([]);
  });

  test("of another container is the engine's to refuse", async () => {
    const first = harness.engine.create({ portBindings: publish("80:80") });
    const second = harness.engine.create({ portBindings: publish("81:81", "127.0.0.1:80:80") });
    expect(await harness.start(first)).toBe(204);
    expect(await harness.start(second)).toBe(500);
    expect(harness.host.listening).toEqual([":80/tcp > 172.17.0.2:80"]);
    expect(harness.keeper.list()).toHaveLength(1);
  });

  test("of another container that has ended, of which no event has told yet, is had", async () => {
    const { engine } = harness;
    const first = engine.create({ portBindings: publish("80:80") });
    const second = engine.create({ portBindings: publish("80:80") });
    await harness.start(first);
    await harness.settle();
    end(first);
    const reservation = await reserve(second);
    expect(harness.host.listening).toEqual([":80/tcp > nowhere"]);
    await reservation.after(engine.startContainer(second));
    expect(harness.host.listening).toEqual([":80/tcp > 172.17.0.3:80"]);
  });

  test("of another container that ends while this one is started is had when the client gets the answer", async () => {
    const { engine } = harness;
    const first = engine.create({ portBindings: publish("80:80") });
    const second = engine.create({ portBindings: publish("80:80") });
    await harness.start(first);
    await harness.settle();
    engine.endStreams();
    const reservation = await reserve(second);
    expect(harness.host.listening).toEqual([":80/tcp > 172.17.0.2:80"]);
    end(first);
    await reservation.after(engine.startContainer(second));
    expect(harness.host.listening).toEqual([":80/tcp > 172.17.0.3:80"]);
  });

  test("because another container is being started is had when that fails", async () => {
    const { engine } = harness;
    const first = engine.create({ portBindings: publish("80:80") });
    const second = engine.create({ portBindings: publish("80:80") });
    const one = await reserve(first);
    const other = await reserve(second);
    await other.after(engine.startContainer(second));
    expect(harness.host.listening).toEqual([":80/tcp > nowhere"]);
    await one.after(engine.startContainer(first));
    await harness.keeper.settled();
    expect(harness.host.listening).toEqual([":80/tcp > 172.17.0.2:80"]);
    expect(harness.keeper.list()).toHaveLength(1);
  });

  test("and that a running container lacks is an error of its restart", async () => {
    const id = harness.engine.create({ portBindings: publish("80:80", "81:81") });
    harness.host.taken.add("80/tcp");
    harness.engine.startContainer(id);
    await harness.settle();
    expect(await harness.restart(id)).toContain(IN_USE);
    expect(harness.host.listening).toEqual([":81/tcp > 172.17.0.2:81"]);
    harness.host.taken.clear();
    expect(await harness.restart(id)).toBe(204);
    expect(harness.host.listening).toEqual([":80/tcp > 172.17.0.3:80", ":81/tcp > 172.17.0.3:81"]);
  });
});

describe("a container that is restarted", () => {
  test("keeps its ports all the time, and clients are held", async () => {
    const { engine, host } = harness;
    const id = engine.create({ portBindings: publish("80:80", "81") });
    await harness.start(id);
    const reservation = await reserve(id, "restart");
    engine.die(id);
    await harness.settle();
    expect(host.listening).toEqual([":80/tcp > nowhere"]);
    await reservation.after(engine.startContainer(id));
    expect(host.listening).toEqual([":20001/tcp > 172.17.0.3:81", ":80/tcp > 172.17.0.3:80"]);
    expect(host.log).not.toContain("-80/tcp");
  });

  test("has none when it does not come back", async () => {
    const id = harness.engine.create({ portBindings: publish("80:80") });
    await harness.start(id);
    const reservation = await reserve(id, "restart");
    harness.engine.die(id);
    await reservation.after(500);
    expect(harness.host.listening).toEqual([]);
  });

  test("is started when it was not running", async () => {
    const id = harness.engine.create({ portBindings: publish("80:80") });
    expect(await harness.restart(id)).toBe(204);
    expect(harness.host.listening).toEqual([":80/tcp > 172.17.0.2:80"]);
  });
});

describe("two requests for one container", () => {
  test("take its ports once, and let go of them when both have failed", async () => {
    const id = harness.engine.create({ portBindings: publish("80:80") });
    const one = await reserve(id);
    const other = await reserve(id);
    await one.after(500);
    expect(harness.host.listening).toEqual([":80/tcp > nowhere"]);
    await other.after(500);
    expect(harness.host.log).toEqual(["+80/tcp", "-80/tcp"]);
  });

  test("leave it its ports when one has started it and the other has not", async () => {
    const id = harness.engine.create({ portBindings: publish("80:80") });
    const [one, other] = await Promise.all([reserve(id), reserve(id)]);
    await Promise.all([one.after(harness.engine.startContainer(id)), other.after(harness.engine.startContainer(id))]);
    expect(harness.host.listening).toEqual([":80/tcp > 172.17.0.2:80"]);
    expect(harness.host.log).not.toContain("-80/tcp");
  });
});

describe("when the ports are closed", () => {
  test("nothing listens, and nothing is taken any more", async () => {
    const id = harness.engine.create({ portBindings: publish("80:80") });
    const reservation = await reserve(id);
    const other = harness.engine.create({ portBindings: publish("81:81") });
    harness.engine.startContainer(other);
    await harness.settle();
    await harness.keeper.close();
    expect(harness.host.listening).toEqual([]);
    await reservation.after(harness.engine.startContainer(id));
    expect(await harness.start(harness.engine.create({ portBindings: publish("82:82") }))).toBe(204);
    expect(harness.host.listening).toEqual([]);
    expect(harness.clock.timers).toBe(0);
  });
});
