/** A port of the host that a container asked for. */
export interface HostPort {
  readonly protocol: "tcp" | "udp";
  /** The address as the container asked for it: `0.0.0.0`, `::`, `127.0.0.1` and so on; empty for the default one. */
  readonly address: string;
  /** 0 where any will do. */
  readonly port: number;
}

/** Where a port of a container is reached in the VM's network. */
export interface ContainerPort {
  /** IPv4; null for the VM's own. */
  readonly address: string | null;
  readonly port: number;
}

/** A port of the host that is listened on. Clients that come before it leads anywhere are held. */
export interface PublishedPort {
  readonly host: HostPort;
  /** Has it lead to a container from now on, or nowhere. Connections that are open stay. */
  lead(to: ContainerPort | null): void;
  /** Listens no longer, and ends what is open. */
  release(): Promise<void>;
}

/** A port of the host that cannot be had. */
export class PortUnavailableError extends Error {
  override readonly name = "PortUnavailableError";
  /** Why, in Go's words: `listen tcp4 0.0.0.0:80: bind: address already in use`. */
  readonly goMessage: string;

  constructor(message: string, goMessage: string) {
    super(message);
    this.goMessage = goMessage;
  }
}

/** Whoever listens on the host. */
export interface PortPublisher {
  /**
   * Listens on a port of the host, for the container that `owner` names in logs and lists.
   *
   * @throws {PortUnavailableError} when it cannot.
   */
  publish(host: HostPort, owner: string): Promise<PublishedPort>;
}
