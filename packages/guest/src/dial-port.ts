import { connect } from "node:net";
import { type Endpoint, formatEndpoint, StreamPort } from "@hostd/frontends";

/**
 * Connects to an endpoint that hostd listens on, as QEMU does.
 *
 * @throws when nobody listens there.
 */
export async function dialPort(endpoint: Endpoint): Promise<StreamPort> {
  const socket =
    endpoint.transport === "unix"
      ? connect({ path: endpoint.path })
      : connect({ host: endpoint.host, port: endpoint.port, noDelay: true });
  // Nothing may be read before the link's own buffer is in place.
  socket.pause();
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", reject);
  });
  socket.removeAllListeners("error");
  return new StreamPort(socket, formatEndpoint(endpoint));
}
