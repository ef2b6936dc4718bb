import { readlinkSync } from "node:fs";
import { type ForwardRule, formatListen, isSocketPath } from "./forward-rule.ts";
import { canonicalHost } from "./host-address.ts";
import { type InternetSocket, readInternetSockets, readUnixSockets, type UnixSocket } from "./socket-table.ts";

/** The first descriptor that is passed; those before are the standard ones (SD_LISTEN_FDS_START). */
const FIRST_DESCRIPTOR = 3;

/** A descriptor that was handed to the process. */
interface ActivatedSocket {
  readonly descriptor: number;
  /** The name that its unit has for it; empty when it has none. */
  readonly name: string;
  /** What it listens on; null when that could not be found out, or it does not listen. */
  readonly socket: InternetSocket | UnixSocket | null;
}

/** Sockets that listen already and were handed to the process, as systemd does it (sd_listen_fds(3)). */
export class ActivatedSockets {
  /** Those that nobody has taken. */
  readonly #sockets: ActivatedSocket[];

  private constructor(sockets: ActivatedSocket[]) {
    this.#sockets = sockets;
  }

  /**
   * Finds the sockets that the environment tells of: `LISTEN_PID` is the process that they are for, `LISTEN_FDS` how many
   * they are, and `LISTEN_FDNAMES` has their names with colons between them. Variables that are not there, are for another
   * process or make no sense are those of no sockets.
   *
   * @param pid - of this process.
   */
  static fromEnvironment(env: Readonly<Record<string, string | undefined>>, pid: number): ActivatedSockets {
    const { LISTEN_PID, LISTEN_FDS = "", LISTEN_FDNAMES = "" } = env;
    if (LISTEN_PID !== String(pid) || !/^[1-9]\d{0,3}$/.test(LISTEN_FDS)) return new ActivatedSockets([]);
    const names = LISTEN_FDNAMES.split(":");
    const tables = [readInternetSockets("tcp"), readInternetSockets("udp"), readUnixSockets()];
    const listening = new Map(
      tables.flat().flatMap((one) => (one.isListening ? [[`socket:[${one.inode}]`, one]] : [])),
    );
    const sockets = Array.from({ length: Number(LISTEN_FDS) }, (_, index) => {
      const descriptor = FIRST_DESCRIPTOR + index;
      const socket = listening.get(linkOf(descriptor)) ?? null;
      return { descriptor, name: names[index] ?? "", socket };
    });
    return new ActivatedSockets(sockets);
  }

  /**
   * Gives out the descriptor of the socket that listens where the rule wants to; once. Who takes it closes it, and the
   * next one listens for itself. A socket on `::` is taken for every address too, as systemd makes it by default.
   */
  take(rule: ForwardRule): number | undefined {
    const index = this.#sockets.findIndex(({ socket }) => socket !== null && listensFor(socket, rule));
    return index < 0 ? undefined : this.#sockets.splice(index, 1)[0].descriptor;
  }

  /** Those that nobody has taken, such as `descriptor 3 (web.socket), tcp 127.0.0.1:80`. */
  unused(): string[] {
    return this.#sockets.map(({ descriptor, name, socket }) => {
      const named = name === "" ? "" : ` (${name})`;
      return `descriptor ${descriptor}${named}, ${socket === null ? "not a socket that listens" : describe(socket)}`;
    });
  }
}

function linkOf(descriptor: number): string {
  try {
    return readlinkSync(`/proc/self/fd/${descriptor}`);
  } catch {
    return "";
  }
}

function listensFor(socket: InternetSocket | UnixSocket, { protocol, listen }: ForwardRule): boolean {
  if (isSocketPath(listen)) return socket.protocol === "unix" && socket.path === listen.path;
  if (socket.protocol !== protocol || socket.port !== listen.port) return false;
  return socket.host === (listen.host === "" ? "::" : canonicalHost(listen.host));
}

function describe(socket: InternetSocket | UnixSocket): string {
  return socket.protocol === "unix" ? formatListen(socket) : `${socket.protocol} ${formatListen(socket)}`;
}
