import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { askApi, followApi, UsageError } from "./api-client.ts";

let folder: string;
let path: string;
let server: Server;
let handle: (request: IncomingMessage, response: ServerResponse) => void;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hostd-client-"));
  path = join(folder, "api.sock");
  server = createServer((request, response) => handle(request, response));
  await new Promise<void>((resolve) => server.listen(path, resolve));
});

afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await rm(folder, { recursive: true });
});

/** The error that something ends with. */
async function failure(promise: Promise<unknown>): Promise<Error> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof Error) return error;
  }
  throw new Error("nothing failed");
}

describe("askApi", () => {
  it.each([
    ["the path", () => path],
    ["a URL", () => `unix://${path}`],
  ])("asks the socket of %s", async (_, api) => {
    handle = ({ method, url }, response) => response.end(JSON.stringify({ method, url }));
    expect(await askApi(api(), "/v1/vms")).toEqual({ method: "GET", url: "/v1/vms" });
  });

  it("sends the parameters that are given", async () => {
    handle = ({ method, url }, response) => response.end(JSON.stringify({ method, url }));
    const query = { vm: "unix:///a b#2", protocol: undefined, id: "tcp/1" };
    expect(await askApi(path, "/v1/flows", { method: "DELETE", query })).toEqual({
      method: "DELETE",
      url: "/v1/flows?vm=unix%3A%2F%2F%2Fa+b%232&id=tcp%2F1",
    });
    expect(await askApi(path, "/v1/flows", { query: { vm: undefined } })).toMatchObject({ url: "/v1/flows" });
  });

  it("sends a body as JSON", async () => {
    handle = async (request, response) => {
      response.end(JSON.stringify({ type: request.headers["content-type"], body: await text(request) }));
    };
    expect(await askApi(path, "/v1/forwards", { method: "POST", body: { listen: "8080", to: "ü" } })).toEqual({
      type: "application/json",
      body: '{"listen":"8080","to":"ü"}',
    });
    expect(await askApi(path, "/v1/config/reload", { method: "POST" })).toEqual({ body: "" });
  });

  it.each([400, 403, 404, 409, 500])("says what a problem document with %d says", async (status) => {
    handle = (_, response) => response.writeHead(status).end('{"detail": "not this"}');
    const error = await failure(askApi(path, "/"));
    expect(error.message).toBe(`hostd at ${path} says: not this`);
    expect(error instanceof UsageError).toBe(status === 400);
  });

  it("says what another program says that is no problem document", async () => {
    handle = (_, response) => response.writeHead(502).end("bad gateway\n");
    expect((await failure(askApi(path, "/"))).message).toBe(`hostd at ${path} says: bad gateway`);
  });

  it("says that nobody listens, and what to do", async () => {
    const nowhere = join(folder, "nowhere.sock");
    expect((await failure(askApi(nowhere, "/"))).message).toMatch(
      `no hostd listens at ${nowhere}: start hostd with "hostd up"`,
    );
  });

  it("fails when the answer is broken off", async () => {
    handle = (_, response) => {
      response.writeHead(200, { "content-length": 100 });
      response.write("[", () => response.destroy());
    };
    expect((await failure(askApi(path, "/"))).message).toMatch(`hostd at ${path} has broken off its answer`);
  });

  it.each(["tcp://127.0.0.1:80", "http://localhost", "unix://", ""])("refuses %j as a socket", async (api) => {
    const error = await failure(askApi(api, "/"));
    expect(error).toBeInstanceOf(UsageError);
    expect(error.message).toBe(`--api: ${JSON.stringify(api)} is not unix:///PATH or the path of a Unix socket`);
  });
});

describe("followApi", () => {
  it("hands out lines as they come, whatever pieces they come in, and fails when hostd ends", async () => {
    const seen: string[] = [];
    const pieces = ['{"a"', ': "ü"}\n{"b": 1}\n\n', "\n", '{"c": 1}\n'];
    handle = async (_, response) => {
      response.writeHead(200);
      // The two bytes of ü in two pieces.
      for (const piece of pieces.flatMap((each) => [...Buffer.from(each)].map((byte) => Buffer.of(byte)))) {
        await new Promise((resolve) => response.write(piece, resolve));
      }
      response.end();
    };
    const error = await failure(
      (async () => {
        for await (const line of followApi(path, "/v1/events")) seen.push(line);
      })(),
    );
    expect(seen).toEqual(['{"a": "ü"}', '{"b": 1}', '{"c": 1}']);
    expect(error.message).toBe(`hostd at ${path} is gone`);
  });

  it("fails when hostd is killed", async () => {
    handle = (_, response) => {
      response.writeHead(200);
      response.write("1\n", () => response.destroy());
    };
    const lines = followApi(path, "/v1/events");
    expect(await lines.next()).toEqual({ done: false, value: "1" });
    expect((await failure(lines.next())).message).toBe(`hostd at ${path} is gone`);
  });

  it("says what hostd says instead", async () => {
    handle = (_, response) => response.writeHead(404).end('{"detail": "there is no /v1/events"}');
    expect((await failure(followApi(path, "/v1/events").next())).message).toContain("there is no /v1/events");
  });
});
