import { formatAddress, overlap } from "../ports/host-address.ts";
import {
  type ContainerPort,
  type HostPort,
  type PortPublisher,
  PortUnavailableError,
  type PublishedPort,
} from "../ports/port-publisher.ts";

/** A port that listens on the imagined host. */
export interface FakePort {
  readonly host: HostPort;
  readonly owner: string;
  to: ContainerPort | null;
}

/** A host whose ports exist only in memory. Like a kernel it has no two sockets in each other's way. */
export class FakePublisher implements PortPublisher {
  readonly open = new Set<FakePort>();
  /** Ports that other programs of the host have, such as `80/tcp`. */
  readonly taken = new Set<string>();
  /** What happened, such as `+8080/tcp`, `-8080/tcp`, and `8080/tcp > 172.17.0.2:80`. */
  readonly log: string[] = [];
  readonly #byName = new Map<string, Set<FakePort>>();

  async publish(host: HostPort, owner: string): Promise<PublishedPort> {
    const name = `${host.port}/${host.protocol}`;
    // A kernel takes its time too.
    await Promise.resolve();
    const others = this.#byName.get(name) ?? new Set();
    const isTaken = [...others].some((other) => overlap(other.host.address, host.address));
    if (isTaken || this.taken.has(name)) throw unavailable(host);
    const port: FakePort = { host, owner, to: null };
    this.open.add(port);
    this.#byName.set(name, others.add(port));
    this.log.push(`+${name}`);
    return {
      host,
      lead: (to) => {
        port.to = to;
        this.log.push(`${name} > ${to === null ? "nowhere" : `${to.address ?? "vm"}:${to.port}`}`);
      },
      release: async () => {
        await Promise.resolve();
        if (!this.open.delete(port)) throw new Error(`${name} was let go of twice`);
        others.delete(port);
        this.log.push(`-${name}`);
      },
    };
  }

  /** What listens, such as `0.0.0.0:80/tcp > 172.17.0.2:80`, sorted. */
  get listening(): string[] {
    return [...this.open]
      .map(({ host: { address, port, protocol }, to }) => {
        const target = to === null ? "nowhere" : `${to.address ?? "vm"}:${to.port}`;
        return `${formatAddress(address, port)}/${protocol} > ${target}`;
      })
      .sort();
  }
}

function unavailable({ protocol, address, port }: HostPort): PortUnavailableError {
  const isIpv6 = address.includes(":");
  const where = formatAddress(address === "" ? "0.0.0.0" : address, port);
  const message = `listen ${protocol}${isIpv6 ? 6 : 4} ${where}: bind: address already in use`;
  return new PortUnavailableError(`${message} (held by another)`, message);
}
