import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { FakeClock } from "../../../streams/src/testing/fake-clock.ts";
import { RecordingLogger } from "../../../streams/src/testing/recording-logger.ts";
import { EngineClient } from "../engine/engine-client.ts";
import { EngineWatch } from "../engine/engine-watch.ts";
import { ScriptedEngine } from "../testing/scripted-engine.ts";
import { ContainerDirectory } from "./container-directory.ts";

const LIST = "/containers/json";

let folder: string;
let engine: ScriptedEngine;
let clock: FakeClock;
let logger: RecordingLogger;
let client: EngineClient;
let watch: EngineWatch;
let directory: ContainerDirectory;
/** Those that were known, each time that they changed. */
let changes: (readonly string[] | null)[];
let markers: number;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "hostd-names-"));
  engine = new ScriptedEngine(join(folder, "engine.sock"));
  clock = new FakeClock();
  logger = new RecordingLogger();
  client = new EngineClient({ dial: engine.dial, clock });
  changes = [];
  markers = 0;
  directory = new ContainerDirectory({ client, logger, clock, changed: () => changes.push(known()) });
  watch = new EngineWatch({ client, watchers: [directory], logger, clock });
  await engine.start();
  watch.start();
  await engine.followed();
  await settle();
});
afterEach(async () => {
  await watch.close();
  await directory.close();
  client.close();
  await engine.stop();
  expect(clock.timers).toBe(0);
  rmSync(folder, { recursive: true });
});

const known = () => directory.list()?.map(({ name }) => name) ?? null;
const asked = (path: string) => engine.requests.filter((request) => request === `GET ${path}`).length;
const pathOf = (id: string) => `/containers/${id}/json`;

/** Resolves when all that the engine has told until now has been looked at, and is known. */
async function settle(): Promise<void> {
  const id = (++markers).toString(16).padStart(64, "f");
  engine.emit("container", "start", id);
  await engine.asked(`GET ${pathOf(id)}`);
  await directory.settled();
  clock.advance(100);
}

/** Lets time pass, and what comes of it happen; but not to its end where that is held up. */
async function pass(milliseconds: number, isAwaited = true): Promise<void> {
  for (let left = milliseconds; left > 0; left -= 1000) {
    clock.advance(Math.min(left, 1000));
    for (let turn = 0; turn < 20; turn++) await setImmediate();
  }
  if (isAwaited) await directory.settled();
}

/** Lets time pass until the engine is followed again, and all is looked at. */
async function reconnect(): Promise<void> {
  let isFollowed = false;
  const followed = engine.followed().then(() => {
    isFollowed = true;
  });
  while (!isFollowed) await pass(100);
  await followed;
  await settle();
}

/** A container that the engine has started. */
function run(options: Parameters<typeof engine.create>[0]): string {
  const id = engine.create(options);
  engine.startContainer(id);
  return id;
}

const COMPOSE = { "com.docker.compose.service": "web", "com.docker.compose.project": "shop" };

describe("containers that run", () => {
  test("are known by name and address", async () => {
    const web = run({ name: "web" });
    const db = run({ name: "db", networks: ["front", "back"], ipv6Address: "2001:DB8::5", labels: COMPOSE });
    engine.create({ name: "created" });
    run({ name: "host", networks: [], networkMode: "host" });
    await settle();
    expect(directory.list()).toEqual([
      {
        ...{ id: db, name: "db", composeName: "web.shop" },
        networks: [
          { name: "back", addresses: ["172.17.0.4", "2001:db8::5"] },
          { name: "front", addresses: ["172.17.0.3", "2001:db8::5"] },
        ],
      },
      { id: expect.any(String), name: "host", composeName: null, networks: [] },
      { id: web, name: "web", composeName: null, networks: [{ name: "bridge", addresses: ["172.17.0.2"] }] },
    ]);
    expect(["172.17.0.2", "172.17.0.4", "2001:db8::5", "172.17.0.9"].map((each) => directory.nameAt(each))).toEqual([
      "web",
      "db",
      "db",
      null,
    ]);
  });

  test.each(["docker", "podman"] as const)("are followed by the events of %s", async (style) => {
    engine.eventStyle = style;
    const web = run({ name: "web" });
    await settle();
    engine.rename(web, "www");
    await settle();
    engine.connect(web, "back");
    await settle();
    expect(directory.nameAt("172.17.0.3")).toBe("www");
    engine.disconnect(web, "bridge");
    await settle();
    expect(directory.nameAt("172.17.0.2")).toBeNull();
    engine.die(web);
    await settle();
    engine.startContainer(web);
    await settle();
    expect(directory.nameAt("172.17.0.3")).toBeNull();
    engine.remove(web);
    await settle();
    expect(changes).toEqual([[], ["web"], ["www"], ["www"], ["www"], [], ["www"], []]);
  });

  test("are those that the engine says run when it is asked about them, whatever its list has", async () => {
    const id = run({ name: "web" });
    await settle();
    // dockerd's list is a moment behind: it may have one still that has told of its end.
    engine.raw.set(LIST, JSON.stringify([{ Id: id }, { Id: "a".repeat(64) }]));
    engine.die(id);
    engine.endStreams();
    await reconnect();
    expect(known()).toEqual([]);
  });

  test("are asked about once for a burst of events, after the last of them", async () => {
    const id = run({ name: "web" });
    await settle();
    const before = asked(pathOf(id));
    engine.held.add(pathOf(id));
    for (let time = 0; time < 100; time++) engine.emit("container", "start", id);
    await engine.asked(`GET ${pathOf(id)}`, before + 1);
    engine.rename(id, "last");
    engine.held.clear();
    engine.letGo();
    await settle();
    expect(known()).toEqual(["last"]);
    expect(asked(pathOf(id)) - before).toBeLessThanOrEqual(3);
  });

  test("are told of at once, and ten times a second at most", async () => {
    await settle();
    const web = run({ name: "web" });
    while (known()?.length !== 1) await setImmediate();
    for (let number = 0; number < 50; number++) run({ name: `box${number}` });
    engine.rename(web, "last");
    await engine.flushed();
    for (let turn = 0; turn < 100; turn++) await setImmediate();
    await directory.settled();
    expect(changes).toHaveLength(2);
    clock.advance(100);
    expect(changes).toHaveLength(3);
    expect(known()).toHaveLength(51);
    expect(known()).toContain("last");
  });

  test("that change nothing of what is known change nothing", async () => {
    run({ name: "web" });
    await settle();
    await settle();
    engine.endStreams();
    await reconnect();
    expect(changes).toEqual([[], ["web"]]);
  });

  test("are not asked about for what happens to others that do not run, and for what changes nothing", async () => {
    await settle();
    engine.requests.length = 0;
    const id = "a".repeat(64);
    engine.emit("network", "connect", "bridge", id);
    engine.emit("network", "create", "bridge", id);
    for (const action of ["create", "die", "destroy", "exec_start: ls"]) engine.emit("container", action, id);
    engine.emit("service", "update", id);
    engine.emit("container", "start", "no id");
    await settle();
    expect(engine.requests).toHaveLength(1);
  });
});

describe("finding", () => {
  test("is by name in any case, and by what is written exactly where that is one", async () => {
    const lower = run({ name: "web" });
    const upper = run({ name: "Web" });
    await settle();
    const ids = (text: string) => directory.find(text).map(({ id }) => id);
    expect(ids("Web")).toEqual([upper]);
    expect(ids("web")).toEqual([lower]);
    expect(ids("WEB")).toEqual([upper, lower]);
    expect(ids("we")).toEqual([]);
  });

  test("is by Compose's name, which several may have, but not if it is another's own", async () => {
    run({ name: "shop-web-1", labels: COMPOSE });
    run({ name: "shop-web-2", labels: COMPOSE });
    await settle();
    expect(directory.find("web.shop").map(({ name }) => name)).toEqual(["shop-web-1", "shop-web-2"]);
    run({ name: "Web.Shop" });
    await settle();
    expect(directory.find("web.shop").map(({ name }) => name)).toEqual(["Web.Shop"]);
    expect([...directory.names.keys()]).toEqual(["web.shop", "shop-web-1", "shop-web-2"]);
  });

  test("is by an id, or 12 digits of it or more that no other begins with", async () => {
    const id = run({ name: "web" });
    await settle();
    // Those of the scripted engine end in their numbers.
    expect(directory.find(id).map(({ name }) => name)).toEqual(["web"]);
    expect(directory.find(id.slice(0, 12)).map(({ name }) => name)).toEqual(["web"]);
    expect(directory.find(id.slice(0, 11))).toEqual([]);
    run({ name: "c".repeat(12) });
    run({ name: "db" });
    await settle();
    expect(directory.find(id.slice(0, 13))).toEqual([]);
    // A name goes before an id.
    expect(directory.find("c".repeat(12)).map(({ name }) => name)).toEqual(["c".repeat(12)]);
  });
});

describe("an engine that is gone", () => {
  test("has its containers known for 30 s, as it may only be restarted", async () => {
    const id = run({ name: "web" });
    await settle();
    await engine.stop();
    await pass(20_000);
    expect(directory.nameAt("172.17.0.2")).toBe("web");
    await engine.start();
    await reconnect();
    await pass(60_000);
    expect(directory.find(id)).toHaveLength(1);
    expect(changes).toEqual([[], ["web"]]);
  });

  test("has no containers after that, and those that it has when it is there again", async () => {
    run({ name: "web" });
    await settle();
    await engine.stop();
    await pass(31_000);
    expect([directory.list(), directory.nameAt("172.17.0.2"), directory.find("web")]).toEqual([null, null, []]);
    await pass(100_000);
    await engine.start();
    await reconnect();
    expect(changes).toEqual([[], ["web"], null, ["web"]]);
  });

  test.each([LIST, "container"])("is not waited for when the directory is closed (%s)", async (what) => {
    const id = run({ name: "web" });
    await settle();
    const path = what === LIST ? LIST : pathOf(id);
    const before = asked(path);
    engine.held.add(path);
    engine.endStreams();
    while (asked(path) === before) await pass(100, false);
    await watch.close();
    await directory.close();
    expect(clock.timers).toBe(0);
  });
});

describe("an engine that does not say", () => {
  test("how a container is, is asked again after 5 s, and what was known holds", async () => {
    const web = run({ name: "web" });
    await settle();
    engine.broken.set(pathOf(web), 500);
    engine.die(web);
    run({ name: "db" });
    await settle();
    expect(known()).toEqual(["db", "web"]);
    expect(logger.lines.filter(({ level }) => level === "warn")).toHaveLength(1);
    engine.broken.clear();
    await pass(4000);
    expect(known()).toEqual(["db", "web"]);
    await pass(2000);
    expect(known()).toEqual(["db"]);
  });

  test("which containers there are, is asked again, and nothing is known until all are", async () => {
    engine.broken.set(LIST, 500);
    await engine.stop();
    await pass(31_000);
    const web = run({ name: "web" });
    engine.broken.set(pathOf(web), 500);
    await engine.start();
    await reconnect();
    await pass(6000);
    engine.broken.delete(LIST);
    await pass(6000);
    expect(known()).toBeNull();
    engine.broken.clear();
    await pass(12_000);
    expect(known()).toEqual(["web"]);
  });

  test("what happens, is asked again and again, and believed for as long as it answers", async () => {
    engine.broken.set("/events", 500);
    engine.endStreams();
    run({ name: "web" });
    await pass(40_000);
    expect(known()).toEqual(["web"]);
    engine.broken.set(LIST, 500);
    await pass(40_000);
    expect(known()).toBeNull();
  });
});

describe("an engine that means harm", () => {
  test("has no container that is another one when it is asked about", async () => {
    const web = run({ name: "web" });
    await settle();
    const other = "b".repeat(64);
    engine.raw.set(pathOf(other), JSON.stringify({ Id: web, Name: "/other", State: { Running: true } }));
    engine.emit("container", "start", other);
    await settle();
    expect(known()).toEqual(["web"]);
  });

  test("does not have more known than there is room for: those that were created first", async () => {
    const rows = Array.from({ length: 5000 }, (_, number) => {
      return { Id: number.toString(16).padStart(64, "0"), Created: 5000 - number };
    });
    for (const { Id } of rows) {
      const Networks = { bridge: { IPAddress: "10.0.0.1" } };
      const container = {
        Id,
        Name: `/box${Number.parseInt(Id, 16)}`,
        State: { Running: true },
        NetworkSettings: { Networks },
      };
      engine.raw.set(pathOf(Id), JSON.stringify(container));
    }
    engine.raw.set(LIST, JSON.stringify(rows));
    engine.endStreams();
    await reconnect();
    expect(directory.list()).toHaveLength(4096);
    expect(directory.find("box4999")).toHaveLength(1);
    expect(directory.find("box0")).toEqual([]);
    // Of several with one address it is the first by name.
    expect(directory.nameAt("10.0.0.1")).toBe("box1000");
    // One more is not known either.
    engine.emit("container", "start", rows[0].Id);
    await settle();
    expect(directory.find("box0")).toEqual([]);
  });
});
