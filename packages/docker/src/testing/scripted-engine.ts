import { once } from "node:events";
import { rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { connect, type Socket } from "node:net";

/** A row of `NetworkSettings.Ports` or `HostConfig.PortBindings`. */
export interface PortRow {
  readonly HostIp: string;
  readonly HostPort: string;
}

type PortRows = Record<string, readonly PortRow[] | null>;

export interface ScriptedNetwork {
  readonly driver?: string;
  readonly isInternal?: boolean;
  readonly priority?: number;
  readonly gateway?: string;
  readonly ipv6Gateway?: string;
}

export interface ScriptedContainerOptions {
  readonly name?: string;
  /** As the command line makes it of `-p`. */
  readonly portBindings?: PortRows;
  readonly networkMode?: string;
  /** Names of networks; `bridge` unless given. */
  readonly networks?: readonly string[];
  /** Whether a port without an address gets a row for IPv6 too, and which comes first. */
  readonly families?: readonly string[];
  readonly labels?: Readonly<Record<string, string>>;
  /** In every network. */
  readonly ipv6Address?: string;
}

export interface ScriptedContainer {
  readonly id: string;
  /** Seconds of the Unix epoch. */
  readonly created: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly ipv6Address: string;
  name: string;
  state: "created" | "running" | "paused" | "restarting" | "exited";
  readonly portBindings: PortRows;
  readonly networkMode: string;
  readonly families: readonly string[];
  /** Its addresses by the names of its networks. */
  readonly addresses: Map<string, string>;
  /** What the engine has given it; kept by hand where a test wants something else. */
  ports: PortRows;
}

/** How events are spelled. */
export type EventStyle = "docker" | "podman";

/** What the engine's API answers, as far as hostd asks: a dockerd on a Unix socket that does what a test tells it. */
export class ScriptedEngine {
  readonly path: string;
  readonly containers = new Map<string, ScriptedContainer>();
  readonly networks = new Map<string, ScriptedNetwork>([["bridge", { gateway: "172.17.0.1" }]]);
  services: object[] | null = null;
  /** `GET` and the path without the version, of all requests that came. */
  readonly requests: string[] = [];
  /** Versions of the API that were asked in, each once for as often as it came in a row; empty for none. */
  readonly versions: string[] = [];
  /** Answers of these paths are held back until they are removed and {@link letGo} is called. */
  readonly held = new Set<string>();
  /** Answers of these paths are errors with this status. */
  readonly broken = new Map<string, number>();
  /** Whole answers in place of the true ones. */
  readonly raw = new Map<string, string>();
  eventStyle: EventStyle = "docker";
  /** Into how many pieces an event is cut. */
  pieces = 1;
  apiVersion = "1.44";
  minApiVersion = "1.24";
  /** The first port that is given where any will do. */
  nextPort = 20_000;
  #server: Server | null = null;
  readonly #sockets = new Set<Socket>();
  readonly #streams = new Set<ServerResponse>();
  readonly #waiting: (() => void)[] = [];
  #watchers: (() => void)[] = [];
  #nextId = 1;
  #nextAddress = 2;

  constructor(path: string) {
    this.path = path;
  }

  /** Begins to answer; for its first time, and after {@link stop}. */
  async start(): Promise<void> {
    rmSync(this.path, { force: true });
    const server = createServer((request, response) => this.#answer(request, response));
    server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => this.#sockets.delete(socket));
    });
    this.#server = server;
    server.listen(this.path);
    await once(server, "listening");
  }

  /** Answers no more, and cuts all connections, as an engine that is killed does. */
  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    if (server === null) return;
    const closed = once(server, "close");
    server.close();
    this.#streams.clear();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  /** Opens a connection to it. */
  dial = async (): Promise<Socket> => {
    const socket = connect({ path: this.path, allowHalfOpen: true });
    await once(socket, "connect");
    return socket;
  };

  /** Resolves when somebody follows the events. */
  async followed(): Promise<void> {
    while (this.#streams.size === 0) await this.#changed();
  }

  /** Resolves when nobody follows the events. */
  async unfollowed(): Promise<void> {
    while (this.#streams.size > 0) await this.#changed();
  }

  /** Resolves when a request has come that was not there before. */
  async asked(request: string, times = 1): Promise<void> {
    while (this.requests.filter((one) => one === request).length < times) await this.#changed();
  }

  /** Ends the streams of events as an engine does that is stopped. */
  endStreams(): void {
    for (const stream of this.#streams) stream.end();
    this.#streams.clear();
  }

  /** Gives the answers that were held back. */
  letGo(): void {
    for (const answer of this.#waiting.splice(0)) answer();
  }

  create(options: ScriptedContainerOptions = {}): string {
    const created = this.#nextId++;
    const id = created.toString(16).padStart(64, "c");
    const { name = `box${this.#nextId}`, portBindings = {}, networkMode = "default" } = options;
    const { families = ["0.0.0.0", "::"], labels = {}, ipv6Address = "" } = options;
    const hasNetworks = !/^(?:host|none|container:.*)$/.test(networkMode);
    const addresses = new Map((options.networks ?? (hasNetworks ? ["bridge"] : [])).map((one) => [one, ""]));
    this.containers.set(id, {
      id,
      created,
      labels,
      ipv6Address,
      name,
      state: "created",
      portBindings,
      networkMode,
      families,
      addresses,
      ports: {},
    });
    this.emit("container", "create", id);
    return id;
  }

  /** @returns the status that the engine answers with: 204, 304, 404 or 500. */
  startContainer(id: string): number {
    const container = this.containers.get(id);
    if (container === undefined) return 404;
    if (["running", "paused", "restarting"].includes(container.state)) return 304;
    const ports = this.#allocate(container);
    if (ports === null) return 500;
    for (const network of container.addresses.keys()) container.addresses.set(network, this.#address());
    container.state = "running";
    container.ports = ports;
    for (const network of container.addresses.keys()) this.emit("network", "connect", network, id);
    this.emit("container", "start", id);
    return 204;
  }

  /** Its process ends, for good or until its restart policy starts it. */
  die(id: string, state: "exited" | "restarting" = "exited"): void {
    const container = this.#running(id);
    if (container === null) return;
    container.state = state;
    container.ports = {};
    for (const network of container.addresses.keys()) container.addresses.set(network, "");
    this.emit("container", "die", id);
    for (const network of container.addresses.keys()) this.emit("network", "disconnect", network, id);
  }

  /** @returns the status that the engine answers with. */
  restart(id: string): number {
    if (this.#running(id) !== null) {
      this.emit("container", "kill", id);
      this.die(id);
      this.emit("container", "stop", id);
    }
    const status = this.startContainer(id);
    if (status === 204) this.emit("container", "restart", id);
    return status;
  }

  /** What its restart policy does some time after {@link die}. */
  revive(id: string): void {
    const container = this.containers.get(id);
    if (container?.state !== "restarting") return;
    container.state = "exited";
    this.startContainer(id);
  }

  remove(id: string): void {
    this.die(id);
    if (this.containers.delete(id)) this.emit("container", "destroy", id);
  }

  rename(id: string, name: string): void {
    const container = this.containers.get(id);
    if (container === undefined) return;
    container.name = name;
    this.emit("container", "rename", id);
  }

  setPaused(id: string, isPaused: boolean): void {
    const container = this.#running(id);
    if (container === null || container.state === "restarting") return;
    container.state = isPaused ? "paused" : "running";
    this.emit("container", isPaused ? "pause" : "unpause", id);
  }

  /** As `docker kill -s HUP`: its process may take no notice. */
  signal(id: string): void {
    if (this.#running(id) !== null) this.emit("container", "kill", id);
  }

  /** As `docker network disconnect`. The ports of a container with no network are gone. */
  disconnect(id: string, network: string): void {
    const container = this.containers.get(id);
    if (container?.addresses.delete(network) !== true) return;
    if (this.#running(id) === null) return;
    if (container.addresses.size === 0) container.ports = {};
    this.emit("network", "disconnect", network, id);
  }

  /** As `docker network connect`. Ports of the engine's choice are other ones than before. */
  connect(id: string, network: string): void {
    const container = this.containers.get(id);
    if (container === undefined || container.addresses.has(network)) return;
    const running = this.#running(id);
    container.addresses.set(network, running === null ? "" : this.#address());
    if (running === null) return;
    if (Object.keys(running.ports).length === 0) running.ports = this.#allocate(running) ?? {};
    this.emit("network", "connect", network, id);
  }

  /** All processes end, and those of `surviving` are started once the engine is there again. */
  async reboot(surviving: readonly string[]): Promise<void> {
    await this.stop();
    for (const container of this.containers.values()) {
      if (container.state !== "created") container.state = "exited";
      container.ports = {};
    }
    for (const id of surviving) this.startContainer(id);
    await this.start();
  }

  /** Tells those who follow; a network's is told with the container. */
  emit(type: string, action: string, id: string, container?: string): void {
    const isPodman = this.eventStyle === "podman";
    // In Podman's events of networks the actor is the container.
    const actor = isPodman ? (container ?? id) : id;
    const name = this.containers.get(actor)?.name ?? actor;
    const Actor = { ID: actor, Attributes: container === undefined || isPodman ? { name } : { name, container } };
    const event = isPodman
      ? { Type: type, Status: PODMAN_ACTIONS[action] ?? action, Actor }
      : { Type: type, Action: action, Actor, scope: "local" };
    this.emitText(`${JSON.stringify(event)}\n`);
  }

  emitText(text: string): void {
    const bytes = Buffer.from(text);
    const size = Math.ceil(bytes.length / this.pieces);
    for (const stream of this.#streams) {
      for (let start = 0; start < bytes.length; start += size) stream.write(bytes.subarray(start, start + size));
    }
  }

  /** Resolves when what was told has left. */
  async flushed(): Promise<void> {
    for (const stream of this.#streams) await new Promise<void>((resolve) => stream.write("\n", () => resolve()));
  }

  #running(id: string): ScriptedContainer | null {
    const container = this.containers.get(id);
    return container !== undefined && !["created", "exited"].includes(container.state) ? container : null;
  }

  /** Every address is given once, so that a stale one shows. */
  #address(): string {
    const number = this.#nextAddress++;
    return `172.17.${number >> 8}.${number & 255}`;
  }

  /** @returns null when another container has one of the ports. */
  #allocate(container: ScriptedContainer): PortRows | null {
    const used = new Set<string>();
    for (const other of this.containers.values()) {
      for (const [key, rows] of Object.entries(other.ports)) {
        for (const { HostPort } of rows ?? []) used.add(`${protocolOf(key)} ${HostPort}`);
      }
    }
    const ports: PortRows = {};
    for (const [key, bindings] of Object.entries(container.portBindings)) {
      const rows: PortRow[] = [];
      for (const { HostIp, HostPort } of bindings ?? []) {
        const [first, last = first] = HostPort.split("-").map(Number);
        let port = first;
        if (port === 0) port = this.nextPort++;
        else while (used.has(`${protocolOf(key)} ${port}`) && port < last) port++;
        if (used.has(`${protocolOf(key)} ${port}`)) return null;
        used.add(`${protocolOf(key)} ${port}`);
        const addresses = HostIp === "" ? container.families : [HostIp];
        for (const address of addresses) rows.push({ HostIp: address, HostPort: String(port) });
      }
      ports[key] = rows;
    }
    return ports;
  }

  #changed(): Promise<void> {
    return new Promise((resolve) => this.#watchers.push(resolve));
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const { pathname } = new URL(request.url ?? "/", "http://docker");
    const [, version = "", encoded = ""] = /^(?:\/v(\d+\.\d+))?(\/.*)$/.exec(pathname) ?? [];
    const path = decodeURIComponent(encoded);
    if (this.versions.at(-1) !== version) this.versions.push(version);
    const name = `${request.method} ${path}`;
    this.requests.push(name);
    const give = () => {
      const status = this.broken.get(path);
      const raw = this.raw.get(path);
      if (status !== undefined) reply(response, status, { message: "it is broken" });
      else if (raw !== undefined) response.end(raw);
      else this.#route(request.method ?? "", path, response);
    };
    if (this.held.has(path)) this.#waiting.push(give);
    else give();
    this.#tell();
  }

  #tell(): void {
    for (const resolve of this.#watchers.splice(0)) resolve();
  }

  #route(method: string, path: string, response: ServerResponse): void {
    const [, kind = "", name = "", action = ""] = /^\/([a-z]+)(?:\/(.*?))?(?:\/([a-z]+))?$/.exec(path) ?? [];
    if (path === "/version") {
      reply(response, 200, { ApiVersion: this.apiVersion, MinAPIVersion: this.minApiVersion });
    } else if (path === "/events") {
      response.writeHead(200, { "Content-Type": "application/json" }).flushHeaders();
      this.#streams.add(response);
      response.on("close", () => {
        this.#streams.delete(response);
        this.#tell();
      });
    } else if (path === "/services") {
      if (this.services === null) reply(response, 503, { message: "This node is not a swarm manager." });
      else reply(response, 200, this.services);
    } else if (path === "/containers/json") {
      const rows = [...this.containers.values()].filter(({ id }) => this.#running(id) !== null);
      reply(response, 200, rows.map(listRow));
    } else if (kind === "networks") {
      const network = this.networks.get(action === "" ? name : `${name}/${action}`);
      if (network === undefined) reply(response, 404, { message: `network ${name} not found` });
      else reply(response, 200, { Driver: network.driver ?? "bridge", Internal: network.isInternal ?? false });
    } else {
      this.#routeContainer(method, name, action, response);
    }
  }

  #routeContainer(method: string, name: string, action: string, response: ServerResponse): void {
    const container = [...this.containers.values()].find((one) => one.name === name || one.id.startsWith(name));
    if (container === undefined) reply(response, 404, { message: `No such container: ${name}` });
    else if (method === "GET" && action === "json") reply(response, 200, this.#inspect(container));
    else if (method === "POST" && action === "start") reply(response, this.startContainer(container.id), {});
    else if (method === "POST" && action === "restart") reply(response, this.restart(container.id), {});
    else reply(response, 404, { message: "page not found" });
  }

  #inspect(container: ScriptedContainer): object {
    const { id, name, state, portBindings, networkMode, addresses, ports, labels, ipv6Address } = container;
    const endpoints = [...addresses].map(([network, address]) => {
      const { gateway = "172.17.0.1", ipv6Gateway = "", priority = 0 } = this.networks.get(network) ?? {};
      return [
        network,
        {
          NetworkID: network,
          IPAddress: address,
          Gateway: address === "" ? "" : gateway,
          IPv6Gateway: ipv6Gateway,
          GlobalIPv6Address: address === "" ? "" : ipv6Address,
          GwPriority: priority,
        },
      ];
    });
    return {
      Id: id,
      Name: `/${name}`,
      State: { Status: state, Running: this.#running(id) !== null, Restarting: state === "restarting" },
      Config: { Labels: labels },
      HostConfig: { NetworkMode: networkMode, PortBindings: portBindings },
      NetworkSettings: { Ports: ports, Networks: Object.fromEntries(endpoints) },
    };
  }
}

const PODMAN_ACTIONS: Readonly<Record<string, string>> = { die: "died", destroy: "remove" };

function protocolOf(key: string): string {
  return key.split("/")[1] ?? "tcp";
}

function listRow({ id, created, name, state, ports }: ScriptedContainer): object {
  const rows = Object.entries(ports).flatMap(([key, bindings]) => {
    const [port, protocol] = key.split("/");
    return (bindings ?? []).map(({ HostIp, HostPort }) => {
      return { IP: HostIp, PrivatePort: Number(port), PublicPort: Number(HostPort), Type: protocol };
    });
  });
  return { Id: id, Names: [`/${name}`], Created: created, State: state, Ports: rows };
}

function reply(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { "Content-Type": "application/json" });
  response.end(status === 204 || status === 304 ? undefined : JSON.stringify(body));
}
