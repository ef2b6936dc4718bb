import { sequenceAdd } from "../sequence.ts";
import type { StackStatistics } from "../statistics.ts";
import { State, type TcpConnection } from "./connection.ts";
import type { CloseReason } from "./flow.ts";
import type { ReceiveLoad } from "./receive-load.ts";
import type { TcpSettings } from "./settings.ts";

const NEVER = Number.POSITIVE_INFINITY;
/** Expiries before the peer counts as gone: about 13 minutes for data (RFC 9293, 3.8.3, R2; Linux's count). */
const MAX_RETRANSMISSIONS = 15;
/** The same for a SYN: three minutes (RFC 9293, 3.8.3, MUST-23). */
const MAX_SYN_RETRANSMISSIONS = 7;
/** Expiries after which a large segment is tried in halves, in case the path does not carry it (RFC 4821, 7.7). */
const EXPIRIES_BEFORE_SMALLER = 2;
/** What is tried then is half of the segment, within these bounds (RFC 8899, 5.1.2: every path is taken to carry it). */
const LARGEST_TRIAL = 1024;
const SMALLEST_TRIAL = 536;

/** What a timeout may do to a connection. */
export interface TimeoutsOwner {
  wake(connection: TcpConnection): void;
  /** Sends a reset and takes the connection out of every table. */
  abort(connection: TcpConnection, reason: CloseReason): void;
  /** Takes the connection out of every table, without a word to the peer. */
  remove(connection: TcpConnection, reason: CloseReason): void;
}

/** What happens to a connection when one of its deadlines has come. */
export class Timeouts {
  readonly #owner: TimeoutsOwner;
  readonly #settings: TcpSettings;
  readonly #statistics: StackStatistics;
  readonly #windows: ReceiveLoad;

  constructor(owner: TimeoutsOwner, settings: TcpSettings, statistics: StackStatistics, windows: ReceiveLoad) {
    this.#owner = owner;
    this.#windows = windows;
    this.#settings = settings;
    this.#statistics = statistics;
  }

  /** Does what is due of a connection that is past `requested`. */
  expire(connection: TcpConnection, now: number): void {
    if (connection.expireAt <= now) {
      this.#owner.remove(connection, "timeout");
      return;
    }
    if (this.#isOutOfPatience(connection, now)) {
      this.#owner.abort(connection, "timeout");
      return;
    }
    if (connection.retransmitAt <= now) {
      connection.retransmitAt = NEVER;
      if (connection.timerIsProbe) this.#probeForLoss(connection);
      else this.#retransmit(connection, now);
      if (connection.state === State.closed) return;
    }
    if (connection.reorderAt <= now) {
      connection.reorderAt = NEVER;
      connection.recovery.reorderingTimeout(connection, now);
      this.#owner.wake(connection);
    }
    if (connection.probeAt <= now) {
      connection.probeAt = NEVER;
      if (++connection.unansweredProbes > MAX_RETRANSMISSIONS) {
        this.#owner.remove(connection, "timeout");
        return;
      }
      connection.probeDue = true;
      this.#owner.wake(connection);
    }
    if (connection.delayedAckAt <= now) {
      connection.delayedAckAt = NEVER;
      connection.acknowledgeNow = true;
      this.#owner.wake(connection);
    }
    if (connection.paceAt <= now) {
      connection.paceAt = NEVER;
      this.#owner.wake(connection);
    }
    if (connection.windowAt <= now) {
      connection.windowAt = NEVER;
      this.#windows.expire(connection, now);
      this.#owner.wake(connection);
    }
    if (connection.keepAliveAt <= now) this.#keepAlive(connection, now);
  }

  /** Whether the user timeout has passed with something unacknowledged (RFC 9293, 3.8.3). */
  #isOutOfPatience(connection: TcpConnection, now: number): boolean {
    if (connection.userTimeout === 0 || now < connection.stalledSince + connection.userTimeout) return false;
    return connection.retransmitAt !== NEVER || connection.probeAt !== NEVER;
  }

  #probeForLoss(connection: TcpConnection): void {
    connection.timerIsProbe = false;
    connection.recovery.probe.isDue = true;
    this.#owner.wake(connection);
  }

  /** The peer has been silent for long (RFC 9293, 3.8.4; RFC 1122, 4.2.3.6). */
  #keepAlive(connection: TcpConnection, now: number): void {
    connection.keepAliveAt = NEVER;
    if (connection.keepAliveIdle === 0) return;
    if (connection.heardAt >= connection.keepAliveSentAt) connection.unansweredKeepAlives = 0;
    const dueAt = connection.heardAt + connection.keepAliveIdle;
    if (dueAt > now) {
      connection.keepAliveAt = dueAt;
      return;
    }
    connection.keepAliveAt = now + this.#settings.keepAliveInterval;
    // While something is in flight or waits for the window, its own timer asks the peer.
    if (!connection.sent.isEmpty || connection.probeAt !== NEVER || connection.probeDue) return;
    if (connection.unansweredKeepAlives >= this.#settings.keepAliveProbes) {
      this.#owner.abort(connection, "timeout");
      return;
    }
    connection.unansweredKeepAlives++;
    connection.keepAliveSentAt = now;
    connection.keepAliveDue = true;
    this.#statistics.tcpKeepAlives++;
    this.#owner.wake(connection);
  }

  /** The retransmission timer expired (RFC 6298, 5.4 to 5.7). */
  #retransmit(connection: TcpConnection, now: number): void {
    connection.retransmissions++;
    this.#statistics.tcpTimeouts++;
    if (connection.state === State.synSent || connection.state === State.synReceived) {
      connection.roundTrip.backOff();
      connection.synTimedOut = true;
      if (connection.neighbor === null || connection.neighbor.state === "failed")
        this.#owner.remove(connection, "unreachable");
      else if (connection.retransmissions > MAX_SYN_RETRANSMISSIONS) this.#owner.remove(connection, "timeout");
      else connection.synDue = true;
    } else if (connection.retransmissions > MAX_RETRANSMISSIONS && connection.sendWindow > 0) {
      this.#owner.remove(connection, "timeout");
    } else {
      connection.recovery.timedOut(connection, now);
      // A second time it is suspected sooner.
      const expiries = connection.smallerSegments > 0 ? 1 : EXPIRIES_BEFORE_SMALLER;
      if (connection.retransmissions >= expiries) this.#trySmaller(connection);
    }
    if (connection.state !== State.closed) this.#owner.wake(connection);
  }

  /** Perhaps the path does not carry segments of this size, and nobody tells: a part of it is tried. */
  #trySmaller(connection: TcpConnection): void {
    const { sent } = connection;
    if (connection.isTryingSmaller || sent.isEmpty) return;
    const size = Math.max(SMALLEST_TRIAL, Math.min(LARGEST_TRIAL, connection.maximumSegment >> 1));
    if (sent.lengthOf(sent.first) <= size) return;
    connection.isTryingSmaller = true;
    connection.smallerSegmentSize = size;
    connection.smallerSegmentEnd = sequenceAdd(sent.startOf(sent.first), sent.lengthOf(sent.first));
    sent.split(sent.first, size);
  }
}
