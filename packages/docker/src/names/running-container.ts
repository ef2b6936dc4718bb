import { isIPv4, isIPv6 } from "node:net";
import { at, isObject, membersAt, numberAt, textAt } from "../engine/json-value.ts";
import { isContainerId } from "../ports/container-ports.ts";
import { canonicalAddress } from "../ports/host-address.ts";

/** A container that runs. */
export interface RunningContainer {
  readonly id: string;
  /** The one that no other container has. */
  readonly name: string;
  /** `service.project` for one that Compose has made for a service, be it beside others; else null. */
  readonly composeName: string | null;
  /** The networks in which it has an address; none in that of the VM. */
  readonly networks: readonly ContainerNetwork[];
}

/** A network that a container is in. */
export interface ContainerNetwork {
  readonly name: string;
  /** IPv4 before IPv6. */
  readonly addresses: readonly string[];
}

const MAX_NAME = 253;
const MAX_NETWORKS = 16;
/** How much of an id is shown. */
const SHORT_ID = 12;

/**
 * Reads what the engine says of a container when it is asked about it.
 *
 * @returns null when it does not run.
 */
export function readRunningContainer(value: unknown): RunningContainer | null {
  const id = textAt(value, "Id");
  if (!isContainerId(id) || at(value, "State", "Running") !== true) return null;
  const name = textAt(value, "Name").replace(/^\//, "");
  return {
    id,
    name: isName(name) ? name : id.slice(0, SHORT_ID),
    composeName: readComposeName(value),
    networks: readNetworks(value),
  };
}

/** A container for a single command, as of `docker compose run`, is none of its service. */
function readComposeName(value: unknown): string | null {
  const label = (key: string) => textAt(value, "Config", "Labels", `com.docker.compose.${key}`);
  const [service, project] = [label("service"), label("project")];
  const name = `${service}.${project}`;
  return service !== "" && project !== "" && label("oneoff") !== "True" && isName(name) ? name : null;
}

/** Reads the networks in which a container has an address, the one first whose gateway the engine prefers. */
function readNetworks(value: unknown): ContainerNetwork[] {
  return membersAt(value, "NetworkSettings", "Networks")
    .filter(([name, endpoint]) => isName(name) && isObject(endpoint))
    .sort(([name, endpoint], [otherName, other]) => {
      return numberAt(other, "GwPriority") - numberAt(endpoint, "GwPriority") || (name < otherName ? -1 : 1);
    })
    .flatMap(([name, endpoint]) => {
      const ipv4 = textAt(endpoint, "IPAddress");
      const ipv6 = textAt(endpoint, "GlobalIPv6Address");
      const hasIpv6 = isIPv6(ipv6) && !ipv6.includes("%");
      const addresses = [...(isIPv4(ipv4) ? [ipv4] : []), ...(hasIpv6 ? [canonicalAddress(ipv6)] : [])];
      return addresses.length === 0 ? [] : [{ name, addresses }];
    })
    .slice(0, MAX_NETWORKS);
}

/** Whether an engine takes it as the name of a container or a network. */
function isName(name: string): boolean {
  return name.length <= MAX_NAME && /^[a-z0-9][a-z0-9_.-]*$/i.test(name);
}
