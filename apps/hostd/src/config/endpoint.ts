/**
 * Where a VM attaches, as a URL: `unix:///path` and `tcp://host:port` are listened on, and `dial+` in front says
 * that the other side listens and hostd connects. The form needs no quoting in a shell.
 */
import type { Endpoint, TcpAddress, UnixAddress } from "@hostd/frontends";
import { isIpv4, readHostPort, readIpv6, ValueError } from "./values.ts";

export {
  type Endpoint,
  formatEndpoint,
  formatSocketAddress,
  type TcpAddress,
  type UnixAddress,
} from "@hostd/frontends";

/** The longest path `sockaddr_un` holds with its terminating NUL: 108 bytes on Linux, 104 on macOS and the BSDs. */
const UNIX_PATH_MAX = process.platform === "linux" ? 107 : 103;

const HOST_NAME = /^(?!-)[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})*$/i;

/**
 * Reads an endpoint. A bare absolute path stands for `unix://` and the path.
 *
 * @throws {ValueError} with the reason.
 */
export function readEndpoint(text: string): Endpoint {
  if (text.startsWith("/")) return { mode: "listen", transport: "unix", path: readUnixPath(text) };
  const match = /^(dial\+)?(unix|tcp):\/\/(.*)$/.exec(text);
  if (match === null) {
    const scheme = /^([^:/]*):\/\//.exec(text)?.[1];
    if (scheme !== undefined) throw new ValueError(`the scheme is ${JSON.stringify(scheme)}`);
    throw new ValueError(/^(?:dial\+)?(?:unix|tcp):/.test(text) ? "// is missing after the scheme" : "");
  }
  const mode = match[1] === undefined ? "listen" : "dial";
  if (match[2] === "unix") return { mode, transport: "unix", path: readUnixPath(match[3]) };
  return { mode, ...readTcpAddress(match[3], mode) };
}

/**
 * Reads the address of a Unix socket to listen on: `unix:///path` or the path alone.
 *
 * @throws {ValueError} with the reason.
 */
export function readUnixListener(text: string): UnixAddress {
  const path = /^unix:\/\/(.*)$/.exec(text)?.[1] ?? text;
  if (path === text && !text.startsWith("/")) throw new ValueError("");
  return { transport: "unix", path: readUnixPath(path) };
}

/** Whether only processes of this machine reach `host`: 127.0.0.0/8 (RFC 1122), ::1 (RFC 4291) or `localhost`. */
export function isLoopbackHost(host: string): boolean {
  return host === "localhost" || host === "::1" || (isIpv4(host) && host.startsWith("127."));
}

/** The `-netdev` argument that attaches a QEMU (7.2 or newer) to an endpoint. */
export function qemuNetdev(endpoint: Endpoint): string {
  const server = endpoint.mode === "dial" ? "on" : "off";
  // QEMU splits its options at commas and reads a doubled one as the character.
  const quoted = (text: string) => text.replaceAll(",", ",,");
  const address =
    endpoint.transport === "unix"
      ? `addr.type=unix,addr.path=${quoted(endpoint.path)}`
      : `addr.type=inet,addr.host=${quoted(endpoint.host)},addr.port=${endpoint.port}`;
  return `stream,id=net0,server=${server},${address}`;
}

function readUnixPath(path: string): string {
  if (!path.startsWith("/")) throw new ValueError("the path is not absolute: three slashes follow unix:");
  if (path.endsWith("/")) throw new ValueError("the path ends in a slash: name the socket, not its folder");
  if (path.includes("\0")) throw new ValueError("the path holds a NUL character");
  const bytes = new TextEncoder().encode(path).length;
  if (bytes > UNIX_PATH_MAX) {
    throw new ValueError(`the path has ${bytes} bytes; a Unix socket's has at most ${UNIX_PATH_MAX}`);
  }
  return path;
}

function readTcpAddress(text: string, mode: Endpoint["mode"]): TcpAddress {
  const { host, bracketed, port } = readHostPort(text);
  if (mode === "dial" && port === 0) throw new ValueError("port 0 cannot be dialled");
  if (bracketed) {
    const address = readIpv6(host);
    if (address === undefined) throw new ValueError(`${JSON.stringify(host)} is not an IPv6 address`);
    return { transport: "tcp", host: address, port };
  }
  if (host === "") {
    throw new ValueError("the address is missing: 127.0.0.1 is this machine only, 0.0.0.0 is every interface");
  }
  const isAddress = isIpv4(host) || host === "localhost";
  if (!isAddress && (mode === "listen" || !HOST_NAME.test(host) || /^[0-9.]+$/.test(host))) {
    throw new ValueError(`${JSON.stringify(host)} is not an IP address`);
  }
  return { transport: "tcp", host, port };
}
