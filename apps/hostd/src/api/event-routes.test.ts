import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { createInterface } from "node:readline";
import { describe, expect, it } from "vitest";
import { EventHub } from "../control/event-hub.ts";
import { serveRoutes } from "../testing/served-routes.ts";
import { eventRoutes, eventSchema } from "./event-routes.ts";

async function follow(socketPath: string): Promise<IncomingMessage> {
  const outgoing = request({ socketPath, path: "/v1/events", agent: false }).end();
  const [response] = (await once(outgoing, "response")) as [IncomingMessage];
  return response;
}

describe("events over the control API", () => {
  it("come as they happen, a line each, to everybody who listens", async () => {
    const events = new EventHub();
    const { path } = await serveRoutes(eventRoutes({ events }));
    const followers = await Promise.all([follow(path), follow(path)]);
    expect(followers.map(({ headers }) => headers["content-type"])).toEqual(Array(2).fill("application/x-ndjson"));
    const lines = followers.map((response) => createInterface(response)[Symbol.asyncIterator]());
    const next = async () => Promise.all(lines.map(async (line) => JSON.parse(String((await line.next()).value))));
    events.emit("vm.attached", { vm: "one" });
    events.emit("forward.failed", { id: "tcp/127.0.0.1:80", origin: "api", error: "taken" });
    for (const event of await next())
      expect(eventSchema.parse(event)).toMatchObject({ type: "vm.attached", vm: "one" });
    for (const event of await next()) expect(eventSchema.parse(event)).toMatchObject({ error: "taken" });
    for (const response of followers) response.destroy();
  });

  it("are of no cost once the client is gone", async () => {
    const events = new EventHub();
    const { path } = await serveRoutes(eventRoutes({ events }));
    const response = await follow(path);
    expect(events.listeners).toBe(1);
    response.destroy();
    while (events.listeners > 0) await new Promise((resolve) => setImmediate(resolve));
  });

  it("let go of a client that does not read", async () => {
    const events = new EventHub();
    const { path } = await serveRoutes(eventRoutes({ events }));
    const response = await follow(path);
    response.pause();
    response.on("error", () => {});
    const gone = new Promise((resolve) => response.once("close", resolve));
    const changed = Array.from({ length: 1000 }, (_, index) => `key.number.${index}`);
    for (let count = 0; count < 10_000 && events.listeners > 0; count++) {
      events.emit("config.reloaded", { changed });
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(events.listeners).toBe(0);
    response.resume();
    await gone;
  });
});
