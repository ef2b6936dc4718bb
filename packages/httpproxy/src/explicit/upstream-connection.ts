import type { Duplex } from "node:stream";
import {
  type Clock,
  HeldReader,
  type HeldReaderHandlers,
  passUnread,
  rescueUnread,
  writeUnqueued,
} from "@hostd/streams";
import type { Decision, ProxyServer, Route } from "../route.ts";
import type { ForwardedRequest } from "./proxy-request.ts";

/**
 * For how long after its last use a connection is good for a request that may not be made twice, in milliseconds: servers
 * close those that are idle after 5 s (Node) or longer, while the request is on its way.
 */
const FRESH_TIME = 4_000;

export interface UpstreamConnectionOptions {
  /** The first request on it. */
  readonly request: ForwardedRequest;
  /** By which it was made. */
  readonly decision: Decision;
  /** The HTTP proxy at its other end; null for the origin. */
  readonly proxy: ProxyServer | null;
  readonly clock: Clock;
}

export interface UpstreamHandlers extends HeldReaderHandlers {
  /** It takes bytes again. */
  drained(): void;
}

/** A connection on which requests go out, one after the other. */
export class UpstreamConnection {
  readonly proxy: ProxyServer | null;
  readonly decision: Decision;
  /** The request that went out on it and is not answered to its end. */
  request: ForwardedRequest | null = null;
  /** Whether anything has come in answer to that request. */
  hasAnswered = false;
  /** Whether no request may follow on it. */
  isLast = false;
  /** When a response on it was over, in milliseconds of the clock. */
  usedAt: number;
  readonly #stream: Duplex;
  readonly #reader: HeldReader<"client full" | "tunnel">;
  readonly #options: UpstreamConnectionOptions;
  readonly #drained: () => void;
  /** Whether a request was answered on it before. */
  #isReused = false;
  #isGone = false;

  constructor(stream: Duplex, options: UpstreamConnectionOptions, handlers: UpstreamHandlers) {
    this.#stream = stream;
    this.#options = options;
    this.proxy = options.proxy;
    this.decision = options.decision;
    this.usedAt = options.clock.now();
    this.#drained = () => handlers.drained();
    stream.on("error", () => {});
    stream.on("drain", this.#drained);
    this.#reader = new HeldReader(stream, {
      take: (bytes, start) => handlers.take(bytes, start),
      finished: (by) => {
        this.isLast = true;
        handlers.finished(by);
      },
    });
    rescueUnread(stream, (bytes) => this.#reader.add(bytes));
  }

  get isHeld(): boolean {
    return this.#reader.isHeld;
  }

  /** Whether more has come behind the bytes that are being taken. */
  get hasMore(): boolean {
    return this.#reader.hasMore;
  }

  /** Whether its request was not answered because the connection was closed meanwhile, and may be made anew (RFC 9112, 9.3.1). */
  get isResendable(): boolean {
    return this.#isReused && !this.hasAnswered && this.request?.isRepeatable === true;
  }

  /** Whether another request may go out on it. */
  serves({ destination, isRepeatable, isUpgrade }: ForwardedRequest, { routes }: Decision): boolean {
    if (!this.#stream.writable) return false;
    const { request, decision, proxy, clock } = this.#options;
    // What another protocol is asked of is the origin.
    if (isUpgrade && proxy !== null) return false;
    const isSame = destination.host === request.destination.host && destination.port === request.destination.port;
    // Every origin is behind a proxy, but another one may be reached by a route that comes before it.
    if (!isSame && (proxy === null || !isSameRoute(routes[0], { kind: "proxy", server: proxy }))) return false;
    if (!isRepeatable && clock.now() - this.usedAt > FRESH_TIME) return false;
    return areSameRoutes(routes, decision.routes);
  }

  /** Sends the head of a request. */
  send(request: ForwardedRequest, head: Buffer): void {
    this.request = request;
    this.hasAnswered = false;
    this.write(head);
  }

  /** The request on it is answered, and another one may follow. */
  finish(): void {
    this.request = null;
    this.#isReused = true;
    this.usedAt = this.#options.clock.now();
  }

  /** @returns whether more may be written before it has drained. */
  write(bytes: Buffer): boolean {
    const stream = this.#stream;
    // The kernel may have taken it all nevertheless.
    return !stream.writable || stream.write(bytes) || stream.writableLength === 0;
  }

  /** Writes what can be written at once. @returns how many bytes that were; they need not stay where they are. */
  writeNow(bytes: Uint8Array, offset: number, length: number): number {
    return writeUnqueued(this.#stream, bytes, offset, length);
  }

  /**
   * Passes on to the client what has come and was not read yet. For when all that was read is taken.
   *
   * @returns how many bytes that were, at most `most`.
   */
  passTo(client: Duplex, most: number): number {
    return passUnread(this.#stream, client, most);
  }

  hold(reason: "client full" | "tunnel"): void {
    this.#reader.hold(reason);
  }

  release(reason: "client full"): void {
    this.#reader.release(reason);
  }

  /** Gives the stream away. What was read of it and not taken is before what comes. */
  detach(): { readonly stream: Duplex; readonly early: Buffer } {
    const early = this.#reader.detach();
    this.#stream.off("drain", this.#drained);
    return { stream: this.#stream, early };
  }

  destroy(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    this.#reader.discard();
    this.#stream.destroy();
  }
}

function areSameRoutes(one: readonly Route[], other: readonly Route[]): boolean {
  if (one === other) return true;
  return one.length === other.length && one.every((route, index) => isSameRoute(route, other[index]));
}

function isSameRoute(one: Route, other: Route): boolean {
  if (one.kind !== "proxy" || other.kind !== "proxy") return one.kind === other.kind;
  const [a, b] = [one.server, other.server];
  if (a === b) return true;
  return (
    a.kind === b.kind &&
    a.host === b.host &&
    a.port === b.port &&
    a.ca === b.ca &&
    a.credentials?.user === b.credentials?.user &&
    a.credentials?.password === b.credentials?.password
  );
}
