import type { HostCommands } from "@hostd/host";
import type { Clock, Logger } from "@hostd/streams";
import { formatProxy } from "../route.ts";
import type { UpstreamSetting } from "../settings/proxy-url.ts";
import { readEnvironment } from "./environment.ts";
import { ProblemList } from "./problem-list.ts";
import { directSettings, formatPacUrl, NOTHING, type ProxySettings, type SourceReading } from "./proxy-settings.ts";
import { type SystemProgram, SystemSettings } from "./system-settings.ts";
import { VpnkitProxyFile } from "./vpnkit-proxy-file.ts";

/** Which proxies somebody has chosen. */
export interface ProxyChoice {
  /** With `system` the environment is asked, and then the operating system. */
  readonly upstream: UpstreamSetting;
  /** What goes direct, as an exclusion list has it. With `system` it is added to what the host excludes. */
  readonly exclusions: string | readonly string[];
}

export interface SettingsStackOptions {
  /** What the configuration says; null when it says nothing. */
  readonly configuration: ProxyChoice | VpnkitProxyFile | null;
  readonly environment: NodeJS.ProcessEnv;
  /** The operating system; null when it has no settings. */
  readonly program: SystemProgram | null;
  readonly clock: Clock;
  readonly logger: Logger;
  /** For tests; processes of the host unless given. */
  readonly commands?: HostCommands;
}

/** Settings as they may be shown: without credentials. */
export interface SettingsSummary {
  readonly http: readonly string[];
  readonly https: readonly string[];
  readonly pac: string | null;
  readonly exclusions: readonly { readonly entries: readonly string[]; readonly from: string }[];
  /** The only hosts that may be reached; null when all may. */
  readonly allowed: readonly string[] | null;
  readonly from: string;
}

export interface SourceReport {
  /** For people: `the environment`. */
  readonly name: string;
  /** What it says; `system` that the host is asked, null that it says nothing. */
  readonly says: SettingsSummary | "system" | null;
  readonly isInForce: boolean;
  /** What could not be used of it. */
  readonly problems: readonly string[];
}

export interface SettingsReport {
  readonly settings: SettingsSummary;
  /** All, in the order in which they are asked. */
  readonly sources: readonly SourceReport[];
}

/** What a source says that can leave it to the host. Its settings are then the exclusions that it adds. */
interface Statement extends SourceReading {
  readonly isSystem: boolean;
}

const SILENCE: Statement = { ...NOTHING, isSystem: false };
const RUN_TIME = "the run-time setting";
const CONFIGURATION = "the configuration";
const ENVIRONMENT = "the environment";
const DEFAULT = directSettings("the default, as no source names a proxy");

/**
 * Whose settings are in force: those made at run time, of the configuration, of the environment, of the operating system,
 * in this order. The first that says something is taken as a whole; when none does, everything goes direct.
 */
export class SettingsStack {
  #configurationName: string;
  #configuration: () => Statement;
  readonly #environment: SourceReading;
  readonly #system: SystemSettings;
  readonly #logger: Logger;
  readonly #listeners = new Set<(settings: ProxySettings, before: ProxySettings) => void>();
  /** The problems that were logged, by the source that had them last. */
  readonly #logged = new Map<string, readonly string[]>();
  #runTime = SILENCE;
  /** What the settings were made of. */
  #inputs: readonly unknown[] = [];
  #settings: ProxySettings | null = null;

  constructor(options: SettingsStackOptions) {
    const { configuration, environment, program, clock, logger, commands } = options;
    this.#configurationName = nameOf(configuration);
    this.#configuration = readerOf(configuration);
    this.#environment = readEnvironment(environment);
    this.#logger = logger;
    this.#system = new SystemSettings({
      program,
      clock,
      logger,
      onChange: () => this.current(),
      ...(commands && { commands }),
    });
  }

  /** The settings in force, the same object until they change; null as long as the operating system has not answered. */
  current(): ProxySettings | null {
    const configuration = this.#configuration();
    this.#logProblems(this.#configurationName, configuration);
    const chosen = this.#runTime.settings === null ? configuration : this.#runTime;
    const isChosen = chosen.settings !== null && !chosen.isSystem;
    const host = isChosen ? chosen : this.#host();
    if (host === null) return null;
    if (this.#inputs[0] === chosen && this.#inputs[1] === host) return this.#settings;
    this.#inputs = [chosen, host];
    const before = this.#settings;
    this.#settings = combine(chosen, host);
    if (before !== null && before !== this.#settings) {
      for (const listener of this.#listeners) listener(this.#settings, before);
    }
    return this.#settings;
  }

  /** The settings in force, once they are known. */
  async settled(): Promise<ProxySettings> {
    const known = this.current();
    if (known !== null) return known;
    await this.#system.settled();
    return this.current() ?? DEFAULT;
  }

  /** Has another configuration hold. */
  configure(configuration: SettingsStackOptions["configuration"]): void {
    this.#configurationName = nameOf(configuration);
    this.#configuration = readerOf(configuration);
    this.current();
  }

  /** Makes the setting of the run time; null takes it back. */
  set(choice: ProxyChoice | null): void {
    this.#runTime = choice === null ? SILENCE : readChoice(choice, RUN_TIME);
    this.#logProblems(RUN_TIME, this.#runTime);
    this.current();
  }

  /**
   * Has `listener` told of other settings that have come in force, whoever noticed that. The first ones are none.
   *
   * @returns ends that.
   */
  onChange(listener: (settings: ProxySettings, before: ProxySettings) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** What each source says. */
  async report(): Promise<SettingsReport> {
    await this.#system.settled();
    const settings = await this.settled();
    const configuration = this.#configuration();
    const system = this.#system.current() ?? NOTHING;
    const runTime = this.#runTime;
    const [chosen, host] = this.#inputs;
    const report = (name: string, reading: SourceReading): SourceReport => ({
      name,
      says: summaryOf(reading),
      isInForce: reading.settings !== null && (reading === chosen || reading === host),
      problems: reading.problems,
    });
    return {
      settings: summarize(settings),
      sources: [
        report(RUN_TIME, runTime),
        report(this.#configurationName, configuration),
        report(ENVIRONMENT, this.#environment),
        report(this.#system.name, system),
      ],
    };
  }

  /** Ends what follows the operating system. */
  close(): void {
    this.#system.close();
  }

  /** What this host has set itself; null as long as that is not known. */
  #host(): SourceReading | null {
    this.#logProblems(ENVIRONMENT, this.#environment);
    if (this.#environment.settings !== null) return this.#environment;
    const system = this.#system.current();
    if (system !== null) this.#logProblems(this.#system.name, system);
    return system;
  }

  #logProblems(name: string, { problems }: SourceReading): void {
    const logged = this.#logged.get(name) ?? [];
    if (logged === problems) return;
    this.#logged.set(name, problems);
    for (const problem of problems) {
      if (!logged.includes(problem)) this.#logger.warn({ problem }, "a proxy setting cannot be used");
    }
  }
}

function nameOf(configuration: SettingsStackOptions["configuration"]): string {
  return configuration instanceof VpnkitProxyFile ? `${CONFIGURATION} (${configuration.path})` : CONFIGURATION;
}

function readerOf(configuration: ProxyChoice | VpnkitProxyFile | null): () => Statement {
  if (!(configuration instanceof VpnkitProxyFile)) {
    const statement = configuration === null ? SILENCE : readChoice(configuration, CONFIGURATION);
    return () => statement;
  }
  let reading: SourceReading = NOTHING;
  let statement = SILENCE;
  return () => {
    const now = configuration.current();
    if (now !== reading) {
      reading = now;
      statement = { ...now, isSystem: false };
    }
    return statement;
  };
}

function readChoice({ upstream, exclusions }: ProxyChoice, name: string): Statement {
  const problems = new ProblemList(name);
  const excluded = problems.exclusions(exclusions);
  const servers = upstream.kind === "proxies" ? upstream.servers : [];
  return {
    settings: {
      ...directSettings(name),
      http: servers,
      https: servers,
      pac: upstream.kind === "pac" ? upstream.url : null,
      exclusions: excluded.entries.length === 0 ? [] : [excluded],
    },
    problems: problems.lines,
    isSystem: upstream.kind === "system",
  };
}

function combine(chosen: Statement, host: SourceReading): ProxySettings {
  const settings = host.settings ?? DEFAULT;
  const added = chosen === host ? [] : (chosen.settings?.exclusions ?? []);
  return added.length === 0 ? settings : { ...settings, exclusions: [...added, ...settings.exclusions] };
}

function summaryOf(reading: SourceReading): SettingsSummary | "system" | null {
  if (reading.settings === null) return null;
  return "isSystem" in reading && reading.isSystem === true ? "system" : summarize(reading.settings);
}

/** What of settings may be shown. */
export function summarize({ http, https, pac, exclusions, allowed, from }: ProxySettings): SettingsSummary {
  return {
    http: http.map(formatProxy),
    https: https.map(formatProxy),
    pac: pac === null ? null : formatPacUrl(pac),
    exclusions: exclusions.map(({ entries, from }) => ({ entries, from })),
    allowed: allowed?.entries ?? null,
    from,
  };
}
