import { after, type Clock, FailureLog, type Logger, systemClock } from "@hostd/streams";
import { type EngineClient, EngineError } from "../engine/engine-client.ts";
import type { EngineEvent } from "../engine/engine-event.ts";
import type { EngineWatcher } from "../engine/engine-watch.ts";
import { at, elementsAt, numberAt, textAt } from "../engine/json-value.ts";
import { type ContainerPorts, isContainerId, readContainer } from "./container-ports.ts";
import { formatAddress } from "./host-address.ts";
import { type Hold, HostPorts, type PortReport, type WantedPort } from "./host-ports.ts";
import { KeyedTasks } from "./keyed-tasks.ts";
import type { PortPublisher } from "./port-publisher.ts";
import { readServices } from "./service-ports.ts";

/** How often it is tried again to listen where it failed, and to ask what was not answered, in milliseconds. */
const RETRY_INTERVAL = 5000;
/** Containers that are asked about at once. */
const MAX_CONCURRENT = 8;
/** The most containers that wait to be asked about, and that are taken from a list. */
const MAX_WAITING = 4096;
/** Networks whose kind is remembered. */
const MAX_NETWORKS = 1024;

/** What is asked about, beside containers by their ids. */
const ALL_CONTAINERS = "containers";
const ALL_SERVICES = "services";
const SERVICE_PREFIX = "service ";

/** After these a container has no port that it had not before. */
const ENDINGS: ReadonlySet<string> = new Set(["die", "destroy", "rename", "disconnect"]);
const CONTAINER_ACTIONS: ReadonlySet<string> = new Set(["start", "die", "destroy", "rename"]);
const NETWORK_ACTIONS: ReadonlySet<string> = new Set(["connect", "disconnect"]);
const SERVICE_ACTIONS: ReadonlySet<string> = new Set(["create", "update", "remove"]);
/** How an engine that has no swarm answers: Docker, and Podman. */
const NO_SWARM: ReadonlySet<number | null> = new Set([404, 405, 406, 501, 503]);

/** How a network's containers are reached from outside of it: at their addresses, at the VM's, or not at all. */
type NetworkKind = "bridge" | "other" | "internal";

export interface PortKeeperOptions {
  readonly client: EngineClient;
  readonly publisher: PortPublisher;
  readonly logger: Logger;
  /**
   * Where ports lead: to the containers' own addresses, or to the ports that the engine listens on in the VM, for an engine
   * whose networks cannot be reached from without, such as a rootless one. Containers unless given.
   */
  readonly reach?: "container" | "vm";
  /** For tests; the process's clock unless given. */
  readonly clock?: Clock;
}

/**
 * Has the ports that the containers of an engine publish be ports of this host. What is published is what the engine says
 * of a container when it is asked; its events only tell when to ask. Ports stay while the engine cannot be asked.
 */
export class PortKeeper implements EngineWatcher {
  readonly #client: EngineClient;
  readonly #clock: Clock;
  readonly #failures: FailureLog;
  readonly #reach: "container" | "vm";
  readonly #ports: HostPorts;
  readonly #tasks = new KeyedTasks({ work: (key) => this.#look(key), maxConcurrent: MAX_CONCURRENT });
  /** What could not be asked about. */
  readonly #unknown = new Set<string>();
  readonly #networks = new Map<string, NetworkKind>();
  readonly #closing = new AbortController();
  #stopRetrying: (() => void) | null = null;

  constructor({ client, publisher, logger, reach = "container", clock = systemClock }: PortKeeperOptions) {
    this.#client = client;
    this.#clock = clock;
    this.#reach = reach;
    this.#failures = new FailureLog(logger, clock);
    this.#ports = new HostPorts({
      publisher,
      failed: (port) => this.#failed(port),
      retry: (owner) => this.#retry(owner),
    });
  }

  /** Lets go of all ports, whatever the engine tells from now on. Resolves when nobody listens any more. */
  async close(): Promise<void> {
    this.#closing.abort(new EngineError("the ports of containers are closed", null));
    this.#stopRetrying?.();
    for (const owner of this.#ports.owners) void this.#tasks.run(owner, () => this.#ports.release(owner));
    await this.settled();
  }

  relist(): void {
    this.#networks.clear();
    void this.#request(ALL_CONTAINERS);
    void this.#request(ALL_SERVICES);
  }

  event({ type, action, container }: EngineEvent): void {
    if (type === "container" && CONTAINER_ACTIONS.has(action)) this.#happened(container, action);
    else if (type === "network" && NETWORK_ACTIONS.has(action)) this.#happened(container, action);
    else if (type === "service" && SERVICE_ACTIONS.has(action)) void this.#request(ALL_SERVICES);
  }

  /** The ports of all containers and services, with those that they did not get. */
  list(): PortReport[] {
    return this.#ports.list();
  }

  /** Resolves when all that is known to have happened has been looked at. */
  async settled(): Promise<void> {
    while (this.#tasks.size > 0) await this.#tasks.idle();
  }

  /**
   * Looks at one container, by a name or id of it.
   *
   * @returns null when there is none.
   * @throws {EngineError} when the engine does not tell.
   */
  async inspect(container: string): Promise<ContainerPorts | null> {
    return readContainer(await this.#getUnlessMissing(`/containers/${encodeURIComponent(container)}/json`));
  }

  /**
   * Keeps ports for a container that is about to be started, until {@link unhold}. Those that another container has by the
   * engine's word are left to the engine to judge.
   *
   * @throws {PortHoldError} when one cannot be had. None is kept then.
   */
  async hold({ id, name }: ContainerPorts, hold: Hold): Promise<void> {
    const attempt = () => {
      return this.#tasks.run(id, async () => (this.#isClosed ? new Set<string>() : this.#ports.hold(id, name, hold)));
    };
    const rivals = await attempt();
    // The news that they have ended may be on its way.
    const wereLooked = await Promise.all([...rivals].map((rival) => this.#request(rival)));
    if (wereLooked.length > 0) await attempt();
  }

  /** Has a container have what it should now that it is no longer about to be started. */
  async unhold({ id }: ContainerPorts, hold: Hold, wasStarted: boolean): Promise<void> {
    this.#ports.unhold(id, hold);
    const isKnown = await this.#request(id);
    if (!isKnown && !wasStarted) await this.#tasks.run(id, () => this.#ports.dropIdle(id, hold));
    const rivals = this.#ports.rivals(id);
    if (rivals.size === 0) return;
    await Promise.all([...rivals].map((rival) => this.#request(rival)));
    await this.#request(id);
  }

  #happened(id: string, action: string): void {
    if (!isContainerId(id)) return;
    if (ENDINGS.has(action) && !this.#ports.has(id) && !this.#tasks.has(id)) return;
    void this.#request(this.#tasks.size < MAX_WAITING ? id : ALL_CONTAINERS);
  }

  /** @returns whether it is known how it is. */
  #request(key: string): Promise<boolean> {
    if (this.#isClosed) return Promise.resolve(false);
    return this.#tasks.request(key.startsWith(SERVICE_PREFIX) ? ALL_SERVICES : key);
  }

  async #look(key: string): Promise<boolean> {
    if (this.#isClosed) return false;
    try {
      if (key === ALL_CONTAINERS) await this.#lookAtAll();
      else if (key === ALL_SERVICES) await this.#lookAtServices();
      else await this.#lookAt(key);
      this.#unknown.delete(key);
      return true;
    } catch (error) {
      if (this.#isClosed) return false;
      const reason = error instanceof Error ? error.message : String(error);
      this.#failures.warn("look", { about: key, reason }, "the Docker engine did not say which ports there are");
      this.#unknown.add(this.#unknown.size < MAX_WAITING ? key : ALL_CONTAINERS);
      this.#retryLater();
      return false;
    }
  }

  async #lookAtAll(): Promise<void> {
    const rows = elementsAt(await this.#get("/containers/json"));
    const ids = new Set(this.#ports.owners.filter(isContainerId));
    for (const row of rows) {
      const id = textAt(row, "Id");
      const hasPorts = elementsAt(row, "Ports").some((port) => numberAt(port, "PublicPort") > 0);
      if (hasPorts && isContainerId(id) && ids.size < MAX_WAITING) ids.add(id);
    }
    for (const id of ids) void this.#request(id);
  }

  async #lookAt(id: string): Promise<void> {
    const container = await this.inspect(id);
    const wanted = container === null ? [] : await this.#wanted(container);
    await this.#apply(id, container?.name ?? id, wanted);
  }

  async #apply(owner: string, name: string, wanted: readonly WantedPort[]): Promise<void> {
    if (this.#isClosed) return;
    const rivals = await this.#ports.apply(owner, name, wanted);
    // The news that they have ended may be on its way.
    for (const rival of rivals) void this.#request(rival);
  }

  async #lookAtServices(): Promise<void> {
    const services = readServices(await this.#listServices());
    const gone = new Set(this.#ports.owners.filter((owner) => owner.startsWith(SERVICE_PREFIX)));
    for (const { id, name, ports } of services) {
      const owner = `${SERVICE_PREFIX}${id}`;
      gone.delete(owner);
      const wanted = ports.map(({ protocol, servicePort, port }) => {
        // The nodes lead it to some container of the service.
        return { protocol, address: "", port, containerPort: servicePort, to: { address: null, port } };
      });
      await this.#tasks.run(owner, () => this.#apply(owner, name, wanted));
    }
    for (const owner of gone) await this.#tasks.run(owner, () => this.#ports.release(owner));
  }

  async #listServices(): Promise<unknown> {
    try {
      return await this.#get("/services");
    } catch (error) {
      if (error instanceof EngineError && NO_SWARM.has(error.status)) return [];
      throw error;
    }
  }

  async #wanted({ bound, attachments }: ContainerPorts): Promise<WantedPort[]> {
    if (bound.length === 0) return [];
    const isReached = this.#reach === "vm" || attachments.length === 0;
    const address = isReached ? null : await this.#addressOf(attachments);
    if (address === undefined) return [];
    return bound.map((port) => ({
      ...port,
      to: address === null ? { address, port: port.port } : { address, port: port.containerPort },
    }));
  }

  /**
   * Where a container is reached.
   *
   * @returns null for by the VM's own address; undefined for nowhere.
   */
  async #addressOf(attachments: ContainerPorts["attachments"]): Promise<string | null | undefined> {
    let address: null | undefined;
    for (const attachment of attachments) {
      if (!attachment.isJoined) continue;
      const kind = await this.#networkKind(attachment.network);
      if (kind === "internal") continue;
      if (kind === "bridge" && attachment.address !== "") return attachment.address;
      address = null;
    }
    return address;
  }

  async #networkKind(network: string): Promise<NetworkKind> {
    const known = this.#networks.get(network);
    if (known !== undefined) return known;
    const answer = await this.#getUnlessMissing(`/networks/${encodeURIComponent(network)}`);
    const driver = textAt(answer, "Driver") || "bridge";
    const kind = at(answer, "Internal") === true ? "internal" : driver === "bridge" ? "bridge" : "other";
    if (this.#networks.size >= MAX_NETWORKS) this.#networks.clear();
    this.#networks.set(network, kind);
    return kind;
  }

  #get(path: string): Promise<unknown> {
    return this.#client.get(path, this.#closing.signal);
  }

  async #getUnlessMissing(path: string): Promise<unknown> {
    try {
      return await this.#get(path);
    } catch (error) {
      if (error instanceof EngineError && error.status === 404) return null;
      throw error;
    }
  }

  #failed({ owner, protocol, address, port, error }: PortReport): void {
    const fields = { container: owner, port: `${formatAddress(address, port)}/${protocol}`, reason: error };
    this.#failures.warn("publish", fields, "a port of a container cannot be published");
    this.#retryLater();
  }

  #retryLater(): void {
    if (this.#isClosed) return;
    this.#stopRetrying ??= after(this.#clock, RETRY_INTERVAL, () => {
      this.#stopRetrying = null;
      for (const key of this.#unknown) void this.#request(key);
      for (const owner of this.#ports.failing) this.#retry(owner);
    });
  }

  #retry(owner: string): void {
    void this.#tasks.run(owner, async () => {
      await this.#ports.retry(owner);
      if (this.#ports.failing.size > 0) this.#retryLater();
    });
  }

  get #isClosed(): boolean {
    return this.#closing.signal.aborted;
  }
}
