import { getSystemErrorMessage } from "node:util";
import { formatListenAddress, type ListenAddress } from "./forward-rule.ts";

/** The words of Go's errors, which are Docker's too and which people search for. */
const GO_MESSAGES: Readonly<Record<string, string>> = {
  EACCES: "permission denied",
  EADDRINUSE: "address already in use",
  EADDRNOTAVAIL: "cannot assign requested address",
};

/** Ports below this are for privileged programs unless the system is told otherwise. */
const FIRST_UNPRIVILEGED_PORT = 1024;

/** A port of the host that cannot be listened on, in the wording of Go and Docker. */
export class BindError extends Error {
  override readonly name = "BindError";
  /** The system's error, such as `EADDRINUSE`. */
  readonly code: string;

  constructor(address: ListenAddress, error: NodeJS.ErrnoException, platform: NodeJS.Platform = process.platform) {
    const code = error.code ?? "unknown";
    const reason = GO_MESSAGES[code] ?? systemMessage(error);
    super(`listen tcp ${formatListenAddress(address)}: bind: ${reason}${hint(address.port, code, platform)}`, {
      cause: error,
    });
    this.code = code;
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
    `"sysctl -w net.ipv4.ip_unprivileged_port_start=${port}", or give the node that runs hostd the capability ` +
    "CAP_NET_BIND_SERVICE)"
  );
}
