import { isDeepStrictEqual } from "node:util";
import { after, type Clock, FailureLog, type Logger, systemClock } from "@hostd/streams";
import { type EngineClient, EngineError } from "../engine/engine-client.ts";
import type { EngineEvent } from "../engine/engine-event.ts";
import type { EngineWatcher } from "../engine/engine-watch.ts";
import { elementsAt, numberAt, textAt } from "../engine/json-value.ts";
import { isContainerId } from "../ports/container-ports.ts";
import { KeyedTasks } from "../ports/keyed-tasks.ts";
import { type RunningContainer, readRunningContainer } from "./running-container.ts";

/** How long until the engine is asked again that did not answer, in milliseconds. */
const RETRY_INTERVAL = 5000;
/** How long after a change the next one may be told, in milliseconds. */
const CHANGE_INTERVAL = 100;
/**
 * How long what was known is believed when the engine is gone, in milliseconds: for longer than an engine needs to be
 * restarted, whose containers may run on, and not for as long as a VM stays off.
 */
const FORGET_AFTER = 30_000;
/** The most containers that are known, and that wait to be asked about. */
const MAX_CONTAINERS = 4096;
/** Containers that are asked about at once; one of them is the list of all, which waits for others. */
const MAX_CONCURRENT = 8;

const ALL = "containers";
/** After these a container may have a name or an address that it had not before. */
const BEGINNINGS: ReadonlySet<string> = new Set(["start", "rename"]);

export interface ContainerDirectoryOptions {
  readonly client: EngineClient;
  readonly logger: Logger;
  /** What is known has changed; told ten times a second at most. Must not throw. */
  readonly changed?: () => void;
  /** For tests; the process's clock unless given. */
  readonly clock?: Clock;
}

/** What is known at a time, for looking up. */
interface Known {
  readonly containers: readonly RunningContainer[] | null;
  readonly byName: ReadonlyMap<string, readonly RunningContainer[]>;
  readonly byAddress: ReadonlyMap<string, RunningContainer>;
}

/**
 * The containers of an engine that run, by their names and addresses. What is known of one is what the engine says when it
 * is asked about it; its events and its list, which may both be a moment ahead of or behind that, only tell when to ask.
 */
export class ContainerDirectory implements EngineWatcher {
  readonly #client: EngineClient;
  readonly #clock: Clock;
  readonly #failures: FailureLog;
  readonly #changed: () => void;
  readonly #closing = new AbortController();
  readonly #tasks = new KeyedTasks({ work: (key) => this.#look(key), maxConcurrent: MAX_CONCURRENT });
  /** By their ids. */
  readonly #running = new Map<string, RunningContainer>();
  /** What could not be asked about. */
  readonly #unknown = new Set<string>();
  /** Whether those are all. */
  #isComplete = false;
  #known: Known = index(null);
  #isFollowed = false;
  #stopRetrying: (() => void) | null = null;
  #stopForgetting: (() => void) | null = null;
  /** While another change is not told yet. */
  #stopHolding: (() => void) | null = null;
  #isHeld = false;

  constructor({ client, logger, changed = () => {}, clock = systemClock }: ContainerDirectoryOptions) {
    this.#client = client;
    this.#clock = clock;
    this.#failures = new FailureLog(logger, clock);
    this.#changed = changed;
  }

  /** The containers that run, by name; null while that is not known. */
  list(): readonly RunningContainer[] | null {
    return this.#known.containers;
  }

  /**
   * The containers by each of their names, in lower case. The name of a container goes before the same one of Compose's,
   * which several may have.
   */
  get names(): ReadonlyMap<string, readonly RunningContainer[]> {
    return this.#known.byName;
  }

  /** The name of the container that has an address, IPv4 or IPv6 as RFC 5952 writes it; null when none is known to. */
  nameAt(address: string): string | null {
    return this.#known.byAddress.get(address)?.name ?? null;
  }

  /**
   * Finds containers by a name, in any case, or one by its id or the first 12 digits or more of it. Of containers whose
   * names differ by case alone it is the one whose name is written so.
   */
  find(text: string): readonly RunningContainer[] {
    const named = this.#known.byName.get(text.toLowerCase());
    if (named !== undefined) {
      const exact = named.find(({ name }) => name === text);
      return exact === undefined ? named : [exact];
    }
    if (!/^[0-9a-f]{12,64}$/.test(text)) return [];
    const begun = (this.#known.containers ?? []).filter(({ id }) => id.startsWith(text));
    return begun.length === 1 ? begun : [];
  }

  relist(): void {
    this.#isFollowed = true;
    void this.#request(ALL);
  }

  event({ type, action, container }: EngineEvent): void {
    if (type === "container" && BEGINNINGS.has(action)) this.#happened(container);
    const isOther = type === "network" ? action === "connect" || action === "disconnect" : action === "die";
    // One that is not known to run is asked about when it is started, or is being asked about.
    if (isOther && (this.#running.has(container) || this.#tasks.has(container))) this.#happened(container);
  }

  lost(): void {
    this.#isFollowed = false;
    if (this.#isClosed || (!this.#isComplete && this.#running.size === 0)) return;
    this.#stopForgetting ??= after(this.#clock, FORGET_AFTER, () => {
      this.#stopForgetting = null;
      this.#running.clear();
      this.#isComplete = false;
      this.#tell();
    });
  }

  /** Resolves when all that is known to have happened has been asked about. */
  async settled(): Promise<void> {
    while (this.#tasks.size > 0) await this.#tasks.idle();
  }

  /** Asks no more. What is known stays. */
  async close(): Promise<void> {
    this.#closing.abort(new EngineError("the directory of containers is closed", null));
    this.#stopRetrying?.();
    this.#stopForgetting?.();
    await this.settled();
    this.#stopHolding?.();
  }

  #happened(id: string): void {
    if (isContainerId(id)) void this.#request(this.#tasks.size < MAX_CONTAINERS ? id : ALL);
  }

  /** @returns whether it is known how it is. */
  #request(key: string): Promise<boolean> {
    return this.#isClosed ? Promise.resolve(false) : this.#tasks.request(key);
  }

  async #look(key: string): Promise<boolean> {
    if (this.#isClosed) return false;
    try {
      if (key === ALL) await this.#lookAtAll();
      else this.#replace(key, await this.#inspect(key));
      this.#unknown.delete(key);
      return true;
    } catch (error) {
      if (this.#isClosed) return false;
      const reason = error instanceof Error ? error.message : String(error);
      this.#failures.warn("look", { about: key, reason }, "the Docker engine did not say which containers run");
      this.#unknown.add(this.#unknown.size < MAX_CONTAINERS ? key : ALL);
      this.#retryLater();
      return false;
    }
  }

  async #lookAtAll(): Promise<void> {
    const rows = elementsAt(await this.#client.get("/containers/json", this.#closing.signal))
      .map((row) => ({ id: textAt(row, "Id"), created: numberAt(row, "Created") }))
      .filter(({ id }) => isContainerId(id))
      .sort((one, other) => one.created - other.created || (one.id < other.id ? -1 : 1));
    const ids = new Set([...this.#running.keys(), ...rows.slice(0, MAX_CONTAINERS).map(({ id }) => id)]);
    const wereAnswered = await Promise.all([...ids].map((id) => this.#request(id)));
    if (wereAnswered.includes(false)) throw new EngineError("some containers could not be asked about", null);
    this.#stopForgetting?.();
    this.#stopForgetting = null;
    if (this.#isComplete) return;
    this.#isComplete = true;
    this.#tell();
  }

  /** @returns null when it does not run, or is not there any more. */
  async #inspect(id: string): Promise<RunningContainer | null> {
    try {
      const found = readRunningContainer(await this.#client.get(`/containers/${id}/json`, this.#closing.signal));
      return found?.id === id ? found : null;
    } catch (error) {
      if (error instanceof EngineError && error.status === 404) return null;
      throw error;
    }
  }

  #replace(id: string, container: RunningContainer | null): void {
    const before = this.#running.get(id) ?? null;
    if (isDeepStrictEqual(before, container)) return;
    if (container === null) this.#running.delete(id);
    else if (before !== null || this.#running.size < MAX_CONTAINERS) this.#running.set(id, container);
    if (this.#isComplete) this.#tell();
  }

  #retryLater(): void {
    // One that is not followed any more is asked when it is again.
    if (!this.#isFollowed) return;
    this.#stopRetrying ??= after(this.#clock, RETRY_INTERVAL, () => {
      this.#stopRetrying = null;
      for (const key of this.#unknown) void this.#request(key);
    });
  }

  /** Tells that what is known has changed: at once, or together with other changes when that has just been done. */
  #tell(): void {
    this.#isHeld = this.#stopHolding !== null;
    if (this.#isHeld || this.#isClosed) return;
    this.#stopHolding = after(this.#clock, CHANGE_INTERVAL, () => {
      this.#stopHolding = null;
      if (this.#isHeld) this.#tell();
    });
    this.#known = index(this.#isComplete ? [...this.#running.values()].sort(byName) : null);
    this.#changed();
  }

  get #isClosed(): boolean {
    return this.#closing.signal.aborted;
  }
}

function byName(one: RunningContainer, other: RunningContainer): number {
  if (one.name === other.name) return one.id < other.id ? -1 : 1;
  return one.name < other.name ? -1 : 1;
}

function index(containers: readonly RunningContainer[] | null): Known {
  const all = containers ?? [];
  const names = Map.groupBy(all, ({ name }) => name.toLowerCase());
  const services = Map.groupBy(
    all.filter(({ composeName }) => composeName !== null),
    ({ composeName }) => composeName?.toLowerCase() ?? "",
  );
  const byAddress = new Map<string, RunningContainer>();
  for (const container of all) {
    for (const { addresses } of container.networks) {
      // Of several containers with one address it is that of the first.
      for (const address of addresses) if (!byAddress.has(address)) byAddress.set(address, container);
    }
  }
  const shared = [...services].filter(([name]) => !names.has(name));
  return { containers, byName: new Map([...names, ...shared]), byAddress };
}
