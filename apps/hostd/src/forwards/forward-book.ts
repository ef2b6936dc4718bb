import {
  type Forward,
  type ForwardRule,
  formatListen,
  formatTarget,
  isSocketPath,
  type PortForwarder,
  type Requester,
} from "@hostd/portfwd";
import type { EventHub } from "../control/event-hub.ts";
import type { Logger } from "../logging.ts";
import type { ForwardStore } from "./forward-store.ts";

/** Who asked for a forward: the configuration, our own API, or one of another program's. */
export type ForwardOrigin = "config" | "api" | "gvproxy" | "vpnkit" | "guest" | "docker";

/** How long until one that could not be restored is tried again, in milliseconds. */
const RETRY_TIME = 5000;

export interface OpenOptions {
  readonly origin: ForwardOrigin;
  /** Whether it is opened again when hostd has been restarted. */
  readonly persist?: boolean;
  /** What it is for, such as the name of a container. */
  readonly owner?: string;
  /** Whether clients wait until it is told where it leads. */
  readonly isHeld?: boolean;
}

/** A forward with who asked for it. */
export interface BookedForward {
  /** What it is removed by: its protocol and where it listens, such as `tcp/127.0.0.1:8080` or `unix//run/web.sock`. */
  readonly id: string;
  readonly rule: ForwardRule;
  readonly origin: ForwardOrigin;
  readonly persist: boolean;
  /** What it is for, such as the name of a container. */
  readonly owner?: string;
  /** Null for one that could not be restored yet. */
  readonly forward: Forward | null;
  /** Why it is not there. */
  readonly error?: string;
}

export interface ForwardBookOptions {
  readonly forwarder: PortForwarder;
  /** Where those that are to persist are kept. */
  readonly store: ForwardStore;
  readonly events: EventHub;
  readonly logger: Logger;
}

/** Every forward there is, with who asked for it, from when it was asked for until it is removed. */
export class ForwardBook {
  readonly #options: ForwardBookOptions;
  readonly #entries = new Map<string, BookedForward>();
  #retryTimer: NodeJS.Timeout | null = null;

  constructor(options: ForwardBookOptions) {
    this.#options = options;
  }

  list(): BookedForward[] {
    return [...this.#entries.values()];
  }

  get(id: string): BookedForward | undefined {
    return this.#entries.get(id);
  }

  /**
   * Opens a forward.
   *
   * @throws {BindRefusedError} when it is not allowed.
   * @throws {BindError} when the host cannot listen there.
   */
  async open(rule: ForwardRule, options: OpenOptions): Promise<BookedForward> {
    const { forwarder, logger, events } = this.#options;
    const requester: Requester = options.origin === "guest" ? "guest" : "host";
    const forward = await forwarder.listen(rule, requester);
    const { origin, persist = false, owner, isHeld = false } = options;
    if (isHeld) forward.retarget(null);
    const entry = { id: idOf(forward), rule, origin, persist, forward, ...(owner === undefined ? {} : { owner }) };
    this.#entries.set(entry.id, entry);
    this.#persist(persist);
    const to = owner ?? formatTarget(rule.to);
    logger.info({ origin }, `${entry.id} leads to ${isPortOnly(to) ? `port ${to} of the VM` : to}`);
    events.emit("forward.added", { id: entry.id, to, origin });
    return entry;
  }

  /**
   * Opens several, or none.
   *
   * @throws what {@link open} throws for the first that cannot be opened.
   */
  async openAll(rules: readonly ForwardRule[], options: OpenOptions): Promise<BookedForward[]> {
    const opened: BookedForward[] = [];
    try {
      for (const rule of rules) opened.push(await this.open(rule, options));
    } catch (error) {
      for (const { id } of opened) await this.remove(id);
      throw error;
    }
    return opened;
  }

  /** Opens what was to persist. What cannot be opened is reported, and tried again until it can be or is removed. */
  async restore(): Promise<void> {
    for (const rule of this.#options.store.rules) await this.#restoreOne(rule);
  }

  /**
   * Removes a forward; resolves once nobody listens there any more.
   *
   * @param keepConnections - whether its connections go on until they end.
   * @returns false when there is none.
   */
  async remove(id: string, keepConnections = false): Promise<boolean> {
    const entry = this.#entries.get(id);
    if (entry === undefined) return false;
    this.#entries.delete(id);
    this.#persist(entry.persist);
    await entry.forward?.close({ keepConnections });
    this.#options.logger.info({ origin: entry.origin }, `${id} leads nowhere any more`);
    this.#options.events.emit("forward.removed", { id, origin: entry.origin });
    return true;
  }

  /** Stops trying. The forwards themselves are closed by their forwarder. */
  close(): void {
    if (this.#retryTimer !== null) clearTimeout(this.#retryTimer);
    this.#retryTimer = null;
  }

  async #restoreOne(rule: ForwardRule): Promise<void> {
    const options = { origin: "api", persist: true } as const;
    const id = idOf({ rule, listening: rule.listen });
    const before = this.#entries.get(id);
    try {
      this.#entries.delete(id);
      await this.open(rule, options);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.#entries.set(id, { id, rule, ...options, forward: null, error: message });
      if (before?.error !== message) {
        this.#options.logger.warn(`${id} could not be restored and will be tried again: ${message}`);
        this.#options.events.emit("forward.failed", { id, origin: options.origin, error: message });
      }
      this.#retryTimer ??= setTimeout(() => void this.#retry(), RETRY_TIME).unref();
    }
  }

  async #retry(): Promise<void> {
    this.#retryTimer = null;
    for (const { forward, rule, id } of this.list()) {
      if (forward === null && this.#entries.has(id)) await this.#restoreOne(rule);
    }
  }

  #persist(isNeeded: boolean): void {
    if (!isNeeded) return;
    this.#options.store.save(this.list().flatMap(({ rule, persist }) => (persist ? [rule] : [])));
  }
}

/** What a forward is removed by. */
export function idOf({ rule, listening }: Pick<Forward, "rule" | "listening">): string {
  return isSocketPath(listening) ? `unix/${listening.path}` : `${rule.protocol}/${formatListen(listening)}`;
}

function isPortOnly(to: string): boolean {
  return /^\d+$/.test(to);
}
