/** Where the Docker engine listens, as text. */
import { formatTarget, type GuestSocket, type GuestTarget, isSocketPath, type SocketPath } from "@hostd/portfwd";
import { formatSocketAddress, readUnixListener } from "./endpoint.ts";
import { type GuestSocketPath, readGuestAddress, readGuestSocket } from "./forward.ts";
import { readHostPort, ValueError } from "./values.ts";

/** A port of the guest, a Unix socket of it over SSH, or a Unix socket of this host. */
export type EngineAddress = GuestTarget | GuestSocket | SocketPath;

/** The forms of the address, for messages. */
export const ENGINE_FORM =
  "where an engine listens, such as tcp://vm:2375, ssh://user@vm/var/run/docker.sock or unix:///var/run/docker.sock";

/** Where an engine that is open to the network listens without TLS. */
const ENGINE_PORT = 2375;

/**
 * Reads where an engine listens: `tcp://HOST[:PORT]` in the guest, `vm` being the VM, `ssh://USER@HOST/PATH` in the guest,
 * or `unix:///PATH` of this host.
 *
 * @throws {ValueError} with the reason.
 */
export function readEngine(text: string): GuestTarget | GuestSocketPath | SocketPath {
  if (text.startsWith("ssh:")) return readGuestSocket(text);
  if (text.startsWith("unix:") || text.startsWith("/")) return { path: readUnixListener(text).path };
  const written = /^tcp:\/\/(.*)$/.exec(text)?.[1];
  if (written === undefined) throw new ValueError("");
  const { host, port } = written.includes(":") ? readHostPort(written) : { host: written, port: ENGINE_PORT };
  if (port === 0) throw new ValueError("the port is 0");
  return { address: host === "vm" ? null : readGuestAddress(host), port };
}

/** Writes an address as {@link readEngine} reads it. */
export function formatEngine(engine: EngineAddress): string {
  if ("user" in engine) return formatTarget(engine);
  if (isSocketPath(engine)) return formatSocketAddress({ transport: "unix", path: engine.path });
  const { address, port } = engine;
  return `tcp://${address === null ? `vm:${port}` : formatTarget({ address, port })}`;
}

/** The address with the keys beside it. An identity that is missing is reported by its check. */
export function engineAddress({
  upstream = { address: null, port: ENGINE_PORT },
  identity = "",
  passphrase,
  knownHosts,
}: {
  readonly upstream?: ReturnType<typeof readEngine> | undefined;
  readonly identity?: string | undefined;
  readonly passphrase?: string | undefined;
  readonly knownHosts?: string | undefined;
}): EngineAddress {
  if (!("user" in upstream)) return upstream;
  return {
    ...upstream,
    identity,
    ...(passphrase === undefined ? {} : { passphrase }),
    ...(knownHosts === undefined ? {} : { knownHosts }),
  };
}
