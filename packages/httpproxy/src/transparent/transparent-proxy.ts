import type { Duplex } from "node:stream";
import { LinkedList, type ListEntry } from "@hostd/stack";
import { type Clock, FailureLog, type Logger, systemClock } from "@hostd/streams";
import { joinTunnel, resetStream } from "../explicit/tunnel.ts";
import { type Decision, type Destination, DIRECT, formatHostPort, type HostPort, type Router } from "../route.ts";
import type { Connector } from "../upstream/connector.ts";
import { UpstreamError } from "../upstream/upstream-error.ts";
import { type Sniffed, Sniffer } from "./sniffer.ts";

/**
 * Clients of HTTP and TLS speak at once, unless their machine is busy: one that is taken for silent too early goes a way that may
 * lead nowhere, which is worse than a server that speaks first being waited for.
 */
const SILENCE_TIME = 2000;
/** A segment may have to be sent several times. */
const HELLO_TIME = 10_000;
const MAX_SNIFFED = 1024;
const MAX_SNIFFED_BYTES = 16 * 1024 * 1024;
const NOTHING = Buffer.alloc(0);
/** How what is neither HTTP nor TLS goes on. */
const PASSED: Decision = { routes: [DIRECT], reason: "neither HTTP nor TLS" };

export interface TransparentProxyOptions {
  /** What becomes of a connection that is neither HTTP nor TLS. */
  readonly other: "direct" | "refuse";
  readonly router: Router;
  readonly connector: Connector;
  /** Serves the requests of a connection in plain HTTP. Its stream is as if nothing had been read. */
  readonly serveHttp: (stream: Duplex, original: HostPort) => void;
  readonly logger: Logger;
  /** The process's clock unless given. */
  readonly clock?: Clock;
  /** How long a client may be silent until it is taken for one whose server speaks first, in milliseconds; 2,000 unless given. */
  readonly silenceTime?: number;
  /** How long a client that has begun to speak may leave open what it speaks, in milliseconds; 10,000 unless given. */
  readonly helloTime?: number;
  /** Connections of which it is not known yet what they speak; beyond them the oldest is reset. 1,024 unless given. */
  readonly maxSniffed?: number;
  /** Bytes that are kept of those connections together; beyond them the oldest is reset. 16 MiB unless given. */
  readonly maxSniffedBytes?: number;
}

/** What is going on at the moment. */
export interface TransparentProxyCounts {
  /** Connections of which it is not known yet what they speak. */
  readonly sniffed: number;
  /** Those that are being connected, and those that are. Plain HTTP is not here. */
  readonly tunnels: number;
}

/** A connection of which it is not known yet what it speaks. */
interface Sniffing {
  readonly stream: Duplex;
  readonly sniffer: Sniffer;
  /** Bytes that are kept of it. */
  kept: number;
  /** Its place among the others; null once it is known. */
  place: ListEntry<Sniffing> | null;
}

/**
 * Has connections of a guest that were made to an origin go the way that is decided for it, without the guest's knowing.
 * The origin's name is read from what the guest sends, so that the rules and proxies that know names apply.
 */
export class TransparentProxy {
  readonly #options: TransparentProxyOptions;
  readonly #clock: Clock;
  readonly #failures: FailureLog;
  /** The oldest is first. */
  readonly #sniffing = new LinkedList<Sniffing>();
  #keptBytes = 0;
  readonly #tunnels = new LinkedList<Duplex>();
  #isClosed = false;

  constructor(options: TransparentProxyOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#failures = new FailureLog(options.logger, this.#clock);
  }

  counts(): TransparentProxyCounts {
    return { sniffed: this.#sniffing.size, tunnels: this.#tunnels.size };
  }

  /**
   * Takes a guest's connection.
   *
   * @param stream - of which nothing was read.
   * @param original - the address and port that the guest has connected to.
   */
  handle(stream: Duplex, original: HostPort): void {
    stream.on("error", () => {});
    if (this.#isClosed || stream.destroyed) {
      resetStream(stream);
      return;
    }
    const sniffer = new Sniffer(stream, {
      clock: this.#clock,
      silenceTime: this.#options.silenceTime ?? SILENCE_TIME,
      helloTime: this.#options.helloTime ?? HELLO_TIME,
      kept: (bytes) => this.#keep(sniffing, bytes),
      done: (sniffed) => {
        this.#endSniffing(sniffing);
        this.#follow(stream, original, sniffed);
      },
    });
    const sniffing: Sniffing = { stream, sniffer, kept: 0, place: null };
    sniffing.place = this.#sniffing.add(sniffing);
    stream.on("close", () => this.#endSniffing(sniffing));
    this.#makeRoom();
  }

  /** Resets all connections, and takes no more. Those of plain HTTP are not its own any more. */
  close(): void {
    this.#isClosed = true;
    for (const sniffing of [...this.#sniffing]) this.#reset(sniffing);
    for (let stream = this.#tunnels.shift(); stream !== undefined; stream = this.#tunnels.shift()) resetStream(stream);
  }

  #keep(sniffing: Sniffing, bytes: number): void {
    if (sniffing.place === null) return;
    sniffing.kept += bytes;
    this.#keptBytes += bytes;
    this.#makeRoom();
  }

  #makeRoom(): void {
    const { maxSniffed = MAX_SNIFFED, maxSniffedBytes = MAX_SNIFFED_BYTES } = this.#options;
    for (;;) {
      const oldest = this.#sniffing.first;
      const isRoom = this.#sniffing.size <= maxSniffed && this.#keptBytes <= maxSniffedBytes;
      if (oldest === undefined || isRoom) return;
      this.#reset(oldest);
      this.#failures.warn(
        "sniffed",
        { connections: maxSniffed, bytes: maxSniffedBytes },
        "too many of a guest's connections do not tell what they speak; the oldest are reset",
      );
    }
  }

  #reset(sniffing: Sniffing): void {
    this.#endSniffing(sniffing);
    resetStream(sniffing.stream);
  }

  #endSniffing(sniffing: Sniffing): void {
    if (sniffing.place === null) return;
    sniffing.place.leave();
    sniffing.place = null;
    this.#keptBytes -= sniffing.kept;
    sniffing.sniffer.stop();
  }

  #follow(stream: Duplex, original: HostPort, sniffed: Sniffed): void {
    if (sniffed.kind === "http") this.#options.serveHttp(stream, original);
    else if (sniffed.kind === "tls") void this.#tunnel(stream, destinationOf(original, sniffed.hello.serverName), null);
    else this.#passOther(stream, original, sniffed);
  }

  #passOther(stream: Duplex, original: HostPort, sniffed: Sniffed & { kind: "other" | "ended" }): void {
    if (this.#options.other === "direct") {
      void this.#tunnel(
        stream,
        destinationOf(original, null),
        PASSED,
        sniffed.kind === "ended" ? sniffed.sent : NOTHING,
      );
      return;
    }
    const reason = sniffed.kind === "other" ? sniffed.reason : "it has ended before that could be told";
    this.#failures.warn(
      "other-refused",
      { original: formatHostPort(original), reason },
      "a guest's connection was reset: it has to be HTTP or TLS by the settings",
    );
    resetStream(stream);
  }

  /**
   * Connects the guest with the destination.
   *
   * @param decided - the way to it; null for the one that the router decides on.
   * @param sent - what the guest has sent and is not in its stream, which has told its end.
   */
  async #tunnel(
    stream: Duplex,
    destination: Destination,
    decided: Decision | null,
    sent: Buffer = NOTHING,
  ): Promise<void> {
    const place = this.#tunnels.add(stream);
    stream.once("close", () => place.leave());
    // The stream is not read meanwhile, so that the guest cannot send more than its window.
    const closing = new AbortController();
    const abort = () => closing.abort();
    stream.once("close", abort);
    try {
      const decision = decided ?? (await this.#options.router.decide(destination));
      if (stream.destroyed) return;
      const upstream = await this.#options.connector.tunnel(destination, decision, closing.signal);
      if (stream.destroyed) {
        upstream.on("error", () => {});
        resetStream(upstream);
        return;
      }
      // A socket tells its end unasked when it has nothing else to be read, and only once.
      if (stream.readableEnded) upstream.end(sent);
      joinTunnel(stream, upstream);
    } catch (error) {
      if (!stream.destroyed) this.#fail(stream, destination, error);
    } finally {
      stream.off("close", abort);
    }
  }

  /** There is nobody who could be told why: it is the guest's TLS, not ours. */
  #fail(stream: Duplex, destination: Destination, error: unknown): void {
    resetStream(stream);
    const fields = {
      destination: formatHostPort(destination),
      address: destination.address,
      reason: error instanceof Error ? error.message : String(error),
    };
    const message = "a guest's connection was reset: there is no way to where it wanted";
    if (!(error instanceof UpstreamError)) {
      this.#failures.warn("unknown", fields, message);
    } else if (error.route?.kind === "direct") {
      // That an origin does not answer is nothing that somebody has to look after.
      this.#options.logger.debug(fields, message);
    } else {
      this.#failures.warn(`${error.route?.kind ?? "none"}-${error.status}`, fields, message);
    }
  }
}

/**
 * Where a guest's connection is to go. The guest may name whom it likes in TLS, and by that choose the way that is taken, but
 * no place that it could not reach otherwise: what goes direct goes to the address that it has connected to, whatever the
 * name, and a proxy resolves the name itself, as it does for a guest that asks for it openly. Whether an address belongs
 * to a name is not checked here: that is for whoever restricts which addresses a guest may reach.
 */
function destinationOf({ host, port }: HostPort, serverName: string | null): Destination {
  return { scheme: "https", host: serverName ?? host, port, address: host };
}
