import { formatIpv4, type Ipv4 } from "@hostd/stack";

/** An address of the host and a port on it. */
export interface ListenAddress {
  /** An IPv4 or IPv6 address; `0.0.0.0` and `::` are every address of their family. */
  readonly host: string;
  /** 0 has the system choose one. */
  readonly port: number;
}

/** Where connections go in the guest. */
export interface GuestTarget {
  /** The VM's own address or one behind it; null for that of the VM that is attached. */
  readonly address: Ipv4 | null;
  readonly port: number;
}

/** A port of the host that leads into the guest. */
export interface ForwardRule {
  readonly protocol: "tcp";
  readonly listen: ListenAddress;
  readonly to: GuestTarget;
}

/** Writes an address and a port as `127.0.0.1:80` and `[::1]:80`. */
export function formatListenAddress({ host, port }: ListenAddress): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Writes a target as `192.168.65.3:80`, or `80` where the address is that of the VM. */
export function formatGuestTarget({ address, port }: GuestTarget): string {
  return address === null ? String(port) : `${formatIpv4(address)}:${port}`;
}
