/** What a request asks of the proxy. */
import { type BodyFraming, declaredFraming, MessageError, type RequestHead } from "@hostd/http1";
import type { Destination, HostPort } from "../route.ts";
import type { Failure } from "./error-page.ts";
import { hasControlCharacter, maxForwards, namesWebSocket } from "./forwarded-head.ts";
import { readAbsoluteTarget, readAuthority, readConnectTarget, writeAuthority } from "./request-target.ts";

/** A request that is passed on. */
export interface ForwardedRequest {
  readonly kind: "request";
  readonly head: RequestHead;
  readonly destination: Destination;
  /** The value of Host (RFC 9112, 3.2.2: that of the target, whatever was sent). */
  readonly host: string;
  /** The target for the origin (RFC 9112, 3.2.1). */
  readonly target: string;
  /** The target for a proxy (RFC 9112, 3.2.2). */
  readonly absoluteTarget: string;
  /** Of its body, which there is when this has a length above 0 or none; null when the head says nothing of it. */
  readonly framing: BodyFraming | null;
  /** Whether it may be made twice without harm (RFC 9110, 9.2.2), and can, having no body. */
  readonly isRepeatable: boolean;
  /** Whether the client asks for another protocol on the connection. */
  readonly isUpgrade: boolean;
}

/** A tunnel to an origin is asked for. */
export interface TunnelRequest {
  readonly kind: "tunnel";
  readonly head: RequestHead;
  readonly destination: Destination;
}

/** A request that is answered here. */
export interface AnsweredRequest {
  readonly kind: "answer";
  readonly head: RequestHead;
  readonly failure: Failure;
}

export type ProxyRequest = ForwardedRequest | TunnelRequest | AnsweredRequest;

/** Finds out what a request is for. One for which that cannot be told for sure is answered here. */
export type RequestReader = (head: RequestHead) => ProxyRequest;

/** Reads a request of a client that knows of the proxy. */
export const readExplicitRequest = makeReader((head) => {
  const framing = declaredFraming(head);
  if (head.method === "CONNECT") {
    if (hasBody(framing)) throw new MessageError("CONNECT with a body");
    return { kind: "tunnel", head, destination: { scheme: "https", ...readConnectTarget(head.target) } };
  }
  const { host, port, authority, path } = readAbsoluteTarget(head.target);
  const isWhole = path === "" && head.method === "OPTIONS";
  return forwarded(head, framing, {
    destination: { scheme: "http", host, port },
    host: authority,
    // RFC 9112, 3.2.4.
    target: isWhole ? "*" : originForm(path),
    absoluteTarget: `http://${authority}${isWhole ? "" : originForm(path)}`,
  });
});

/**
 * Reads the requests of a client that believes to be connected to an origin, by their Host.
 *
 * @param original - the address and port that it has connected to. Whatever it names, it is this port.
 */
export function transparentReader({ host: address, port }: HostPort): RequestReader {
  return makeReader((head) => {
    if (head.method === "CONNECT") {
      throw new MessageError("CONNECT to a server whose connections pass another proxy on their way", 501);
    }
    const framing = declaredFraming(head);
    const [value = ""] = head.fields.all("host");
    if (/^[a-z][a-z0-9+.-]*:\/\//i.test(head.target)) {
      const { host, authority, path } = readAbsoluteTarget(head.target);
      const destination = { scheme: "http", host, port, address } as const;
      const target = originForm(path);
      const absoluteTarget = `http://${writeAuthority(destination)}${target}`;
      return forwarded(head, framing, { destination, host: authority, target, absoluteTarget });
    }
    const isWhole = head.target === "*" && head.method === "OPTIONS";
    if (!isWhole && !head.target.startsWith("/")) throw new MessageError("the target is neither a path nor a URL");
    const { host } = value === "" ? { host: address } : readAuthority(value);
    const destination = { scheme: "http", host, port, address } as const;
    const authority = writeAuthority(destination);
    return forwarded(head, framing, {
      destination,
      host: value === "" ? authority : value,
      target: head.target,
      absoluteTarget: `http://${authority}${isWhole ? "" : head.target}`,
    });
  });
}

const IDEMPOTENT: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]);

function makeReader(read: (head: RequestHead) => ProxyRequest): RequestReader {
  return (head) => {
    try {
      checkFields(head);
      // Whoever answers sends back what was sent, and so what a proxy is told to have it let in (RFC 9110, 9.3.8).
      if (head.method === "TRACE") throw new MessageError("TRACE is not served", 501);
      if (maxForwards(head) === 0) {
        // It is for whoever it has come to (RFC 9110, 7.6.2).
        return answered(head, { status: 200, message: "this is the last proxy that the request was to reach" });
      }
      return read(head);
    } catch (error) {
      if (!(error instanceof MessageError)) throw error;
      return answered(head, error);
    }
  };
}

function answered(head: RequestHead, { status, message }: Failure): AnsweredRequest {
  return { kind: "answer", head, failure: { status, message } };
}

function forwarded(
  head: RequestHead,
  framing: BodyFraming | null,
  parts: Pick<ForwardedRequest, "destination" | "host" | "target" | "absoluteTarget">,
): ForwardedRequest {
  const isRepeatable = IDEMPOTENT.has(head.method) && !hasBody(framing);
  return {
    kind: "request",
    head,
    ...parts,
    framing,
    isRepeatable,
    isUpgrade: namesWebSocket(head) && !hasBody(framing),
  };
}

/** @throws {MessageError} for what two readers may take for different things. */
function checkFields({ fields, minor }: RequestHead): void {
  const hosts = fields.all("host");
  if (hosts.length > 1) throw new MessageError("more than one Host");
  // RFC 9112, 3.2.
  if (hosts.length === 0 && minor > 0) throw new MessageError("no Host");
  if (hosts.length > 0 && hosts[0] !== "") readAuthority(hosts[0]);
  if (hasControlCharacter(fields.lines)) throw new MessageError("a control character in a field");
}

function hasBody(framing: BodyFraming | null): boolean {
  return framing !== null && (framing.kind !== "length" || framing.length > 0);
}

function originForm(path: string): string {
  return path.startsWith("/") ? path : `/${path}`;
}
