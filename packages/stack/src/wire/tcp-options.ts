/** The options of a TCP header: those of RFC 9293, 3.2, and of RFC 7323 and RFC 2018. */

import type { Sequence } from "../sequence.ts";
import { readTcpHeaderLength, TCP_HEADER_LENGTH } from "./tcp.ts";

const OPTION_END = 0;
const OPTION_NOP = 1;
const OPTION_MSS = 2;
const OPTION_WINDOW_SCALE = 3;
const OPTION_SACK_PERMITTED = 4;
const OPTION_SACK = 5;
const OPTION_TIMESTAMPS = 8;

/** The largest shift count of window scaling (RFC 7323, 2.3). */
export const MAX_WINDOW_SHIFT = 14;

/** The maximum segment size to assume of a peer that does not send the option (RFC 9293, 3.7.1). */
export const DEFAULT_MSS = 536;

/** Bytes of the timestamps option with the two no-operations in front that align it (RFC 7323, appendix A). */
export const TIMESTAMPS_LENGTH = 12;

/** The four bytes that the aligned timestamps option begins with: NOP, NOP, kind and length. */
const ALIGNED_TIMESTAMPS = (OPTION_NOP << 24) | (OPTION_NOP << 16) | (OPTION_TIMESTAMPS << 8) | 10;

/** The blocks that 40 bytes of options have room for (RFC 2018, 3). */
const MAX_SACK_BLOCKS = 4;

/** The options of one received segment; one object serves every segment. */
export class TcpOptions {
  /** Maximum segment size; {@link DEFAULT_MSS} when absent. */
  maximumSegmentSize = DEFAULT_MSS;
  /** Window scale shift count, or -1 when absent. */
  windowShift = -1;
  sackPermitted = false;
  hasTimestamps = false;
  timestampValue = 0;
  timestampEcho = 0;
  /** How many of {@link sackEdges} are valid, in pairs. */
  sackBlocks = 0;
  /** Left and right edges of the blocks, in the order of the option. */
  readonly sackEdges = new Int32Array(2 * MAX_SACK_BLOCKS);

  sackStart(block: number): Sequence {
    return this.sackEdges[2 * block];
  }

  sackEnd(block: number): Sequence {
    return this.sackEdges[2 * block + 1];
  }

  /**
   * Reads the options of a checked segment. A known one of a wrong length is skipped; one whose length leads out of the
   * header ends the reading.
   */
  read(view: DataView, segment: number): void {
    this.maximumSegmentSize = DEFAULT_MSS;
    this.windowShift = -1;
    this.sackPermitted = false;
    this.hasTimestamps = false;
    this.sackBlocks = 0;
    const headerLength = readTcpHeaderLength(view, segment);
    let at = segment + TCP_HEADER_LENGTH;
    // What nearly every segment of a connection with timestamps has.
    if (headerLength === TCP_HEADER_LENGTH + TIMESTAMPS_LENGTH && view.getInt32(at) === ALIGNED_TIMESTAMPS) {
      this.#readTimestamps(view, at + 2);
      return;
    }
    const end = segment + headerLength;
    while (at < end) {
      const kind = view.getUint8(at);
      if (kind === OPTION_END) return;
      if (kind === OPTION_NOP) {
        at++;
        continue;
      }
      if (at + 1 >= end) return;
      const length = view.getUint8(at + 1);
      if (length < 2 || at + length > end) return;
      this.#readOption(view, at, kind, length);
      at += length;
    }
  }

  #readOption(view: DataView, at: number, kind: number, length: number): void {
    if (kind === OPTION_MSS && length === 4) {
      this.maximumSegmentSize = view.getUint16(at + 2);
    } else if (kind === OPTION_WINDOW_SCALE && length === 3) {
      this.windowShift = Math.min(view.getUint8(at + 2), MAX_WINDOW_SHIFT);
    } else if (kind === OPTION_SACK_PERMITTED && length === 2) {
      this.sackPermitted = true;
    } else if (kind === OPTION_TIMESTAMPS && length === 10) {
      this.#readTimestamps(view, at);
    } else if (kind === OPTION_SACK && length >= 10 && (length - 2) % 8 === 0) {
      this.sackBlocks = (length - 2) >> 3;
      for (let edge = 0; edge < 2 * this.sackBlocks; edge++) this.sackEdges[edge] = view.getInt32(at + 2 + 4 * edge);
    }
  }

  #readTimestamps(view: DataView, at: number): void {
    this.hasTimestamps = true;
    this.timestampValue = view.getInt32(at + 2);
    this.timestampEcho = view.getInt32(at + 6);
  }
}

/** What a SYN offers. */
export interface SynOptions {
  readonly maximumSegmentSize: number;
  /** Window scale shift count, or -1 for none. */
  readonly windowShift: number;
  readonly sackPermitted: boolean;
  readonly timestamps: boolean;
}

/** Bytes that {@link writeSynOptions} writes, a multiple of 4. */
export function synOptionsLength(options: SynOptions): number {
  let length = 4;
  if (options.timestamps) length += TIMESTAMPS_LENGTH;
  else if (options.sackPermitted) length += 4;
  if (options.windowShift >= 0) length += 4;
  return length;
}

/** Writes the options of a SYN, each group of four bytes filled up with no-operations. */
export function writeSynOptions(view: DataView, at: number, options: SynOptions, value: number, echo: number): void {
  view.setUint8(at, OPTION_MSS);
  view.setUint8(at + 1, 4);
  view.setUint16(at + 2, options.maximumSegmentSize);
  at += 4;
  if (options.timestamps) {
    writeTimestamps(view, at, value, echo);
    if (options.sackPermitted) view.setUint16(at, (OPTION_SACK_PERMITTED << 8) | 2);
    at += TIMESTAMPS_LENGTH;
  } else if (options.sackPermitted) {
    view.setUint32(at, (OPTION_NOP << 24) | (OPTION_NOP << 16) | (OPTION_SACK_PERMITTED << 8) | 2);
    at += 4;
  }
  if (options.windowShift >= 0) {
    view.setUint32(at, (OPTION_NOP << 24) | (OPTION_WINDOW_SCALE << 16) | (3 << 8) | options.windowShift);
  }
}

/** Writes the timestamps option, {@link TIMESTAMPS_LENGTH} bytes (RFC 7323, 3.2). */
export function writeTimestamps(view: DataView, at: number, value: number, echo: number): void {
  view.setInt32(at, ALIGNED_TIMESTAMPS);
  view.setInt32(at + 4, value);
  view.setInt32(at + 8, echo);
}

/** The blocks to report to a peer, in the order of the option. */
export interface BlocksToReport {
  readonly count: number;
  start(index: number): Sequence;
  end(index: number): Sequence;
}

/** How many blocks of selective acknowledgment fit `room` bytes of options. */
export function sackBlocksFitting(room: number): number {
  return Math.max(0, Math.min(MAX_SACK_BLOCKS, (room - 4) >> 3));
}

/** Bytes of an option with so many blocks, aligned by two no-operations. */
export function sackLength(blocks: number): number {
  return 4 + 8 * blocks;
}

/** Writes the first `count` blocks (RFC 2018, 3). */
export function writeSack(view: DataView, at: number, blocks: BlocksToReport, count: number): void {
  view.setInt32(at, (OPTION_NOP << 24) | (OPTION_NOP << 16) | (OPTION_SACK << 8) | (2 + 8 * count));
  for (let index = 0; index < count; index++) {
    view.setInt32(at + 4 + 8 * index, blocks.start(index));
    view.setInt32(at + 8 + 8 * index, blocks.end(index));
  }
}
