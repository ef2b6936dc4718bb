import { describe, expect, test } from "vitest";
import { pattern } from "../testing/random.ts";
import { type Peer, trace } from "../testing/trace.ts";
import type { TcpConnection } from "./connection.ts";

/** The connection to the peer, as it can be seen from outside. */
function connectionOf(t: Peer): TcpConnection {
  const [connection] = t.lan.stack.tcp.connections();
  return connection;
}

/** Sends data from `from` on in full segments, each acknowledged at once. */
function transfer(t: Peer, from: number, segments: number): void {
  for (let index = 0; index < segments; index++) {
    t.send({ flags: "A", seq: from + index * 1460, ack: 1, data: 1460 });
    t.lan.all();
  }
}

describe("what a connection counts", () => {
  test("begins when the peer's SYN comes, or the stack's goes", () => {
    const t = trace();
    t.advance(5000);
    const before = t.lan.now;
    t.send({ flags: "S", seq: 0, mss: 1460 });
    const connection = connectionOf(t);
    expect(connection).toMatchObject({ openedAt: before, bytesReceived: 0, bytesSent: 0, retransmittedSegments: 0 });
    t.advance(1000);
    t.accept();
    expect(connection.openedAt).toBe(before);
    const dialed = trace();
    dialed.advance(300);
    const now = dialed.lan.now;
    dialed.dialed({ rtt: 100 });
    expect(connectionOf(dialed).openedAt).toBe(now);
  });

  test("is data in order once, whatever came twice or ahead of a gap", () => {
    const t = trace().established();
    const connection = connectionOf(t);
    t.send({ flags: "A", seq: 1461, ack: 1, data: 1460 });
    expect(connection.bytesReceived).toBe(0);
    t.send({ flags: "A", seq: 1, ack: 1, data: 1460 });
    expect(connection.bytesReceived).toBe(2920);
    t.send({ flags: "A", seq: 1, ack: 1, data: 1460 });
    expect(connection.bytesReceived).toBe(2920);
    t.send({ flags: "FA", seq: 2921, ack: 1, data: 80 });
    expect(connection.bytesReceived).toBe(3000);
  });

  test("is exact while the receive buffer grows", () => {
    const t = trace().established({ wscale: 7 });
    const connection = connectionOf(t);
    const before = connection.receiveLimit;
    transfer(t, 1, 1000);
    expect(connection.receiveLimit).toBeGreaterThan(before);
    expect(connection.bytesReceived).toBe(1_460_000);
  });

  test("is data that the peer has acknowledged, without SYN and FIN, while the send buffer grows", () => {
    const t = trace().established({ wscale: 7, win: 65_535 });
    const connection = connectionOf(t);
    const before = connection.sendLimit;
    const bytes = pattern(0, 4_000_000);
    let written = 0;
    for (let turns = 0; turns < 10_000 && connection.bytesSent < bytes.length; turns++) {
      written += t.flow.send(bytes, written, bytes.length - written);
      t.lan.flush();
      t.lan.all();
      t.advance(1);
      const end = connection.sendNext - connection.initialSend;
      t.send({ flags: "A", seq: 1, ack: end });
      expect(connection.bytesSent).toBe(end - 1);
    }
    expect(connection.sendLimit).toBeGreaterThan(before);
    expect(connection.bytesSent).toBe(4_000_000);
    t.flow.shutdown();
    t.lan.flush();
    t.lan.all();
    t.send({ flags: "A", seq: 1, ack: 4_000_002 });
    expect(connection).toMatchObject({ bytesSent: 4_000_000, retransmittedSegments: 0, stateName: "FIN-WAIT-2" });
  });

  test("is each segment that was sent again: data, a SYN, a probe for a lost tail", () => {
    const t = trace().established();
    t.write(1, 1000);
    t.advance(3000);
    // Lost twice, it is sent in parts.
    const sent = t.take();
    expect(sent.map(({ data }) => data)).toEqual([1000, 1000, 730, 270, 730, 270, 730, 270]);
    expect(connectionOf(t)).toMatchObject({ retransmittedSegments: 7, bytesSent: 0 });
    expect(t.lan.stack.statistics.tcpRetransmissions).toBe(7);

    const dialed = trace();
    dialed.lan.announce(dialed.address, dialed.mac);
    dialed.dial();
    dialed.advance(1000);
    expect(connectionOf(dialed).retransmittedSegments).toBe(1);

    const probed = trace().established({ sack: true, rtt: 50 });
    probed.write(1, 2000);
    probed.advance(190);
    const { tcpLossProbes, tcpRetransmissions } = probed.lan.stack.statistics;
    expect({ tcpLossProbes, tcpRetransmissions }).toEqual({ tcpLossProbes: 1, tcpRetransmissions: 1 });
    expect(connectionOf(probed).retransmittedSegments).toBe(1);
  });

  test("stays when the connection is over", () => {
    const t = trace().established();
    t.send({ flags: "FA", seq: 1, ack: 1, data: 100 });
    t.write(1, 50);
    t.flow.shutdown();
    t.lan.flush();
    t.send({ flags: "A", seq: 102, ack: 52 });
    expect([...t.lan.stack.tcp.connections()]).toEqual([]);
    const other = trace().established();
    other.write(1, 50);
    other.flow.shutdown();
    other.lan.flush();
    other.send({ flags: "FA", seq: 1, ack: 52, data: 100 });
    expect(connectionOf(other)).toMatchObject({ stateName: "TIME-WAIT", bytesReceived: 100, bytesSent: 50 });
  });
});
