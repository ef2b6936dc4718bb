import { getSystemErrorMessage } from "node:util";
import { type ForwardRule, formatListen, isSocketPath } from "./forward-rule.ts";

/** The words of Go's errors, which are Docker's too and which people search for. */
const GO_MESSAGES: Readonly<Record<string, string>> = {
  EACCES: "permission denied",
  EADDRINUSE: "address already in use",
  EADDRNOTAVAIL: "cannot assign requested address",
  // A file where a folder of the path would have to be made.
  EEXIST: "not a directory",
  ENOENT: "no such file or directory",
  ENOTDIR: "not a directory",
};

/** Ports below this are for privileged programs unless the system is told otherwise. */
const FIRST_UNPRIVILEGED_PORT = 1024;

export interface BindErrorDetails {
  /** Which process holds the address, such as `nginx (process 1234)`; not given where that is not known. */
  readonly holder?: string;
  readonly platform?: NodeJS.Platform;
}

/** Something of the host that cannot be listened on, in the wording of Go and Docker, with what to do about it. */
export class BindError extends Error {
  override readonly name = "BindError";
  /** The system's error, such as `EADDRINUSE`. */
  readonly code: string;
  /** The system's reason in Go's words, such as `address already in use`. */
  readonly reason: string;
  /** What Go says, and nothing more: `listen tcp 127.0.0.1:80: bind: address already in use`. */
  readonly goMessage: string;

  constructor(
    { protocol, listen }: Pick<ForwardRule, "protocol" | "listen">,
    error: NodeJS.ErrnoException,
    { holder, platform = process.platform }: BindErrorDetails = {},
  ) {
    const code = error.code ?? "unknown";
    const reason = GO_MESSAGES[code] ?? systemMessage(error);
    const isPath = isSocketPath(listen);
    const goMessage = `listen ${isPath ? "unix" : protocol} ${isPath ? listen.path : formatListen(listen)}: bind: ${reason}`;
    const held = holder === undefined ? "" : ` (held by ${holder})`;
    super(`${goMessage}${held}${isPath ? "" : hint(listen.port, code, platform)}`, { cause: error });
    this.code = code;
    this.reason = reason;
    this.goMessage = goMessage;
  }
}

function systemMessage({ errno, message }: NodeJS.ErrnoException): string {
  return errno === undefined ? message : getSystemErrorMessage(errno);
}

/** What to do about a port that only privileged programs may listen on. */
function hint(port: number, code: string, platform: NodeJS.Platform): string {
  if (code !== "EACCES" || port === 0 || port >= FIRST_UNPRIVILEGED_PORT) return "";
  const choose = `choose a port from ${FIRST_UNPRIVILEGED_PORT} on`;
  if (platform !== "linux") return ` (ports below ${FIRST_UNPRIVILEGED_PORT} are for root: ${choose})`;
  return (
    ` (ports below ${FIRST_UNPRIVILEGED_PORT} are for root: ${choose}, lower the first port for everybody with ` +
    `"sysctl -w net.ipv4.ip_unprivileged_port_start=${port}", give the node that runs hostd the capability ` +
    "CAP_NET_BIND_SERVICE, or have systemd listen and pass the socket on)"
  );
}
