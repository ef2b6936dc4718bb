import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  DEFAULT_MSS,
  type SynOptions,
  sackBlocksFitting,
  sackLength,
  synOptionsLength,
  TcpOptions,
  TIMESTAMPS_LENGTH,
  writeSack,
  writeSynOptions,
  writeTimestamps,
} from "./tcp-options.ts";

/** Where the segment begins in memory that holds other things before and after. */
const AT = 37;
const HEADER = 20;
/** What follows the header is data, which here looks like options. */
const DATA = [2, 4, 0x7f, 0xff, 8, 10, 1, 1, 1, 1, 2, 2, 2, 2, 5, 10, 3, 3, 3, 3, 4, 4, 4, 4, 4, 2, 3, 3, 1];

/** What a segment was read to say. */
interface Reading {
  mss: number;
  shift: number;
  sackPermitted: boolean;
  timestamps: readonly [value: number, echo: number] | null;
  blocks: (readonly [start: number, end: number])[];
}

const NOTHING: Reading = { mss: DEFAULT_MSS, shift: -1, sackPermitted: false, timestamps: null, blocks: [] };

/** A segment with these options, filled up with zeros to a multiple of four bytes. */
function segment(options: readonly number[]): DataView {
  const padded = [...options, ...new Array<number>(-options.length & 3).fill(0)];
  expect(padded.length).toBeLessThanOrEqual(40);
  const header = new Array<number>(HEADER).fill(0x55);
  header[12] = ((HEADER + padded.length) / 4) << 4;
  return new DataView(Uint8Array.from([...new Array<number>(AT).fill(3), ...header, ...padded, ...DATA]).buffer);
}

function reading(options: TcpOptions): Reading {
  return {
    mss: options.maximumSegmentSize,
    shift: options.windowShift,
    sackPermitted: options.sackPermitted,
    timestamps: options.hasTimestamps ? [options.timestampValue, options.timestampEcho] : null,
    blocks: Array.from({ length: options.sackBlocks }, (_, block) => [
      options.sackStart(block),
      options.sackEnd(block),
    ]),
  };
}

function read(bytes: readonly number[], options = new TcpOptions()): Reading {
  options.read(segment(bytes), AT);
  return reading(options);
}

function word(value: number): number[] {
  return [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
}

const NOP = [1];
const END = [0];

function mss(size: number): number[] {
  return [2, 4, size >> 8, size & 255];
}

function shift(count: number): number[] {
  return [3, 3, count];
}

const SACK_PERMITTED = [4, 2];

function timestamps(value: number, echo: number): number[] {
  return [8, 10, ...word(value), ...word(echo)];
}

function sack(...blocks: (readonly [number, number])[]): number[] {
  return [5, 2 + 8 * blocks.length, ...blocks.flatMap(([start, end]) => [...word(start), ...word(end)])];
}

describe("each option", () => {
  test("is read", () => {
    expect(read(mss(1460))).toEqual({ ...NOTHING, mss: 1460 });
    expect(read(mss(0xffff))).toEqual({ ...NOTHING, mss: 0xffff });
    expect(read(mss(0))).toEqual({ ...NOTHING, mss: 0 });
    expect(read(shift(7))).toEqual({ ...NOTHING, shift: 7 });
    expect(read(shift(0))).toEqual({ ...NOTHING, shift: 0 });
    expect(read(SACK_PERMITTED)).toEqual({ ...NOTHING, sackPermitted: true });
    expect(read(timestamps(-2, 0x12345678))).toEqual({ ...NOTHING, timestamps: [-2, 0x12345678] });
    expect(read(sack([-5, 5]))).toEqual({ ...NOTHING, blocks: [[-5, 5]] });
  });

  test("is absent by default", () => {
    expect(read([])).toEqual(NOTHING);
    expect(DEFAULT_MSS).toBe(536);
    expect(read([1, 1, 1, 0])).toEqual(NOTHING);
  });

  test("of window scaling counts as 14 when it is more (RFC 7323, 2.3)", () => {
    expect(read(shift(14)).shift).toBe(14);
    expect(read(shift(15)).shift).toBe(14);
    expect(read(shift(255)).shift).toBe(14);
  });

  test("of selective acknowledgments has up to four blocks, in their order", () => {
    const blocks = [
      [300, 400],
      [0x7ffffff0, -0x80000000],
      [-1, 1],
      [5, 4],
    ] as const;
    for (const count of [1, 2, 3, 4]) {
      expect(read(sack(...blocks.slice(0, count))).blocks).toEqual(blocks.slice(0, count));
      expect(read([1, 1, ...sack(...blocks.slice(0, count))]).blocks).toEqual(blocks.slice(0, count));
    }
  });

  test("is not read when its length is not the right one", () => {
    for (let length = 0; length <= 40; length++) {
      const rest = new Array<number>(38).fill(0);
      if (length !== 4) expect(read([2, length, ...rest])).toEqual(NOTHING);
      if (length !== 3) expect(read([3, length, ...rest])).toEqual(NOTHING);
      if (length !== 2) expect(read([4, length, ...rest])).toEqual(NOTHING);
      if (length !== 10) expect(read([8, length, ...rest])).toEqual(NOTHING);
      if (![10, 18, 26, 34].includes(length)) expect(read([5, length, ...rest])).toEqual(NOTHING);
    }
  });

  test("is not read when the header ends before it does", () => {
    const whole = [mss(1460), shift(7), SACK_PERMITTED, timestamps(1, 2), sack([1, 2]), sack([1, 2], [3, 4])];
    for (const option of whole) {
      for (let kept = 1; kept < option.length; kept++) {
        // The header ends where the option is cut off.
        const front = new Array<number>(40 - kept).fill(1);
        expect(read([...front, ...option.slice(0, kept)])).toEqual(NOTHING);
      }
      const front = new Array<number>(40 - option.length).fill(1);
      expect(read([...front, ...option])).not.toEqual(NOTHING);
    }
  });

  test("is not looked for behind the end of the memory", () => {
    for (const kind of [2, 3, 4, 5, 8, 99]) {
      for (const tail of [[kind], [kind, 2], [kind, 3], [kind, 10]]) {
        const bytes = segment([...new Array<number>(40 - tail.length).fill(1), ...tail]);
        const options = new TcpOptions();
        options.read(new DataView(bytes.buffer, 0, AT + HEADER + 40), AT);
        expect(reading(options)).toEqual({ ...NOTHING, sackPermitted: kind === 4 && tail.at(1) === 2 });
      }
    }
  });

  test("is not read behind the end of the list, or behind a length that cannot be followed", () => {
    for (const bad of [END, [2, 0], [2, 1], [99, 0], [99, 1], [99, 200]]) {
      expect(read([...bad, ...timestamps(1, 2), ...SACK_PERMITTED, ...mss(99)])).toEqual(NOTHING);
      expect(read([...shift(3), ...bad, ...SACK_PERMITTED])).toEqual({ ...NOTHING, shift: 3 });
    }
  });

  test("is read behind others that are not known", () => {
    expect(read([253, 4, 8, 10, ...mss(1000), 30, 2, 69, 9, 2, 4, 1, 1, 5, 10, 0, ...shift(2)])).toEqual({
      ...NOTHING,
      mss: 1000,
      shift: 2,
    });
  });

  test("that comes twice is what it was the last time", () => {
    expect(read([...mss(1000), ...mss(500)]).mss).toBe(500);
    expect(read([...shift(9), ...shift(3)]).shift).toBe(3);
    expect(read([...timestamps(1, 2), ...timestamps(3, 4)]).timestamps).toEqual([3, 4]);
    expect(read([...sack([1, 2], [3, 4]), ...sack([5, 6])]).blocks).toEqual([[5, 6]]);
    expect(read([...SACK_PERMITTED, ...SACK_PERMITTED]).sackPermitted).toBe(true);
  });
});

describe("timestamps that are aligned as RFC 7323 recommends", () => {
  test("are read like any others", () => {
    for (const option of [
      [1, 1, ...timestamps(5, -6)],
      [...timestamps(5, -6), 1, 1],
      [1, ...timestamps(5, -6), 1],
    ]) {
      expect(read(option)).toEqual({ ...NOTHING, timestamps: [5, -6] });
    }
    expect(read([1, 1, ...timestamps(5, -6), 1, 1, ...sack([7, 8], [9, 10], [11, 12])])).toEqual({
      ...NOTHING,
      timestamps: [5, -6],
      blocks: [
        [7, 8],
        [9, 10],
        [11, 12],
      ],
    });
  });

  test("are told from what looks similar", () => {
    expect(read([1, 1, 8, 9, ...word(1), ...word(2)])).toEqual(NOTHING);
    expect(read([1, 1, 8, 11, ...word(1), ...word(2)])).toEqual(NOTHING);
    expect(read([0, 1, 8, 10, ...word(1), ...word(2)])).toEqual(NOTHING);
    expect(read([1, 1, 8, 10])).toEqual(NOTHING);
    expect(read([1, 1, 8, 10, ...word(1)])).toEqual(NOTHING);
    expect(read([1, 1, 5, 10, ...word(1), ...word(2)])).toEqual({ ...NOTHING, blocks: [[1, 2]] });
  });
});

const anyInteger = fc.integer({ min: -0x80000000, max: 0x7fffffff });
const anyBlocks = (most: number) => fc.array(fc.tuple(anyInteger, anyInteger), { minLength: 1, maxLength: most });

/** Bytes of an option and what they make of a reading. */
type Option = readonly [bytes: number[], change: (to: Reading) => void];

const anyOption: fc.Arbitrary<Option> = fc.oneof(
  fc.constant<Option>([NOP, () => undefined]),
  fc.nat({ max: 0xffff }).map<Option>((size) => [mss(size), (to) => (to.mss = size)]),
  fc.nat({ max: 255 }).map<Option>((count) => [shift(count), (to) => (to.shift = Math.min(14, count))]),
  fc.constant<Option>([SACK_PERMITTED, (to) => (to.sackPermitted = true)]),
  fc.tuple(anyInteger, anyInteger).map<Option>((both) => [timestamps(...both), (to) => (to.timestamps = both)]),
  anyBlocks(4).map<Option>((blocks) => [sack(...blocks), (to) => (to.blocks = blocks)]),
  fc
    .tuple(
      fc.constantFrom(6, 7, 9, 19, 28, 30, 34, 69, 253, 254, 255),
      fc.array(fc.nat({ max: 255 }), { maxLength: 12 }),
    )
    .map<Option>(([kind, data]) => [[kind, data.length + 2, ...data], () => undefined]),
);

const anyBytes = fc.array(fc.oneof(fc.nat({ max: 255 }), fc.constantFrom(0, 1, 2, 3, 4, 5, 8, 10, 18)), {
  maxLength: 40,
  size: "max",
});

test("any options in any order are read, as many as fit", () => {
  fc.assert(
    fc.property(fc.array(anyOption, { maxLength: 12 }), fc.boolean(), (options, ends) => {
      const bytes: number[] = [];
      const expected = { ...NOTHING };
      for (const [option, change] of options) {
        if (bytes.length + option.length > 40) continue;
        bytes.push(...option);
        change(expected);
      }
      if (ends && bytes.length < 40) bytes.push(...END, ...new Array<number>(39 - bytes.length).fill(4));
      expect(read(bytes)).toEqual(expected);
    }),
    { numRuns: 2000 },
  );
});

test("whatever the bytes, nothing of the segment before is left", () => {
  const everything: Option[0][] = [
    [...mss(99), ...shift(9), ...SACK_PERMITTED, ...timestamps(7, 7), ...sack([1, 2], [3, 4])],
    sack([1, 2], [3, 4], [5, 6], [7, 8]),
  ];
  fc.assert(
    fc.property(fc.array(anyBytes, { minLength: 1, maxLength: 5 }), (segments) => {
      const reused = new TcpOptions();
      for (const bytes of segments) {
        for (const before of everything) read(before, reused);
        expect(read(bytes, reused)).toEqual(read(bytes));
      }
    }),
    { numRuns: 2000 },
  );
});

describe("written options", () => {
  /** What a writer writes into memory of ones, and where it stops. */
  function written(length: number, write: (view: DataView, at: number) => void): number[] {
    const bytes = new Uint8Array(64).fill(0xee);
    write(new DataView(bytes.buffer), 8);
    expect([...bytes.subarray(0, 8), ...bytes.subarray(8 + length)].every((byte) => byte === 0xee)).toBe(true);
    return [...bytes.subarray(8, 8 + length)];
  }

  const FULL = { maximumSegmentSize: 1460, windowShift: 7, sackPermitted: true, timestamps: true };

  test("of a SYN are aligned, by hand", () => {
    const full = written(synOptionsLength(FULL), (view, at) => writeSynOptions(view, at, FULL, 0x01020304, -1));
    expect(full).toEqual([2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 255, 255, 255, 255, 1, 3, 3, 7]);
    const sackOnly = { ...FULL, timestamps: false, windowShift: -1 };
    const short = written(synOptionsLength(sackOnly), (view, at) => writeSynOptions(view, at, sackOnly, 1, 2));
    expect(short).toEqual([2, 4, 5, 0xb4, 1, 1, 4, 2]);
  });

  test("of a SYN are read back, and are a multiple of four bytes", () => {
    const anySyn: fc.Arbitrary<SynOptions> = fc.record({
      maximumSegmentSize: fc.nat({ max: 0xffff }),
      windowShift: fc.integer({ min: -1, max: 14 }),
      sackPermitted: fc.boolean(),
      timestamps: fc.boolean(),
    });
    fc.assert(
      fc.property(anySyn, anyInteger, anyInteger, (options, value, echo) => {
        const length = synOptionsLength(options);
        expect(length % 4).toBe(0);
        expect(length).toBeLessThanOrEqual(40);
        const bytes = written(length, (view, at) => writeSynOptions(view, at, options, value, echo));
        expect(read(bytes)).toEqual({
          mss: options.maximumSegmentSize,
          shift: options.windowShift,
          sackPermitted: options.sackPermitted,
          timestamps: options.timestamps ? [value, echo] : null,
          blocks: [],
        });
      }),
    );
  });

  test("of other segments are read back, timestamps and as many blocks as there is room for", () => {
    fc.assert(
      fc.property(fc.boolean(), anyInteger, anyInteger, anyBlocks(6), (stamped, value, echo, blocks) => {
        const front = stamped ? TIMESTAMPS_LENGTH : 0;
        const count = Math.min(blocks.length, sackBlocksFitting(40 - front));
        expect(count).toBe(Math.min(blocks.length, stamped ? 3 : 4));
        const length = front + sackLength(count);
        expect(length % 4).toBe(0);
        expect(length).toBeLessThanOrEqual(40);
        const bytes = written(length, (view, at) => {
          if (stamped) writeTimestamps(view, at, value, echo);
          const report = {
            count: blocks.length,
            start: (at: number) => blocks[at][0],
            end: (at: number) => blocks[at][1],
          };
          writeSack(view, at + front, report, count);
        });
        expect(read(bytes)).toEqual({
          ...NOTHING,
          timestamps: stamped ? [value, echo] : null,
          blocks: blocks.slice(0, count),
        });
      }),
    );
    const bytes = written(TIMESTAMPS_LENGTH, (view, at) => writeTimestamps(view, at, 0xfffffffe, 2));
    expect(bytes).toEqual([1, 1, 8, 10, 255, 255, 255, 254, 0, 0, 0, 2]);
  });

  test("of blocks are as many as fit", () => {
    const fitting = Array.from({ length: 50 }, (_, room) => sackBlocksFitting(room));
    expect(fitting.indexOf(1)).toBe(12);
    expect(fitting.indexOf(2)).toBe(20);
    expect(fitting.indexOf(3)).toBe(28);
    expect(fitting.indexOf(4)).toBe(36);
    expect([sackBlocksFitting(-100), sackBlocksFitting(0), Math.max(...fitting)]).toEqual([0, 0, 4]);
    expect([1, 2, 3, 4].map(sackLength)).toEqual([12, 20, 28, 36]);
  });
});
