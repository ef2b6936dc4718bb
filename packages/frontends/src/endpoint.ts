/** Where VMs attach: a Unix socket or a TCP port, listened on or dialled. */
export type Endpoint = (
  | { readonly transport: "unix"; readonly path: string }
  | { readonly transport: "tcp"; readonly host: string; readonly port: number }
) & { readonly mode: "listen" | "dial" };

/** The endpoint as a URL, as people write it. */
export function formatEndpoint(endpoint: Endpoint): string {
  const scheme = endpoint.mode === "dial" ? "dial+" : "";
  if (endpoint.transport === "unix") return `${scheme}unix://${endpoint.path}`;
  const host = endpoint.host.includes(":") ? `[${endpoint.host}]` : endpoint.host;
  return `${scheme}tcp://${host}:${endpoint.port}`;
}
