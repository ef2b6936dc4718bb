import { once } from "node:events";
import type { Worker } from "node:worker_threads";
import { systemClock } from "@hostd/streams";
import { EventLog } from "../../../streams/src/testing/event-log.ts";
import { FakeClock } from "../../../streams/src/testing/fake-clock.ts";
import { cleanUp } from "../../../streams/src/testing/peer.ts";
import { RecordingLogger } from "../../../streams/src/testing/recording-logger.ts";
import { Pac, type PacOptions } from "../pac/pac.ts";
import { startPacWorker } from "../pac/pac-thread.ts";
import { type Destination, formatRoute } from "../route.ts";

/** Where a {@link PlayedPac} gets its script. */
export const PAC_URL = "http://wpad.example/proxy.pac?key=secret";

/** A function `FindProxyForURL` with this body. */
export const find = (body: string): string => `function FindProxyForURL(url, host) { ${body} }`;

/** A {@link Pac} with real threads, whose script, names and time a test plays. */
export class PlayedPac {
  readonly clock = new FakeClock();
  readonly logger = new RecordingLogger();
  /** What is fetched; an error is what fetching it fails with. */
  script: string | Error;
  /** Each fetch, to be awaited. */
  readonly fetches = new EventLog<URL>();
  /** Addresses of names; null and none are the same to a script. */
  readonly addresses = new Map<string, string | null>();
  readonly lookups: string[] = [];
  /** The network that the host is in. */
  network = "192.0.2.7";
  readonly workers: Worker[] = [];
  readonly pac: Pac;

  constructor(script: string | Error, options: Partial<PacOptions> = {}) {
    this.script = script;
    this.pac = new Pac({
      url: PAC_URL,
      clock: this.clock,
      logger: this.logger,
      fetch: async (url) => {
        this.fetches.push(url);
        if (this.script instanceof Error) throw this.script;
        return { text: this.script };
      },
      lookup: async (name) => {
        this.lookups.push(name);
        return this.addresses.get(name) ?? null;
      },
      ownAddress: async () => this.network,
      network: () => this.network,
      startWorker: () => {
        const worker = startPacWorker();
        this.workers.push(worker);
        return worker;
      },
      ...options,
    });
    cleanUp(async () => {
      this.pac.close();
      await this.ended();
    });
  }

  /** The routes to `http://HOST/`, or to what else is given, as they are written for people. */
  async ask(host: string, destination: Partial<Destination> = {}): Promise<string> {
    const routes = await this.pac.routes({ scheme: "http", host, port: 80, ...destination });
    return routes.map(formatRoute).join(" ");
  }

  /** Waits until no thread is left. */
  async ended(): Promise<void> {
    await Promise.all(this.workers.map((worker) => (worker.threadId === -1 ? null : once(worker, "exit"))));
  }

  /** The warnings, with what went wrong. */
  get warnings(): string[] {
    const warnings = this.logger.lines.filter(({ level }) => level === "warn");
    return warnings.map(
      ({ fields, message }) => `${message}: ${"reason" in fields ? fields.reason : JSON.stringify(fields)}`,
    );
  }
}

/** One in which time passes by itself. */
export function livePac(script: string): PlayedPac {
  return new PlayedPac(script, { clock: systemClock });
}
