import { Duplex } from "node:stream";
import type { SocksClient } from "socks";
import { formatHostPort, type HostPort, type ProxyServer } from "../route.ts";
import { ClosedError, readAnswer } from "./handshake.ts";
import { checkDestination, describeFailure, RouteError, theProxy, unanswered } from "./route-error.ts";

/** The longest user name or password, in bytes (RFC 1929, 2). */
const MAX_CREDENTIAL = 255;
/**
 * Has a SOCKS proxy connect to the origin (RFC 1928). Then the stream leads there.
 *
 * @param stream - to the proxy.
 * @param origin - what the proxy is asked for: the destination, or one of its addresses.
 * @param answered - is called when the proxy has begun to answer.
 * @throws {RouteError} when it does not. The stream is of no use then.
 */
export async function requestSocks(
  stream: Duplex,
  server: ProxyServer,
  destination: HostPort,
  origin: HostPort,
  answered: () => void,
): Promise<void> {
  checkDestination(origin, server);
  const { user = "", password = "" } = server.credentials ?? {};
  if (Buffer.byteLength(user) > MAX_CREDENTIAL || Buffer.byteLength(password) > MAX_CREDENTIAL) {
    const message = `${theProxy(server)} cannot be given a user name or a password of more than ${MAX_CREDENTIAL} bytes`;
    throw new RouteError(message, 407, { kind: "proxy", server }, { isFinal: true });
  }
  // Loaded by those who need it: it takes memory.
  const library = await import("socks");
  const pipe = new Duplex({
    read() {},
    write(bytes: Buffer, _encoding, done) {
      stream.write(bytes);
      done();
    },
  });
  const client = new library.SocksClient({
    command: "connect",
    proxy: { host: server.host, port: server.port, type: 5, userId: user, password },
    destination: { host: origin.host, port: origin.port },
    timeout: 1,
  });
  // Its timer holds all of it until it fires, also after success. What takes too long is ended by the caller.
  Object.defineProperty(client, "onEstablishedTimeout", { value: () => {} });
  try {
    await converse(client, pipe, stream, answered);
  } catch (error) {
    throw describeError(server, destination, error);
  } finally {
    pipe.destroy();
  }
}

/** What the library has to say. Its own errors hold the password. */
class LibraryError extends Error {
  override readonly name = "LibraryError";
}

/** Lets the library speak over `pipe`, and takes no byte of the stream that is not part of the answers. */
async function converse(client: SocksClient, pipe: Duplex, stream: Duplex, answered: () => void): Promise<void> {
  const established = Promise.withResolvers<void>();
  let isOver = false;
  client.once("established", ({ remoteHost }) => {
    isOver = true;
    // The library takes a kind of address that it does not know for the end of the answer.
    if (remoteHost === undefined) established.reject(new LibraryError("unknown kind of address"));
    else established.resolve();
  });
  client.once("error", ({ message }) => {
    isOver = true;
    established.reject(new LibraryError(message));
  });
  client.connect(pipe);
  const answer = readAnswer(stream, (bytes) => {
    answered();
    let at = 0;
    while (at < bytes.length && !isOver) pipe.emit("data", bytes.subarray(at, ++at));
    return isOver ? at : null;
  });
  await Promise.all([established.promise, answer]);
}

interface Reply {
  readonly text: (target: string) => string;
  readonly status: 403 | 502 | 504;
  /** Whether it is the proxy's fault and not the origin's. */
  readonly isOwnFault?: boolean;
}

/** By the library's names for what a proxy replies (RFC 1928, 6). */
const REPLIES: ReadonlyMap<string, Reply> = new Map<string, Reply>([
  ["Failure", { text: (target) => `could not connect to ${target}`, status: 502, isOwnFault: true }],
  ["NotAllowed", { text: (target) => `does not allow connections to ${target}`, status: 403 }],
  ["NetworkUnreachable", { text: (target) => `has no way to the network of ${target}`, status: 502 }],
  ["HostUnreachable", { text: (target) => `cannot reach ${target}`, status: 502 }],
  ["ConnectionRefused", { text: (target) => `was refused the connection to ${target}`, status: 502 }],
  ["TTLExpired", { text: (target) => `had no answer of ${target} in time`, status: 504 }],
  ["CommandNotSupported", { text: () => "makes no connections for others", status: 502 }],
  ["AddressNotSupported", { text: (target) => `takes no address of the kind that ${target} has`, status: 502 }],
]);

function describeError(server: ProxyServer, destination: HostPort, error: unknown): RouteError {
  const route = { kind: "proxy", server } as const;
  if (error instanceof ClosedError) {
    return unanswered(server, destination, "closed the connection without an answer", { cause: error });
  }
  if (!(error instanceof LibraryError))
    return unanswered(server, destination, describeFailure(error), { cause: error });
  if (/authentication/i.test(error.message)) {
    const message = `${theProxy(server)} ${describeAuthentication(server)}`;
    return new RouteError(message, 407, route, { finding: "alive", isFinal: true, cause: error });
  }
  const name = /^Socks5 proxy rejected connection - (\w+)$/.exec(error.message)?.[1];
  const reply = REPLIES.get(name ?? "");
  if (reply === undefined) {
    return unanswered(server, destination, "answered something that is not of SOCKS5 (RFC 1928)", { cause: error });
  }
  const message = `${theProxy(server)} ${reply.text(formatHostPort(destination))}`;
  return new RouteError(message, reply.status, route, {
    finding: "alive",
    isFinal: reply.isOwnFault !== true,
    cause: error,
  });
}

function describeAuthentication({ kind, credentials }: ProxyServer): string {
  if (credentials !== undefined) return "refused the user name and password that it was given";
  return `wants credentials: give a user name and password in its URL, as ${kind}://USER:PASSWORD@HOST:PORT`;
}
