/**
 * Clients that download the same file over and over, in a process of its own so that it can be in a guest's network
 * namespace:
 *
 *     NODE_EXTRA_CA_CERTS=FILE node download-clients.ts COUNT RATE FILE PROXY TOLD UNTOLD
 *
 * Of COUNT clients a quarter each fetches by HTTP or HTTPS from the host TOLD through the proxy at the URL PROXY, or from the
 * host UNTOLD without one. They have the server send about RATE bytes a second, each some more or less, so that at any
 * time some begin. Writes what came of each download, one a line as JSON. When its standard input ends, the clients finish
 * what they have begun, and it ends.
 */
import { createHash } from "node:crypto";
import * as http from "node:http";
import * as https from "node:https";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";

/** From one client's first download to that of the next one, in milliseconds. */
const STAGGER = 20;
/** From a failure to the next try, in milliseconds. */
const PAUSE = 50;

/** What came of one download. */
export interface Download {
  readonly client: number;
  readonly url: string;
  /** When it began and ended, in Unix-epoch milliseconds. */
  readonly began: number;
  readonly ended: number;
  /** The status of the answer; null for none. */
  readonly status: number | null;
  /** The address as which the web server has seen the client; null when it is not known. */
  readonly from: string | null;
  /** SHA-256 of what came; null when not all has come. */
  readonly hash: string | null;
  /** Why not. */
  readonly failure: string | null;
}

interface Way {
  readonly origin: string;
  readonly agent: http.Agent;
}

async function download(client: number, { origin, agent }: Way, path: string): Promise<Download> {
  const url = `${origin}${path}`;
  const began = Date.now();
  let status: number | null = null;
  let from: string | null = null;
  const done = (hash: string | null, failure: string | null) => {
    return { client, url, began, ended: Date.now(), status, from, hash, failure };
  };
  try {
    const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
      const { get } = url.startsWith("https:") ? https : http;
      get(url, { agent }, resolve).on("error", reject);
    });
    status = response.statusCode ?? null;
    const seen = response.headers["x-client"];
    if (typeof seen === "string") from = seen;
    if (status !== 200) return done(null, `${status} ${await text(response)}`);
    const sum = createHash("sha256");
    for await (const part of response) sum.update(part);
    return done(sum.digest("hex"), null);
  } catch (error) {
    return done(null, error instanceof Error ? error.message : String(error));
  }
}

const [count, rate, file, proxy, told, untold] = process.argv.slice(2);
if (untold === undefined) throw new Error("usage: download-clients.ts COUNT RATE FILE PROXY TOLD UNTOLD");
const proxyEnv = { HTTP_PROXY: proxy, HTTPS_PROXY: proxy };
let isOver = false;
process.stdin.on("end", () => (isOver = true)).resume();

/** A client keeps its connection where it may ask for more on it, which is what shows that a route is chosen anew. */
const ways: readonly (() => Way)[] = [
  () => ({ origin: `http://${told}`, agent: new http.Agent({ keepAlive: true, proxyEnv }) }),
  () => ({ origin: `https://${told}`, agent: new https.Agent({ proxyEnv }) }),
  () => ({ origin: `http://${untold}`, agent: new http.Agent({ keepAlive: true }) }),
  () => ({ origin: `https://${untold}`, agent: new https.Agent() }),
];

async function run(client: number): Promise<void> {
  const way = ways[client % ways.length]();
  const path = `/paced/${Math.round(Number(rate) * (1.25 - (0.5 * client) / Number(count)))}/${file}`;
  await sleep(client * STAGGER);
  while (!isOver) {
    const result = await download(client, way, path);
    process.stdout.write(`${JSON.stringify(result)}\n`);
    if (result.failure !== null) await sleep(PAUSE);
  }
  way.agent.destroy();
}

await Promise.all(Array.from({ length: Number(count) }, (_, client) => run(client)));
process.exit();
