import type { IncomingMessage } from "node:http";
import { PacError } from "./pac-error.ts";

/** The largest PAC file, in bytes. */
export const MAX_PAC_BYTES = 1024 * 1024;
const MAX_REDIRECTS = 5;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** Fetches a PAC file. Rejects when there is none, or when the signal says so. */
export type FetchPac = (url: URL, signal: AbortSignal) => Promise<{ readonly text: string }>;

/**
 * Fetches a PAC file by HTTP or HTTPS, through no proxy whatever the environment says, and follows redirects. It is
 * node:http that does it: the first `fetch` of a process has it load for 50 ms.
 *
 * @throws {PacError} and what sockets throw.
 */
export const fetchPac: FetchPac = async (url, signal) => {
  let at = url;
  for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
    const response = await get(at, signal);
    try {
      const status = response.statusCode ?? 0;
      const { location } = response.headers;
      if (REDIRECTS.has(status) && location !== undefined) {
        at = redirected(at, location);
        continue;
      }
      if (status !== 200) throw new PacError(`the server answers with status ${status}`);
      const coding = response.headers["content-encoding"] ?? "identity";
      if (coding.toLowerCase() !== "identity") throw new PacError("the server sends it compressed, unasked");
      return { text: decodePac(await readAll(response), response.headers["content-type"]) };
    } finally {
      response.destroy();
    }
  }
  throw new PacError(`the server redirects more than ${MAX_REDIRECTS} times`);
};

async function get(url: URL, signal: AbortSignal): Promise<IncomingMessage> {
  const { request } = url.protocol === "https:" ? await import("node:https") : await import("node:http");
  return new Promise((resolve, reject) => {
    // An agent of its own: the global one may go through a proxy (NODE_USE_ENV_PROXY).
    const headers = { accept: "application/x-ns-proxy-autoconfig, */*", "accept-encoding": "identity" };
    const sent = request(url, { agent: false, signal, headers }, resolve);
    sent.on("error", reject);
    sent.end();
  });
}

function redirected(from: URL, location: string): URL {
  const to = URL.parse(location, from);
  if (to === null || (to.protocol !== "http:" && to.protocol !== "https:")) {
    throw new PacError("the server redirects to something that is not http or https");
  }
  return to;
}

async function readAll(response: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of response) {
    parts.push(part);
    length += part.length;
    if (length > MAX_PAC_BYTES) throw tooLarge();
  }
  return Buffer.concat(parts);
}

export function tooLarge(): PacError {
  return new PacError(`it is larger than ${MAX_PAC_BYTES} bytes`);
}

/** The text of a PAC file: UTF-8, or Latin-1 when it is declared as that or is no UTF-8. */
export function decodePac(bytes: Uint8Array, contentType = ""): string {
  const isLatin1 = /;\s*charset\s*=\s*"?(?:iso-8859-1|latin1|windows-1252|us-ascii)\b/i.test(contentType);
  try {
    return new TextDecoder(isLatin1 ? "latin1" : "utf-8", { fatal: true }).decode(bytes);
  } catch {
    return new TextDecoder("latin1").decode(bytes);
  }
}
