import { chmod } from "node:fs/promises";
import { createServer } from "node:http";
import { prepareSocketPath } from "@hostd/frontends";
import { versionInfo } from "./cli/version.ts";

/** What the control API tells of the daemon. */
export interface ApiSubject {
  /** VMs that are attached. */
  sessions(): number;
}

/**
 * Serves the control API on a Unix socket that only this user may open: `GET /healthz` and `GET /version`, as JSON.
 *
 * @throws when the socket cannot be listened on.
 */
export async function startApi(path: string, subject: ApiSubject): Promise<{ close(): Promise<void> }> {
  const routes: Record<string, () => unknown> = {
    "/healthz": () => ({ status: "ok", vms: subject.sessions() }),
    "/version": () => versionInfo(),
  };
  const server = createServer((request, response) => {
    const reply = (status: number, type: string, body: unknown) => {
      response.writeHead(status, { "content-type": type }).end(`${JSON.stringify(body)}\n`);
    };
    const problem = (status: number, title: string, detail: string) => {
      reply(status, "application/problem+json", { type: "about:blank", title, status, detail });
    };
    const target = request.url ?? "";
    const url = URL.parse(target, "http://hostd");
    if (url === null) {
      problem(400, "Bad Request", `${target} is no path`);
      return;
    }
    const { pathname } = url;
    const route = Object.hasOwn(routes, pathname) ? routes[pathname] : undefined;
    if (route === undefined) {
      problem(404, "Not Found", `there is no ${pathname}; there are ${Object.keys(routes).join(" and ")}`);
    } else if (request.method !== "GET" && request.method !== "HEAD") {
      response.setHeader("allow", "GET, HEAD");
      problem(405, "Method Not Allowed", `${pathname} takes GET, not ${request.method}`);
    } else {
      reply(200, "application/json", route());
    }
  });
  await prepareSocketPath(path);
  // Created without any right for others, so that there is no moment in which they could connect.
  const umask = process.umask(0o177);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(path, resolve);
    });
  } finally {
    process.umask(umask);
  }
  await chmod(path, 0o600);
  return {
    close: async () => {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
