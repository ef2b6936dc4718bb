import { mkdtemp, rm, stat } from "node:fs/promises";
import { type IncomingHttpHeaders, request } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startApi } from "./api.ts";
import { versionInfo } from "./cli/version.ts";

let folder: string;
let path: string;
let api: { close(): Promise<void> } | null;
let sessions: number;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hostd-api-"));
  path = join(folder, "api.sock");
  sessions = 0;
  api = await startApi(path, { sessions: () => sessions });
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

async function ask(target: string, method = "GET"): Promise<Reply> {
  return await new Promise((resolve, reject) => {
    const outgoing = request({ socketPath: path, path: target, method, agent: false }, (response) => {
      text(response).then((body) => resolve({ status: response.statusCode, headers: response.headers, body }), reject);
    });
    outgoing.once("error", reject);
    outgoing.end();
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
        detail: `there is no ${target}; there are /healthz and /version`,
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
    await expect(startApi(path, { sessions: () => 0 })).rejects.toThrow("another process is listening on it");
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
