import type { Duplex } from "node:stream";
import {
  type BodyFraming,
  type BodyScanner,
  declaredFraming,
  HeadReader,
  MessageError,
  makeBodyScanner,
  type RequestHead,
  type ResponseHead,
  readRequestHead,
  readResponseHead,
  responseFraming,
} from "@hostd/http1";
import { type Clock, FlowStream, HeldReader, makePassable, PASSABLE_READ } from "@hostd/streams";
import { type Decision, formatHostPort, formatProxy, type Router } from "../route.ts";
import type { Connector, Upstream } from "../upstream/connector.ts";
import { proxyAuthenticationError } from "../upstream/proxy-authentication.ts";
import { UpstreamError } from "../upstream/upstream-error.ts";
import { type Failure, writeFailure } from "./error-page.ts";
import { forwardedRequest, forwardedResponse, isLastMessage, namesWebSocket } from "./forwarded-head.ts";
import { endStream } from "./linger.ts";
import type { ForwardedRequest, ProxyRequest, RequestReader, TunnelRequest } from "./proxy-request.ts";
import { joinTunnel, resetStream } from "./tunnel.ts";
import { UpstreamConnection } from "./upstream-connection.ts";

/** The longest head of a request, in bytes: that of squid, Apache and others is between 8 and 64 KiB. */
export const MAX_REQUEST_HEAD = 64 * 1024;
const MAX_RESPONSE_HEAD = 256 * 1024;
/** Interim responses to one request, beyond which the origin is taken for broken. */
const MAX_INTERIM = 64;
/** Heads and bodies up to this length are sent as one write, and so most likely in one segment. */
const JOINED_BYTES = 16 * 1024;
const CUT_OFF = "closed the connection before its response was complete";
const ESTABLISHED = Buffer.from("HTTP/1.1 200 Connection established\r\n\r\n");

export interface ProxyConnectionOptions {
  readonly router: Router;
  readonly connector: Connector;
  /** What requests of this connection are for. */
  readonly readRequest: RequestReader;
  /** What is written into Via; null for nothing. */
  readonly via: string | null;
  readonly clock: Clock;
  /** The connection has ended, or has become a tunnel. Called once. */
  readonly closed: () => void;
  /** A connection is a tunnel from now on. */
  readonly tunnelled: (client: Duplex, upstream: Duplex) => void;
}

/** The response to a request, while it comes. */
interface Response {
  readonly body: BodyScanner;
  readonly framing: BodyFraming;
  /** Whether the client is given the content of chunks without their framing. */
  readonly isUnchunked: boolean;
}

/**
 * A connection of a client to the proxy: its requests one after the other, each by the way that is decided for it. A
 * request is read while the one before it is answered no further than the buffers of its stream.
 */
export class ProxyConnection {
  readonly #options: ProxyConnectionOptions;
  readonly #client: Duplex;
  readonly #fromClient: HeldReader<"request" | "upstream full">;
  readonly #requestHead = new HeadReader(MAX_REQUEST_HEAD);
  readonly #responseHead = new HeadReader(MAX_RESPONSE_HEAD);
  readonly #closing = new AbortController();

  /** The request that is not answered to its end; null between requests. */
  #request: ProxyRequest | null = null;
  /** The body of the request while it comes; null when all of it has. */
  #requestBody: BodyScanner | null = null;

  #upstream: UpstreamConnection | null = null;
  #response: Response | null = null;
  /** A part of the final response to the request was passed on. */
  #isAnswered = false;
  #interim = 0;
  /** The client's connection ends behind this response. */
  #isLast = false;
  /** The part of a response that waits for what follows it, to be sent together. */
  #unsent: Buffer | null = null;
  #isOver = false;
  #isClosed = false;

  readonly #clientDrained = (): void => this.#upstream?.release("client full");
  readonly #clientClosed = (): void => {
    this.#stop();
    this.#tellClosed();
  };

  constructor(client: Duplex, options: ProxyConnectionOptions) {
    this.#client = client;
    this.#options = options;
    this.#fromClient = new HeldReader(client, {
      take: (bytes, start) => this.#takeFromClient(bytes, start),
      finished: (by) => {
        if (by === "end") this.#clientEnded();
      },
    });
    if (client instanceof FlowStream) client.offerTo((bytes, at, length) => this.#passRequestBody(bytes, at, length));
    client.on("error", ignore);
    client.on("drain", this.#clientDrained);
    client.on("close", this.#clientClosed);
  }

  /** Ends both connections at once. */
  destroy(): void {
    this.#stop();
    resetStream(this.#client);
  }

  /** Closes the connection to the next server when it was last used before `time`, in milliseconds of the clock. */
  closeIdleUpstream(time: number): void {
    const isIdle = this.#request === null && this.#requestBody === null;
    if (isIdle && this.#upstream !== null && this.#upstream.usedAt < time) this.#dropUpstream();
  }

  #takeFromClient(bytes: Buffer, start: number): number {
    let at = start;
    try {
      while (at < bytes.length && !this.#fromClient.isHeld && !this.#isOver) at = this.#advanceRequest(bytes, at);
    } catch (error) {
      this.#refuse(error);
    }
    return this.#isOver ? bytes.length : at;
  }

  /** @returns up to where the bytes were taken. */
  #advanceRequest(bytes: Buffer, start: number): number {
    if (this.#requestBody !== null) {
      const end = this.#requestBody.scan(bytes, start);
      if (this.#upstream?.write(bytes.subarray(start, end)) === false) this.#fromClient.hold("upstream full");
      if (this.#requestBody.isOver) this.#endRequestBody();
      return end;
    }
    const end = this.#requestHead.read(bytes, start);
    if (this.#requestHead.isTooLong) {
      throw new MessageError(`the head of the request is longer than ${MAX_REQUEST_HEAD} bytes`, 431);
    }
    if (this.#requestHead.isComplete) this.#takeRequest(readRequestHead(this.#requestHead.take()));
    return end;
  }

  /** Passes on what a guest sends of a body, from where it lies. @returns how many bytes that were. */
  #passRequestBody(bytes: Uint8Array, offset: number, length: number): number {
    const body = this.#requestBody;
    const upstream = this.#upstream;
    if (body === null || upstream === null || this.#fromClient.isHeld || !this.#fromClient.isEmpty) return 0;
    const passed = upstream.writeNow(bytes, offset, Math.min(length, body.passable));
    body.skip(passed);
    if (body.isOver) this.#endRequestBody();
    return passed;
  }

  #endRequestBody(): void {
    this.#requestBody = null;
    // The next request waits until this one is answered.
    if (this.#request !== null) this.#fromClient.hold("request");
  }

  #takeRequest(head: RequestHead): void {
    const request = this.#options.readRequest(head);
    this.#request = request;
    this.#isAnswered = false;
    this.#interim = 0;
    this.#isLast = isLastMessage(head);
    if (request.kind === "answer") {
      this.#answer(request.failure);
      return;
    }
    this.#fromClient.hold("request");
    if (request.kind === "request" && request.framing !== null) {
      const body = makeBodyScanner(request.framing);
      this.#requestBody = body.isOver ? null : body;
    }
    const decision = this.#options.router.decide(request.destination);
    if (decision instanceof Promise) void decision.then((decided) => this.#follow(request, decided));
    else this.#follow(request, decision);
  }

  #follow(request: ForwardedRequest | TunnelRequest, decision: Decision): void {
    if (this.#isOver) return;
    if (request.kind === "tunnel") void this.#openTunnel(request, decision);
    else if (this.#upstream?.serves(request, decision) === true) this.#send(request, this.#upstream);
    else void this.#connect(request, decision);
  }

  async #openTunnel(request: TunnelRequest, decision: Decision): Promise<void> {
    this.#dropUpstream();
    try {
      const { destination } = request;
      const upstream = await this.#options.connector.tunnel(destination, decision, this.#closing.signal);
      if (this.#isOver) upstream.on("error", ignore).destroy();
      else this.#beginTunnel(upstream, ESTABLISHED);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Has bytes pass both ways as they are from now on, behind an answer to the client. */
  #beginTunnel(upstream: Duplex, answer: Buffer): void {
    const client = this.#client;
    const early = this.#fromClient.detach();
    if (client instanceof FlowStream) client.offerTo(null);
    this.#isOver = true;
    client.off("error", ignore).off("drain", this.#clientDrained).off("close", this.#clientClosed);
    client.write(answer);
    if (early.length > 0) upstream.write(early);
    joinTunnel(client, upstream);
    this.#options.tunnelled(client, upstream);
    this.#tellClosed();
  }

  async #connect(request: ForwardedRequest, decision: Decision): Promise<void> {
    this.#dropUpstream();
    try {
      const { stream, proxy } = await this.#open(request, decision);
      if (this.#isOver) {
        stream.on("error", ignore).destroy();
        return;
      }
      const { clock } = this.#options;
      const upstream = new UpstreamConnection(
        this.#client instanceof FlowStream ? makePassable(stream) : stream,
        { request, decision, proxy, clock },
        {
          take: (bytes, start) => this.#takeFromUpstream(bytes, start),
          finished: (by) => {
            if (this.#upstream === upstream) this.#upstreamEnded(upstream, by);
          },
          drained: () => this.#fromClient.release("upstream full"),
        },
      );
      this.#upstream = upstream;
      this.#send(request, upstream);
    } catch (error) {
      this.#fail(error);
    }
  }

  async #open({ destination, isUpgrade }: ForwardedRequest, decision: Decision): Promise<Upstream> {
    const { connector } = this.#options;
    if (!isUpgrade) return await connector.request(destination, decision, this.#closing.signal);
    // A proxy of HTTP is not asked to go over to another protocol, but for a way to who does (RFC 6455, 4.1).
    return { stream: await connector.tunnel(destination, decision, this.#closing.signal), proxy: null };
  }

  #send(request: ForwardedRequest, upstream: UpstreamConnection): void {
    upstream.send(request, forwardedRequest(request, upstream.proxy, this.#options.via));
    if (this.#requestBody !== null) this.#fromClient.release("request");
  }

  #takeFromUpstream(bytes: Buffer, start: number): number {
    let at = start;
    try {
      while (at < bytes.length && !this.#isOver && this.#upstream?.isHeld === false) {
        at = this.#advanceResponse(bytes, at);
      }
    } catch (error) {
      this.#upstreamBroke(error);
    }
    this.#flush();
    // There is most likely more.
    if (at === bytes.length && at >= PASSABLE_READ) this.#passResponseBody();
    return this.#isOver ? bytes.length : at;
  }

  /** @returns up to where the bytes were taken. */
  #advanceResponse(bytes: Buffer, start: number): number {
    const upstream = this.#upstream;
    const request = upstream?.request ?? null;
    if (upstream === null || request === null) {
      // Nothing was asked for: that belongs to no request (RFC 9112, 9.2 and 11.1).
      this.#dropUpstream();
      return bytes.length;
    }
    upstream.hasAnswered = true;
    const response = this.#response;
    if (response !== null) {
      const end = response.body.scan(bytes, start);
      if (!response.isUnchunked) this.#toClient(bytes.subarray(start, end));
      if (response.body.isOver) this.#finishResponse(upstream, end < bytes.length);
      return end;
    }
    const end = this.#responseHead.read(bytes, start);
    if (this.#responseHead.isTooLong) throw new MessageError("the head of the response is too long");
    if (this.#responseHead.isComplete) {
      const head = readResponseHead(this.#responseHead.take());
      this.#takeResponse(upstream, request, head, end < bytes.length);
    }
    return end;
  }

  /** Passes on to a guest what has come of a body and was not read yet. */
  #passResponseBody(): void {
    const upstream = this.#upstream;
    const response = this.#response;
    if (upstream === null || response === null || upstream.isHeld || upstream.hasMore) return;
    response.body.skip(upstream.passTo(this.#client, response.body.passable));
    if (response.body.isOver) this.#finishResponse(upstream, false);
  }

  #takeResponse(
    upstream: UpstreamConnection,
    request: ForwardedRequest,
    head: ResponseHead,
    isFollowed: boolean,
  ): void {
    const { status } = head;
    const { via } = this.#options;
    if (status === 101) {
      if (!request.isUpgrade || !namesWebSocket(head)) throw new MessageError("an upgrade that was not asked for");
      this.#upgrade(upstream, forwardedResponse(head, { framing: null, isLast: false, via }));
      return;
    }
    if (status < 200) {
      if (++this.#interim > MAX_INTERIM) throw new MessageError("interim responses without end");
      // A client of HTTP/1.0 does not know them (RFC 9110, 15.2).
      if (request.head.minor > 0) this.#toClient(forwardedResponse(head, { framing: null, isLast: false, via }));
      return;
    }
    if (status === 407 && upstream.proxy !== null) {
      this.#fail(proxyAuthenticationError(upstream.proxy, head.fields));
      return;
    }
    const declared = status === 204 ? null : declaredFraming(head);
    const framing = responseFraming(head, request.head.method);
    // A client of HTTP/1.0 does not know them either.
    const isUnchunked = declared?.kind === "chunked" && request.head.minor === 0;
    const onContent = isUnchunked ? (content: Buffer) => this.#toClient(content) : undefined;
    const body = makeBodyScanner(framing, onContent);
    this.#response = { body, framing, isUnchunked };
    upstream.isLast ||= isLastMessage(head) || framing.kind === "close";
    // Who answers before all of the request has come, and then closes, does not want the rest.
    this.#isLast ||= framing.kind === "close" || (this.#requestBody !== null && upstream.isLast);
    this.#isAnswered = true;
    const bytes = forwardedResponse(head, { framing: isUnchunked ? null : declared, isLast: this.#isLast, via });
    if (isFollowed && !body.isOver) this.#unsent = bytes;
    else this.#toClient(bytes);
    if (body.isOver) this.#finishResponse(upstream, isFollowed);
  }

  /** Both ends go over to another protocol, whose bytes may have come behind the head. */
  #upgrade(upstream: UpstreamConnection, answer: Buffer): void {
    upstream.hold("tunnel");
    queueMicrotask(() => {
      if (this.#isOver || this.#upstream !== upstream) return;
      this.#upstream = null;
      const { stream, early } = upstream.detach();
      this.#beginTunnel(stream, Buffer.concat([answer, early]));
    });
  }

  /** @param isFollowed - whether more has come than the response. */
  #finishResponse(upstream: UpstreamConnection, isFollowed: boolean): void {
    this.#response = null;
    this.#request = null;
    this.#flush();
    upstream.finish();
    if (isFollowed || upstream.isLast || upstream.hasMore) this.#dropUpstream();
    if (this.#isLast) this.#finish();
    else if (this.#requestBody === null) this.#fromClient.release("request");
    // Nobody takes the rest of the request.
    else if (this.#upstream === null) this.#finish();
  }

  #upstreamEnded(upstream: UpstreamConnection, by: "end" | "close"): void {
    const { request, hasAnswered } = upstream;
    const response = this.#response;
    if (request === null) {
      this.#dropUpstream();
      if (this.#requestBody !== null && this.#request === null) this.#finish();
    } else if (response !== null) {
      if (response.framing.kind === "close" && by === "end") this.#finishResponse(upstream, false);
      // The client is to notice that it has not got all.
      else this.destroy();
    } else if (upstream.isResendable) {
      void this.#connect(request, upstream.decision);
    } else {
      this.#fail(brokenUpstream(upstream, request, hasAnswered ? CUT_OFF : "closed the connection without an answer"));
    }
  }

  #upstreamBroke(error: unknown): void {
    const { request = null } = this.#upstream ?? {};
    if (this.#upstream === null || request === null || !(error instanceof MessageError)) this.#fail(error);
    else this.#fail(brokenUpstream(this.#upstream, request, `did not answer as HTTP has it: ${error.message}`));
  }

  /** The request gets no response, or not all of it. */
  #fail(error: unknown): void {
    if (this.#isOver) return;
    const message = error instanceof Error ? error.message : String(error);
    // What waits is the head of the response, of which nothing has been sent then.
    if (this.#isAnswered && this.#unsent === null) this.destroy();
    else this.#answer({ status: error instanceof UpstreamError ? error.status : 502, message });
  }

  /** What the client has sent cannot be understood any more. */
  #refuse(error: unknown): void {
    // It is not answered twice.
    if (this.#requestBody !== null && this.#request === null) this.#finish();
    else if (this.#request !== null && this.#isAnswered) this.destroy();
    else if (error instanceof MessageError) this.#answer(error);
    else this.#answer({ status: 500, message: "the request could not be read" });
  }

  /** Answers the client, and ends its connection. */
  #answer(failure: Failure): void {
    this.#unsent = null;
    this.#toClient(writeFailure(failure, this.#request?.head ?? null));
    this.#finish();
  }

  #toClient(bytes: Buffer): void {
    if (bytes.length === 0) return;
    const unsent = this.#unsent;
    this.#unsent = null;
    if (unsent === null) {
      this.#writeToClient(bytes);
    } else if (unsent.length + bytes.length <= JOINED_BYTES) {
      this.#writeToClient(Buffer.concat([unsent, bytes]));
    } else {
      this.#writeToClient(unsent);
      this.#writeToClient(bytes);
    }
  }

  #writeToClient(bytes: Buffer): void {
    const client = this.#client;
    // A guest's connection may have taken it all nevertheless.
    if (client.writable && !client.write(bytes) && client.writableLength > 0) this.#upstream?.hold("client full");
  }

  #flush(): void {
    const unsent = this.#unsent;
    this.#unsent = null;
    if (unsent !== null) this.#writeToClient(unsent);
  }

  /** The client sends no more. When it waits for an answer, that is told later. */
  #clientEnded(): void {
    const isCutOff = this.#requestBody !== null || this.#requestHead.hasBegun;
    if (isCutOff) this.#refuse(new MessageError("the request is cut off"));
    else this.#finish();
  }

  /** Ends the client's connection when it has all that was written. */
  #finish(): void {
    if (this.#isOver) return;
    this.#flush();
    this.#stop();
    endStream(this.#client, this.#options.clock);
  }

  /** Has nothing pass any more. */
  #stop(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#request = null;
    this.#requestBody = null;
    this.#response = null;
    this.#fromClient.discard();
    this.#dropUpstream();
    this.#closing.abort();
  }

  #dropUpstream(): void {
    const upstream = this.#upstream;
    this.#upstream = null;
    upstream?.destroy();
    this.#fromClient.release("upstream full");
  }

  #tellClosed(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#options.closed();
  }
}

function brokenUpstream(
  { proxy }: UpstreamConnection,
  { destination }: ForwardedRequest,
  whatItDid: string,
): UpstreamError {
  const who = proxy === null ? formatHostPort(destination) : `the proxy ${formatProxy(proxy)}`;
  return new UpstreamError(`${who} ${whatItDid}`, 502, null);
}

function ignore(): void {}
