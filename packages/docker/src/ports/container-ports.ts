import { isIPv4 } from "node:net";
import { at, elementsAt, isObject, membersAt, numberAt, textAt } from "../engine/json-value.ts";
import { canonicalAddress, isUnspecified } from "./host-address.ts";

/** A port of the host that a container is to have. */
export interface AskedPort {
  /** In lower case: `tcp`, `udp`, or `sctp`, which cannot be had. */
  readonly protocol: string;
  readonly containerPort: number;
  /** Empty for the default one. */
  readonly address: string;
  /** The engine chooses one of these; both are 0 when it may choose any. */
  readonly first: number;
  readonly last: number;
}

/** A port of the host that a running container has, by the engine's word. */
export interface BoundPort {
  readonly protocol: string;
  readonly containerPort: number;
  /** Empty for the default one. */
  readonly address: string;
  readonly port: number;
}

/** A network that a container is in. */
export interface Attachment {
  /** By which the engine knows the network. */
  readonly network: string;
  /** IPv4; empty when it has none there. */
  readonly address: string;
  /** Whether it has any address there. */
  readonly isJoined: boolean;
}

/** What of a container matters to the ports of the host. */
export interface ContainerPorts {
  readonly id: string;
  /** Without the slash that the engine writes before it. */
  readonly name: string;
  /** Whether its process runs, or the engine is about to start it again. */
  readonly isStarted: boolean;
  readonly asked: readonly AskedPort[];
  /** None unless it runs. */
  readonly bound: readonly BoundPort[];
  /** The one first that the engine leads its ports to. */
  readonly attachments: readonly Attachment[];
}

const MAX_PORT = 65_535;

/**
 * Reads what the engine says of a container.
 *
 * @returns null when it says nothing of one.
 */
export function readContainer(value: unknown): ContainerPorts | null {
  const id = textAt(value, "Id");
  if (!isContainerId(id)) return null;
  const hasPorts = !isWithoutPorts(textAt(value, "HostConfig", "NetworkMode"));
  const isStarted = at(value, "State", "Running") === true;
  const isRunning = isStarted && at(value, "State", "Restarting") !== true;
  const asked = hasPorts ? readPortBindings(at(value, "HostConfig", "PortBindings")) : [];
  return {
    id,
    name: textAt(value, "Name").replace(/^\//, ""),
    isStarted,
    asked,
    bound: hasPorts && isRunning ? readBoundPorts(at(value, "NetworkSettings", "Ports"), asked) : [],
    attachments: readAttachments(at(value, "NetworkSettings", "Networks")),
  };
}

/** Whether a container with this network mode has no ports of its own. With `container:ID` it has those of the other. */
export function isWithoutPorts(networkMode: string): boolean {
  return /^(?:host$|none$|container:|ns:)/.test(networkMode);
}

/** Whether it is one by which an engine knows a container for good. */
export function isContainerId(id: string): boolean {
  return /^[0-9a-f]{64}$/.test(id);
}

/**
 * Reads which ports of the host are asked for when a container is created. A range is one port of the engine's choice: the
 * command line makes as many bindings of `-p 8000-8010:8000-8010`, and one with a range of `-p 8000-8010:80`.
 */
export function readPortBindings(value: unknown): AskedPort[] {
  return readPorts(value).flatMap(({ protocol, containerPort, address, port }) => {
    const match = /^(?:(\d+)(?:-(\d+))?)?$/.exec(port);
    if (match === null) return [];
    const first = Number(match[1] ?? 0);
    const last = Number(match[2] ?? first);
    const isValid = first <= last && last <= MAX_PORT && (first > 0 || last === 0);
    return isValid ? [{ protocol, containerPort, address, first, last }] : [];
  });
}

function readBoundPorts(value: unknown, asked: readonly AskedPort[]): BoundPort[] {
  const keyOf = (...parts: readonly (string | number)[]) => parts.join(" ");
  const fixed = new Set<string>();
  const chosen = new Set<string>();
  for (const { protocol, containerPort, address, first, last } of asked) {
    if (first === last && first > 0) fixed.add(keyOf(protocol, containerPort, address, first));
    else chosen.add(keyOf(protocol, containerPort, address));
  }
  const bound = new Map<string, BoundPort>();
  for (const { protocol, containerPort, address: listed, port: text } of readPorts(value)) {
    const port = /^\d+$/.test(text) ? Number(text) : 0;
    if (port < 1 || port > MAX_PORT) continue;
    const isAskedFor = (address: string) =>
      fixed.has(keyOf(protocol, containerPort, address, port)) || chosen.has(keyOf(protocol, containerPort, address));
    // A port without an address is listed with one of each family: `0.0.0.0` and `::`.
    const isDefault = isUnspecified(listed) && (isAskedFor("") || !isAskedFor(listed));
    const address = isDefault ? "" : listed;
    bound.set(keyOf(protocol, address, port), { protocol, containerPort, address, port });
  }
  return [...bound.values()];
}

interface PortText {
  readonly protocol: string;
  readonly containerPort: number;
  readonly address: string;
  readonly port: string;
}

/** Reads the form that ports that are asked for and those that there are have in common. */
function readPorts(value: unknown): PortText[] {
  return membersAt(value).flatMap(([key, rows]) => {
    const match = /^(\d+)(?:\/([a-z]+))?$/i.exec(key);
    if (match === null) return [];
    const containerPort = Number(match[1]);
    if (containerPort < 1 || containerPort > MAX_PORT) return [];
    const protocol = (match[2] ?? "tcp").toLowerCase();
    return elementsAt(rows)
      .filter(isObject)
      .map((row) => ({
        protocol,
        containerPort,
        address: canonicalAddress(textAt(row, "HostIp")),
        port: textAt(row, "HostPort"),
      }));
  });
}

/**
 * Reads the networks of a container, in the order in which the engine looks for the one whose gateway it takes, and through
 * which it leads the ports: by priority, by which families have a gateway, by name.
 */
function readAttachments(value: unknown): Attachment[] {
  return membersAt(value)
    .map(([name, endpoint]) => {
      const address = textAt(endpoint, "IPAddress");
      return {
        name,
        priority: numberAt(endpoint, "GwPriority"),
        gateways: (textAt(endpoint, "Gateway") === "" ? 0 : 1) + (textAt(endpoint, "IPv6Gateway") === "" ? 0 : 2),
        network: textAt(endpoint, "NetworkID") || name,
        address: isIPv4(address) ? address : "",
        isJoined: address !== "" || textAt(endpoint, "GlobalIPv6Address") !== "",
      };
    })
    .sort(
      (one, other) =>
        other.priority - one.priority || other.gateways - one.gateways || (one.name < other.name ? -1 : 1),
    )
    .map(({ network, address, isJoined }) => ({ network, address, isJoined }));
}
