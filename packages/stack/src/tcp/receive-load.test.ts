import { describe, expect, test } from "vitest";
import { Lan } from "../testing/lan.ts";
import { Random } from "../testing/random.ts";
import { type HandshakeOptions, Peer } from "../testing/trace.ts";
import { INITIAL_BUFFER, SMALLEST_BUFFER } from "./buffer-budget.ts";

const RING = 256;
const SEGMENT = 1460;
/** What all windows that are counted may come to. */
const LIMIT = RING * SEGMENT;
/** What a window opens by at least when it has its turn. */
const BURST = 64 * 1024;

interface SendersOptions extends HandshakeOptions {
  readonly ring?: number;
  readonly segment?: number;
  readonly bufferBudget?: number;
}

/** Peers that send in full segments what their windows allow, with nothing on the way but the test. */
class Senders {
  readonly lan: Lan;
  readonly peers: Peer[];
  /** Up to where each has sent, and may send, relative to its initial sequence number. */
  readonly sent: number[];
  readonly edges: number[];
  /** Whose window has opened, in that order, and by how much. */
  readonly opened: [index: number, bytes: number][] = [];
  /** Who was sent an acknowledgment that said what the one before had said. */
  readonly bare: number[] = [];
  /** What the last acknowledgment of each said, and its window's edge. */
  readonly #said: string[] = [];

  readonly #segment: number;

  constructor(count: number, { ring = RING, segment = SEGMENT, bufferBudget, ...handshake }: SendersOptions = {}) {
    this.#segment = segment;
    this.lan = new Lan({ mtu: segment + 40, tcp: { receiveRing: ring, ...(bufferBudget && { bufferBudget }) } });
    this.peers = Array.from({ length: count }, (_, port) => {
      return new Peer(this.lan, { port: port + 1 }).established({ wscale: 7, mss: segment, ...handshake });
    });
    this.sent = this.peers.map(() => 1);
    this.edges = this.peers.map(() => 1 + INITIAL_BUFFER - 1);
    this.lan.all();
  }

  /** Sends up to `most` bytes, as one batch; fewer than a segment are not worth it, as for any TCP. */
  send(index: number, most: number): number {
    const start = this.sent[index];
    const room = Math.min(most, this.edges[index] - start);
    for (let left = room; left >= this.#segment; left -= this.#segment) {
      this.peers[index].inject({ flags: "A", seq: this.sent[index], ack: 1, data: this.#segment });
      this.sent[index] += this.#segment;
    }
    this.lan.flush();
    this.look();
    return this.sent[index] - start;
  }

  /** Each sends all it may, one after the other. */
  round(most = Number.POSITIVE_INFINITY): void {
    for (const index of this.peers.keys()) this.send(index, most);
  }

  /** Takes note of the windows. */
  look(): void {
    for (const frame of this.lan.all()) {
      if (frame.kind !== "tcp") continue;
      const index = frame.destinationPort - 1;
      const edge = ((frame.acknowledgment - this.peers[index].isn) | 0) + (frame.window << 7);
      const said = `${frame.acknowledgment} ${edge}`;
      if (said === this.#said[index]) this.bare.push(index);
      this.#said[index] = said;
      // Less is the rounding of the field.
      if (edge - this.edges[index] >= SEGMENT) this.opened.push([index, edge - this.edges[index]]);
      // By up to a unit of the field it may, where there is no room for it to be rounded up (RFC 7323, 2.4).
      expect(edge, "a window's edge moves back").toBeGreaterThan(this.edges[index] - (1 << 7));
      this.edges[index] = Math.max(edge, this.edges[index]);
    }
  }

  advance(milliseconds: number): void {
    this.lan.advance(milliseconds);
    this.look();
  }

  open(index: number): number {
    return this.edges[index] - this.sent[index];
  }

  get openTogether(): number {
    return this.peers.reduce((sum, _, index) => sum + this.open(index), 0);
  }
}

describe("windows that are open together", () => {
  test("come to no more than the segments that may be under way, however many flows there are", () => {
    for (const count of [1, 3, 40]) {
      const senders = new Senders(count);
      // The windows that flows begin with are not counted.
      senders.round();
      for (let round = 0; round < 20; round++) {
        senders.round();
        // What is left of a window that is smaller than a segment counts for little, but is not used.
        expect(senders.openTogether, `${count} flows`).toBeLessThanOrEqual(LIMIT + count * SEGMENT);
      }
      for (const sent of senders.sent) expect(sent, `${count} flows`).toBeGreaterThan(2 * INITIAL_BUFFER);
    }
  });

  test("count as well when the other direction has ended", () => {
    const count = 40;
    const senders = new Senders(count);
    for (const [index, { flow }] of senders.peers.entries()) {
      flow.shutdown();
      // Every other one acknowledges the FIN, so that both states that this can be in take part.
      if (index % 2 === 0) senders.peers[index].inject({ flags: "A", seq: senders.sent[index], ack: 2 });
    }
    senders.lan.flush();
    senders.lan.all();
    for (let round = 0; round < 5; round++) senders.round();
    for (let round = 0; round < 20; round++) {
      senders.round();
      expect(senders.openTogether).toBeLessThanOrEqual(LIMIT + count * SEGMENT);
    }
    for (const sent of senders.sent) expect(sent).toBeGreaterThan(2 * INITIAL_BUFFER);
  });

  test("are all that there is to take for one flow alone", () => {
    const senders = new Senders(1);
    for (let round = 0; round < 100; round++) senders.send(0, 20 * SEGMENT);
    for (let round = 0; round < 20; round++) {
      senders.send(0, 20 * SEGMENT);
      // It is opened again before half of it is used.
      expect(senders.open(0)).toBeGreaterThan(LIMIT / 2 - 20 * SEGMENT);
    }
  });

  test("are as wide as the buffers of few flows with room for them", () => {
    const senders = new Senders(2, { ring: 8192 });
    for (let round = 0; round < 600; round++) senders.round(20 * SEGMENT);
    expect(senders.open(0)).toBeGreaterThan(4 * 1024 * 1024 - BURST);
    expect(senders.open(1)).toBeGreaterThan(4 * 1024 * 1024 - BURST);
  });

  test("open by turns, first come, first served, each by enough for a burst", () => {
    const count = 40;
    const senders = new Senders(count);
    for (let round = 0; round < 5; round++) senders.round();
    senders.opened.length = 0;
    for (let round = 0; round < 20; round++) senders.round();
    expect(senders.opened.length).toBeGreaterThan(4 * count);
    const turns = senders.peers.map(() => 0);
    for (const [index] of senders.opened) {
      turns[index]++;
      expect(Math.max(...turns) - Math.min(...turns)).toBeLessThanOrEqual(2);
    }
    for (const [, bytes] of senders.opened) expect(bytes).toBeGreaterThanOrEqual(BURST - 2 * SEGMENT);
  });

  test("are shared equally", () => {
    const senders = new Senders(40);
    for (let round = 0; round < 25; round++) senders.round();
    const least = Math.min(...senders.sent);
    expect(Math.max(...senders.sent) - least).toBeLessThanOrEqual(2 * BURST);
  });
});

test("no flow takes more of the memory for buffers than its turns need, so that there is enough for every other's", () => {
  const count = 16;
  const segment = 24 * 1024;
  const turn = 4 * segment;
  const ring = 16;
  // What each begins with both ways, once more that for its turns, and all windows for the one that was first.
  const each = 2 * (INITIAL_BUFFER - SMALLEST_BUFFER) + INITIAL_BUFFER;
  const senders = new Senders(count, { ring, segment, bufferBudget: count * each + 2 * ring * segment });
  const random = new Random(1);
  for (let flows = 1; flows <= count; flows++) {
    for (let round = 0; round < 10; round++) {
      for (let index = 0; index < flows; index++) senders.send(index, (1 + random.below(4)) * segment);
    }
  }
  senders.opened.length = 0;
  for (let round = 0; round < 20; round++) senders.round();
  const largest = senders.peers.map(() => 0);
  for (const [index, bytes] of senders.opened) largest[index] = Math.max(largest[index], bytes);
  expect(Math.min(...largest)).toBeGreaterThanOrEqual(turn - segment);
});

test("an acknowledgment is sent when a window opens for what the owner takes, and none while it does not", () => {
  for (const count of [1, 3, 8]) {
    const senders = new Senders(count);
    for (let round = 0; round < 60; round++) senders.round();
    for (const { log } of senders.peers) log.consumes = false;
    for (let round = 0; round < 300 && senders.openTogether >= count * SEGMENT; round++) senders.round();
    senders.advance(100);
    expect(senders.openTogether, `${count} flows`).toBeLessThan(count * SEGMENT);
    senders.opened.length = 0;
    senders.bare.length = 0;
    for (let part = 0; part < 30; part++) {
      for (const { flow } of senders.peers) {
        flow.consumed(BURST);
        senders.lan.flush();
        senders.look();
      }
    }
    expect(senders.opened.length, `${count} flows`).toBeGreaterThanOrEqual(Math.min(count, Math.floor(LIMIT / BURST)));
    // Acknowledging nothing and opening nothing, it could be taken for the sign of a loss (RFC 5681, 2).
    expect(senders.bare, `${count} flows`).toEqual([]);
  }
});

/** Two flows, the first of which has nearly all of what may be open, and the second waits with a closed window. */
function oneWaits(): Senders {
  const senders = new Senders(2);
  for (let round = 0; round < 100; round++) senders.send(0, 20 * SEGMENT);
  for (let round = 0; round < 20 && senders.open(0) < LIMIT - BURST; round++) senders.send(0, 20 * SEGMENT);
  expect(senders.open(0)).toBeGreaterThan(LIMIT - BURST);
  senders.send(1, Number.POSITIVE_INFINITY);
  expect(senders.open(1)).toBeLessThan(SEGMENT);
  return senders;
}

describe("a window that is not used", () => {
  test("does not keep others closed for long", () => {
    const senders = oneWaits();
    senders.advance(19);
    expect(senders.open(1)).toBeLessThan(SEGMENT);
    senders.advance(41);
    expect(senders.open(1)).toBeGreaterThanOrEqual(BURST);
  });

  test("nor while its flow only acknowledges what it is sent", () => {
    const senders = oneWaits();
    for (let at = 0; at < 60; at += 5) {
      senders.advance(5);
      senders.peers[0].send({ flags: "A", seq: senders.sent[0], ack: 1 });
      senders.look();
    }
    expect(senders.open(1)).toBeGreaterThanOrEqual(BURST);
  });

  test("nor while it is used for a few bytes now and then", () => {
    const senders = oneWaits();
    for (let at = 0; at < 60; at += 5) {
      senders.advance(5);
      senders.send(0, SEGMENT);
    }
    expect(senders.open(1)).toBeGreaterThanOrEqual(BURST);
  });

  test("counts again once it is used", () => {
    const senders = oneWaits();
    senders.advance(60);
    for (let round = 0; round < 30; round++) senders.round();
    expect(senders.openTogether).toBeLessThanOrEqual(LIMIT + 2 * SEGMENT);
  });

  test("does not keep the buffer of another small", () => {
    const count = 40;
    // An equal part is as much as all have in the other tests.
    const senders = new Senders(count, { ring: count * RING });
    for (let round = 0; round < 6; round++) senders.round(10 * SEGMENT);
    for (let round = 0; round < 400; round++) senders.send(0, 20 * SEGMENT);
    expect(senders.open(0)).toBeGreaterThan(4 * LIMIT);
  });

  test("of a flow that has ended, or is gone, keeps nobody waiting", () => {
    for (const end of ["FA", "R"]) {
      const senders = oneWaits();
      senders.peers[0].send({ flags: end, seq: senders.sent[0], ack: 1 });
      senders.look();
      expect(senders.open(1), end).toBeGreaterThanOrEqual(BURST);
    }
  });

  test("of a flow that its owner ends keeps nobody waiting", () => {
    const senders = oneWaits();
    senders.peers[0].flow.abort();
    senders.lan.flush();
    senders.look();
    expect(senders.open(1)).toBeGreaterThanOrEqual(BURST);
  });
});

describe("flows that are not counted", () => {
  test("are idle ones: their windows leave the others what there is", () => {
    const senders = new Senders(100);
    for (const index of senders.peers.keys()) senders.send(index, 20 * SEGMENT);
    for (let round = 0; round < 100; round++) {
      senders.send(0, 20 * SEGMENT);
      senders.advance(1);
    }
    expect(senders.sent[0]).toBeGreaterThan(70 * 20 * SEGMENT);
  });

  test("are those of a peer far behind the guest, whose windows are as wide as its way is long", () => {
    const senders = new Senders(1, { rtt: 20 });
    for (let round = 0; round < 600; round++) senders.round(20 * SEGMENT);
    expect(senders.open(0)).toBeGreaterThan(4 * LIMIT);
  });
});

test("a flow that waits for its turn is dropped from the line when it ends", () => {
  const senders = oneWaits();
  senders.peers[1].send({ flags: "R", seq: senders.sent[1] });
  senders.advance(100);
  for (let round = 0; round < 20; round++) senders.send(0, 20 * SEGMENT);
  expect(senders.open(0)).toBeGreaterThan(LIMIT / 2);
});
