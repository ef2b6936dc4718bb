import { describe, expect, test } from "vitest";
import { type Peer, trace } from "../../testing/trace.ts";

/** Congestion experienced (RFC 3168, 5). */
const CE = 3;
const ECT_0 = 2;
const ECT_1 = 1;

/** How many segments are sent in the round trips of a transfer whose acknowledgments have these flags. */
function rounds(t: Peer, flags: string): number[] {
  t.write(1, 60_000);
  const counts: number[] = [];
  let end = 1;
  for (let round = 0; round < 3; round++) {
    const segments = t.take();
    counts.push(segments.length);
    for (const { seq, data } of segments) end = Math.max(end, seq + data);
    t.send({ flags, seq: 1, ack: end });
  }
  return counts;
}

// That no segment of the stack has ECE or CWR, and no packet of it an ECN bit, is checked of every frame.
describe("RFC 3168: ECN is refused", () => {
  test("a SYN with ECE and CWR draws a plain SYN-ACK (6.1.1)", () => {
    const t = trace();
    t.send({ flags: "SEC", seq: 0, mss: 1460 });
    t.accept();
    t.expect({ flags: "SA", seq: 0, ack: 1 });
    t.send({ flags: "A", seq: 1, ack: 1 });
    t.expectEvents("established");
  });

  test("the stack's own SYN does not offer it, and a SYN-ACK with ECE means nothing", () => {
    const t = trace();
    t.lan.announce();
    t.dial();
    t.expect({ flags: "S", seq: 0 });
    t.send({ flags: "SAE", seq: 0, ack: 1, mss: 1460 });
    t.expect({ flags: "A", seq: 1, ack: 1 });
    t.expectEvents("established");
  });

  test.each([
    ["ECT(0)", ECT_0],
    ["ECT(1)", ECT_1],
    ["CE", CE],
  ])("packets marked %s are taken like any other, and not echoed", (_, tos) => {
    const t = trace().established();
    t.send({ flags: "A", seq: 1, ack: 1, data: 1460, tos });
    t.send({ flags: "A", seq: 1461, ack: 1, data: 1460, tos });
    t.expectEvents("data 1460", "data 1460");
    t.expect({ flags: "A", seq: 1, ack: 2921 });
  });

  test("the rest of the type of service is of no matter either", () => {
    const t = trace().established();
    t.send({ flags: "PA", seq: 1, ack: 1, data: 10, tos: 0xb8 | CE });
    t.expectEvents("data 10");
  });

  test("ECE on acknowledgments does not slow the sender down", () => {
    const plain = rounds(trace().established({ wscale: 7 }), "A");
    expect(rounds(trace().established({ wscale: 7 }), "AE")).toEqual(plain);
  });

  test("CWR on data means nothing", () => {
    const t = trace().established();
    t.send({ flags: "PAC", seq: 1, ack: 1, data: 10 });
    t.send({ flags: "PAEC", seq: 11, ack: 1, data: 10 });
    t.expectEvents("data 10", "data 10");
  });

  test("a reset and a FIN with these flags are a reset and a FIN", () => {
    const t = trace().established();
    t.send({ flags: "FAEC", seq: 1, ack: 1 });
    t.expectEvents("end");
    t.expect({ flags: "A", ack: 2 });
    t.send({ flags: "REC", seq: 2 });
    t.expectEvents("closed reset");
  });
});
