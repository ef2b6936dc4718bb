import { formatIpv4, type Ipv4 } from "@hostd/stack";

/** An address of the host and a port on it. */
export interface ListenAddress {
  /** An IPv4 or IPv6 address; `0.0.0.0` and `::` are every address of their family, and an empty one is every address. */
  readonly host: string;
  /** 0 has the system choose one. */
  readonly port: number;
}

/** A Unix stream socket of the host, by its absolute path. */
export interface SocketPath {
  readonly path: string;
}

/** Where connections go in the guest. */
export interface GuestTarget {
  /** The VM's own address or one behind it; null for that of the VM that is attached. */
  readonly address: Ipv4 | null;
  readonly port: number;
}

/** A Unix socket in the guest, reached through the guest's SSH server. */
export interface GuestSocket {
  /** The SSH server. */
  readonly server: GuestTarget;
  readonly user: string;
  /** The absolute path in the guest. */
  readonly path: string;
  /** The file on the host that holds the private key. */
  readonly identity: string;
  readonly passphrase?: string;
  /** The file of known hosts that the server's key has to be in; any key is accepted when it is not given. */
  readonly knownHosts?: string;
}

/** Something of the host that leads into the guest: a stream of bytes, or datagrams. */
export type ForwardRule = StreamRule | DatagramRule;

export interface StreamRule {
  readonly protocol: "tcp";
  readonly listen: ListenAddress | SocketPath;
  readonly to: GuestTarget | GuestSocket;
}

export interface DatagramRule {
  readonly protocol: "udp";
  readonly listen: ListenAddress;
  readonly to: GuestTarget;
}

export function isSocketPath<T extends object>(listen: T | SocketPath): listen is SocketPath {
  return "path" in listen;
}

export function isGuestSocket<T extends object>(to: T | GuestSocket): to is GuestSocket {
  return "path" in to;
}

/** Writes where the host listens: `127.0.0.1:80`, `[::1]:80`, `:80` for every address, or `unix:///path`. */
export function formatListen(listen: ListenAddress | SocketPath): string {
  if (isSocketPath(listen)) return `unix://${listen.path}`;
  const { host, port } = listen;
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Writes a target as `192.168.65.3:80`, as `80` where the address is that of the VM, or as `ssh://user@vm:22/path`. */
export function formatTarget(to: GuestTarget | GuestSocket): string {
  if (!isGuestSocket(to)) {
    const { address, port } = to;
    return address === null ? String(port) : `${formatIpv4(address)}:${port}`;
  }
  const { user, server, path } = to;
  const host = server.address === null ? "vm" : formatIpv4(server.address);
  return `ssh://${user}@${host}:${server.port}${path}`;
}
