import { LinkedList, type ListEntry } from "../linked-list.ts";
import { type Sequence, sequenceDistance } from "../sequence.ts";
import type { TcpConnection } from "./connection.ts";
import { LONG_ROUND_TRIP_MS } from "./link-load.ts";

/** Bytes that a flow is offered at least, so that its peer can send a burst of the largest size that a Linux host makes. */
const SMALLEST_GRANT = 64 * 1024;
/** Segments that a flow is offered at least, where that is more. */
const SMALLEST_GRANT_SEGMENTS = 4;
/** The least that all flows are offered together. */
const SMALLEST_LIMIT = 256 * 1024;
/** How long the first in line waits before it is asked what the others make of their windows, and how long they have for it. */
const PATIENCE_MS = 20;
/** The part of its window that a flow has to use in that time. */
const USED_PART = 8;

/** What one flow has of the windows that are open together. */
export class WindowTurn {
  /** Whether it waits for its window to be opened. */
  isWaiting = false;
  /** By how much it may be opened, when it has its turn. */
  grant = 0;
  /** Its place among those whose windows are counted, from {@link countedFrom} on. */
  place: ListEntry<TcpConnection> | null = null;
  countedFrom: Sequence = 0;
  /** Bytes of it that were counted last. */
  counted = 0;
  /** When it was opened last, in milliseconds of the stack's clock. */
  openedAt = 0;
  /** Up to where it was used when that was looked at last. */
  usedTo: Sequence = 0;
}

/**
 * What peers may have under way to this stack, all flows together.
 *
 * What is offered beyond what is read at once lies in the queues of the guest: in those of its network card, where it may be
 * dropped, and out of the processor's caches by the time it is sent. So the windows that are open together are kept to as
 * many segments as may be in flight the other way. While there is less, each flow has its whole window. Else windows are opened by
 * turns, first come, first served, each by enough for a burst.
 *
 * The window that a flow begins with is not counted, nor is one that is not made use of, so that flows which send little take nothing
 * from others. Nor do those of a peer far behind the guest, whose bytes are under way elsewhere.
 */
export class ReceiveLoad {
  readonly #frames: number;
  /** Bytes that counted flows were offered and have not sent. */
  #offered = 0;
  readonly #counted = new LinkedList<TcpConnection>();
  /** Flows that wait for a wider window, from {@link #head} on. */
  #waiting: TcpConnection[] = [];
  #head = 0;
  /** The largest segment that came. */
  #segment = 0;

  readonly #reschedule: (connection: TcpConnection) => void;

  /**
   * @param frames - of the largest segment, that may be under way.
   * @param reschedule - has the timer queue look at a connection's deadlines again.
   */
  constructor(frames: number, reschedule: (connection: TcpConnection) => void) {
    this.#frames = frames;
    this.#reschedule = reschedule;
  }

  /**
   * How much of `wanted` more bytes a flow's window may open by now. A flow that gets nothing and has little left comes back in
   * {@link next}.
   */
  open(connection: TcpConnection, wanted: number, now: number): number {
    if (isFar(connection) || !connection.canReceive) return wanted;
    if (connection.largestReceived > this.#segment) this.#segment = connection.largestReceived;
    const turn = connection.windowTurn ?? new WindowTurn();
    connection.windowTurn = turn;
    this.update(connection);
    if (turn.grant > 0) {
      const granted = Math.min(wanted, turn.grant);
      turn.grant = 0;
      return granted;
    }
    if (turn.isWaiting) return 0;
    const isAlone = this.#head === this.#waiting.length;
    const isRoom = isAlone && this.#offered + wanted <= this.#limit;
    // Who has some of it left comes again when that is used; it may have nothing to send.
    if (!isRoom && sequenceDistance(connection.receiveEdge, connection.receiveNext) > this.#littleLeft) return 0;
    const granted = isAlone ? this.#share(wanted, 1) : 0;
    if (granted > 0) {
      this.#count(connection, turn, now);
      return granted;
    }
    turn.isWaiting = true;
    this.#waiting.push(connection);
    if (this.#waiting.length - this.#head === 1) this.#becomeFirst(connection, now);
    return 0;
  }

  /**
   * Whether a flow's window may open now by some of `wanted` more bytes: {@link open} then says by how many. If not, an
   * acknowledgment would tell the peer nothing new.
   */
  admits(connection: TcpConnection, wanted: number, now: number): boolean {
    if (connection.windowTurn !== null && connection.windowTurn.grant > 0) return true;
    return this.open(connection, wanted, now) > 0;
  }

  /** Bytes up to which a flow's receive buffer is of use: as many as its window may have open, as things are. */
  usefulBuffer(connection: TcpConnection): number {
    if (isFar(connection)) return Number.POSITIVE_INFINITY;
    const equalPart = Math.max(this.#burst, this.#limit / Math.max(1, this.#counted.size));
    if (this.#head < this.#waiting.length) return equalPart;
    // Others may make no use of their parts: with what they leave it gets in line for more, and then that is found out.
    return Math.max(equalPart, this.#limit - this.#offered + (connection.windowTurn?.counted ?? 0));
  }

  /** Takes note of what a flow has sent of its window, and of where the window ends. */
  update(connection: TcpConnection): void {
    const turn = connection.windowTurn;
    if (turn === null || turn.place === null) return;
    const { receiveEdge } = connection;
    const open = sequenceDistance(receiveEdge, connection.receiveNext);
    const counted = Math.min(open, sequenceDistance(receiveEdge, turn.countedFrom));
    this.#offered += counted - turn.counted;
    turn.counted = counted;
  }

  /** The flow whose window may open now, by {@link WindowTurn.grant}; null when there is none. */
  next(now: number): TcpConnection | null {
    while (this.#head < this.#waiting.length) {
      const connection = this.#waiting[this.#head];
      const turn = connection.windowTurn;
      const open = sequenceDistance(connection.receiveEdge, connection.receiveNext);
      const room = connection.receiveLimit - connection.unconsumed - open;
      const isOver = turn === null || !connection.canReceive || connection.finSeen;
      if (isOver || room < this.#segment) {
        this.#leaveLine(now);
        continue;
      }
      const grant = this.#share(room, this.#waiting.length - this.#head);
      if (grant === 0) return null;
      this.#count(connection, turn, now);
      turn.grant = grant;
      this.#leaveLine(now);
      return connection;
    }
    return null;
  }

  /** The first in line has waited for long: windows that are hardly used are not counted any more. */
  expire(connection: TcpConnection, now: number): void {
    for (const each of [...this.#counted]) {
      const turn = each.windowTurn;
      if (turn === null || now - turn.openedAt < PATIENCE_MS) continue;
      this.update(each);
      const used = sequenceDistance(each.receiveNext, turn.usedTo);
      turn.usedTo = each.receiveNext;
      if (used <= turn.counted / USED_PART) this.leave(each);
    }
    if (connection.windowTurn?.isWaiting) connection.windowAt = now + PATIENCE_MS;
  }

  /** The window of a flow is not counted any more: its peer makes no use of it, has nothing more to send, or is gone. */
  leave(connection: TcpConnection): void {
    const turn = connection.windowTurn;
    if (turn === null || turn.place === null) return;
    turn.place.leave();
    turn.place = null;
    this.#offered -= turn.counted;
    turn.counted = 0;
  }

  /** By how much of `wanted` the window of one of so many flows that wait may open; 0 when that is too little for a burst. */
  #share(wanted: number, flows: number): number {
    const free = this.#limit - this.#offered;
    const share = Math.min(wanted, Math.max(this.#burst, free / flows));
    return share > free ? 0 : share;
  }

  /** What a flow is offered at least, when its window opens. */
  get #burst(): number {
    return Math.max(SMALLEST_GRANT, SMALLEST_GRANT_SEGMENTS * this.#segment);
  }

  get #limit(): number {
    return Math.max(SMALLEST_LIMIT, this.#frames * this.#segment);
  }

  /** An equal part of what may be open together, so that few flows need not stop for the next one; or next to nothing. */
  get #littleLeft(): number {
    return Math.max(2 * this.#segment, this.#limit / Math.max(1, this.#counted.size));
  }

  #count(connection: TcpConnection, turn: WindowTurn, now: number): void {
    turn.openedAt = now;
    if (turn.place !== null) return;
    turn.place = this.#counted.add(connection);
    turn.countedFrom = connection.receiveEdge;
    turn.usedTo = connection.receiveNext;
  }

  #leaveLine(now: number): void {
    const connection = this.#waiting[this.#head++];
    if (connection.windowTurn !== null) connection.windowTurn.isWaiting = false;
    connection.windowAt = Number.POSITIVE_INFINITY;
    if (2 * this.#head > this.#waiting.length) {
      this.#waiting = this.#waiting.slice(this.#head);
      this.#head = 0;
    }
    if (this.#head < this.#waiting.length) this.#becomeFirst(this.#waiting[this.#head], now);
  }

  #becomeFirst(connection: TcpConnection, now: number): void {
    connection.windowAt = now + PATIENCE_MS;
    this.#reschedule(connection);
  }
}

/** Whether the peer is far behind the guest, so that its bytes are under way elsewhere. */
function isFar(connection: TcpConnection): boolean {
  return connection.roundTrip.lowest > LONG_ROUND_TRIP_MS;
}
