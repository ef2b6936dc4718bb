import { type Sequence, sequenceAfter, sequenceBefore, sequenceDistance } from "../sequence.ts";
import type { LinkLoad } from "./link-load.ts";
import type { Rack } from "./rack.ts";

/** The peer has it, by a selective acknowledgment (RFC 2018). */
const SACKED = 1;
/** Taken for lost, and to be sent again. */
const LOST = 2;
/** Was sent more than once. */
const RETRANSMITTED = 4;

const SMALLEST_RING = 16;
/** Segments in flight per connection: what the largest send buffer is in segments of 1024 bytes. */
export const MAX_SEGMENTS_IN_FLIGHT = 4096;
/** Segments of the rings kept for reuse: the smallest ones of some thousand busy connections, and no more than a few MB. */
const POOLED_SEGMENTS = 65_536;

/** The segments of one queue, by place: what their sequence numbers end at, when they were sent, and their marks. */
class SegmentRing {
  readonly ends: Int32Array;
  readonly sentAt: Float64Array;
  readonly marks: Uint8Array;

  constructor(size: number) {
    this.ends = new Int32Array(size);
    this.sentAt = new Float64Array(size);
    this.marks = new Uint8Array(size);
  }
}

/** Rings that lie ready, shared by the connections of one stack. */
export class SegmentRingPool {
  readonly #spare = new Map<number, SegmentRing[]>();
  #segments = 0;

  take(size: number): SegmentRing {
    const ring = this.#spare.get(size)?.pop();
    if (ring === undefined) return new SegmentRing(size);
    this.#segments -= size;
    return ring;
  }

  give(ring: SegmentRing): void {
    const { length: size } = ring.ends;
    if (this.#segments + size > POOLED_SEGMENTS) return;
    this.#segments += size;
    const spare = this.#spare.get(size);
    if (spare === undefined) this.#spare.set(size, [ring]);
    else spare.push(ring);
  }
}

/** What one acknowledgment told of the segments in flight; one object serves every acknowledgment. */
export class Delivery {
  /** Bytes that were not known to have arrived before. */
  bytes = 0;
  /** Segments that became known to have arrived. */
  segments = 0;
  /** When the first of them that was never retransmitted was sent, and the last one; -1 for none. */
  firstSentAt = -1;
  lastSentAt = -1;
  /** A segment that was never retransmitted, and was sent before the recovery's point, has arrived (RFC 5682). */
  original = false;
  /** A retransmitted segment was acknowledged cumulatively. */
  retransmitted = false;
  /** Bytes of the largest of them. */
  largest = 0;

  reset(): void {
    this.bytes = 0;
    this.segments = 0;
    this.firstSentAt = -1;
    this.lastSentAt = -1;
    this.original = false;
    this.retransmitted = false;
    this.largest = 0;
  }
}

/** What a connection remembers of blocks before the first one, as most never have any. */
const NOTHING_SEEN: Sequence[] = [];

/**
 * The segments that were sent and not acknowledged, in the order of their sequence numbers: the scoreboard of
 * RFC 6675, with the time of each transmission that RFC 8985 needs.
 *
 * A segment has an index that stays its own while it is in the queue; the first one's is {@link first}.
 */
export class RetransmissionQueue {
  /** Bytes that are neither acknowledged, nor selectively acknowledged, nor taken for lost: RFC 6675's pipe. */
  bytesInFlight = 0;
  /** Segments that a selective acknowledgment told of. */
  sackedSegments = 0;
  sackedBytes = 0;
  /** Segments that are to be sent again. */
  lostSegments = 0;
  /** How often a segment was taken for lost. */
  losses = 0;
  /** The index of the first segment. */
  first = 0;
  /** Segments in the queue. */
  length = 0;
  readonly #pool: SegmentRingPool;
  readonly #delivery: Delivery;
  #ring: SegmentRing | null = null;
  #mask = 0;
  /** The size to begin with: half of what was needed last, as a busy flow's queue is empty for moments only. */
  #firstSize = SMALLEST_RING;
  /** The sequence number of the first byte of the first segment. */
  #start: Sequence = 0;
  /** No segment before this index is lost. */
  #lostFrom = 0;
  /** What the link carries of this connection is counted here; null while it is not on the link. */
  #load: LinkLoad | null = null;
  /** Where the blocks began that were looked at last, and how far: a block is told of again as it grows. */
  #seenStarts: Sequence[] = NOTHING_SEEN;
  #seenEnds: Sequence[] = NOTHING_SEEN;
  #seen = 0;

  constructor(pool: SegmentRingPool, delivery: Delivery, load: LinkLoad) {
    this.#pool = pool;
    this.#delivery = delivery;
    this.#load = load;
  }

  get isEmpty(): boolean {
    return this.length === 0;
  }

  get isFull(): boolean {
    return this.length >= MAX_SEGMENTS_IN_FLIGHT;
  }

  /** Segments that {@link bytesInFlight} are in. */
  get segmentsInFlight(): number {
    return this.length - this.sackedSegments - this.lostSegments;
  }

  /** Whether it counts on the link's load; a connection whose frames wait elsewhere does not. */
  countOn(load: LinkLoad | null): void {
    if (load === this.#load) return;
    const { segmentsInFlight } = this;
    if (this.#load !== null) this.#load.frames -= segmentsInFlight;
    if (load !== null) load.frames += segmentsInFlight;
    this.#load = load;
  }

  /** Adds a segment of new data from `start` to `end`, sent at `now`. */
  push(start: Sequence, end: Sequence, now: number): void {
    if (this.length === 0) this.#start = start;
    const ring = this.#ring !== null && this.length <= this.#mask ? this.#ring : this.#grow();
    const place = (this.first + this.length) & this.#mask;
    ring.ends[place] = end;
    ring.sentAt[place] = now;
    ring.marks[place] = 0;
    this.length++;
    this.bytesInFlight += sequenceDistance(end, start);
    if (this.#load !== null) this.#load.frames++;
  }

  /** Takes out what `acknowledgment` covers. */
  acknowledge(acknowledgment: Sequence, recoveryPoint: Sequence, rack: Rack, now: number): void {
    const ring = this.#ring;
    if (ring === null) return;
    const delivery = this.#delivery;
    let start = this.#start;
    let { first, length } = this;
    while (length > 0) {
      const place = first & this.#mask;
      const end = ring.ends[place];
      if (sequenceAfter(end, acknowledgment)) break;
      const marks = ring.marks[place];
      const bytes = sequenceDistance(end, start);
      if (marks === 0) {
        this.bytesInFlight -= bytes;
        if (this.#load !== null) this.#load.frames--;
        delivery.bytes += bytes;
        delivery.segments++;
        if (bytes > delivery.largest) delivery.largest = bytes;
        const sentAt = ring.sentAt[place];
        if (delivery.firstSentAt < 0) delivery.firstSentAt = sentAt;
        delivery.lastSentAt = sentAt;
        if (!sequenceAfter(end, recoveryPoint)) delivery.original = true;
        rack.delivered(sentAt, end, false, now);
      } else {
        this.#acknowledgeMarked(marks, bytes, ring.sentAt[place], end, recoveryPoint, rack, now);
      }
      start = end;
      first++;
      length--;
    }
    if (length > 0 && sequenceAfter(acknowledgment, start)) {
      // A part of a segment: what is left of it is a segment of its own.
      const bytes = sequenceDistance(acknowledgment, start);
      const marks = ring.marks[first & this.#mask];
      if ((marks & (SACKED | LOST)) === 0) this.bytesInFlight -= bytes;
      if ((marks & SACKED) === 0) delivery.bytes += bytes;
      else this.sackedBytes -= bytes;
      start = acknowledgment;
    }
    this.first = first;
    this.length = length;
    this.#start = start;
    if (this.#lostFrom < first) this.#lostFrom = first;
    if (this.sackedSegments === 0) this.#seen = 0;
    if (length === 0) this.#giveRing();
  }

  #acknowledgeMarked(
    marks: number,
    bytes: number,
    sentAt: number,
    end: Sequence,
    recoveryPoint: Sequence,
    rack: Rack,
    now: number,
  ): void {
    const delivery = this.#delivery;
    const retransmitted = (marks & RETRANSMITTED) !== 0;
    if (retransmitted) delivery.retransmitted = true;
    if ((marks & SACKED) !== 0) {
      this.sackedSegments--;
      this.sackedBytes -= bytes;
      return;
    }
    if ((marks & LOST) !== 0) {
      this.lostSegments--;
    } else {
      this.bytesInFlight -= bytes;
      if (this.#load !== null) this.#load.frames--;
    }
    this.#noteDelivered(bytes, sentAt, end, retransmitted, recoveryPoint, rack, now);
  }

  /** Marks the segments within `start` and `end` as arrived; those that are only partly within stay (RFC 6675, 4). */
  selectivelyAcknowledge(start: Sequence, end: Sequence, recoveryPoint: Sequence, rack: Rack, now: number): void {
    const ring = this.#ring;
    if (ring === null) return;
    const slot = this.#slotOf(start);
    const from = this.#seenEnds[slot];
    const last = this.first + this.length;
    let index = this.#find(from);
    if (index < last && sequenceBefore(this.startOf(index), from)) index++;
    for (; index < last; index++) {
      const place = index & this.#mask;
      const segmentEnd = ring.ends[place];
      if (sequenceAfter(segmentEnd, end)) return;
      this.#seenEnds[slot] = segmentEnd;
      const marks = ring.marks[place];
      if ((marks & SACKED) !== 0) continue;
      const bytes = sequenceDistance(segmentEnd, this.startOf(index));
      ring.marks[place] = (marks & ~LOST) | SACKED;
      this.sackedSegments++;
      this.sackedBytes += bytes;
      if ((marks & LOST) !== 0) {
        this.lostSegments--;
      } else {
        this.bytesInFlight -= bytes;
        if (this.#load !== null) this.#load.frames--;
      }
      const retransmitted = (marks & RETRANSMITTED) !== 0;
      this.#noteDelivered(bytes, ring.sentAt[place], segmentEnd, retransmitted, recoveryPoint, rack, now);
    }
  }

  /** Forgets every selective acknowledgment: the peer has dropped what it had (RFC 2018, 8). */
  forgetSelective(): void {
    this.#forEach((place, bytes) => {
      const ring = this.#ring as SegmentRing;
      if ((ring.marks[place] & SACKED) === 0) return;
      ring.marks[place] &= ~SACKED;
      this.bytesInFlight += bytes;
      if (this.#load !== null) this.#load.frames++;
    });
    this.sackedSegments = 0;
    this.sackedBytes = 0;
    this.#seen = 0;
  }

  /** Marks a segment as lost, unless it has arrived or is so marked. */
  markLost(index: number): void {
    const ring = this.#ring;
    if (ring === null || index < this.first || index >= this.first + this.length) return;
    const place = index & this.#mask;
    if ((ring.marks[place] & (SACKED | LOST)) !== 0) return;
    ring.marks[place] |= LOST;
    this.lostSegments++;
    this.losses++;
    this.bytesInFlight -= sequenceDistance(ring.ends[place], this.startOf(index));
    if (this.#load !== null) this.#load.frames--;
    if (index < this.#lostFrom || this.lostSegments === 1) this.#lostFrom = index;
  }

  /** Takes back every mark of loss: the timeout that set them was spurious (RFC 5682). */
  unmarkLost(): void {
    this.#forEach((place, bytes) => {
      const ring = this.#ring as SegmentRing;
      if ((ring.marks[place] & LOST) === 0) return;
      ring.marks[place] &= ~LOST;
      this.bytesInFlight += bytes;
      if (this.#load !== null) this.#load.frames++;
    });
    this.lostSegments = 0;
  }

  /** The index of the first segment that is to be sent again; call only when there is one. */
  firstLost(): number {
    const { marks } = this.#ring as SegmentRing;
    let index = Math.max(this.#lostFrom, this.first);
    while ((marks[index & this.#mask] & LOST) === 0) index++;
    this.#lostFrom = index;
    return index;
  }

  /** Notes that a segment was sent again at `now`. */
  retransmitted(index: number, now: number): void {
    const ring = this.#ring as SegmentRing;
    const place = index & this.#mask;
    const marks = ring.marks[place];
    ring.marks[place] = (marks & ~LOST) | RETRANSMITTED;
    ring.sentAt[place] = now;
    if ((marks & LOST) === 0) return;
    this.lostSegments--;
    this.bytesInFlight += sequenceDistance(ring.ends[place], this.startOf(index));
    if (this.#load !== null) this.#load.frames++;
  }

  /** The sequence number of a segment's first byte. */
  startOf(index: number): Sequence {
    return index === this.first ? this.#start : this.#endOf(index - 1);
  }

  /** Bytes of a segment, a FIN counting as one. */
  lengthOf(index: number): number {
    return sequenceDistance(this.#endOf(index), this.startOf(index));
  }

  sentAt(index: number): number {
    return (this.#ring as SegmentRing).sentAt[index & this.#mask];
  }

  isSacked(index: number): boolean {
    return ((this.#ring as SegmentRing).marks[index & this.#mask] & SACKED) !== 0;
  }

  wasRetransmitted(index: number): boolean {
    return ((this.#ring as SegmentRing).marks[index & this.#mask] & RETRANSMITTED) !== 0;
  }

  /**
   * Marks as lost what was sent `timeout` or more before a segment that has arrived since (RFC 8985, 6.2, step 5).
   *
   * @returns how long until the next segment counts as lost, 0 for none.
   */
  detectLosses(rack: Rack, timeout: number, now: number): number {
    const ring = this.#ring;
    if (ring === null) return 0;
    let wait = 0;
    const last = this.first + this.length;
    for (let index = this.first; index < last; index++) {
      const place = index & this.#mask;
      const marks = ring.marks[place];
      if ((marks & (SACKED | LOST)) !== 0) continue;
      const sentAt = ring.sentAt[place];
      if (!rack.isSentAfter(sentAt, ring.ends[place])) {
        // Those that were sent once are in the order of their times.
        if ((marks & RETRANSMITTED) === 0) break;
        continue;
      }
      const remaining = sentAt + timeout - now;
      if (remaining <= 0) this.markLost(index);
      else wait = Math.max(wait, remaining);
    }
    return wait;
  }

  /** The timeout: marks as lost the first segment and what was sent before `since` (RFC 8985, 6.3). */
  markLostSentBefore(since: number): void {
    const last = this.first + this.length;
    for (let index = this.first; index < last; index++) {
      if (index === this.first || this.sentAt(index) <= since) this.markLost(index);
    }
  }

  /** Cuts a segment in two, the first of `bytes` bytes. */
  split(index: number, bytes: number): void {
    const cut = (this.startOf(index) + bytes) | 0;
    const ring = this.length <= this.#mask ? (this.#ring as SegmentRing) : this.#grow();
    for (let at = this.first + this.length; at > index; at--) {
      const to = at & this.#mask;
      const from = (at - 1) & this.#mask;
      ring.ends[to] = ring.ends[from];
      ring.sentAt[to] = ring.sentAt[from];
      ring.marks[to] = ring.marks[from];
    }
    ring.ends[index & this.#mask] = cut;
    this.length++;
    // A block may have begun within the segment, and now holds a part of it whole.
    this.#seen = 0;
    const marks = ring.marks[index & this.#mask];
    if ((marks & SACKED) !== 0) this.sackedSegments++;
    else if ((marks & LOST) !== 0) this.lostSegments++;
    else if (this.#load !== null) this.#load.frames++;
  }

  /** Makes one segment of a lost one and the next, when that is lost as well and both are `bytes` at most. */
  joinNext(index: number, bytes: number): boolean {
    const ring = this.#ring;
    if (ring === null || index + 1 >= this.first + this.length) return false;
    const place = index & this.#mask;
    const nextPlace = (index + 1) & this.#mask;
    if ((ring.marks[place] & ring.marks[nextPlace] & LOST) === 0) return false;
    if (sequenceDistance(ring.ends[nextPlace], this.startOf(index)) > bytes) return false;
    // The next one takes the place of both; what is before them moves up.
    ring.marks[nextPlace] |= ring.marks[place];
    for (let at = index; at > this.first; at--) {
      const to = at & this.#mask;
      const from = (at - 1) & this.#mask;
      ring.ends[to] = ring.ends[from];
      ring.sentAt[to] = ring.sentAt[from];
      ring.marks[to] = ring.marks[from];
    }
    this.first++;
    this.length--;
    this.lostSegments--;
    return true;
  }

  /** Cuts every segment that has not arrived into ones of at most `bytes`, and marks what was cut as lost. */
  resegment(bytes: number): void {
    for (let index = this.first; index < this.first + this.length; index++) {
      if (this.isSacked(index) || this.lengthOf(index) <= bytes) continue;
      this.markLost(index);
      while (this.lengthOf(index) > bytes && !this.isFull) {
        this.split(index, bytes);
        index++;
      }
    }
  }

  /** Forgets everything and gives the memory back. */
  clear(): void {
    if (this.#load !== null) this.#load.frames -= this.segmentsInFlight;
    this.length = 0;
    this.bytesInFlight = 0;
    this.sackedSegments = 0;
    this.sackedBytes = 0;
    this.lostSegments = 0;
    this.#giveRing();
  }

  #noteDelivered(
    bytes: number,
    sentAt: number,
    end: Sequence,
    retransmitted: boolean,
    recoveryPoint: Sequence,
    rack: Rack,
    now: number,
  ): void {
    const delivery = this.#delivery;
    delivery.bytes += bytes;
    delivery.segments++;
    if (bytes > delivery.largest) delivery.largest = bytes;
    if (!retransmitted) {
      if (delivery.firstSentAt < 0) delivery.firstSentAt = sentAt;
      if (sentAt > delivery.lastSentAt) delivery.lastSentAt = sentAt;
      if (!sequenceAfter(end, recoveryPoint)) delivery.original = true;
    }
    rack.delivered(sentAt, end, retransmitted, now);
  }

  /** The slot that remembers how far the block that begins at `start` was looked at. */
  #slotOf(start: Sequence): number {
    if (this.#seenStarts === NOTHING_SEEN) {
      this.#seenStarts = [0, 0, 0, 0];
      this.#seenEnds = [0, 0, 0, 0];
    }
    const starts = this.#seenStarts;
    for (let slot = 0; slot < this.#seen; slot++) if (starts[slot] === start) return slot;
    const slot = this.#seen < starts.length ? this.#seen++ : (start >>> 2) & 3;
    starts[slot] = start;
    this.#seenEnds[slot] = start;
    return slot;
  }

  #endOf(index: number): Sequence {
    return (this.#ring as SegmentRing).ends[index & this.#mask];
  }

  /** The index of the segment that holds `sequence`, or of the first one. */
  #find(sequence: Sequence): number {
    let low = this.first;
    let high = this.first + this.length;
    while (low < high) {
      const middle = low + ((high - low) >>> 1);
      if (sequenceAfter(this.#endOf(middle), sequence)) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  #forEach(visit: (place: number, bytes: number) => void): void {
    const last = this.first + this.length;
    for (let index = this.first; index < last; index++) visit(index & this.#mask, this.lengthOf(index));
  }

  #grow(): SegmentRing {
    const old = this.#ring;
    const size = old === null ? this.#firstSize : 2 * old.ends.length;
    const ring = this.#pool.take(size);
    const mask = size - 1;
    if (old !== null) {
      for (let index = this.first; index < this.first + this.length; index++) {
        const from = index & this.#mask;
        const to = index & mask;
        ring.ends[to] = old.ends[from];
        ring.sentAt[to] = old.sentAt[from];
        ring.marks[to] = old.marks[from];
      }
      this.#pool.give(old);
    }
    this.#ring = ring;
    this.#mask = mask;
    return ring;
  }

  /** The queue is empty: its memory goes back. */
  #giveRing(): void {
    if (this.#ring === null) return;
    this.#firstSize = Math.max(SMALLEST_RING, this.#ring.ends.length >> 1);
    this.#pool.give(this.#ring);
    this.#ring = null;
    this.#mask = 0;
    // Small numbers again, which the engine keeps unboxed.
    this.first = 0;
    this.#lostFrom = 0;
    this.#seen = 0;
  }
}
