import type { Worker } from "node:worker_threads";
import { type Clock, FailureLog, type Logger, systemClock } from "@hostd/streams";
import { type Destination, formatHostPort, type Route } from "../route.ts";
import { formatPacUrl } from "../sources/proxy-settings.ts";
import { type FetchPac, fetchPac, MAX_PAC_BYTES, tooLarge } from "./fetch-pac.ts";
import { hostNetwork, ownAddress } from "./own-address.ts";
import { PacError } from "./pac-error.ts";
import type { PacResolver } from "./pac-resolver.ts";
import { parsePacResult } from "./pac-result.ts";
import { PacSandbox } from "./pac-sandbox.ts";
import { PacSource } from "./pac-source.ts";
import { startPacWorker } from "./pac-thread.ts";

/**
 * How old a script may get. It is one small request, so five minutes cost nothing, and are what people wait for after a
 * change; another network is noticed by itself.
 */
const REFETCH_SECONDS = 300;
/** How long an answer is taken for the same question: scripts may go by the time, in minutes at the finest. */
const ANSWER_LIFE = 60_000;
/** The same for a failure: a client that tries again at once would be answered by the same script again. */
const FAILURE_LIFE = 5000;
/** How often the network is looked at, while somebody asks. */
const NETWORK_INTERVAL = 1000;
const MAX_ANSWERS = 1000;
/** Questions that may wait for an answer. */
const MAX_WAITING = 256;

export interface PacOptions {
  /** `http:`, `https:` or `file:`. */
  readonly url: string;
  /** The IPv4 address of a name, as this host sees it; null when it has none. */
  readonly lookup: (name: string) => Promise<string | null>;
  readonly logger: Logger;
  readonly clock?: Clock;
  /** How often the script is fetched; 300 s unless given. A file is looked at every 2 s. */
  readonly refetchSeconds?: number;
  /** By node:http, and through no proxy, unless given. */
  readonly fetch?: FetchPac;
  /** What `myIpAddress` tells; the address of the default route unless given. */
  readonly ownAddress?: () => Promise<string | null>;
  /** Tells the network that this host is in; its addresses unless given. */
  readonly network?: () => string;
  /** Starts the thread in which the script runs. */
  readonly startWorker?: () => Worker;
}

/** A script that is in force, and what it has said. */
interface Force {
  readonly script: string;
  readonly sandbox: PacSandbox;
  /** By destination, the one that was asked for last at the end. */
  answers: Map<string, Answer>;
}

interface Answer {
  readonly routes: Promise<readonly Route[]>;
  until: number;
}

/**
 * Proxy auto-config: asks a script for the routes to a destination. The script is fetched at once and kept up to date; the
 * last one that could be loaded stays in force while there is no other. It runs in a sandbox, see {@link PacSandbox}.
 */
export class Pac implements PacResolver {
  readonly #options: PacOptions;
  /** The URL for people. */
  readonly #shown: string;
  readonly #clock: Clock;
  readonly #failures: FailureLog;
  readonly #source: PacSource;
  #force: Force | null = null;
  /** Why there is no script; null while the first one is on its way. */
  #failure: PacError | null = null;
  /** Those who wait for the first script, or for its failure. */
  #first = Promise.withResolvers<void>();
  /** What is about to be in force. */
  #next: PacSandbox | null = null;
  #waiting = 0;
  #network: string;
  #networkLookedAt: number;

  /** @throws {PacError} when the URL is none that a script can have. */
  constructor(options: PacOptions) {
    const url = URL.parse(options.url);
    if (url === null || !["http:", "https:", "file:"].includes(url.protocol)) {
      throw new PacError("the URL of a PAC script begins with http://, https:// or file:///");
    }
    this.#options = options;
    this.#shown = formatPacUrl(options.url);
    this.#clock = options.clock ?? systemClock;
    this.#failures = new FailureLog(options.logger, this.#clock);
    this.#network = this.#currentNetwork();
    this.#networkLookedAt = this.#clock.now();
    this.#source = new PacSource({
      url,
      fetch: options.fetch ?? fetchPac,
      clock: this.#clock,
      refetchSeconds: options.refetchSeconds ?? REFETCH_SECONDS,
      takeOver: (script, isAnew) => this.#takeOver(script, isAnew),
      failed: (error) => this.#failedToFetch(error),
    });
  }

  async routes(destination: Destination): Promise<readonly Route[]> {
    this.#lookAtNetwork();
    const force = this.#force ?? (await this.#firstForce());
    const { scheme, host, port } = destination;
    const key = `${scheme} ${host} ${port}`;
    const { answers } = force;
    const known = answers.get(key);
    if (known !== undefined) answers.delete(key);
    const answer = known !== undefined && this.#clock.now() < known.until ? known : this.#ask(force, destination);
    answers.set(key, answer);
    if (answers.size > MAX_ANSWERS) answers.delete(answers.keys().next().value ?? key);
    return answer.routes;
  }

  close(): void {
    this.#source.close();
    this.#force?.sandbox.close();
    this.#next?.close();
    this.#force = null;
    this.#failure = new PacError("the PAC script is no longer in force");
    this.#first.resolve();
  }

  /** In another network nothing is known any more, and the script is fetched and run anew. */
  #lookAtNetwork(): void {
    const now = this.#clock.now();
    if (now - this.#networkLookedAt < NETWORK_INTERVAL) return;
    this.#networkLookedAt = now;
    const network = this.#currentNetwork();
    if (network === this.#network) return;
    this.#network = network;
    if (this.#force !== null) this.#force.answers = new Map();
    this.#source.refresh();
  }

  #currentNetwork(): string {
    return (this.#options.network ?? hostNetwork)();
  }

  async #firstForce(): Promise<Force> {
    if (this.#failure === null) await this.#first.promise;
    if (this.#force === null) throw this.#failure ?? new PacError("there is no PAC script");
    return this.#force;
  }

  #ask(force: Force, destination: Destination): Answer {
    if (this.#waiting >= MAX_WAITING) throw new PacError("too many requests wait for the PAC script");
    const answer: Answer = {
      routes: this.#evaluate(force.sandbox, destination),
      until: this.#clock.now() + ANSWER_LIFE,
    };
    // Whoever asked is told; this is for those who ask next.
    answer.routes.catch(() => {
      answer.until = this.#clock.now() + FAILURE_LIFE;
    });
    return answer;
  }

  async #evaluate(sandbox: PacSandbox, { scheme, host, port }: Destination): Promise<readonly Route[]> {
    this.#waiting++;
    try {
      // As browsers have it: without a path, and without the scheme's own port.
      const { href } = new URL(`${scheme}://${formatHostPort({ host, port })}/`);
      const { routes, problems } = parsePacResult(await sandbox.find(href, host));
      if (problems.length > 0) {
        this.#failures.warn("result", { url: this.#shown, problems }, "the PAC script's result is used in part");
      }
      return routes;
    } catch (error) {
      const reason = messageOf(error);
      this.#failures.warn("evaluation", { url: this.#shown, host, port, reason }, "the PAC script fails for a request");
      throw new PacError(`the PAC script at ${this.#shown} fails: ${reason}`);
    } finally {
      this.#waiting--;
    }
  }

  async #takeOver(script: string, isAnew: boolean): Promise<void> {
    if (!isAnew && this.#force?.script === script) return;
    // In a fetch of its own kind it may be any size.
    if (script.length > MAX_PAC_BYTES) throw tooLarge();
    const { lookup, logger, startWorker } = this.#options;
    const sandbox = new PacSandbox({
      script,
      lookup,
      ownAddress: this.#options.ownAddress ?? ownAddress,
      clock: this.#clock,
      alert: (text) => logger.debug({ url: this.#shown, text }, "the PAC script alerts"),
      startWorker: startWorker ?? startPacWorker,
    });
    this.#next = sandbox;
    try {
      await sandbox.load();
    } catch (error) {
      sandbox.close();
      throw error;
    } finally {
      this.#next = null;
    }
    this.#force?.sandbox.retire();
    this.#force = { script, sandbox, answers: new Map() };
    this.#failure = null;
    this.#first.resolve();
    logger.info({ url: this.#shown, characters: script.length }, "a PAC script is in force");
  }

  #failedToFetch(error: unknown): void {
    const reason = messageOf(error);
    const message = this.#force === null ? "there is no PAC script" : "there is no new PAC script, the last one stays";
    this.#failures.warn("fetch", { url: this.#shown, reason }, message);
    this.#failure = new PacError(`there is no PAC script from ${this.#shown}: ${reason}`);
    this.#first.resolve();
  }
}

/** What went wrong; an error for several addresses has only a code. */
function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.message === "" && "code" in error ? String(error.code) : error.message;
}
