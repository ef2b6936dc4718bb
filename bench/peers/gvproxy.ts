import { request } from "node:http";
import { join } from "node:path";
import { installationsOf, isListening } from "./installed.ts";
import type { GuestNetwork, Launch, PeerKind, Start } from "./peer.ts";

const network: GuestNetwork = {
  address: "192.168.127.2",
  prefixLength: 24,
  gateway: "192.168.127.1",
  host: "192.168.127.254",
  resolver: "192.168.127.1",
};

function launch({ command, mtu, folder }: Start): Launch {
  const socket = join(folder, "vm.sock");
  return {
    command: [
      ...command,
      ...["-listen", `unix://${apiSocket(folder)}`],
      ...["-listen-qemu", `unix://${socket}`],
      ...["-mtu", String(mtu)],
      // Otherwise it would forward port 2222 of the host.
      ...["-ssh-port", "-1"],
    ],
    isReady: () => isListening(socket),
    socket,
  };
}

function apiSocket(folder: string): string {
  return join(folder, "api.sock");
}

/** Asks for the port over the control API. */
async function publish({ folder, published }: Start): Promise<void> {
  const body = JSON.stringify({
    local: `127.0.0.1:${published.host}`,
    remote: `${network.address}:${published.guest}`,
    protocol: "tcp",
  });
  const [status, text] = await new Promise<[number | undefined, string]>((resolve, reject) => {
    const options = { socketPath: apiSocket(folder), path: "/services/forwarder/expose", method: "POST" };
    const exchange = request(options, (response) => {
      let answer = "";
      response.setEncoding("utf8").on("data", (part: string) => (answer += part));
      response.on("end", () => resolve([response.statusCode, answer.trim()]));
    });
    exchange.on("error", reject).end(body);
  });
  if (status !== 200) throw new Error(`gvproxy publishes no port: status ${status}: ${text}`);
}

/** github.com/containers/gvisor-tap-vsock, what Podman's machines run: Go, with gVisor's TCP. */
export const gvproxy: PeerKind = {
  name: "gvproxy",
  network,
  installations: () =>
    installationsOf({
      package: "gvproxy",
      program: "gvproxy",
      versionArguments: ["-version"],
      versionPattern: /version v?(\S+)/,
    }),
  launch,
  publish,
};
