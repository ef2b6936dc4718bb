import { isDeepStrictEqual } from "node:util";
import { BindError, BindRefusedError, type ForwardRule } from "@hostd/portfwd";
import { RequestError } from "./api/problem.ts";
import { expandForward } from "./config/forward.ts";
import { configToData } from "./config/print.ts";
import type { HostdConfig } from "./config/resolve.ts";
import type { ReloadReport } from "./control/control.ts";
import type { EventHub } from "./control/event-hub.ts";
import type { DnsService } from "./dns/service.ts";
import { forwarderSettings } from "./forwarder-settings.ts";
import type { ForwardBook } from "./forwards/forward-book.ts";
import { ruleToData } from "./forwards/forward-data.ts";
import type { Logger } from "./logging.ts";
import type { ProxyService } from "./proxy/proxy-service.ts";

/** What a reload changes. */
export interface Reloadable {
  readonly forwarder: { configure(settings: ReturnType<typeof forwarderSettings>): void };
  readonly forwards: ForwardBook;
  readonly dns: Pick<DnsService, "configure">;
  readonly proxy: Pick<ProxyService, "prepare">;
  readonly events: EventHub;
  readonly logger: Logger;
}

/** Which way requests take, not how their connections are served. */
const LIVE_PROXY_KEYS = [
  "proxy.upstream",
  "proxy.noProxy",
  "proxy.transparentPorts",
  "proxy.ca",
  "proxy.credentials",
  "proxy.vpnkitFile",
];
/** The keys whose new values can hold at once; a section stands for all its keys. */
const LIVE_KEYS = ["forwards", "publish", "guestApi.allow", "dns", ...LIVE_PROXY_KEYS, "log.level"];
/** Of those sections, what only a VM that attaches later would see. */
const RESTART_KEYS = ["dns.maxQueriesPerSecond"];

/** The configuration that holds, and how it is replaced by another. */
export class Reloader {
  readonly #read: (() => Promise<HostdConfig>) | undefined;
  readonly #parts: Reloadable;
  #config: HostdConfig;
  #reloading: Promise<unknown> = Promise.resolve();

  constructor(config: HostdConfig, read: (() => Promise<HostdConfig>) | undefined, parts: Reloadable) {
    this.#config = config;
    this.#read = read;
    this.#parts = parts;
  }

  /** What holds; keys that need a restart have the values of the start. */
  get config(): HostdConfig {
    return this.#config;
  }

  /**
   * Reads the configuration again, and changes what can be changed while VMs are attached.
   *
   * @throws {ConfigError} when it cannot be used, {RequestError} when a port of it cannot be listened on; nothing has
   *   changed then.
   */
  reload(): Promise<ReloadReport> {
    // One after the other, since each looks at what holds before it.
    const reloaded = this.#reloading.then(() => this.#reloadNow());
    this.#reloading = reloaded.catch(() => {});
    return reloaded;
  }

  async #reloadNow(): Promise<ReloadReport> {
    if (this.#read === undefined) throw new RequestError("this hostd has no configuration that it could read again");
    const { forwarder, dns, proxy, events, logger } = this.#parts;
    const before = this.#config;
    const read = await this.#read();
    const differing = differingKeys(configToData(before), configToData(read));
    const changed = differing.filter(isLive);
    const needRestart = differing.filter((key) => !isLive(key));
    const config = withLiveKeys(before, read);
    // First what can fail.
    const configureProxy = proxy.prepare(config);
    // The policy holds for the ports of the new configuration already.
    forwarder.configure(forwarderSettings(config));
    try {
      await this.#replaceForwards(before, config);
    } catch (error) {
      forwarder.configure(forwarderSettings(before));
      throw error;
    }
    if (changed.some((key) => key.startsWith("dns."))) dns.configure(config);
    configureProxy();
    logger.level = config.log.level;
    this.#config = config;
    if (changed.length > 0) logger.info(`configuration read again: ${changed.join(", ")} changed`);
    if (needRestart.length > 0) logger.warn(`changed, and needs a restart: ${needRestart.join(", ")}`);
    events.emit("config.reloaded", { changed });
    return { changed, needRestart };
  }

  /** Has the forwards of the configuration be those of another one, or leaves them as they are. */
  async #replaceForwards(before: HostdConfig, after: HostdConfig): Promise<void> {
    const { forwards, logger } = this.#parts;
    const [oldRules, newRules] = [before, after].map(({ forwards }) => forwards.flatMap(expandForward));
    const isIn = (rules: readonly ForwardRule[], rule: ForwardRule) => {
      const data = ruleToData(rule);
      return rules.some((candidate) => isDeepStrictEqual(ruleToData(candidate), data));
    };
    const gone = forwards.list().filter(({ origin, rule }) => origin === "config" && !isIn(newRules, rule));
    const added = newRules.filter((rule) => !isIn(oldRules, rule));
    // A port may lead somewhere else from now on, so its old listener goes first.
    for (const { id } of gone) await forwards.remove(id, true);
    try {
      await forwards.openAll(added, { origin: "config" });
    } catch (error) {
      for (const { id, rule } of gone) {
        await forwards.open(rule, { origin: "config" }).catch((reason: Error) => {
          logger.error(`${id} could not be opened again: ${reason.message}`);
        });
      }
      if (error instanceof BindError) throw new RequestError(error.message, 409);
      if (error instanceof BindRefusedError) throw new RequestError(error.message, 403);
      throw error;
    }
  }
}

/** What holds after a reload: the new values of the keys that can change, and the old ones of all others. */
function withLiveKeys(before: HostdConfig, read: HostdConfig): HostdConfig {
  const { forwards, publish, guestApi, dns, proxy, log } = read;
  const { upstream, noProxy, transparentPorts, ca, credentials, vpnkitFile } = proxy;
  return {
    ...before,
    forwards,
    publish,
    guestApi: { ...before.guestApi, allow: guestApi.allow },
    dns: { ...dns, maxQueriesPerSecond: before.dns.maxQueriesPerSecond },
    proxy: { ...before.proxy, upstream, noProxy, transparentPorts, ca, credentials, vpnkitFile },
    log: { ...before.log, level: log.level },
  };
}

function isLive(key: string): boolean {
  if (RESTART_KEYS.includes(key)) return false;
  return LIVE_KEYS.some((live) => key === live || key.startsWith(`${live}.`));
}

/** The keys whose values differ, those of a section one by one. */
function differingKeys(before: object, after: object, prefix = ""): string[] {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  return names.flatMap((name) => {
    const [old, now]: unknown[] = [Reflect.get(before, name), Reflect.get(after, name)];
    if (isDeepStrictEqual(old, now)) return [];
    const key = `${prefix}${name}`;
    return prefix === "" && isSection(old) && isSection(now) ? differingKeys(old, now, `${key}.`) : [key];
  });
}

function isSection(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
