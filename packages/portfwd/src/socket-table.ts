import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { endianness } from "node:os";
import { canonicalHost } from "./host-address.ts";

/** A TCP or UDP socket of this host. */
export interface InternetSocket {
  readonly protocol: "tcp" | "udp";
  /** The local address, in the form of `canonicalHost`; `::` may be every IPv4 address as well. */
  readonly host: string;
  readonly port: number;
  /** The user that made it. */
  readonly uid: number;
  /** What its descriptors link to, as `socket:[inode]`; 0 when no process has it any more. */
  readonly inode: number;
  /** Whether it takes connections, or datagrams from anybody. */
  readonly isListening: boolean;
}

/** A Unix socket of this host that has a path. */
export interface UnixSocket {
  readonly protocol: "unix";
  /** As it was bound; it starts with `@` when it is none of the file system. */
  readonly path: string;
  readonly inode: number;
  /** Whether it is a stream socket that takes connections. */
  readonly isListening: boolean;
}

export interface SocketTableOptions {
  /** For tests; `/proc` unless given. */
  readonly proc?: string;
  /** For tests; that of the machine unless given. */
  readonly byteOrder?: "LE" | "BE";
}

/**
 * Reads the TCP or UDP sockets that the kernel has in this network namespace (proc_pid_net(5)). Linux alone tells them;
 * elsewhere, and where that cannot be read, there are none.
 */
export function readInternetSockets(protocol: "tcp" | "udp", options: SocketTableOptions = {}): InternetSocket[] {
  const { proc = "/proc", byteOrder = endianness() } = options;
  return [protocol, `${protocol}6`].flatMap((file) =>
    parseInternetSockets(protocol, readIfThere(`${proc}/net/${file}`), byteOrder),
  );
}

/**
 * Reads those of {@link readInternetSockets} that have a local port. The kernel takes 100 ms and more to write a table of
 * tens of thousands, which passes in another thread.
 */
export async function findInternetSockets(
  protocol: "tcp" | "udp",
  port: number,
  options: SocketTableOptions = {},
): Promise<InternetSocket[]> {
  const { proc = "/proc", byteOrder = endianness() } = options;
  const local = `:${port.toString(16).toUpperCase().padStart(4, "0")} `;
  const found: InternetSocket[] = [];
  for (const file of [protocol, `${protocol}6`]) {
    const text = await readFile(`${proc}/net/${file}`, "utf8").catch(() => "");
    const lines = text.split("\n").filter((line) => line.includes(local));
    found.push(...parseInternetSockets(protocol, lines.join("\n"), byteOrder).filter((socket) => socket.port === port));
  }
  return found;
}

/** Reads the Unix sockets that have a path, as {@link readInternetSockets} does. */
export function readUnixSockets({ proc = "/proc" }: SocketTableOptions = {}): UnixSocket[] {
  return parseUnixSockets(readIfThere(`${proc}/net/unix`));
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    // A kernel without IPv6 has no tcp6.
    return "";
  }
}

/** The local address and port, the state, the user, and the inode. */
const INTERNET_LINE =
  /^ *\d+: ([\dA-F]{8}|[\dA-F]{32}):([\dA-F]{4}) [\dA-F:]+ ([\dA-F]{2}) \S+ \S+ \S+ +(\d+) +\d+ (\d+)/;

/** TCP_LISTEN and TCP_CLOSE of the kernel; a UDP socket without a peer is in the latter. */
const LISTENING_STATE = { tcp: "0A", udp: "07" } as const;

/**
 * Reads the lines of `/proc/net/tcp`, `tcp6`, `udp` or `udp6`; others are passed over.
 *
 * @param byteOrder - of the machine, because the kernel writes an address as 32-bit words of it.
 */
export function parseInternetSockets(protocol: "tcp" | "udp", text: string, byteOrder: "LE" | "BE"): InternetSocket[] {
  const sockets: InternetSocket[] = [];
  for (const line of text.split("\n")) {
    const match = INTERNET_LINE.exec(line);
    if (match === null) continue;
    const [, address, port, state, uid, inode] = match;
    sockets.push({
      protocol,
      host: readAddress(address, byteOrder),
      port: Number.parseInt(port, 16),
      uid: Number(uid),
      inode: Number(inode),
      isListening: state === LISTENING_STATE[protocol],
    });
  }
  return sockets;
}

function readAddress(hex: string, byteOrder: "LE" | "BE"): string {
  const bytes = new DataView(new ArrayBuffer(hex.length / 2));
  for (let offset = 0; offset < bytes.byteLength; offset += 4) {
    const word = Number.parseInt(hex.slice(offset * 2, offset * 2 + 8), 16);
    bytes.setUint32(offset, word, byteOrder === "LE");
  }
  if (bytes.byteLength === 4) return [0, 1, 2, 3].map((offset) => bytes.getUint8(offset)).join(".");
  const groups = Array.from({ length: 8 }, (_, index) => bytes.getUint16(index * 2).toString(16));
  return canonicalHost(groups.join(":"));
}

/** The flags, the type, the inode and the path. */
const UNIX_LINE = /^[\da-f]+: [\dA-F]{8} [\dA-F]{8} ([\dA-F]{8}) ([\dA-F]{4}) [\dA-F]{2} +(\d+) (.+)$/;

/** SO_ACCEPTCON, the flag of a socket that takes connections. */
const ACCEPTS_FLAG = 0x10000;
/** SOCK_STREAM. */
const STREAM_TYPE = 1;

/** Reads the lines of `/proc/net/unix` that have a path; others are passed over. */
export function parseUnixSockets(text: string): UnixSocket[] {
  const sockets: UnixSocket[] = [];
  for (const line of text.split("\n")) {
    const match = UNIX_LINE.exec(line);
    if (match === null) continue;
    const [, flags, type, inode, path] = match;
    const accepts = (Number.parseInt(flags, 16) & ACCEPTS_FLAG) !== 0;
    const isListening = accepts && Number.parseInt(type, 16) === STREAM_TYPE;
    sockets.push({ protocol: "unix", path, inode: Number(inode), isListening });
  }
  return sockets;
}
