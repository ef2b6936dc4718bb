import { once } from "node:events";
import { stat } from "node:fs/promises";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { beforeEach, describe, expect, it } from "vitest";
import * as z from "zod";
import { versionInfo } from "../cli/version.ts";
import { type ServedRoutes, serveRoutes } from "../testing/served-routes.ts";
import { daemonRoutes } from "./daemon-routes.ts";
import { listenForApi } from "./listener.ts";
import { RequestError } from "./problem.ts";
import type { Route } from "./route.ts";

let vms: number;
let served: ServedRoutes;
let asked: unknown[];

/** A resource that takes everything there is. */
const things: Route[] = [
  {
    method: "GET",
    path: "/things",
    name: "listThings",
    summary: "Things",
    query: { of: { description: "Whose", example: "me" } },
    answer: z.unknown(),
    handle: ({ query, body }) => {
      asked.push([query.get("of"), body]);
      if (query.get("of") === "nobody") throw new RequestError("nobody has things", 404);
      if (query.get("of") === "fault") throw new Error("unforeseen");
      return ["thing"];
    },
  },
  {
    method: "POST",
    path: "/things",
    name: "addThing",
    summary: "Adds a thing",
    body: z.unknown(),
    answer: z.unknown(),
    handle: async ({ body }) => {
      asked.push(body);
      return { added: body };
    },
  },
  {
    method: "DELETE",
    path: "/things",
    name: "removeThing",
    summary: "Removes a thing",
    query: { name: { description: "Which", required: true, example: "one" } },
    answer: z.unknown(),
    handle: ({ query }) => ({ removed: query.get("name") }),
  },
  {
    method: "GET",
    path: "/lines",
    name: "followLines",
    summary: "Lines",
    query: { bad: { description: "Refused", example: "1" } },
    contentType: "text/plain",
    answerDescription: "Lines",
    stream: ({ query }, response) => {
      if (query.has("bad")) throw new RequestError("it is bad", 409);
      response.writeHead(200, { "content-type": "text/plain" });
      response.write("one\n");
      setImmediate(() => response.end("two\n"));
    },
  },
];

beforeEach(async () => {
  vms = 0;
  asked = [];
  const control = { vms: () => Array.from({ length: vms }) as never[] };
  served = await serveRoutes([...daemonRoutes(control), ...things]);
});

describe("the control API", () => {
  it("is a socket for this user alone, and leaves the process's umask as it was", async () => {
    expect((await stat(served.path)).mode & 0o777).toBe(0o600);
    const umask = process.umask(0o022);
    process.umask(umask);
    expect(umask).not.toBe(0o177);
  });

  it("says that it is there and how many VMs are attached", async () => {
    vms = 3;
    const { status, headers, body } = await served.ask("/healthz");
    expect(status).toBe(200);
    expect(headers["content-type"]).toBe("application/json");
    expect(JSON.parse(body)).toEqual({ status: "ok", vms: 3 });
  });

  it("tells its version", async () => {
    expect((await served.askJson("/version")).body).toEqual({ ...versionInfo() });
  });

  it("hands over parameters, and a body only to who takes one", async () => {
    expect(await served.askJson("/things?of=you%2Fme")).toEqual({ status: 200, body: ["thing"] });
    expect(await served.askJson("/things", "POST", { a: 1 })).toEqual({ status: 200, body: { added: { a: 1 } } });
    expect((await served.ask("/things", "POST")).status).toBe(200);
    expect(await served.askJson("/things?name=x", "DELETE")).toEqual({ status: 200, body: { removed: "x" } });
    expect(asked).toEqual([["you/me", undefined], { a: 1 }, undefined]);
  });

  it.each([
    ["/things?of=nobody", "GET", 404, "Not Found", "nobody has things"],
    ["/things?of=fault", "GET", 500, "Internal Server Error", "unforeseen"],
    ["/things", "DELETE", 400, "Bad Request", "the parameter name is missing, as in /things?name=one"],
    ["/things?off=x", "GET", 400, "Bad Request", '/things has no parameter "off"; it takes of'],
    ["/version?pretty=1", "GET", 400, "Bad Request", '/version has no parameter "pretty"; it takes none'],
    ["/lines?bad=1", "GET", 409, "Conflict", "it is bad"],
  ])("answers %s %s with %d and the reason", async (target, method, status, title, detail) => {
    const reply = await served.ask(target, method);
    expect(reply.status).toBe(status);
    expect(reply.headers["content-type"]).toBe("application/problem+json");
    expect(JSON.parse(reply.body)).toEqual({ type: "about:blank", title, status, detail });
  });

  it.each([
    ["{", /^the body is no JSON: /],
    [`"${"x".repeat(1024 * 1024)}"`, "the body is longer than 1048576 bytes"],
    [`"${"x".repeat(20 * 1024 * 1024)}"`, "the body is longer than 1048576 bytes"],
  ])("refuses a body that is no JSON or too long", async (body, detail) => {
    const reply = await served.ask("/things", "POST", body);
    expect(reply.status).toBe(400);
    expect(JSON.parse(reply.body).detail).toMatch(detail);
  });

  it("writes an answer that is no JSON as it comes", async () => {
    const { status, headers, body } = await served.ask("/lines");
    expect({ status, type: headers["content-type"], body }).toEqual({
      status: 200,
      type: "text/plain",
      body: "one\ntwo\n",
    });
  });

  it("says what a path with several methods takes", async () => {
    const { status, headers, body } = await served.ask("/things", "PUT");
    expect({ status, allow: headers.allow }).toEqual({ status: 405, allow: "GET, HEAD, POST, DELETE" });
    expect(JSON.parse(body).detail).toBe("/things takes GET, POST, DELETE, not PUT");
  });

  it("answers HEAD without a body", async () => {
    const { status, headers, body } = await served.ask("/healthz", "HEAD");
    expect({ status, body }).toEqual({ status: 200, body: "" });
    expect(headers["content-type"]).toBe("application/json");
  });

  it.each(["/", "/health", "/healthz/", "/constructor", "/__proto__"])(
    "has no %s, and says what there is",
    async (target) => {
      const { status, headers, body } = await served.ask(target);
      expect(status).toBe(404);
      expect(headers["content-type"]).toBe("application/problem+json");
      expect(JSON.parse(body)).toEqual({
        type: "about:blank",
        title: "Not Found",
        status: 404,
        detail: `there is no ${target}; there are /healthz, /version, /things, /lines`,
      });
    },
  );

  it.each(["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])("takes no %s, and says what it takes", async (method) => {
    const { status, headers, body } = await served.ask("/version", method);
    expect(status).toBe(405);
    expect(headers.allow).toBe("GET, HEAD");
    expect(headers["content-type"]).toBe("application/problem+json");
    expect(JSON.parse(body)).toMatchObject({
      title: "Method Not Allowed",
      status: 405,
      detail: `/version takes GET, not ${method}`,
    });
  });

  it.each(["//", "http://[/", "http://x:99999/healthz"])("answers a target that is no URL: %s", async (target) => {
    const socket = connect(served.path);
    socket.write(`GET ${target} HTTP/1.1\r\nHost: hostd\r\nConnection: close\r\n\r\n`);
    const reply = await text(socket);
    expect(reply).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
    expect(reply).toContain("content-type: application/problem+json");
    expect((await served.ask("/healthz")).status).toBe(200);
  });

  it("fails where somebody listens already", async () => {
    const load = () => Promise.reject(new Error("not asked for"));
    const again = listenForApi({ transport: "unix", path: served.path }, { load });
    await expect(again).rejects.toThrow("another process is listening on it");
    expect((await served.ask("/healthz")).status).toBe(200);
  });

  it("listens on TCP as well, on a port of the system's choice", async () => {
    const load = async () => ({ emit: (_: "connection", socket: import("node:net").Socket) => socket.end("hello") });
    const listener = await listenForApi({ transport: "tcp", host: "127.0.0.1", port: 0 }, { load });
    expect(listener.address).toMatchObject({ transport: "tcp", host: "127.0.0.1", port: expect.any(Number) });
    const { port } = listener.address as { port: number };
    expect(port).not.toBe(0);
    expect(await text(connect(port, "127.0.0.1"))).toBe("hello");
    await listener.close();
  });

  it("closes although a client keeps its connection, and removes its socket", async () => {
    const idle = connect(served.path);
    idle.on("error", () => {});
    await once(idle, "connect");
    const gone = once(idle, "close");
    idle.resume();
    await served.listener.close();
    await gone;
    await expect(stat(served.path)).rejects.toMatchObject({ code: "ENOENT" });
  });
});
