import { mkdtemp, rm, stat } from "node:fs/promises";
import { type IncomingHttpHeaders, request } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startApi } from "./api.ts";
import { type ApiSubject, RequestError } from "./api-subject.ts";
import { versionInfo } from "./cli/version.ts";

let folder: string;
let path: string;
let api: { close(): Promise<void> } | null;
let sessions: number;
let asked: unknown[];

const subject: ApiSubject = {
  sessions: () => sessions,
  dns: () => ({
    zones: [{ name: "lab", records: [{ name: "vm", type: "A", address: null }] }],
    resolver: "servers",
    upstreams: [],
    search: [],
    cache: { entries: 0, bytes: 0, hits: 0, misses: 0, stale: 0, evictions: 0, maxEntries: 1, maxBytes: 1 },
    hosts: null,
    vms: [],
  }),
  addZone(zone) {
    asked.push(zone);
    if (zone === "bad") throw new RequestError("a zone is an object");
    return { name: "added", records: [] };
  },
  removeZone(name, vm) {
    asked.push([name, vm]);
    return { removed: name };
  },
  async dnsQuery(...parameters) {
    asked.push(parameters);
    const [name, type, vm] = parameters;
    if (type === "FOO") throw new RequestError("FOO is no type; A is");
    if (type === "BAR") throw new Error("unforeseen");
    const found = { name, type, vm, origin: "zone", source: "lab", route: null, milliseconds: 1 } as const;
    return { ...found, rcode: "NOERROR", flags: [], answers: [], authorities: [], additionals: [], isCutOff: false };
  },
};

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hostd-api-"));
  path = join(folder, "api.sock");
  sessions = 0;
  asked = [];
  api = await startApi(path, subject);
});

afterEach(async () => {
  await api?.close();
  await rm(folder, { recursive: true });
});

interface Reply {
  readonly status: number | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

async function ask(target: string, method = "GET", body?: string): Promise<Reply> {
  return await new Promise((resolve, reject) => {
    const outgoing = request({ socketPath: path, path: target, method, agent: false }, (response) => {
      text(response).then((body) => resolve({ status: response.statusCode, headers: response.headers, body }), reject);
    });
    outgoing.once("error", reject);
    outgoing.end(body);
  });
}

describe("the control API", () => {
  it("is a socket for this user alone, and leaves the process's umask as it was", async () => {
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    const umask = process.umask(0o022);
    process.umask(umask);
    expect(umask).not.toBe(0o177);
  });

  it("says that it is there and how many VMs are attached", async () => {
    sessions = 3;
    const { status, headers, body } = await ask("/healthz");
    expect(status).toBe(200);
    expect(headers["content-type"]).toBe("application/json");
    expect(JSON.parse(body)).toEqual({ status: "ok", vms: 3 });
  });

  it("tells its version", async () => {
    expect(JSON.parse((await ask("/version")).body)).toEqual({ ...versionInfo() });
  });

  it("tells of the name server", async () => {
    const { status, body } = await ask("/dns");
    expect(status).toBe(200);
    expect(JSON.parse(body)).toEqual(subject.dns());
  });

  it("resolves a name, by default its IPv4 addresses for the only VM", async () => {
    expect(JSON.parse((await ask("/dns/query?name=a%2Eb")).body)).toMatchObject({ name: "a.b", type: "A" });
    expect((await ask("/dns/query?name=a.b&type=TYPE65&vm=unix%3A%2F%2F%2Fvm%232")).status).toBe(200);
    expect(asked).toEqual([
      ["a.b", "A", null],
      ["a.b", "TYPE65", "unix:///vm#2"],
    ]);
  });

  it.each([
    ["/dns/query", 400, "the name to look up is missing: /dns/query?name=NAME&type=TYPE"],
    ["/dns/query?name=a&type=FOO", 400, "FOO is no type; A is"],
    ["/dns/query?name=a&type=BAR", 500, "unforeseen"],
  ])("answers %s with %d and the reason", async (target, expected, detail) => {
    const { status, headers, body } = await ask(target);
    expect(status).toBe(expected);
    expect(headers["content-type"]).toBe("application/problem+json");
    expect(JSON.parse(body)).toMatchObject({ status: expected, detail });
  });

  it("lists zones, takes one, and takes one out", async () => {
    expect(JSON.parse((await ask("/dns/zones")).body)).toEqual(subject.dns().zones);
    const added = await ask("/dns/zones", "POST", '{"name": "added"}');
    expect(added.status).toBe(200);
    expect(JSON.parse(added.body)).toEqual({ name: "added", records: [] });
    expect(JSON.parse((await ask("/dns/zones?name=lab&vm=one", "DELETE")).body)).toEqual({ removed: "lab" });
    expect((await ask("/dns/zones?name=lab", "DELETE")).status).toBe(200);
    expect(asked).toEqual([{ name: "added" }, ["lab", "one"], ["lab", null]]);
  });

  it.each([
    ["POST", "{", /^the body is no JSON: /],
    ["POST", '"bad"', "a zone is an object"],
    ["POST", `"${"x".repeat(1024 * 1024)}"`, "the body is longer than 1048576 bytes"],
    ["DELETE", undefined, "the zone is missing: /dns/zones?name=NAME"],
  ])("refuses %s of a zone that does not fit", async (method, body, detail) => {
    const reply = await ask("/dns/zones", method, body);
    expect(reply.status).toBe(400);
    expect(JSON.parse(reply.body).detail).toMatch(detail);
  });

  it("says what a path with several methods takes", async () => {
    const { status, headers, body } = await ask("/dns/zones", "PUT");
    expect({ status, allow: headers.allow }).toEqual({ status: 405, allow: "GET, HEAD, POST, DELETE" });
    expect(JSON.parse(body).detail).toBe("/dns/zones takes GET, POST, DELETE, not PUT");
  });

  it("takes no notice of a query string", async () => {
    expect((await ask("/version?pretty=1")).status).toBe(200);
  });

  it("answers HEAD without a body", async () => {
    const { status, headers, body } = await ask("/healthz", "HEAD");
    expect({ status, body }).toEqual({ status: 200, body: "" });
    expect(headers["content-type"]).toBe("application/json");
  });

  it.each(["/", "/health", "/healthz/", "/constructor", "/__proto__"])(
    "has no %s, and says what there is",
    async (target) => {
      const { status, headers, body } = await ask(target);
      expect(status).toBe(404);
      expect(headers["content-type"]).toBe("application/problem+json");
      expect(JSON.parse(body)).toEqual({
        type: "about:blank",
        title: "Not Found",
        status: 404,
        detail: `there is no ${target}; there are /healthz, /version, /dns, /dns/query, /dns/zones`,
      });
    },
  );

  it.each(["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])("takes no %s, and says what it takes", async (method) => {
    const { status, headers, body } = await ask("/version", method);
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
    const socket = connect(path);
    socket.write(`GET ${target} HTTP/1.1\r\nHost: hostd\r\nConnection: close\r\n\r\n`);
    const reply = await text(socket);
    expect(reply).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
    expect(reply).toContain("content-type: application/problem+json");
    expect((await ask("/healthz")).status).toBe(200);
  });

  it("fails where somebody listens already", async () => {
    await expect(startApi(path, subject)).rejects.toThrow("another process is listening on it");
    expect((await ask("/healthz")).status).toBe(200);
  });

  it("closes although a client keeps its connection, and removes its socket", async () => {
    const idle = connect(path);
    idle.on("error", () => {});
    await new Promise<void>((resolve) => idle.once("connect", resolve));
    const gone = new Promise<void>((resolve) => idle.once("close", () => resolve()));
    idle.resume();
    await api?.close();
    api = null;
    await gone;
    await expect(stat(path)).rejects.toMatchObject({ code: "ENOENT" });
  });
});
