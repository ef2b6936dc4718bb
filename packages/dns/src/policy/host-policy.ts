/** Which source knows the name servers of this host. */
import { statSync } from "node:fs";
import { join } from "node:path";
import { PolledFile, type RunCommand } from "@hostd/host";
import type { DnsLogger } from "../logger.ts";
import { formatServerAddress } from "../server-address.ts";
import { canonicalAddress } from "../zones/reverse-names.ts";
import { type Policy, type PolicySource, RouteTable } from "./policy.ts";
import { RESOLV_CONF_PATH } from "./resolv-conf.ts";
import { ResolvConfFile } from "./resolv-conf-file.ts";
import { Scutil } from "./scutil.ts";
import { isStub, RESOLVED_FOLDER, SystemdResolved, type SystemdResolvedOptions } from "./systemd-resolved.ts";

/** How long it is taken as known whether systemd-resolved is used, in milliseconds. */
const CHECK_INTERVAL = 1000;

const NSSWITCH_PATH = "/etc/nsswitch.conf";

export interface HostPolicyOptions extends Omit<SystemdResolvedOptions, "folder"> {
  /** Of this process when it is not given. */
  readonly platform?: NodeJS.Platform;
  /** The file that the user named. One other than {@link RESOLV_CONF_PATH} holds alone. */
  readonly resolvConf?: string;
  /** Addresses at which our own name server answers, which is not asked in turn. */
  readonly ownAddresses?: readonly string[];
  /** The folder below which the files of the host are; `/` when it is not given. */
  readonly root?: string;
  /** Runs busctl or scutil. */
  readonly run?: RunCommand;
}

/** The policy of the host, which is followed until it is closed. */
export interface HostPolicy extends PolicySource {
  /** Resolves when what takes time to find out is known, which {@link PolicySource.current} does not wait for. */
  ready(): Promise<void>;
  /** Ends the processes that are under way. The last policy stays. */
  close(): void;
}

/**
 * Finds the name servers that the host's own programs use. On macOS `scutil --dns` knows them, on Linux systemd-resolved
 * where look-ups go through it, and everywhere else resolv.conf, which also holds until the others have answered.
 */
export function hostPolicy(options: HostPolicyOptions = {}): HostPolicy {
  const { platform = process.platform, resolvConf = RESOLV_CONF_PATH, ownAddresses = [], logger } = options;
  const choice = new ChoiceLog(logger);
  let policy: HostPolicy;
  if (resolvConf !== RESOLV_CONF_PATH) {
    choice.is(resolvConf, "the configuration names it");
    const file = new ResolvConfFile({ ...shared(options), path: resolvConf });
    policy = fromFile(file);
  } else if (platform === "darwin") policy = new MacPolicy(options, choice);
  else if (platform === "linux") policy = new LinuxPolicy(options, choice);
  else {
    const path = join(options.root ?? "/", RESOLV_CONF_PATH);
    choice.is(path, `there is no other source on ${platform}`);
    const file = new ResolvConfFile({ ...shared(options), path });
    policy = fromFile(file);
  }
  return ownAddresses.length === 0 ? policy : new WithoutOwnAddresses(policy, ownAddresses, logger);
}

function fromFile(file: ResolvConfFile): HostPolicy {
  return { current: () => file.current(), recheck: () => file.recheck(), ready: async () => {}, close: () => {} };
}

function shared({ logger, now }: HostPolicyOptions) {
  return { ...(logger && { logger }), ...(now && { now }) };
}

/** Says which source is used, when that has changed. */
class ChoiceLog {
  readonly #logger: DnsLogger | undefined;
  #last = "";

  constructor(logger: DnsLogger | undefined) {
    this.#logger = logger;
  }

  is(source: string, reason: string): void {
    const text = `${source} ${reason}`;
    if (text !== this.#last) this.#logger?.info({ source, reason }, "source of the host's name servers");
    this.#last = text;
  }
}

class MacPolicy implements HostPolicy {
  readonly #scutil: Scutil;
  readonly #resolvConf: ResolvConfFile;
  readonly #choice: ChoiceLog;
  readonly #path: string;

  constructor(options: HostPolicyOptions, choice: ChoiceLog) {
    this.#path = join(options.root ?? "/", RESOLV_CONF_PATH);
    this.#resolvConf = new ResolvConfFile({ ...shared(options), path: this.#path });
    this.#scutil = new Scutil({ ...shared(options), ...(options.run && { run: options.run }) });
    this.#choice = choice;
  }

  current(): Policy {
    const policy = this.#scutil.current();
    if (policy === null) {
      this.#choice.is(this.#path, "scutil has not answered yet");
      return this.#resolvConf.current();
    }
    this.#choice.is("scutil --dns", "the host runs macOS");
    return policy;
  }

  recheck(): void {
    this.#resolvConf.recheck();
  }

  async ready(): Promise<void> {
    this.current();
    await this.#scutil.settled();
  }

  close(): void {
    this.#scutil.close();
  }
}

class LinuxPolicy implements HostPolicy {
  readonly #resolved: SystemdResolved;
  readonly #resolvConf: ResolvConfFile;
  readonly #choice: ChoiceLog;
  readonly #lookups: LookupPath;
  readonly #path: string;

  constructor(options: HostPolicyOptions, choice: ChoiceLog) {
    const root = options.root ?? "/";
    const folder = join(root, RESOLVED_FOLDER);
    this.#path = join(root, RESOLV_CONF_PATH);
    this.#resolvConf = new ResolvConfFile({ ...shared(options), path: this.#path });
    this.#resolved = new SystemdResolved({ ...options, folder });
    this.#lookups = new LookupPath(root, options.now ?? (() => performance.now()));
    this.#choice = choice;
  }

  current(): Policy {
    const file = this.#resolvConf.current();
    if (file.routes.routes.some(({ set }) => set.servers.some(isStub))) {
      this.#choice.is(this.#path, "it names the stub of systemd-resolved, which keeps its routing");
      return file;
    }
    const reason = this.#lookups.toResolved();
    if (reason === null) {
      this.#choice.is(this.#path, "look-ups of the host do not go through systemd-resolved");
      return file;
    }
    const state = this.#resolved.current();
    if (state.kind === "unknown") this.#choice.is(this.#path, "systemd-resolved has not answered yet");
    else if (state.kind === "absent") this.#choice.is(this.#path, "systemd-resolved does not run");
    else this.#choice.is(`systemd-resolved, its ${state.kind}`, reason);
    return "policy" in state ? state.policy : file;
  }

  recheck(): void {
    this.#resolvConf.recheck();
  }

  async ready(): Promise<void> {
    this.current();
    await this.#resolved.settled();
  }

  close(): void {
    this.#resolved.close();
  }
}

/** Finds out whether the look-ups of a host's programs go through systemd-resolved. */
class LookupPath {
  readonly #resolvConf: string;
  readonly #uplinkFile: string;
  readonly #nsswitch: PolledFile;
  readonly #now: () => number;
  #nextCheck = Number.NEGATIVE_INFINITY;
  #byNsswitch = false;
  #byFile = false;

  constructor(root: string, now: () => number) {
    this.#resolvConf = join(root, RESOLV_CONF_PATH);
    this.#uplinkFile = join(root, RESOLVED_FOLDER, "resolv.conf");
    this.#nsswitch = new PolledFile(join(root, NSSWITCH_PATH), now);
    this.#now = now;
  }

  /** Why they do; null when they do not. */
  toResolved(): string | null {
    const now = this.#now();
    if (now >= this.#nextCheck) {
      this.#nextCheck = now + CHECK_INTERVAL;
      const nsswitch = this.#nsswitch.changed();
      if (nsswitch !== null) this.#byNsswitch = nsswitch.kind === "text" && prefersResolve(nsswitch.text);
      this.#byFile = isSameFile(this.#resolvConf, this.#uplinkFile);
    }
    if (this.#byNsswitch) return "nsswitch.conf has resolve for hosts";
    return this.#byFile ? "resolv.conf is the file of its servers" : null;
  }
}

/** Whether the line `hosts` of an nsswitch.conf(5) has `resolve`, and no `dns` before it. */
function prefersResolve(text: string): boolean {
  const services = /^[ \t]*hosts[ \t]*:(.*)$/m.exec(text)?.[1] ?? "";
  const names = services
    .replace(/#.*|\[[^\]]*\]/g, " ")
    .trim()
    .split(/\s+/);
  return names.find((name) => name === "resolve" || name === "dns") === "resolve";
}

function isSameFile(one: string, other: string): boolean {
  try {
    const [a, b] = [one, other].map((path) => statSync(path, { bigint: true }));
    return a.dev === b.dev && a.ino === b.ino;
  } catch {
    return false;
  }
}

/** Leaves out servers that are ourselves. A route stays without servers rather than to send its names elsewhere. */
class WithoutOwnAddresses implements HostPolicy {
  readonly #source: HostPolicy;
  readonly #own: ReadonlySet<string>;
  readonly #logger: DnsLogger | undefined;
  #underlying: Policy | null = null;
  #policy: Policy | null = null;

  constructor(source: HostPolicy, own: readonly string[], logger: DnsLogger | undefined) {
    this.#source = source;
    this.#own = new Set(own.map(canonicalAddress));
    this.#logger = logger;
  }

  current(): Policy {
    const underlying = this.#source.current();
    if (this.#policy === null || underlying !== this.#underlying) {
      this.#underlying = underlying;
      this.#policy = this.#filter(underlying);
    }
    return this.#policy;
  }

  recheck(): void {
    this.#source.recheck?.();
  }

  ready(): Promise<void> {
    return this.#source.ready();
  }

  close(): void {
    this.#source.close();
  }

  #filter(policy: Policy): Policy {
    const isOwn = (address: string) => this.#own.has(canonicalAddress(address.replace(/%.*/, "")));
    const routes = policy.routes.routes;
    const own = routes.flatMap(({ set }) => set.servers.filter(({ address }) => isOwn(address)));
    if (own.length === 0) return policy;
    const servers = [...new Set(own.map(formatServerAddress))];
    this.#logger?.warn({ servers }, "the host's name servers include this one, which is left out");
    const others = routes.map((route) => {
      return { ...route, set: { ...route.set, servers: route.set.servers.filter(({ address }) => !isOwn(address)) } };
    });
    return { routes: new RouteTable(others), search: policy.search };
  }
}
