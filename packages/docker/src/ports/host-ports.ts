import { overlap } from "./host-address.ts";
import {
  type ContainerPort,
  type HostPort,
  type PortPublisher,
  PortUnavailableError,
  type PublishedPort,
} from "./port-publisher.ts";
import { UNSUPPORTED_PROTOCOL } from "./port-refusal.ts";

/** The most ports of the host that containers have at once. */
const MAX_PORTS = 16_384;
const TOO_MANY = `containers have ${MAX_PORTS} ports, which is the most`;

/** A port that a container has by the engine's word. */
export interface WantedPort {
  /** In lower case. */
  readonly protocol: string;
  /** Empty for the default one. */
  readonly address: string;
  readonly port: number;
  readonly containerPort: number;
  readonly to: ContainerPort;
}

/** A port of the host and what has become of it. */
export interface PortReport {
  /** The container's or service's name. */
  readonly owner: string;
  readonly protocol: string;
  /** Empty for the default one. */
  readonly address: string;
  readonly port: number;
  /** Null before the container has started. */
  readonly containerPort: number | null;
  /** `held` listens and leads nowhere yet; `failed` does not listen. */
  readonly state: "open" | "held" | "failed";
  /** Why it failed, with what the host says. */
  readonly error?: string;
}

/** Ports that are kept for a container while it is being started, whether it runs or not. */
export class Hold {
  readonly hosts: readonly HostPort[];
  /** Those that were not there before. */
  readonly taken = new Set<Port>();

  constructor(hosts: readonly HostPort[]) {
    this.hosts = hosts;
  }
}

/** A container or service that has ports of the host. */
interface Owner {
  readonly id: string;
  name: string;
  readonly ports: Map<string, Port>;
  readonly holds: Set<Hold>;
}

interface Port {
  readonly owner: Owner;
  readonly protocol: string;
  readonly address: string;
  readonly port: number;
  containerPort: number | null;
  to: ContainerPort | null;
  published: PublishedPort | null;
  error: Error | null;
  /** The owner that had it when this one was last to have it. */
  rival: string | null;
}

export interface HostPortsOptions {
  readonly publisher: PortPublisher;
  /** A port cannot be listened on; told again only when the reason is another one. */
  readonly failed: (port: PortReport) => void;
  /** What an owner wanted and did not get may be had now. */
  readonly retry: (owner: string) => void;
}

/**
 * The ports of the host that containers have, by who has them. Of one owner there may be only one call at a time. No two
 * owners listen on the same port: who comes second does not get it until the first has let it go.
 */
export class HostPorts {
  readonly #options: HostPortsOptions;
  readonly #owners = new Map<string, Owner>();
  /** Those that listen, or are about to begin or to end it, by protocol and number. */
  readonly #listening = new Map<string, Set<Port>>();
  /** Those that do not listen though they should, and might yet. */
  readonly #failing = new Set<Port>();
  #count = 0;

  constructor(options: HostPortsOptions) {
    this.#options = options;
  }

  has(owner: string): boolean {
    return this.#owners.has(owner);
  }

  get owners(): string[] {
    return [...this.#owners.keys()];
  }

  /** Owners of ports that do not listen and might yet. */
  get failing(): Set<string> {
    return new Set([...this.#failing].map(({ owner }) => owner.id));
  }

  /** Others that have what an owner does not get. */
  rivals(id: string): Set<string> {
    const rivals = new Set<string>();
    for (const port of this.#owners.get(id)?.ports.values() ?? []) {
      const rival = port.published === null ? this.#rival(port) : null;
      if (rival !== null) rivals.add(rival.owner.id);
    }
    return rivals;
  }

  /**
   * Has an owner have what it should, and what is kept for it, and nothing else.
   *
   * @returns others that have what it does not get, and were not in its way before.
   */
  async apply(id: string, name: string, wanted: readonly WantedPort[]): Promise<Set<string>> {
    const owner = this.#owner(id, name);
    const rivals = new Set<string>();
    const kept = new Set(wanted.map(keyOf));
    for (const { hosts } of owner.holds) for (const host of hosts) kept.add(keyOf(host));
    const targets = new Map(wanted.map((one) => [keyOf(one), one]));
    for (const [key, port] of [...owner.ports]) {
      if (!kept.has(key)) await this.#drop(port);
      else if (!targets.has(key)) this.#lead(port, null);
    }
    for (const one of wanted) {
      const port = owner.ports.get(keyOf(one)) ?? this.#add(owner, one);
      if (port === null) {
        this.#options.failed({ ...one, owner: name, state: "failed", error: TOO_MANY });
        continue;
      }
      port.containerPort = one.containerPort;
      this.#lead(port, one.to);
      if (port.published !== null) continue;
      const rival = this.#rival(port)?.owner.id ?? null;
      if (rival !== null && rival !== port.rival) rivals.add(rival);
      port.rival = rival;
      await this.#open(port).catch((error: Error) => this.#fail(port, error));
    }
    this.#forgetIfEmpty(owner);
    return rivals;
  }

  /**
   * Keeps ports for an owner until {@link unhold}. Those that another owner has are left to it, for the engine to judge.
   *
   * @returns owners of ports that this one does not get for that.
   * @throws {PortHoldError} when one cannot be had. None is kept then.
   */
  async hold(id: string, name: string, hold: Hold): Promise<Set<string>> {
    const owner = this.#owner(id, name);
    const rivals = new Set<string>();
    owner.holds.add(hold);
    for (const host of hold.hosts) {
      const known = owner.ports.get(keyOf(host));
      if (known !== undefined && known.published !== null) continue;
      const port = known ?? this.#add(owner, host);
      try {
        if (port === null) throw new Error(TOO_MANY);
        const rival = this.#rival(port);
        if (rival !== null) {
          rivals.add(rival.owner.id);
          if (known === undefined) this.#remove(port);
          continue;
        }
        await this.#open(port);
        hold.taken.add(port);
      } catch (error) {
        if (port !== null && known === undefined) this.#remove(port);
        this.unhold(id, hold);
        await this.dropIdle(id, hold);
        throw new PortHoldError(host, error);
      }
    }
    return rivals;
  }

  /** Does not keep ports any more. They stay until {@link apply} or {@link dropIdle}. */
  unhold(id: string, hold: Hold): void {
    this.#owners.get(id)?.holds.delete(hold);
  }

  /** Lets go of what was taken by a hold and leads nowhere still, unless it is kept by another. */
  async dropIdle(id: string, hold: Hold): Promise<void> {
    const owner = this.#owners.get(id);
    if (owner === undefined) return;
    const kept = new Set([...owner.holds].flatMap(({ hosts }) => hosts.map(keyOf)));
    for (const port of hold.taken) {
      if (port.to === null && !kept.has(keyOf(port)) && owner.ports.has(keyOf(port))) await this.#drop(port);
    }
    this.#forgetIfEmpty(owner);
  }

  /** Tries once more to listen where an owner should. */
  async retry(id: string): Promise<void> {
    for (const port of this.#owners.get(id)?.ports.values() ?? []) {
      if (this.#failing.has(port)) await this.#open(port).catch((error: Error) => this.#fail(port, error));
    }
  }

  /** Lets go of everything that an owner has. */
  async release(id: string): Promise<void> {
    const owner = this.#owners.get(id);
    if (owner === undefined) return;
    owner.holds.clear();
    for (const port of [...owner.ports.values()]) await this.#drop(port);
    this.#forgetIfEmpty(owner);
  }

  list(): PortReport[] {
    return [...this.#owners.values()].flatMap(({ ports }) => [...ports.values()].map(report));
  }

  #owner(id: string, name: string): Owner {
    const owner = this.#owners.get(id) ?? { id, name, ports: new Map(), holds: new Set() };
    this.#owners.set(id, owner);
    owner.name = name;
    return owner;
  }

  #forgetIfEmpty(owner: Owner): void {
    if (owner.ports.size === 0 && owner.holds.size === 0) this.#owners.delete(owner.id);
  }

  /** @returns null when there are too many. */
  #add(owner: Owner, { protocol, address, port: number }: Pick<Port, "protocol" | "address" | "port">): Port | null {
    if (this.#count >= MAX_PORTS) return null;
    this.#count++;
    const state = { containerPort: null, to: null, published: null, error: null, rival: null };
    const port: Port = { owner, protocol, address, port: number, ...state };
    owner.ports.set(keyOf(port), port);
    return port;
  }

  #remove(port: Port): void {
    this.#failing.delete(port);
    if (port.owner.ports.delete(keyOf(port))) this.#count--;
  }

  /** Another owner's port that listens where this one would. */
  #rival(port: Port): Port | null {
    for (const other of this.#listening.get(numberOf(port)) ?? []) {
      if (other.owner !== port.owner && overlap(port.address, other.address)) return other;
    }
    return null;
  }

  /** Listens. */
  async #open(port: Port): Promise<void> {
    const { protocol, address, port: number, owner } = port;
    if (protocol !== "tcp" && protocol !== "udp") throw UNSUPPORTED_PROTOCOL;
    const rival = this.#rival(port);
    if (rival !== null) throw new Error(`it is a port of ${rival.owner.name}`);
    const listening = this.#listening.get(numberOf(port)) ?? new Set();
    this.#listening.set(numberOf(port), listening.add(port));
    try {
      port.published = await this.#options.publisher.publish({ protocol, address, port: number }, owner.name);
    } catch (error) {
      this.#unlist(port);
      throw error;
    }
    port.error = null;
    this.#failing.delete(port);
    if (port.to !== null) port.published.lead(port.to);
  }

  #fail(port: Port, error: Error): void {
    const isNew = port.error?.message !== error.message;
    port.error = error;
    if (error !== UNSUPPORTED_PROTOCOL) this.#failing.add(port);
    if (isNew) this.#options.failed(report(port));
  }

  #lead(port: Port, to: ContainerPort | null): void {
    const { to: before, published } = port;
    port.to = to;
    if (to === null) port.containerPort = null;
    if (before?.address !== to?.address || before?.port !== to?.port) published?.lead(to);
  }

  /** Listens no longer. */
  async #drop(port: Port): Promise<void> {
    this.#remove(port);
    if (port.published === null) return;
    const { published } = port;
    port.published = null;
    // Whatever went wrong with it, it is of no use any more.
    await published.release().catch(() => {});
    this.#unlist(port);
    // Somebody else may have it now.
    const number = numberOf(port);
    const owners = new Set<string>();
    for (const other of this.#failing) {
      if (other.owner !== port.owner && numberOf(other) === number) owners.add(other.owner.id);
    }
    for (const owner of owners) this.#options.retry(owner);
  }

  #unlist(port: Port): void {
    const number = numberOf(port);
    const listening = this.#listening.get(number);
    listening?.delete(port);
    if (listening?.size === 0) this.#listening.delete(number);
  }
}

/** A port that could not be kept for a container. */
export class PortHoldError extends Error {
  override readonly name = "PortHoldError";
  readonly host: HostPort;

  constructor(host: HostPort, cause: unknown) {
    super(cause instanceof PortUnavailableError ? cause.goMessage : String(cause), { cause });
    this.host = host;
  }
}

function keyOf({ protocol, address, port }: { protocol: string; address: string; port: number }): string {
  return `${protocol} ${address} ${port}`;
}

function numberOf({ protocol, port }: Port): string {
  return `${protocol} ${port}`;
}

function report({ owner, protocol, address, port, containerPort, published, to, error }: Port): PortReport {
  const hasFailed = published === null && error !== null;
  return {
    owner: owner.name,
    protocol,
    address,
    port,
    containerPort,
    state: hasFailed ? "failed" : to === null ? "held" : "open",
    ...(hasFailed ? { error: error.message } : {}),
  };
}
