import type { Duplex } from "node:stream";
import { HeadReader, MessageError, type ResponseHead, readResponseHead } from "@hostd/http1";
import { formatHostPort, type HostPort, type ProxyServer } from "../route.ts";
import { ClosedError, readAnswer } from "./handshake.ts";
import { proxyAuthenticationError, proxyAuthorization } from "./proxy-authentication.ts";
import { checkDestination, describeFailure, RouteError, theProxy, unanswered } from "./route-error.ts";
import type { UpstreamError } from "./upstream-error.ts";

/** The most bytes that a proxy may answer with before the tunnel begins. */
const MAX_ANSWER = 64 * 1024;

/**
 * Has an HTTP proxy connect to the origin (RFC 9110, 9.3.6). Then the stream leads there.
 *
 * @param stream - to the proxy.
 * @throws {UpstreamError} when it does not. The stream is of no use then.
 */
export async function requestTunnel(stream: Duplex, server: ProxyServer, destination: HostPort): Promise<void> {
  checkDestination(destination, server);
  stream.write(connectRequest(server, destination));
  const head = await readFinalHead(stream).catch((error: unknown) => {
    throw unanswered(server, destination, describeNoAnswer(error), { cause: error });
  });
  // Lengths in it have no meaning: what follows is the tunnel.
  if (head.status < 200 || head.status > 299) throw refusal(server, destination, head);
}

function connectRequest(server: ProxyServer, destination: HostPort): string {
  const target = formatHostPort(destination);
  const authorization = proxyAuthorization(server);
  const credentials = authorization === null ? "" : `Proxy-Authorization: ${authorization}\r\n`;
  return `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n${credentials}\r\n`;
}

/** Reads a head that is not one of an interim response (RFC 9110, 15.2). */
async function readFinalHead(stream: Duplex): Promise<ResponseHead> {
  const reader = new HeadReader();
  let length = 0;
  let head: ResponseHead | null = null;
  await readAnswer(stream, (bytes) => {
    for (let at = 0; at < bytes.length; ) {
      const end = reader.read(bytes, at);
      length += end - at;
      if (length > MAX_ANSWER) throw new MessageError("the head is too long");
      at = end;
      if (!reader.isComplete) continue;
      head = readResponseHead(reader.take());
      // It changes to no other protocol, having been asked for none.
      if (head.status === 101) throw new MessageError("unexpected status 101");
      if (head.status >= 200) return at;
    }
    return null;
  });
  if (head === null) throw new TypeError("an answer without a head");
  return head;
}

function describeNoAnswer(error: unknown): string {
  if (error instanceof MessageError) return `answered something that is not HTTP (${error.message})`;
  if (error instanceof ClosedError) return "closed the connection without an answer";
  return describeFailure(error);
}

function refusal(server: ProxyServer, destination: HostPort, { status, fields }: ResponseHead): UpstreamError {
  if (status === 407) return proxyAuthenticationError(server, fields);
  const target = formatHostPort(destination);
  const message = `${theProxy(server)} ${describeStatus(status, target)}`;
  const options = { finding: "alive", isFinal: status !== 503 } as const;
  return new RouteError(message, status === 403 || status === 504 ? status : 502, { kind: "proxy", server }, options);
}

function describeStatus(status: number, target: string): string {
  if (status === 403) return `does not allow connections to ${target} (403)`;
  if (status === 502 || status === 503) return `could not connect to ${target} (${status})`;
  if (status === 504) return `had no answer of ${target} in time (504)`;
  return `answered ${status} when it was asked for a connection to ${target}`;
}
