import { describe, expect, test } from "vitest";
import { sequenceAdd } from "../sequence.ts";
import { type HandshakeOptions, trace } from "../testing/trace.ts";
import { TcpOptions } from "../wire/tcp-options.ts";
import type { TcpConnection } from "./connection.ts";
import { SpuriousRetransmission } from "./spurious-retransmission.ts";

const SIZE = 1000;
const ECHO_LENGTH = 12;

/** A recovery of a connection with segments of 1000 bytes, numbered from the first that is not acknowledged. */
class Scenario {
  readonly spurious = new SpuriousRetransmission();
  readonly connection: TcpConnection;

  constructor(options: HandshakeOptions = {}) {
    const { lan } = trace().established({ mss: SIZE + ECHO_LENGTH, ts: true, sack: true, ...options });
    [this.connection] = lan.stack.tcp.connections();
    // The timestamps change their sign within the test.
    this.connection.timestampOffset = 0x7fffffff - 2005;
    this.connection.maximumSegment = SIZE;
  }

  at(segment: number): number {
    return sequenceAdd(this.connection.sendUnacknowledged, SIZE * segment);
  }

  begin(): this {
    this.spurious.begin(this.connection);
    return this;
  }

  /** Sends segments again, at a time. */
  again(now: number, ...segments: number[]): this {
    for (const each of segments) this.spurious.retransmitted(this.connection, this.at(each), this.at(each + 1), now);
    return this;
  }

  /** The peer reports that it has received twice what lies between. */
  duplicate(from: number, to = from + 1): void {
    this.spurious.duplicateReported(this.connection, this.at(from), this.at(to));
  }

  /** Whether an acknowledgment shows it, one that echoes the timestamp of what was sent at a time, or none. */
  isShown(echoOf?: number, advanced = SIZE): boolean {
    const options = new TcpOptions();
    if (echoOf !== undefined) {
      options.hasTimestamps = true;
      options.timestampEcho = this.connection.timestamp(echoOf);
    }
    return this.spurious.isShown(this.connection, options, advanced);
  }
}

describe("reports of duplicates (RFC 3708)", () => {
  test("show it when there is one for each retransmission", () => {
    const s = new Scenario().begin().again(2000, 0, 1, 2);
    s.duplicate(0);
    s.duplicate(1);
    expect(s.isShown()).toBe(false);
    s.duplicate(2);
    expect(s.isShown()).toBe(true);
    expect(s.isShown(3000, 0)).toBe(true);
  });

  test("may be of several segments each", () => {
    const s = new Scenario().begin().again(2000, 0, 1, 2, 3, 4);
    s.duplicate(0, 2);
    s.duplicate(2, 3.5);
    expect(s.isShown()).toBe(false);
    s.duplicate(4, 4.001);
    expect(s.isShown()).toBe(true);
  });

  test("that are of less than a segment are of one", () => {
    const s = new Scenario().begin().again(2000, 0, 0.5);
    s.duplicate(0, 0.5);
    expect(s.isShown()).toBe(false);
    s.duplicate(0.5, 1.5);
    expect(s.isShown()).toBe(true);
  });

  test("count for a segment as often as it was sent again", () => {
    const s = new Scenario().begin().again(2000, 0).again(2100, 0);
    s.duplicate(0);
    expect(s.isShown()).toBe(false);
    s.duplicate(0);
    expect(s.isShown()).toBe(true);
  });

  test("are not counted in advance", () => {
    const s = new Scenario().begin().again(2000, 0, 1, 2, 3);
    s.duplicate(0, 4);
    s.duplicate(0, 4);
    s.again(2100, 4);
    expect(s.isShown()).toBe(false);
    s.duplicate(4);
    expect(s.isShown()).toBe(true);
  });

  test("of what was not sent again are not counted", () => {
    const s = new Scenario().begin().again(2000, 1, 2);
    s.duplicate(-1);
    s.duplicate(0);
    s.duplicate(3);
    s.duplicate(2, 4);
    s.duplicate(0, 3);
    expect(s.isShown()).toBe(false);
    s.duplicate(1, 3);
    expect(s.isShown()).toBe(true);
  });
});

describe("timestamps (RFC 3522)", () => {
  test("show it when a copy from before the first retransmission is acknowledged", () => {
    const s = new Scenario().begin().again(2000, 0);
    expect(s.isShown(1999)).toBe(true);
    expect(s.isShown(1000)).toBe(true);
  });

  test("show it across their wrap and their change of sign", () => {
    const s = new Scenario().begin().again(2010, 0);
    expect(s.connection.timestamp(2010)).toBeLessThan(0);
    expect(s.connection.timestamp(2000)).toBeGreaterThan(0);
    expect(s.isShown(2000)).toBe(true);
    expect(s.isShown(2011)).toBe(false);
    s.connection.timestampOffset = -2005;
    s.begin().again(2010, 0);
    expect(s.isShown(2000)).toBe(true);
    expect(s.isShown(2010)).toBe(false);
  });

  test("that are equal are no proof: both copies may have been sent within the same millisecond", () => {
    const s = new Scenario().begin().again(2000, 0);
    expect(s.isShown(2000)).toBe(false);
    expect(s.isShown(2001)).toBe(false);
  });

  test("are compared with the first retransmission alone", () => {
    const s = new Scenario().begin().again(2000, 0).again(2050, 1);
    expect(s.isShown(2020)).toBe(false);
    expect(s.isShown(1999)).toBe(true);
  });

  test("prove nothing when the edge does not move, when they are missing or not in force", () => {
    const s = new Scenario().begin().again(2000, 0);
    expect(s.isShown(1000, 0)).toBe(false);
    expect(s.isShown()).toBe(false);
    const without = new Scenario({ ts: false, mss: SIZE }).begin().again(2000, 0);
    expect(without.connection.timestamps).toBe(false);
    expect(without.isShown(1000)).toBe(false);
  });
});

describe("a recovery", () => {
  test("that has sent nothing again is not shown to be for nothing", () => {
    const s = new Scenario().begin();
    s.duplicate(0, 9);
    expect(s.isShown(0)).toBe(false);
    s.again(2000, 0);
    expect(s.isShown()).toBe(false);
  });

  test("that did not begin, or was undone, is not watched", () => {
    const s = new Scenario().again(2000, 0);
    s.duplicate(0);
    expect(s.isShown(1000)).toBe(false);
    s.begin().again(2000, 0);
    s.spurious.end();
    s.duplicate(0);
    expect(s.isShown(1000)).toBe(false);
    expect(s.spurious.isAwaited(s.at(0))).toBe(false);
  });

  test("that begins after another knows nothing of it", () => {
    const s = new Scenario().begin().again(2000, 0, 1);
    s.duplicate(0, 2);
    s.begin();
    expect(s.isShown(1000)).toBe(false);
    s.again(3000, 5);
    s.duplicate(0);
    expect(s.isShown()).toBe(false);
    expect(s.isShown(2500)).toBe(true);
    s.duplicate(5);
    expect(s.isShown()).toBe(true);
  });
});

describe("a recovery that is over", () => {
  /** Two segments were sent again, and everything up to what is sent next was in flight at the end. */
  function over(): Scenario {
    const s = new Scenario().begin().again(2000, 0, 1);
    expect(s.spurious.isAwaited(s.at(2))).toBe(false);
    s.connection.sendNext = s.at(10);
    s.spurious.recovered(s.connection);
    return s;
  }

  test("is still shown by reports of duplicates, and not by timestamps", () => {
    const s = over();
    expect(s.spurious.isAwaited(s.at(2))).toBe(true);
    expect(s.isShown(1000)).toBe(false);
    s.duplicate(0, 2);
    expect(s.spurious.isAwaited(s.at(10))).toBe(true);
    expect(s.isShown()).toBe(true);
  });

  test("is shown by reports of what it sent again, whatever is sent again later", () => {
    const s = over();
    s.again(2100, 5);
    s.duplicate(5);
    s.duplicate(0);
    expect(s.isShown()).toBe(false);
    s.duplicate(1);
    expect(s.isShown()).toBe(true);
    const other = over();
    other.again(2100, 5);
    other.duplicate(0, 2);
    expect(other.isShown()).toBe(true);
  });

  test("is forgotten when another begins", () => {
    const s = over();
    s.begin();
    expect(s.spurious.isAwaited(s.at(2))).toBe(false);
    s.again(3000, 4);
    expect(s.isShown(2500)).toBe(true);
  });

  test("is not watched once more is acknowledged than was sent at its end", () => {
    const s = over();
    expect(s.spurious.isAwaited(sequenceAdd(s.at(10), 1))).toBe(false);
    s.duplicate(0, 2);
    expect(s.isShown()).toBe(false);
    expect(s.spurious.isAwaited(s.at(10))).toBe(false);
  });
});
