/** What gvproxy's API is asked to forward, read into a rule. */
import { lookup } from "node:dns/promises";
import { isIP, isIPv4 } from "node:net";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import type { ForwardRule, GuestSocket, GuestTarget, ListenAddress } from "@hostd/portfwd";
import { type Ipv4, parseIpv4 } from "@hostd/stack";
import { type GatewayAddresses, whyNoGuest } from "../forwards/guest-address.ts";
import type { VmSession } from "../vm-session.ts";
import type { ListedForward } from "./forwards.ts";
import { GoHttpError } from "./go-http.ts";
import { atoi, GoAddressError, listenPort, splitHostPort } from "./go-net.ts";
import { parseRemoteUri, type RemoteUri } from "./remote-uri.ts";

const SSH_PORT = 22;

/**
 * Reads a request.
 *
 * @param vm - who asks; null for the user of this host.
 * @throws {GoHttpError} with gvproxy's words where it has some.
 */
export async function readRule(
  { local, remote, protocol }: ListedForward,
  network: GatewayAddresses,
  vm: VmSession | null,
): Promise<ForwardRule> {
  try {
    switch (protocol) {
      case "tcp":
      case "udp": {
        const to = readTarget(remote, network, vm);
        return { protocol, listen: await readLocal(protocol, local, vm), to };
      }
      case "unix":
      case "npipe": {
        const to = readSocketTarget(parseRemoteUri(remote), network);
        if (protocol === "npipe") throw new GoHttpError(500, "named pipes are not supported by this platform");
        if (local === "") throw new GoHttpError(400, "local: the path of the socket is missing");
        return { protocol: "tcp", listen: { path: resolve(local) }, to };
      }
      default:
        throw new GoHttpError(500, `unknown protocol ${protocol}`);
    }
  } catch (error) {
    if (error instanceof GoAddressError) throw new GoHttpError(500, error.message);
    throw error;
  }
}

/** Where a port leads, `ADDRESS:PORT`. */
function readTarget(remote: string, network: GatewayAddresses, vm: VmSession | null): GuestTarget {
  const parts = remote.split(":");
  if (parts.length !== 2) throw new GoAddressError("invalid remote addr");
  const [host, portText] = parts;
  const port = atoi(portText);
  if (port < 0 || port > 0xffff) throw new GoAddressError(`strconv.Atoi: parsing "${portText}": value out of range`);
  if (port === 0) throw new GoHttpError(400, `remote ${remote}: the port is 0`);
  const address = readGuestAddress(host, `remote ${remote}`, network);
  if (vm !== null && address !== vm.address && !vm.has(address)) {
    throw new GoHttpError(403, `remote ${remote}: a guest may only publish ports of itself`);
  }
  return { address, port };
}

/** Where a Unix socket leads: to TCP, or by SSH to a Unix socket of the guest. */
function readSocketTarget({ scheme, user, host, port, path, query }: RemoteUri, network: GatewayAddresses) {
  if (scheme === "tcp") return readTarget(`${host}:${port}`, network, null);
  if (scheme !== "ssh-tunnel") {
    throw new GoAddressError(`remote protocol for unix forwarder is not implemented: ${scheme}`);
  }
  const key = query.get("key") ?? "";
  if (key === "") throw new GoAddressError("key not provided for unix-ssh connection");
  if (path === "" || path === "/") throw new GoAddressError("remote uri must contain a path to a socket file");
  if (user === "")
    throw new GoHttpError(400, "remote: the user is missing, as in ssh-tunnel://core@192.168.127.2/path");
  const server = readTarget(`${host}:${port === "" ? SSH_PORT : port}`, network, null);
  const passphrase = query.get("passphrase") ?? "";
  const socket: GuestSocket = {
    server,
    user,
    path,
    identity: resolve(key),
    ...(passphrase === "" ? {} : { passphrase }),
    ...(query.get("secure") === "true" ? { knownHosts: join(homedir(), ".ssh", "known_hosts") } : {}),
  };
  return socket;
}

function readGuestAddress(text: string, where: string, network: GatewayAddresses): Ipv4 {
  if (!isIPv4(text)) throw new GoHttpError(400, `${where}: ${JSON.stringify(text)} is not an IPv4 address`);
  const address = parseIpv4(text);
  const reason = whyNoGuest(address, network);
  if (reason !== undefined) throw new GoHttpError(400, `${where}: ${reason}`);
  return address;
}

/** Where this host listens. */
async function readLocal(protocol: "tcp" | "udp", local: string, vm: VmSession | null): Promise<ListenAddress> {
  if (local === "") return { host: "", port: 0 };
  try {
    const { host, port } = splitHostPort(local);
    const number = listenPort(protocol, port);
    return { host: await resolveHost(host, vm), port: number };
  } catch (error) {
    // Go's TCP says what it was about to do.
    if (!(error instanceof GoAddressError) || protocol === "udp") throw error;
    throw new GoAddressError(`listen tcp: ${error.message}`);
  }
}

async function resolveHost(host: string, vm: VmSession | null): Promise<string> {
  if (host === "" || isIP(host) !== 0) return host;
  if (host === "localhost") return "127.0.0.1";
  // A guest is not to learn what the names of the host are.
  const addresses = vm === null ? await lookup(host, { all: true }).catch(() => []) : [];
  const found = addresses.find(({ family }) => family === 4) ?? addresses[0];
  if (found === undefined) throw new GoAddressError(`lookup ${host}: no such host`);
  return found.address;
}
