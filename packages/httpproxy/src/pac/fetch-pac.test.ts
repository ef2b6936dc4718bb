import { once } from "node:events";
import { createServer, globalAgent, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, expect, it, vi } from "vitest";
import { cleanUp } from "../../../streams/src/testing/peer.ts";
import { fetchPac, MAX_PAC_BYTES } from "./fetch-pac.ts";

/** A server on a loopback address; where it is. */
async function serve(listener: RequestListener): Promise<URL> {
  const server = createServer(listener);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanUp(() => {
    server.closeAllConnections();
    server.close();
  });
  return new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/proxy.pac`);
}

const signal = () => new AbortController().signal;
const fetchText = async (listener: RequestListener) => (await fetchPac(await serve(listener), signal())).text;

describe("fetchPac", () => {
  it("fetches a file of any type", async () => {
    const text = await fetchText((request, response) => {
      response.setHeader("content-type", "image/png");
      response.end(`${request.method} ${request.url} ${request.headers["accept-encoding"]}`);
    });
    expect(text).toBe("GET /proxy.pac identity");
  });

  it.each<[string, string, Buffer, string]>([
    ["UTF-8", "text/plain", Buffer.from("// é"), "// é"],
    ["UTF-8 with a byte order mark", "text/plain", Buffer.from("\ufeff// é"), "// é"],
    ["Latin-1 that is declared", "text/plain; charset=ISO-8859-1", Buffer.from("// Ã©", "latin1"), "// Ã©"],
    ["Latin-1 that is not", "text/plain", Buffer.from("// é", "latin1"), "// é"],
    ["Latin-1 declared as UTF-8", "text/plain; charset=utf-8", Buffer.from("// é", "latin1"), "// é"],
  ])("reads %s", async (_name, type, bytes, text) => {
    expect(
      await fetchText((_request, response) => {
        response.setHeader("content-type", type);
        response.end(bytes);
      }),
    ).toBe(text);
  });

  it("follows redirects, also to another server", async () => {
    const other = await serve((request, response) => response.end(`from ${request.url}`));
    const text = await fetchText((request, response) => {
      const location = request.url === "/proxy.pac" ? "next" : new URL("/there", other).href;
      response.writeHead(302, { location }).end();
    });
    expect(text).toBe("from /there");
  });

  it("does not send the credentials of a URL elsewhere", async () => {
    const seen: (string | undefined)[] = [];
    const other = await serve((request, response) => {
      seen.push(request.headers.authorization);
      response.end();
    });
    const url = await serve((request, response) => {
      seen.push(request.headers.authorization);
      response.writeHead(307, { location: other.href }).end();
    });
    url.username = "user";
    await fetchPac(url, signal());
    expect(seen).toEqual([`Basic ${btoa("user:")}`, undefined]);
  });

  it.each<[string, RequestListener, string]>([
    ["another status", (_request, response) => response.writeHead(404).end(), "status 404"],
    ["a redirect to nowhere", (_request, response) => response.writeHead(302).end(), "status 302"],
    [
      "endless redirects",
      (_request, response) => response.writeHead(301, { location: "/" }).end(),
      "more than 5 times",
    ],
    [
      "a redirect to a file",
      (_request, response) => response.writeHead(302, { location: "file:///etc/passwd" }).end(),
      "not http or https",
    ],
    [
      "a coding that was not asked for",
      (_request, response) => response.writeHead(200, { "content-encoding": "gzip" }).end("x"),
      "compressed",
    ],
    [
      "a large file",
      (_request, response) => response.end(Buffer.alloc(MAX_PAC_BYTES + 1, "/")),
      `larger than ${MAX_PAC_BYTES} bytes`,
    ],
    [
      "a file without end",
      (_request, response) => {
        const write = () => {
          while (!response.destroyed && response.write(Buffer.alloc(65536, "/")));
          if (!response.destroyed) response.once("drain", write);
        };
        write();
      },
      `larger than ${MAX_PAC_BYTES} bytes`,
    ],
    [
      "a file that is cut off",
      (_request, response) => {
        response.writeHead(200, { "content-length": "10" });
        response.write("x", () => response.destroy());
      },
      "aborted",
    ],
  ])("rejects %s", async (_name, listener, message) => {
    await expect(fetchText(listener)).rejects.toThrow(message);
  });

  it("takes a file of the largest size", async () => {
    const text = await fetchText((_request, response) => response.end(Buffer.alloc(MAX_PAC_BYTES, "/")));
    expect(text).toHaveLength(MAX_PAC_BYTES);
  });

  it("stops when it is told to", async () => {
    const asked = Promise.withResolvers<void>();
    const url = await serve(() => asked.resolve());
    const stop = new AbortController();
    const fetched = fetchPac(url, stop.signal);
    await asked.promise;
    stop.abort();
    await expect(fetched).rejects.toThrow("aborted");
  });

  it("keeps out of the global agent, which may go through a proxy", async () => {
    const connect = vi.spyOn(globalAgent, "createConnection");
    cleanUp(() => connect.mockRestore());
    await fetchText((_request, response) => response.end());
    expect(connect).not.toHaveBeenCalled();
  });
});
