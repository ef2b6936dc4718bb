import type { FrameTap } from "@hostd/frontends";
import { describe, expect, it } from "vitest";
import { readPcap } from "../../../../packages/frontends/src/testing/read-pcap.ts";
import { compileFilter } from "../capture/frame-filter.ts";
import { MAX_WAITING_BYTES } from "../capture/live-capture.ts";
import { CaptureHub, type TappedLink } from "./capture-hub.ts";

/** Keeps what a capture writes; it is taken by the reader when the test says so. */
class Reader {
  readonly chunks: Uint8Array[] = [];
  ended = 0;
  #pending: (() => void)[] = [];

  write(bytes: Uint8Array, taken: () => void): void {
    this.chunks.push(bytes);
    this.#pending.push(taken);
  }

  end(): void {
    this.ended++;
  }

  /** Takes what was written, up to `count` writes. */
  take(count = Number.POSITIVE_INFINITY): void {
    for (const taken of this.#pending.splice(0, count)) taken();
  }

  /** The lengths of the frames that it was given. */
  get lengths(): number[] {
    return readPcap(Buffer.concat(this.chunks)).map(({ length }) => length);
  }
}

function countingTap(): FrameTap & { frames: number; flushes: number } {
  return {
    frames: 0,
    flushes: 0,
    frame() {
      this.frames++;
    },
    flush() {
      this.flushes++;
    },
  };
}

function makeLink(): TappedLink & { see(length: number): void; endTurn(): void } {
  return {
    tap: undefined,
    see(length) {
      this.tap?.frame(new Uint8Array(length + 10), 10, length);
    },
    endTurn() {
      this.tap?.flush();
    },
  };
}

const wish = (expression = "", vm?: string, snapLength = 262_144) => ({
  expression,
  filter: compileFilter(expression),
  snapLength,
  ...(vm === undefined ? {} : { vm }),
});

describe("CaptureHub", () => {
  it("has nothing on a link that nobody looks at, and the one who looks right on it", () => {
    const hub = new CaptureHub(undefined);
    const link = makeLink();
    hub.attach("one", link);
    expect(link.tap).toBeUndefined();
    const capture = hub.begin(wish(), new Reader());
    expect(link.tap).toBe(capture);
    capture.end();
    expect(link.tap).toBeUndefined();
  });

  it("shows the capture of the configuration every frame, whatever else is captured", () => {
    const always = countingTap();
    const hub = new CaptureHub(always);
    const link = makeLink();
    hub.attach("one", link);
    expect(link.tap).toBe(always);
    link.see(60);
    const reader = new Reader();
    const capture = hub.begin(wish("greater 100"), reader);
    link.see(60);
    link.see(200);
    link.endTurn();
    capture.end();
    link.see(60);
    expect(always.frames).toBe(4);
    expect(always.flushes).toBe(1);
    expect(reader.lengths).toEqual([200]);
    expect(link.tap).toBe(always);
  });

  it("has any number of captures at once, each with its own VM, filter and length", () => {
    const hub = new CaptureHub(undefined);
    const [one, two] = [makeLink(), makeLink()];
    hub.attach("one", one);
    hub.attach("two", two);
    const readers = [new Reader(), new Reader(), new Reader()];
    const captures = [wish(), wish("", "two"), wish("less 70", "one", 20)].map((each, index) =>
      hub.begin(each, readers[index]),
    );
    expect(new Set(captures.map(({ id }) => id)).size).toBe(3);
    expect(hub.list()).toEqual(captures);
    for (const [index, link] of [one, two].entries()) {
      for (const length of [60, 600]) link.see(length + index);
      link.endTurn();
    }
    expect(readers.map(({ lengths }) => lengths)).toEqual([[60, 600, 61, 601], [61, 601], [60]]);
    expect(readPcap(Buffer.concat(readers[2].chunks))[0].data).toHaveLength(20);
    captures[0].end();
    one.see(65);
    two.see(66);
    one.endTurn();
    two.endTurn();
    expect(readers.map(({ lengths }) => lengths)).toEqual([
      [60, 600, 61, 601],
      [61, 601, 66],
      [60, 65],
    ]);
    expect(hub.list()).toEqual(captures.slice(1));
  });

  it("has VMs that attach later in a capture, and those that come back under their name", () => {
    const hub = new CaptureHub(undefined);
    const [all, named] = [new Reader(), new Reader()];
    hub.begin(wish(), all);
    hub.begin(wish("", "one"), named);
    const first = makeLink();
    const detach = hub.attach("one", first);
    first.see(60);
    first.endTurn();
    detach();
    const [other, again] = [makeLink(), makeLink()];
    hub.attach("two", other);
    hub.attach("one", again);
    other.see(61);
    other.endTurn();
    again.see(62);
    again.endTurn();
    expect(all.lengths).toEqual([60, 61, 62]);
    expect(named.lengths).toEqual([60, 62]);
  });
});

describe("LiveCapture", () => {
  it("gives the head of the file at its first flush, and the packets of a turn in one piece", () => {
    const reader = new Reader();
    const capture = new CaptureHub(undefined).begin(wish(), reader);
    capture.flush();
    expect(reader.lengths).toEqual([]);
    expect(reader.chunks.map(({ length }) => length)).toEqual([24]);
    for (const length of [60, 61, 62]) capture.frame(new Uint8Array(100), 0, length);
    capture.flush();
    capture.flush();
    expect(reader.chunks).toHaveLength(2);
    expect(reader.lengths).toEqual([60, 61, 62]);
    expect([capture.packets, capture.dropped]).toEqual([3, 0]);
  });

  it("keeps the packets of a turn that are more than one piece has room for, in order", () => {
    const reader = new Reader();
    const capture = new CaptureHub(undefined).begin(wish(), reader);
    const frame = new Uint8Array(65_000);
    const lengths = Array.from({ length: 40 }, (_, index) => frame.length - index);
    for (const length of lengths) capture.frame(frame, 0, length);
    capture.flush();
    expect(reader.chunks.length).toBeGreaterThan(1);
    expect(reader.lengths).toEqual(lengths);
  });

  it("drops and counts what a reader that is too slow has no room for, and goes on when it has read", () => {
    const reader = new Reader();
    const capture = new CaptureHub(undefined).begin(wish("", undefined, 1000), reader);
    const frame = new Uint8Array(1500);
    for (let count = 0; count < 10_000; count++) {
      capture.frame(frame, 0, frame.length);
      if (count % 10 === 9) capture.flush();
      expect(capture.waiting).toBeLessThanOrEqual(MAX_WAITING_BYTES);
    }
    const room = Math.floor((MAX_WAITING_BYTES - 24) / 1016);
    expect([capture.packets, capture.dropped]).toEqual([room, 10_000 - room]);
    expect(reader.lengths).toHaveLength(room);
    expect(Buffer.concat(reader.chunks).length).toBe(capture.waiting);
    reader.take(1);
    capture.frame(frame, 0, 500);
    capture.flush();
    expect(reader.lengths.at(-1)).toBe(500);
    reader.take();
    expect(capture.waiting).toBe(0);
  });

  it("writes the rest when it is ended, once, and nothing after it", () => {
    const reader = new Reader();
    const hub = new CaptureHub(undefined);
    const link = makeLink();
    hub.attach("one", link);
    const capture = hub.begin(wish(), reader);
    link.see(60);
    capture.end();
    capture.end();
    capture.frame(new Uint8Array(60), 0, 60);
    capture.flush();
    expect(reader.lengths).toEqual([60]);
    expect(reader.ended).toBe(1);
    expect(capture.packets).toBe(1);
    expect(hub.list()).toEqual([]);
  });
});
