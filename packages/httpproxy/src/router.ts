import { BlockList, isIP } from "node:net";
import type { PacResolver } from "./pac/pac-resolver.ts";
import { type Decision, type Destination, DIRECT, type ProxyServer, REFUSE, type Route, type Router } from "./route.ts";
import { formatPacUrl, isDirect, type ProxySettings } from "./sources/proxy-settings.ts";

/** The settings in force. */
export interface SettingsInForce {
  /** The same object until they change; null as long as they are not known. */
  current(): ProxySettings | null;
  /** Resolves once they are known. */
  settled(): Promise<ProxySettings>;
  /** Has `listener` told when others have come in force. The returned function ends that. */
  onChange(listener: (settings: ProxySettings) => void): () => void;
}

export interface SettingsRouterOptions {
  readonly settings: SettingsInForce;
  /** Gives what asks the script at a URL. */
  readonly openPac: (url: string) => PacResolver;
  /** What is done with requests as long as a PAC script fails. */
  readonly pacFailure: "refuse" | "direct";
  /** Whether a host is this one by a name or address of hostd's own: `host.docker.internal`. */
  readonly isThisHost: (host: string) => boolean;
  /**
   * Adds what is known of a proxy beside what names it, for each request; nothing unless given. `script` is the URL of the
   * PAC script that has named it; null when the settings have.
   */
  readonly complete?: (server: ProxyServer, script: string | null) => ProxyServer;
}

/** How often a question is asked anew because the settings have changed meanwhile. */
const MAX_CHANGES = 3;

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet("127.0.0.0", 8);
LOOPBACK.addAddress("::1", "ipv6");

/**
 * Decides by the settings of the moment:
 *
 * 1. What an allow list does not have is refused.
 * 2. This host itself and what is excluded goes direct, by its name or by the address that the client has connected to.
 * 3. A PAC script is asked, or else the proxies of the scheme are taken.
 */
export class SettingsRouter implements Router {
  readonly #options: SettingsRouterOptions;
  /** What asks the script that was asked last. */
  #pac: { readonly url: string; readonly resolver: PacResolver } | null = null;
  #isClosed = false;
  readonly #stopListening: () => void;

  constructor(options: SettingsRouterOptions) {
    this.#options = options;
    // What asks a script that is in force no more would go on fetching it.
    this.#stopListening = options.settings.onChange(({ pac }) => {
      if (pac !== this.#pac?.url) this.#closePac();
    });
  }

  get isAlwaysDirect(): boolean {
    const settings = this.#options.settings.current();
    return settings !== null && isDirect(settings);
  }

  decide(destination: Destination): Decision | Promise<Decision> {
    const settings = this.#options.settings.current();
    return settings === null ? this.#decideOnceKnown(destination) : this.#decideBy(settings, destination);
  }

  /** What is decided without anybody's being asked or waited for; null where that is not enough. */
  decideAtOnce(destination: Destination): Decision | null {
    const settings = this.#options.settings.current();
    return settings === null ? null : this.#decideByRules(settings, destination);
  }

  /** Ends what asks PAC scripts. */
  close(): void {
    this.#isClosed = true;
    this.#stopListening();
    this.#closePac();
  }

  async #decideOnceKnown(destination: Destination): Promise<Decision> {
    return this.#decideBy(await this.#options.settings.settled(), destination);
  }

  #decideBy(settings: ProxySettings, destination: Destination, changes = 0): Decision | Promise<Decision> {
    return this.#decideByRules(settings, destination) ?? this.#askPac(settings, destination, changes);
  }

  /** @returns null when a PAC script is to be asked. */
  #decideByRules(settings: ProxySettings, destination: Destination): Decision | null {
    const { allowed, exclusions, pac, from } = settings;
    const { host, port, scheme, address } = destination;
    if (allowed !== null && allowed.list.match(host, port) === null) {
      const message = allowed.message.replaceAll("%s", () => host);
      return { routes: [REFUSE], reason: `the rule of ${allowed.from}: ${message}` };
    }
    const { isThisHost } = this.#options;
    if (isLoopback(host) || isThisHost(host) || (address !== undefined && isThisHost(address))) {
      return { routes: [DIRECT], reason: "the rule that this host itself is always reached directly" };
    }
    for (const { list, from } of exclusions) {
      const entry = list.match(host, port) ?? (address === undefined ? null : list.match(address, port));
      if (entry !== null) return { routes: [DIRECT], reason: `the exclusion ${JSON.stringify(entry)} of ${from}` };
    }
    if (pac !== null) return null;
    const servers = settings[scheme];
    if (servers.length > 0) return { routes: servers.map((server) => this.#routeTo(server, null)), reason: from };
    return { routes: [DIRECT], reason: isDirect(settings) ? from : `${from}, which names no proxy for ${scheme}` };
  }

  async #askPac(settings: ProxySettings, destination: Destination, changes: number): Promise<Decision> {
    const url = settings.pac ?? "";
    const script = `the PAC script ${formatPacUrl(url)} of ${settings.from}`;
    let failure: string;
    try {
      const routes = await this.#resolver(url).routes(destination);
      const complete = (route: Route) => (route.kind === "proxy" ? this.#routeTo(route.server, url) : route);
      if (routes.length > 0) return { routes: routes.map(complete), reason: script };
      failure = "it names no way";
    } catch (error) {
      const now = this.#options.settings.current();
      // Its resolver was closed because another script is to be asked, or none.
      if (now !== null && now.pac !== url && changes < MAX_CHANGES) {
        return this.#decideBy(now, destination, changes + 1);
      }
      failure = error instanceof Error ? error.message : String(error);
    }
    const isDirect = this.#options.pacFailure === "direct";
    return {
      routes: [isDirect ? DIRECT : REFUSE],
      reason: `${script}, which failed (${failure}), so that requests ${isDirect ? "go direct" : "are refused"}`,
    };
  }

  #routeTo(server: ProxyServer, script: string | null): Route {
    const { complete } = this.#options;
    return { kind: "proxy", server: complete === undefined ? server : complete(server, script) };
  }

  #resolver(url: string): PacResolver {
    if (this.#isClosed) throw new Error("hostd stops");
    if (this.#pac?.url !== url) {
      this.#closePac();
      this.#pac = { url, resolver: this.#options.openPac(url) };
    }
    return this.#pac.resolver;
  }

  #closePac(): void {
    this.#pac?.resolver.close();
    this.#pac = null;
  }
}

/** Names and addresses that everybody has for himself (RFC 6761, 6.3; RFC 1122, 3.2.1.3; RFC 4291, 2.5.3). */
function isLoopback(host: string): boolean {
  const family = isIP(host);
  if (family === 0) return host === "localhost" || host.endsWith(".localhost");
  return LOOPBACK.check(host, family === 6 ? "ipv6" : "ipv4");
}
