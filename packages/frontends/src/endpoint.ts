/** A stream socket of the host where VMs attach, and whether hostd listens there or connects to it. */
export type Endpoint = {
  readonly mode: "listen" | "dial";
} & (UnixAddress | TcpAddress);

/** A Unix stream socket by its absolute path. */
export interface UnixAddress {
  readonly transport: "unix";
  readonly path: string;
}

/** A TCP address. `host` is an IP address or, where hostd dials, a name; `port` 0 lets the system choose. */
export interface TcpAddress {
  readonly transport: "tcp";
  readonly host: string;
  readonly port: number;
}

/** Writes an endpoint as a URL: `unix:///path` or `tcp://host:port`, with `dial+` in front where hostd connects. */
export function formatEndpoint(endpoint: Endpoint): string {
  return (endpoint.mode === "dial" ? "dial+" : "") + formatSocketAddress(endpoint);
}

/** Writes the address of a socket as a URL. */
export function formatSocketAddress(address: UnixAddress | TcpAddress): string {
  if (address.transport === "unix") return `unix://${address.path}`;
  const host = address.host.includes(":") ? `[${address.host}]` : address.host;
  return `tcp://${host}:${address.port}`;
}
