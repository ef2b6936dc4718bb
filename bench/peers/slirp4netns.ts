import { createConnection } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { installationsOf, isWritten } from "./installed.ts";
import type { GuestNetwork, Launch, PeerKind, Start } from "./peer.ts";

const network: GuestNetwork = {
  address: "10.0.2.100",
  prefixLength: 24,
  gateway: "10.0.2.2",
  host: "10.0.2.2",
  resolver: "10.0.2.3",
};

function launch({ command, mtu, folder, namespace }: Start): Launch {
  const ready = join(folder, "ready");
  return {
    command: [
      ...command,
      "--configure",
      `--mtu=${mtu}`,
      "--netns-type=path",
      `--api-socket=${apiSocket(folder)}`,
      "--ready-fd=3",
      namespace,
      "eth0",
    ],
    descriptor: ready,
    isReady: () => isWritten(ready),
  };
}

function apiSocket(folder: string): string {
  return join(folder, "api.sock");
}

/** Asks for the port over the API socket. */
async function publish({ folder, published }: Start): Promise<void> {
  const socket = createConnection(apiSocket(folder));
  const command = {
    execute: "add_hostfwd",
    arguments: {
      proto: "tcp",
      host_addr: "127.0.0.1",
      host_port: published.host,
      guest_addr: network.address,
      guest_port: published.guest,
    },
  };
  // The end of the stream is what makes it look at the command.
  socket.end(JSON.stringify(command));
  const answer = await text(socket);
  if (!answer.includes('"return"')) throw new Error(`slirp4netns publishes no port: ${answer.trim()}`);
}

/** github.com/rootless-containers/slirp4netns: C, with libslirp, the TCP of QEMU's user network. */
export const slirp4netns: PeerKind = {
  name: "slirp4netns",
  network,
  installations: () =>
    installationsOf({
      package: "slirp4netns",
      program: "slirp4netns",
      versionArguments: ["--version"],
      versionPattern: /version (\S+)/,
    }),
  launch,
  publish,
};
