/** The way that requests of guests take: the settings of this host, and what they make of each request. */
import { isIPv4 } from "node:net";
import { isDeepStrictEqual } from "node:util";
import {
  type Credentials,
  CredentialsFile,
  type Decision,
  type Destination,
  type ProxyServer,
  type ProxySettings,
  type Router,
  type SettingsReport,
  SettingsRouter,
  SettingsStack,
  type SystemProgram,
  summarize,
  systemProgram,
  type TransparentPorts,
  type Trial,
  UpstreamHealth,
  type UpstreamReport,
  type UpstreamSetting,
  VpnkitProxyFile,
} from "@hostd/httpproxy";
import { formatIpv4 } from "@hostd/stack";
import { systemClock } from "@hostd/streams";
import type { HostdConfig } from "../config/resolve.ts";
import type { EventHub } from "../control/event-hub.ts";
import type { Logger } from "../logging.ts";
import { readCaFile } from "./ca-file.ts";
import { vmDestinations } from "./destinations.ts";
import { LazyPac } from "./lazy-pac.ts";
import type { ProxyConnections } from "./proxy-connections.ts";

/** The zones of names that stand for this host and the gateway. */
export const OWN_ZONES = ["docker.internal", "containers.internal"];

export interface ProxyServiceOptions {
  readonly config: HostdConfig;
  /** The addresses of a name as this host finds them. */
  readonly resolve: (name: string) => Promise<readonly string[]>;
  readonly events: Pick<EventHub, "emit">;
  readonly logger: Logger;
  /** What stands in the environment of hostd. */
  readonly environment: NodeJS.ProcessEnv;
  /** For tests; that of this host unless given. */
  readonly program?: SystemProgram | null;
}

/** Which proxies somebody has chosen at run time. */
export interface RunTimeChoice {
  readonly upstream: UpstreamSetting;
  /** What goes direct, as an exclusion list has it; that of the configuration unless given. */
  readonly noProxy?: string | undefined;
}

export interface ProxyServiceReport extends SettingsReport {
  /** Whether somebody has chosen the proxies at run time. */
  readonly isSetAtRunTime: boolean;
  readonly transparentPorts: TransparentPorts;
  /** The proxies that were used since the settings have changed. */
  readonly upstreams: readonly UpstreamReport[];
}

/** What decides for all VMs. */
export class ProxyService {
  readonly router: Router;
  readonly health: UpstreamHealth;
  readonly #options: ProxyServiceOptions;
  readonly #stack: SettingsStack;
  readonly #router: SettingsRouter;
  #config: HostdConfig["proxy"];
  /** What proxies at `https://` are checked against; undefined for what Node has. */
  #ca: string | undefined;
  #credentialsFile: CredentialsFile | null = null;
  /** Why there are no credentials, as it was logged last. */
  #complaint: string | null = null;
  #vpnkitFile: VpnkitProxyFile | null = null;
  #runTime: RunTimeChoice | null = null;
  /** For requests that no VM makes. */
  #connections: ProxyConnections | null = null;

  /** @throws {ConfigError} when the file of `proxy.ca` has no certificates. */
  constructor(options: ProxyServiceOptions) {
    const { config, resolve, logger, environment, program } = options;
    this.#options = options;
    this.#config = config.proxy;
    this.#ca = readCaFile(config.proxy.ca);
    this.health = new UpstreamHealth({ logger });
    this.#stack = new SettingsStack({
      configuration: this.#readConfiguration(),
      environment,
      program: program === undefined ? systemProgram(process.platform, environment) : program,
      clock: systemClock,
      logger,
    });
    this.#stack.onChange((settings, before) => this.#changed(settings, before));
    this.#router = new SettingsRouter({
      settings: this.#stack,
      openPac: (url) => {
        const lookup = async (name: string) => (await resolve(name)).find((address) => isIPv4(address)) ?? null;
        return new LazyPac({ url, lookup, logger });
      },
      pacFailure: config.proxy.pacFailure,
      isThisHost: hostNames(config),
      complete: (server, script) => this.#complete(server, script),
    });
    this.router = this.#router;
  }

  /** The ports whose connections are looked into. */
  get transparentPorts(): TransparentPorts {
    if (this.#vpnkitFile === null) return this.#config.transparentPorts;
    const { http, https } = this.#vpnkitFile.transparentPorts;
    return [...http, ...https];
  }

  /** Has the operating system asked for its settings if they count, so that the first request need not wait for them. */
  look(): void {
    this.#stack.current();
  }

  /**
   * Reads what another configuration names.
   *
   * @returns has it hold.
   * @throws {ConfigError} when it cannot be used; nothing has changed then.
   */
  prepare({ proxy }: HostdConfig): () => void {
    const ca = readCaFile(proxy.ca);
    return () => {
      if (isDeepStrictEqual(proxy, this.#config) && ca === this.#ca) return;
      this.#config = proxy;
      this.#ca = ca;
      this.#stack.configure(this.#readConfiguration());
      this.#applyRunTime();
    };
  }

  /** Sets which proxies are taken until hostd ends; null takes that back. */
  set(choice: RunTimeChoice | null): void {
    this.#runTime = choice;
    this.#applyRunTime();
    // Whoever sets a proxy wants it tried, whatever it did before.
    this.health.reset();
  }

  /** What each source says, and how the proxies have been doing. */
  async report(): Promise<ProxyServiceReport> {
    return {
      ...(await this.#stack.report()),
      isSetAtRunTime: this.#runTime !== null,
      transparentPorts: this.transparentPorts,
      upstreams: this.health.report(),
    };
  }

  /** Whether connections to an address go direct by the address alone, whatever is asked for on them. */
  isDirect(address: string, port: number): boolean {
    return (["http", "https"] as const).every((scheme) => {
      const decision = this.#router.decideAtOnce({ scheme, host: address, port, address });
      return decision?.routes.every(({ kind }) => kind === "direct") ?? false;
    });
  }

  /** Which way a request would take. */
  async decide(destination: Destination): Promise<Decision> {
    return await this.#router.decide(destination);
  }

  /** Has a request made as a guest would make it, also where no VM is attached. */
  async try(destination: Destination): Promise<Trial> {
    const { config, resolve, logger } = this.#options;
    const { ProxyConnections } = await import("./proxy-connections.ts");
    const destinations = vmDestinations(config);
    this.#connections ??= new ProxyConnections({ service: this, config, destinations, resolve, logger });
    return await this.#connections.try(destination);
  }

  close(): void {
    this.#connections?.close();
    this.#router.close();
    this.#stack.close();
  }

  #readConfiguration(): ConstructorParameters<typeof SettingsStack>[0]["configuration"] {
    const { upstream, noProxy, vpnkitFile, credentials } = this.#config;
    this.#credentialsFile = credentials === undefined ? null : new CredentialsFile(credentials);
    // A mistake in it is told at once.
    this.#credentials();
    this.#vpnkitFile = vpnkitFile === undefined ? null : new VpnkitProxyFile(vpnkitFile, systemClock);
    return this.#vpnkitFile ?? { upstream: upstream.setting, exclusions: noProxy };
  }

  #applyRunTime(): void {
    const choice = this.#runTime;
    const exclusions = choice?.noProxy ?? this.#config.noProxy;
    this.#stack.set(choice === null ? null : { upstream: choice.upstream, exclusions });
  }

  #changed(settings: ProxySettings, before: ProxySettings): void {
    // A proxy that could not be reached in another network is another one here.
    this.health.reset();
    const summary = summarize(settings);
    if (isDeepStrictEqual(summary, summarize(before))) return;
    const { http, https, pac, exclusions, from } = summary;
    const fields = { http, https, pac, exclusions: exclusions.flatMap(({ entries }) => entries), from };
    this.#options.events.emit("proxy.changed", fields);
    this.#options.logger.info(fields, "other proxy settings are in force");
  }

  /** Adds what the configuration says of proxies beside their URLs. */
  #complete(server: ProxyServer, script: string | null): ProxyServer {
    const ca = server.kind === "https" ? (server.ca ?? this.#ca) : undefined;
    const completed = ca === undefined ? server : { ...server, ca };
    // Whoever wrote a script that the host was told of by somebody else is not to learn the password.
    if (completed.credentials !== undefined || (script !== null && !this.#isOwnScript(script))) return completed;
    const credentials = this.#credentials();
    return credentials === undefined ? completed : { ...completed, credentials };
  }

  /** Read for each request, so that another password holds for the next one. */
  #credentials(): Credentials | undefined {
    try {
      const credentials = this.#credentialsFile?.read();
      this.#complaint = null;
      return credentials;
    } catch (error) {
      const complaint = error instanceof Error ? error.message : String(error);
      if (complaint !== this.#complaint) this.#options.logger.warn(`proxy.credentials: ${complaint}`);
      this.#complaint = complaint;
      return undefined;
    }
  }

  /** Whether somebody who runs hostd has named a script. */
  #isOwnScript(url: string): boolean {
    const chosen = [this.#runTime?.upstream, this.#config.upstream.setting];
    return chosen.some((setting) => setting?.kind === "pac" && setting.url === url);
  }
}

function hostNames({ host, gateway }: HostdConfig): (name: string) => boolean {
  const addresses = [formatIpv4(host), formatIpv4(gateway)];
  return (name) => {
    return addresses.includes(name) || OWN_ZONES.some((zone) => name === zone || name.endsWith(`.${zone}`));
  };
}
