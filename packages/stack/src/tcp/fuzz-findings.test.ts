import { describe, expect, test } from "vitest";
import { runForgeries } from "../testing/segment-forgery.ts";
import type { Forgery, OptionStep, Scenario, SegmentStep } from "../testing/segment-steps.ts";
import { trace } from "../testing/trace.ts";

/** What the fuzzers and the captures of Linux as the peer found, each in its shortest form: it is not to come back. */

describe("a keep-alive", () => {
  test("that is answered counts for nothing, also where the interval is longer than the idle time", () => {
    const t = trace({ tcp: { keepAliveIdle: 1000, keepAliveInterval: 75_000, keepAliveProbes: 3 } }).established();
    for (let probe = 0; probe < 10; probe++) {
      for (let seconds = 0; t.lan.waiting === 0 && seconds < 80; seconds++) t.advance(1000);
      t.expect({ flags: "A", seq: 0, ack: 1 });
      t.send({ flags: "A", seq: 1, ack: 1 });
    }
    expect(t.stateName).toBe("ESTABLISHED");
    t.expectEvents();
  });
});

describe("a setting of a connection that is gone", () => {
  test("does not put it back into the queue of timers", () => {
    const t = trace().established();
    const { flow } = t;
    flow.shutdown();
    t.lan.flush();
    t.send({ flags: "FA", seq: 1, ack: 2 });
    t.advance(20_000);
    expect(t.stateName).toBe("none");
    flow.setUserTimeout(1000);
    flow.setKeepAlive(1000);
    flow.setNagle(true);
    flow.setNagle(false);
    expect(t.lan.stack.tcp.nextDeadline).toBe(Number.POSITIVE_INFINITY);
  });
});

describe("a SYN of another number right after the first one", () => {
  test("is not challenged before there is anything that the peer could be challenged with", () => {
    const t = trace();
    t.inject({ flags: "S", seq: 0, mss: 1460 });
    t.request.accept(t.log);
    t.inject({ flags: "S", seq: 1, mss: 1460 });
    t.lan.flush();
    // Whichever of the two is answered: what the stack sends first is its own SYN.
    expect(t.take()[0].flags).toBe("SA");
  });
});

describe("segments that are sent again as one", () => {
  test("are no larger than a segment may be, also where a FIN waits behind them", () => {
    const t = trace().established({ mss: 1460 });
    t.write(1, 1);
    t.write(2, 1460);
    t.flow.shutdown();
    t.lan.flush();
    t.take();
    t.advance(2000);
    for (const { data } of t.take()) expect(data).toBeLessThanOrEqual(1460);
  });
});

describe("a segment from half of all sequence numbers away", () => {
  test("does not set the window", () => {
    const t = trace().established({ win: 0 });
    t.write(1, 100);
    t.expectNothing();
    t.send({ flags: "A", seq: 1 - 2 ** 31, ack: 1, win: 65535 });
    for (const { data } of t.take()) expect(data).toBe(0);
  });
});

describe("the retransmission timer", () => {
  test("sends again what is oldest although what was sent a moment before fills the congestion window", () => {
    const t = trace().established({ sack: true, rtt: 2 });
    t.write(1, 2 * 1460);
    expect(t.take()).toHaveLength(2);
    const { tcp } = t.lan.stack;
    const untilDue = () => tcp.nextDeadline - t.lan.now;
    // After the tail loss probe the timer is the retransmission's.
    t.advance(untilDue());
    expect(t.take()).toMatchObject([{ seq: 1461, data: 1460 }]);
    // Just before it expires there is more to send.
    t.advance(untilDue() - 1);
    t.write(2921, 8 * 1460);
    expect(t.take()).toHaveLength(8);
    // All of it is lost.
    t.advance(5000);
    expect(t.take()).toContainEqual(expect.objectContaining({ seq: 1, data: 1460 }));
    expect(tcp.nextDeadline).toBeLessThan(Number.POSITIVE_INFINITY);
  });
});

describe("a path that carries less, in the middle of a recovery without selective acknowledgments", () => {
  test("has no more sent again at once than the congestion window allows", () => {
    const t = trace().established();
    t.write(1, 60_000);
    const sent = t.lan.all();
    for (let duplicate = 0; duplicate < 7; duplicate++) t.send({ flags: "A", seq: 1, ack: 1 });
    sent.push(...t.lan.all());
    const last = sent.at(-1);
    if (last?.kind !== "tcp") throw new Error("nothing was sent");
    t.unreachable(4, last, 1492);
    const bytes = t.take().reduce((sum, { data }) => sum + data, 0);
    const [connection] = t.lan.stack.tcp.connections();
    expect(bytes).toBeGreaterThan(0);
    expect(bytes).toBeLessThanOrEqual(connection.congestion.window + 1460);
  });
});

describe("a segment and a part of one", () => {
  test("are acknowledged at once: Linux would send the part again before a delayed acknowledgment came", () => {
    const t = trace().established();
    // What the peer sends in full is known from here on.
    t.send({ flags: "A", seq: 1, ack: 1, data: 1460 });
    t.send({ flags: "A", seq: 1461, ack: 1, data: 1460 });
    t.expect({ flags: "A", ack: 2921 });
    t.inject({ flags: "A", seq: 2921, ack: 1, data: 1460 });
    t.inject({ flags: "PA", seq: 4381, ack: 1, data: 700 });
    t.lan.flush();
    t.expect({ flags: "A", ack: 5081 });
  });
});

describe("the tail loss probe", () => {
  test("leaves a receiver whose reader has stopped the time of a delayed acknowledgment, which is 40 ms on Linux", () => {
    const t = trace().established({ sack: true });
    t.write(1, 3 * 1460);
    expect(t.take()).toHaveLength(3);
    t.advance(44);
    t.expectNothing();
    t.send({ flags: "A", seq: 1, ack: 4381 });
    t.advance(1000);
    t.expectNothing();
  });
});

describe("data beyond the end of the peer's stream", () => {
  test("is not reported as held once the FIN is taken in", () => {
    const t = trace().established({ sack: true });
    t.send({ flags: "A", seq: 2, ack: 1, data: 1 });
    t.expect({ flags: "A", ack: 1, sack: [[2, 3]] });
    t.send({ flags: "FA", seq: 1, ack: 1 });
    t.expect({ flags: "A", ack: 2, sack: [] });
    t.send({ flags: "A", seq: 1, ack: 1, data: 1000 });
    for (const { sack } of t.take()) for (const [start] of sack) expect(start).toBe(1);
  });
});

describe("two stacks that disagree on where they are", () => {
  const scenario: Scenario = {
    mtu: 1500,
    peerSequence: -40,
    stackSequence: -40,
    timestampBase: -40,
    mss: 1460,
    windowScale: 7,
    sackPermitted: true,
    timestamps: true,
    window: 65535,
    open: "peer",
    established: true,
    consumes: true,
    answers: "accept",
    congestionControl: "cubic",
    keepAliveIdle: 0,
    userTimeout: 0,
    receiveRing: 256,
  };
  const forged = (
    toStack: boolean,
    flags: string,
    length: number,
    options: "usual" | OptionStep[] = "usual",
  ): Forgery => {
    const next = { base: "next", offset: 0 } as const;
    const maximum = { base: "maximum", offset: 0 } as const;
    const segment: SegmentStep = {
      do: "segment",
      flags,
      sequence: next,
      acknowledgment: maximum,
      window: 65535,
      length,
      lies: false,
      options,
      headerLength: null,
      copies: 1,
      atOnce: false,
    };
    return { segment, toStack, writes: 0, waitMs: 0 };
  };

  test.each([0, 0.25, 20])(
    "do not acknowledge to each other for ever what neither has sent (%d ms apart)",
    (delayMs) => {
      expect(runForgeries(scenario, delayMs, [forged(false, "A", 1)])).toBeLessThan(100);
    },
  );

  test.each([0, 0.25, 20])("do not tell each other for ever that a timestamp is old (%d ms apart)", (delayMs) => {
    const far = [{ option: "timestamps", value: "far", echo: "last" }] as const satisfies OptionStep[];
    const course = [forged(false, "FA", 1), forged(false, "A", 0, far), forged(true, "A", 1, far)];
    expect(runForgeries(scenario, delayMs, course)).toBeLessThan(100);
  });
});
