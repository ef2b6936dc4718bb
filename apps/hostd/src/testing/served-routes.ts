import { mkdtemp, rm } from "node:fs/promises";
import { type IncomingHttpHeaders, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterEach } from "vitest";
import { type ApiListener, listenForApi } from "../api/listener.ts";
import type { Route } from "../api/route.ts";
import { createApiServer } from "../api/server.ts";

export interface Reply {
  readonly status: number | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** Routes served on a socket of their own, which is gone after the test. */
export interface ServedRoutes {
  readonly path: string;
  readonly listener: ApiListener;
  ask(target: string, method?: string, body?: string): Promise<Reply>;
  /** The same with JSON both ways. */
  askJson(target: string, method?: string, body?: unknown): Promise<{ status: number | undefined; body: unknown }>;
}

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

export async function serveRoutes(routes: readonly Route[]): Promise<ServedRoutes> {
  const folder = await mkdtemp(join(tmpdir(), "hostd-api-"));
  cleanups.push(() => rm(folder, { recursive: true }));
  const path = join(folder, "api.sock");
  const load = async () => createApiServer({ routes });
  const listener = await listenForApi({ transport: "unix", path }, { load });
  cleanups.push(() => listener.close());
  const ask = async (target: string, method = "GET", body?: string): Promise<Reply> => {
    return await new Promise((resolve, reject) => {
      const outgoing = request({ socketPath: path, path: target, method, agent: false }, (response) => {
        text(response).then(
          (body) => resolve({ status: response.statusCode, headers: response.headers, body }),
          reject,
        );
      });
      outgoing.once("error", reject);
      outgoing.end(body);
    });
  };
  return {
    path,
    listener,
    ask,
    askJson: async (target, method, body) => {
      const reply = await ask(target, method, body === undefined ? undefined : JSON.stringify(body));
      return { status: reply.status, body: JSON.parse(reply.body) };
    },
  };
}
