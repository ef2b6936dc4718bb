/** Whether a request gets to its origin, by making it. */
import { duplexPair } from "node:stream";
import { HeadReader, type ResponseHead, readResponseHead } from "@hostd/http1";
import { after, type Clock, HeldReader, systemClock } from "@hostd/streams";
import type { HttpProxy } from "./explicit/http-proxy.ts";
import { writeAuthority } from "./explicit/request-target.ts";
import { type Destination, formatHostPort } from "./route.ts";

/** How long an answer is waited for, in milliseconds: longer than a proxy is waited for that connects to an origin. */
const TIME = 45_000;
const MAX_HEAD = 256 * 1024;

/** What has come of a request. */
export interface Trial {
  /** Whether the origin, or the proxy that is asked for it, has answered. */
  readonly isReached: boolean;
  /** That of the answer; null when there was none. */
  readonly status: number | null;
  /** What happened, for people. */
  readonly message: string;
  /** How long it took. */
  readonly milliseconds: number;
}

export interface TrialOptions {
  /** For tests; the process's clock unless given. */
  readonly clock?: Clock;
  /** How long an answer is waited for, in milliseconds; 45 s unless given. */
  readonly time?: number;
}

/** Makes the smallest request that shows whether there is a way: a tunnel is opened and closed, HTTP is asked for a head. */
export async function tryRequest(
  proxy: Pick<HttpProxy, "serve">,
  { scheme, host, port }: Destination,
  { clock = systemClock, time = TIME }: TrialOptions = {},
): Promise<Trial> {
  const began = clock.now();
  const origin = formatHostPort({ host, port });
  const head = new HeadReader(MAX_HEAD);
  const [client, served] = duplexPair({ allowHalfOpen: true });
  const { promise, resolve } = Promise.withResolvers<Omit<Trial, "milliseconds">>();
  const failed = (reason: string) => resolve({ isReached: false, status: null, message: `${origin} ${reason}` });
  const stopTimer = after(clock, time, () => failed(`has not answered within ${time / 1000} s`));
  client.on("error", () => {});
  const reader = new HeldReader(client, {
    take: (bytes, start) => {
      try {
        const end = head.read(bytes, start);
        if (head.isTooLong) failed("has an answer that is too long");
        if (head.isComplete) {
          const answer = readResponseHead(head.take());
          // RFC 9110, 15.2.
          if (answer.status >= 200) resolve(outcome(answer, origin, scheme));
        }
        return end;
      } catch (error) {
        failed(`has not answered as HTTP has it: ${error instanceof Error ? error.message : String(error)}`);
        return bytes.length;
      }
    },
    finished: () => failed("was not reached: the connection was closed without an answer"),
  });
  proxy.serve(served);
  const authority = scheme === "https" ? origin : writeAuthority({ host, port });
  const target = scheme === "https" ? `CONNECT ${origin}` : `HEAD http://${authority}/`;
  client.write(`${target} HTTP/1.1\r\nHost: ${authority}\r\nUser-Agent: hostd\r\nAccept: */*\r\n\r\n`);
  const result = await promise;
  stopTimer();
  reader.discard();
  client.destroy();
  served.destroy();
  return { ...result, milliseconds: Math.round(clock.now() - began) };
}

function outcome(
  { status, reason, fields }: ResponseHead,
  origin: string,
  scheme: Destination["scheme"],
): Omit<Trial, "milliseconds"> {
  const [proxyStatus = ""] = fields.all("proxy-status");
  const details = /^hostd; error=[a-z_]+; details="((?:[^"\\]|\\.)*)"$/.exec(proxyStatus)?.[1];
  if (details !== undefined) return { isReached: false, status, message: details.replace(/\\(.)/g, "$1") };
  const what = scheme === "https" ? "is reached" : `answers with ${status} ${reason}`.trimEnd();
  return { isReached: true, status, message: `${origin} ${what}` };
}
