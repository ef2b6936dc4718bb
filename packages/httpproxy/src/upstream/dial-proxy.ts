import { once } from "node:events";
import { connect, isIP, type Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { HostPort, ProxyServer } from "../route.ts";
import type { Attempt } from "./attempt.ts";
import { codeOf, describeFailure, RouteError, theProxy } from "./route-error.ts";

/** A tunnel may be idle for long; in this time a NAT on the way forgets no connection, in milliseconds. */
const KEEP_ALIVE_DELAY = 60_000;

/** Connects to a proxy from this host, by whichever of its addresses answers. */
export async function dialTcp({ host, port }: HostPort, signal: AbortSignal): Promise<Socket> {
  const socket = connect({
    host,
    port,
    allowHalfOpen: true,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: KEEP_ALIVE_DELAY,
    autoSelectFamily: true,
  });
  socket.on("error", () => {});
  try {
    await once(socket, "connect", { signal });
    return socket;
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

/**
 * Has TLS on a connection to a proxy. Either direction may end alone, as far as the proxy keeps to that: its end is
 * announced to the proxy by a close_notify alert and the end of TCP's direction, and what the proxy sends is still read
 * (RFC 8446, 6.1).
 *
 * @throws {RouteError} when there is none, or the proxy is not the one it should be.
 */
export async function startTls(attempt: Attempt, socket: Socket, server: ProxyServer): Promise<TLSSocket> {
  // Loaded by those who need it: it takes memory.
  const { connect: connectTls } = await import("node:tls");
  attempt.signal.throwIfAborted();
  const { host, ca } = server;
  const stream = connectTls({
    socket,
    host,
    ...(isIP(host) === 0 && { servername: host }),
    ...(ca !== undefined && { ca }),
    ALPNProtocols: ["http/1.1"],
  });
  attempt.own(stream);
  try {
    await once(stream, "secureConnect");
    return stream;
  } catch (error) {
    const route = { kind: "proxy", server } as const;
    throw new RouteError(`${theProxy(server)} ${describeTls(error, server)}`, 502, route, {
      finding: "unreachable",
      cause: error,
    });
  }
}

const UNKNOWN_AUTHORITY: ReadonlySet<string> = new Set([
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  "CERT_UNTRUSTED",
]);

/** By the codes of Node and the reasons of OpenSSL, which are constants; nothing of it is the proxy's text. */
function describeTls(error: unknown, { host, ca }: ProxyServer): string {
  const code = codeOf(error) ?? "";
  if (UNKNOWN_AUTHORITY.has(code)) {
    return ca === undefined
      ? "cannot be trusted: nobody known here has signed its certificate; give the CA file of whoever did"
      : "cannot be trusted: its certificate is not signed by what is in the CA file that was given for it";
  }
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") {
    return `cannot be trusted: its certificate is not for ${host}; give its URL with a name that is in the certificate`;
  }
  if (code === "CERT_HAS_EXPIRED") return "cannot be trusted: its certificate has expired";
  if (code === "CERT_NOT_YET_VALID") {
    return "cannot be trusted: its certificate is not valid yet, unless the clock of this host is wrong";
  }
  if (/CERT|CRL|CHAIN|PURPOSE|ISSUER|INVALID_CA/.test(code)) return `cannot be trusted: its certificate (${code})`;
  if (code === "ERR_SSL_WRONG_VERSION_NUMBER" || code === "ERR_SSL_PACKET_LENGTH_TOO_LONG") {
    return "does not speak TLS: if it is a plain one, its URL begins with http://";
  }
  if (error instanceof Error && "reason" in error && typeof error.reason === "string") {
    return `could not agree on TLS (${error.reason})`;
  }
  if (code === "ECONNRESET") return "closed the connection during the TLS handshake";
  return describeFailure(error);
}
