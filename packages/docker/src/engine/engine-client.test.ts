import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Duplex, PassThrough } from "node:stream";
import { setImmediate } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { FakeClock } from "../../../streams/src/testing/fake-clock.ts";
import { ScriptedEngine } from "../testing/scripted-engine.ts";
import { EngineClient, EngineError } from "./engine-client.ts";
import type { EngineEvent } from "./engine-event.ts";

let folder: string;
let engine: ScriptedEngine;
let clock: FakeClock;
let client: EngineClient;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "hostd-docker-"));
  engine = new ScriptedEngine(join(folder, "engine.sock"));
  await engine.start();
  clock = new FakeClock();
  client = new EngineClient({ dial: engine.dial, clock });
});
afterEach(async () => {
  client.close();
  await engine.stop();
  rmSync(folder, { recursive: true });
});

const FILTERS = { type: ["container"] };

/** Follows the events until the stream ends or fails. */
async function follow(events: AsyncIterable<EngineEvent>, seen: EngineEvent[]): Promise<void> {
  for await (const event of events) seen.push(event);
}

/** A stream that has nothing of a socket. */
function wrap(socket: Socket): Duplex {
  const duplex = new Duplex({
    read: () => void socket.resume(),
    write: (bytes: Buffer, _encoding, done) => void socket.write(bytes, done),
    final: (done) => void socket.end(done),
    destroy: (error, done) => {
      socket.destroy();
      done(error);
    },
  });
  socket.on("data", (bytes: Buffer) => {
    if (!duplex.push(bytes)) socket.pause();
  });
  socket.on("end", () => duplex.push(null));
  return duplex;
}

describe("a question", () => {
  test("is answered", async () => {
    const id = engine.create({ name: "web" });
    expect(await client.get("/containers/web/json")).toMatchObject({ Id: id, Name: "/web" });
  });

  test("is asked over any duplex stream", async () => {
    const dial = async () => wrap(await engine.dial());
    const over = new EngineClient({ dial, clock });
    engine.create({ name: "web" });
    expect(await over.get("/containers/web/json")).toMatchObject({ Name: "/web" });
    over.close();
  });

  test("that the engine cannot answer has its status and its words", async () => {
    await expect(client.get("/containers/web/json")).rejects.toMatchObject({
      name: "EngineError",
      status: 404,
      message: "No such container: web",
    });
  });

  test.each([
    ["no JSON", "an answer is no JSON text"],
    [`"${"x".repeat(17 * 1024 * 1024)}"`, "an answer is longer than 16777216 bytes"],
  ])("fails for an answer that is of no use", async (answer, message) => {
    engine.raw.set("/containers/json", answer);
    await expect(client.get("/containers/json")).rejects.toMatchObject({ status: null, message });
  });

  test("fails when the answer takes 10 s", async () => {
    await client.get("/containers/json");
    engine.held.add("/containers/json");
    const answer = client.get("/containers/json");
    const failed = expect(answer).rejects.toThrow("no answer within 10 s");
    await engine.asked("GET /containers/json", 2);
    clock.advance(9999);
    await setImmediate();
    clock.advance(1);
    await failed;
    expect(clock.timers).toBe(0);
  });

  test("fails when there is no engine, or it goes away", async () => {
    await client.get("/containers/json");
    engine.held.add("/containers/json");
    const answer = client.get("/containers/json");
    const failed = expect(answer).rejects.toBeInstanceOf(EngineError);
    await engine.asked("GET /containers/json", 2);
    await engine.stop();
    await failed;
    await expect(client.get("/containers/json")).rejects.toMatchObject({ name: "EngineError", status: null });
  });

  test("fails when the client is closed, and a connection that comes later is closed too", async () => {
    let give: (connection: Duplex) => void = () => {};
    const dialled = new Promise<Duplex>((resolve) => {
      give = resolve;
    });
    const slow = new EngineClient({ dial: () => dialled, clock });
    const answer = slow.get("/containers/json");
    slow.close();
    await expect(answer).rejects.toThrow("the client is closed");
    const connection = new PassThrough();
    give(connection);
    await setImmediate();
    expect(connection.destroyed).toBe(true);
    await expect(slow.get("/containers/json")).rejects.toThrow("the client is closed");
  });

  test("leaves no connection open", async () => {
    const connections: Socket[] = [];
    const counted = new EngineClient({
      clock,
      dial: async () => {
        const connection = await engine.dial();
        connections.push(connection);
        return connection;
      },
    });
    await counted.get("/containers/json");
    await expect(counted.get("/containers/web/json")).rejects.toThrow();
    engine.raw.set("/containers/json", `"${"x".repeat(17 * 1024 * 1024)}"`);
    await expect(counted.get("/containers/json")).rejects.toThrow();
    expect(connections).toHaveLength(4);
    while (connections.some(({ destroyed }) => !destroyed)) await setImmediate();
  });
});

describe("an engine that speaks no HTTP", () => {
  let server: Server;
  const answers = [
    "",
    "nonsense\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
  ];

  afterEach(() => {
    server.close();
  });

  test.each(answers)("is an error: %j", async (answer) => {
    server = createServer((socket) => {
      socket.on("error", () => {});
      socket.end(answer);
    });
    const path = join(folder, "other.sock");
    await new Promise<void>((resolve) => server.listen(path, resolve));
    const other = new ScriptedEngine(path);
    const over = new EngineClient({ dial: other.dial, clock });
    await expect(over.get("/containers/json")).rejects.toBeInstanceOf(EngineError);
  });
});

describe("the version of the API", () => {
  test.each([
    ["1.24", "1.41", "1.41"],
    ["1.24", "1.52", "1.44"],
    ["1.48", "1.60", "1.48"],
    ["", "", "1.44"],
    ["x", "9999.1", "1.44"],
  ])("of an engine that has %s to %s is %s", async (lowest, highest, expected) => {
    Object.assign(engine, { minApiVersion: lowest, apiVersion: highest });
    await client.get("/containers/json");
    expect(engine.versions).toEqual(["", expected]);
  });

  test("is found out once, and again with the events", async () => {
    await Promise.all([client.get("/containers/json"), client.get("/containers/json")]);
    await client.get("/containers/json");
    expect(engine.requests.filter((one) => one === "GET /version")).toHaveLength(1);
    engine.apiVersion = "1.41";
    await follow(endSoon(await client.events(FILTERS, new AbortController().signal)), []);
    await client.get("/containers/json");
    expect(engine.requests.filter((one) => one === "GET /version")).toHaveLength(2);
    expect(engine.versions.at(-1)).toBe("1.41");
  });

  test("is asked for again when it could not be found out", async () => {
    engine.broken.set("/version", 500);
    await expect(client.get("/containers/json")).rejects.toMatchObject({ status: 500 });
    engine.broken.clear();
    expect(await client.get("/containers/json")).toEqual([]);
  });
});

function endSoon(events: AsyncIterable<EngineEvent>): AsyncIterable<EngineEvent> {
  engine.endStreams();
  return events;
}

describe("the events", () => {
  test("come as they happen, however they are cut, until the engine ends them", async () => {
    const seen: EngineEvent[] = [];
    const events = await client.events(FILTERS, new AbortController().signal);
    const over = follow(events, seen);
    engine.pieces = 7;
    const id = engine.create({ name: "wéb" });
    engine.emitText('\n{"no":"event"}\n');
    engine.startContainer(id);
    engine.endStreams();
    await over;
    expect(seen.map(({ type, action }) => `${type} ${action}`)).toEqual([
      "container create",
      "network connect",
      "container start",
    ]);
  });

  test("may be silent for long", async () => {
    const seen: EngineEvent[] = [];
    const over = follow(await client.events(FILTERS, new AbortController().signal), seen);
    clock.advance(1_000_000);
    engine.create();
    engine.endStreams();
    await over;
    expect(seen).toHaveLength(1);
  });

  test("end when nobody wants them any more", async () => {
    const closing = new AbortController();
    const failed = expect(follow(await client.events(FILTERS, closing.signal), [])).rejects.toThrow();
    closing.abort();
    await failed;
    await engine.unfollowed();
    await expect(client.events(FILTERS, closing.signal)).rejects.toBeInstanceOf(EngineError);
  });

  test("fail when they are no JSON", async () => {
    const failed = expect(follow(await client.events(FILTERS, new AbortController().signal), [])).rejects.toThrow(
      "no JSON",
    );
    engine.emitText("{]\n");
    await failed;
    await engine.unfollowed();
  });

  test("fail when the engine does not begin within 10 s", async () => {
    engine.held.add("/events");
    const failed = expect(client.events(FILTERS, new AbortController().signal)).rejects.toThrow(
      "no answer within 10 s",
    );
    await engine.asked("GET /events");
    clock.advance(10_000);
    await failed;
  });
});
