import { PolledFile } from "@hostd/host";
import type { DnsLogger } from "../logger.ts";
import { formatServerAddress } from "../server-address.ts";
import { type Policy, type PolicySource, RouteTable, type ServerSet } from "./policy.ts";
import { parseResolvConf, RESOLV_CONF_PATH } from "./resolv-conf.ts";

export interface ResolvConfFileOptions {
  /** The file; {@link RESOLV_CONF_PATH} when it is not given. */
  readonly path?: string;
  readonly logger?: DnsLogger;
  /** The time in milliseconds, from any start on. */
  readonly now?: () => number;
}

/** What a resolv.conf says: its servers for every name, and its search domains. It is followed within a second. */
export class ResolvConfFile implements PolicySource {
  readonly #file: PolledFile;
  readonly #logger: DnsLogger | undefined;
  #policy: Policy = { routes: new RouteTable([]), search: [] };

  constructor({ path = RESOLV_CONF_PATH, logger, now = () => performance.now() }: ResolvConfFileOptions = {}) {
    this.#file = new PolledFile(path, now);
    this.#logger = logger;
  }

  recheck(): void {
    this.#file.recheck();
  }

  current(): Policy {
    const state = this.#file.changed();
    if (state === null) return this.#policy;
    const { path } = this.#file;
    if (state.kind === "unreadable") {
      // A file that is gone is often about to be replaced, so the servers last read stay.
      this.#logger?.warn({ path, reason: state.reason }, "cannot read the name servers");
      return this.#policy;
    }
    const { nameservers, search, timeout, attempts, problems } = parseResolvConf(state.text);
    const set: ServerSet = { servers: nameservers, serverTimeout: timeout === null ? null : timeout * 1000, attempts };
    for (const problem of problems) this.#logger?.warn({ path, ...problem }, "a line was left out");
    const servers = nameservers.map(formatServerAddress);
    this.#logger?.info({ path, servers, search }, "name servers read");
    this.#policy = { routes: new RouteTable([{ domain: "", set, from: path }]), search };
    return this.#policy;
  }
}
