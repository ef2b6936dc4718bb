import { describe, expect, test } from "vitest";
import { parseIpv4 } from "../../address.ts";
import { GATEWAY, HOST, Lan } from "../../testing/lan.ts";
import { pattern } from "../../testing/random.ts";
import { Peer, trace } from "../../testing/trace.ts";

/** A connection in SYN-RECEIVED, begun by the peer: its SYN-ACK has left. */
function synReceived(): Peer {
  const t = trace();
  t.send({ flags: "S", mss: 1460 });
  t.accept();
  t.expect({ flags: "SA", seq: 0, ack: 1 });
  return t;
}

/** A connection in SYN-SENT: its SYN has left. */
function synSent(): Peer {
  const t = trace();
  t.lan.announce();
  t.dial();
  t.expect({ flags: "S", seq: 0 });
  return t;
}

describe("tcp_handshake_window_size", () => {
  test("the window of the peer's SYN is taken as it stands, the next one scaled", () => {
    const t = trace().established({ mss: 500, wscale: 7, win: 1000 });
    t.send({ flags: "A", seq: 1, ack: 1, win: 8 });
    t.write(1, 5000);
    t.expect({ flags: "A", seq: 1, data: 500 });
    t.expect({ flags: "A", seq: 501, data: 500 });
    t.expectNothing();
  });

  test("the window of the peer's SYN-ACK is taken as it stands", () => {
    const t = trace().dialed({ mss: 500, wscale: 7, win: 1000 });
    t.write(1, 5000);
    t.expect({ flags: "A", seq: 1, data: 500 });
    t.expect({ flags: "A", seq: 501, data: 500 });
    t.expectNothing();
  });

  test("in a simultaneous open neither window of the peer's is scaled", () => {
    const t = synSent();
    t.send({ flags: "S", seq: 0, mss: 500, wscale: 7, win: 1000 });
    t.expect({ flags: "SA", seq: 0, ack: 1, wscale: 7 });
    t.send({ flags: "SA", seq: 0, ack: 1, mss: 500, wscale: 7, win: 1000 });
    t.lan.all();
    t.write(1, 5000);
    t.expect({ flags: "A", seq: 1, data: 500 });
    t.expect({ flags: "A", seq: 501, data: 500 });
    t.expectNothing();
  });

  test("the window of the stack's own SYN-ACK is not scaled, and the next one takes nothing of it back", () => {
    const t = trace();
    t.send({ flags: "S", mss: 1460, wscale: 2 });
    t.accept();
    const { window } = t.expect({ flags: "SA", wscale: 7 });
    expect(window).toBeGreaterThan(32_768);
    t.send({ flags: "A", seq: 1, ack: 1 });
    t.send({ flags: "A", seq: 1, ack: 1, data: 10 });
    t.advance(500);
    const next = t.expect({ flags: "A", seq: 1, ack: 11 });
    expect(10 + (next.window << 7)).toBeGreaterThanOrEqual(window);
  });
});

describe("tcp_listen_backlog", () => {
  test("a handshake beyond the limit evicts the oldest that is not complete", () => {
    const lan = new Lan({ tcp: { maximumHalfOpen: 2 } });
    const peers = [1, 2, 3].map((port) => new Peer(lan, { port }));
    for (const peer of peers) {
      peer.send({ flags: "S", mss: 1460 });
      peer.accept();
      peer.expect({ flags: "SA", seq: 0, ack: 1 });
    }
    expect(lan.stack.tcp.size).toBe(2);
    expect(lan.stack.statistics.dropConnectionLimit).toBe(1);
    const [evicted, second, third] = peers;
    expect(evicted.log.take()).toEqual([expect.stringMatching(/^closed /)]);
    lan.all();
    evicted.send({ flags: "A", seq: 1, ack: 1 });
    evicted.expect({ flags: "R", seq: 1 });
    for (const peer of [second, third]) {
      peer.send({ flags: "A", seq: 1, ack: 1 });
      peer.expectEvents("established");
    }
  });

  test("requests that wait for their owner count as well", () => {
    const lan = new Lan({ tcp: { maximumHalfOpen: 2 } });
    const waiting = new Peer(lan, { port: 1 });
    waiting.send({ flags: "S", mss: 1460 });
    const answered = new Peer(lan, { port: 2 });
    answered.send({ flags: "S", mss: 1460 });
    answered.accept();
    answered.expect({ flags: "SA", seq: 0, ack: 1 });
    new Peer(lan, { port: 3 }).send({ flags: "S", mss: 1460 });
    expect(lan.requests.map((request) => request.cancelled)).toEqual([true, false, false]);
    answered.send({ flags: "A", seq: 1, ack: 1 });
    answered.expectEvents("established");
  });

  test("established connections do not count", () => {
    const lan = new Lan({ tcp: { maximumHalfOpen: 1 } });
    const peers = [1, 2, 3].map((port) => new Peer(lan, { port }).established());
    for (const peer of peers) {
      peer.send({ flags: "A", seq: 1, ack: 1, data: 10 });
      peer.expectEvents("data 10");
    }
    expect(lan.stack.statistics.dropConnectionLimit).toBe(0);
  });
});

describe("tcp_syncookie", () => {
  test.each(["A", "PA", "FA"])("a segment with %s completes the handshake", (flags) => {
    const t = synReceived();
    t.send({ flags, seq: 1, ack: 1 });
    expect(t.log.events[0]).toBe("established");
  });

  test.each(["SA", "RA", "R", "S", "F", "P", "U"])("a segment with %s does not", (flags) => {
    const t = synReceived();
    t.send({ flags, seq: 1, ...(flags.includes("A") ? { ack: 1 } : {}) });
    expect(t.log.events).not.toContain("established");
  });

  test("the SYN-ACK is sent again until it is acknowledged", () => {
    const t = synReceived();
    t.advance(1000);
    t.expect({ flags: "SA", seq: 0, ack: 1 });
    t.send({ flags: "A", seq: 1, ack: 1 });
    t.expectEvents("established");
    t.advance(60_000);
    t.expectNothing();
  });
});

describe("tcp_noaccept_close_rst", () => {
  test("a request that is turned down draws a reset for its SYN", () => {
    const t = trace();
    t.send({ flags: "S" });
    t.request.reject("refused");
    t.lan.flush();
    t.expect({ flags: "RA", seq: 0, ack: 1 });
    expect(t.lan.stack.tcp.size).toBe(0);
  });

  test("an owner that gives up before the handshake is complete has the peer reset", () => {
    const t = synReceived();
    t.flow.abort();
    t.lan.flush();
    expect(t.take()).toMatchObject([{ flags: expect.stringContaining("R") }]);
    t.expectEvents("closed aborted");
    t.send({ flags: "A", seq: 1, ack: 1 });
    t.expect({ flags: "R", seq: 1 });
  });

  test("an owner that gives up as soon as the handshake is complete has the peer reset", () => {
    const t = trace({}, { reactions: { established: (flow) => flow.abort() } });
    t.send({ flags: "S" });
    t.accept();
    t.expect({ flags: "SA" });
    t.send({ flags: "A", seq: 1, ack: 1 });
    t.expect({ flags: "RA", seq: 1, ack: 1 });
    t.expectEvents("established", "closed aborted");
    expect(t.lan.stack.tcp.size).toBe(0);
  });
});

describe("tcp_acceptable_ack_syn_rcvd", () => {
  test.each([-1, 0, 2, 100_000])("an acknowledgment of %i draws a reset from there and completes nothing", (ack) => {
    const t = synReceived();
    t.send({ flags: "A", seq: 1, ack });
    t.expect({ flags: "R", seq: ack });
    t.expectEvents();
    expect(t.stateName).toBe("SYN-RECEIVED");
  });

  test("the acknowledgment of the SYN completes the handshake", () => {
    const t = synReceived();
    t.send({ flags: "A", seq: 1, ack: 1 });
    t.expectNothing();
    t.expectEvents("established");
  });
});

describe("tcp_synrcvd_reset", () => {
  test("a reset ends a handshake that the peer began", () => {
    const t = synReceived();
    t.send({ flags: "R", seq: 1 });
    t.expectNothing();
    expect(t.lan.stack.tcp.size).toBe(0);
    t.send({ flags: "A", seq: 1, ack: 1 });
    t.expect({ flags: "R", seq: 1 });
    expect(t.log.take()).toEqual(["closed reset"]);
  });

  test("a reset of the second SYN of a simultaneous open says that the connection was refused", () => {
    const t = synSent();
    t.send({ flags: "S", mss: 1460 });
    t.expect({ flags: "SA", seq: 0, ack: 1 });
    t.send({ flags: "R", seq: 1 });
    // The connection came from an active OPEN (RFC 9293, 3.10.7.4, second).
    t.expectEvents("closed refused");
    t.expectNothing();
  });

  test("a reset elsewhere in the window is challenged, one outside of it dropped", () => {
    const t = synReceived();
    t.send({ flags: "R", seq: 2 });
    t.expect({ flags: "A", ack: 1 });
    t.send({ flags: "R", seq: 1_000_000 });
    t.send({ flags: "R", seq: 0 });
    t.expectNothing();
    t.send({ flags: "A", seq: 1, ack: 1 });
    t.expectEvents("established");
  });
});

describe("tcp_synsent_reset", () => {
  test("a reset that acknowledges the SYN ends the attempt", () => {
    const t = synSent();
    t.send({ flags: "RA", seq: 0, ack: 1 });
    t.expectEvents("closed refused");
    expect(t.lan.stack.tcp.size).toBe(0);
    t.send({ flags: "SA", seq: 0, ack: 1, mss: 1460 });
    t.expect({ flags: "R", seq: 1 });
  });

  test.each([
    ["without an acknowledgment", { flags: "R", seq: 0 }],
    ["of something older", { flags: "RA", ack: 0 }],
    ["of something that was never sent", { flags: "RA", ack: 2 }],
  ])("a reset %s changes nothing", (_, segment) => {
    const t = synSent();
    t.send(segment);
    t.expectNothing();
    t.expectEvents();
    t.send({ flags: "SA", seq: 0, ack: 1, mss: 1460 });
    t.expect({ flags: "A", seq: 1, ack: 1 });
    t.expectEvents("established");
  });
});

describe("tcp_queue_send_in_syn_sent", () => {
  test("what is written before the answer leaves with the acknowledgment of the peer's SYN", () => {
    const t = synSent();
    expect(t.write(1, 2000)).toBe(2000);
    t.expectNothing();
    t.send({ flags: "SA", seq: 0, ack: 1, mss: 1460 });
    t.expect({ flags: "A", seq: 1, ack: 1, data: 1460 });
    t.expect({ flags: "PA", seq: 1461, ack: 1, data: 540 });
    t.expectNothing();
  });

  test("it is given up with the attempt", () => {
    const t = synSent();
    t.write(1, 2000);
    t.send({ flags: "RA", seq: 0, ack: 1 });
    t.expectEvents("closed refused");
    t.advance(10_000);
    t.expectNothing();
    expect(t.flow.sendQueued).toBe(0);
    expect(t.lan.stack.tcp.reservedBytes).toBe(0);
  });
});

describe("tcp_queue_receive_in_syn_sent", () => {
  test("what the peer sends as soon as it can is handed over after the handshake", () => {
    const t = synSent();
    t.inject({ flags: "SA", seq: 0, ack: 1, mss: 1460 });
    t.inject({ flags: "PA", seq: 1, ack: 1, data: 11 });
    t.lan.flush();
    t.expectEvents("established", "data 11");
    t.expect({ flags: "A", seq: 1, ack: 12 });
  });

  test("nothing is handed over when the attempt fails", () => {
    const t = synSent();
    t.send({ flags: "RA", seq: 0, ack: 1 });
    t.expectEvents("closed refused");
    t.send({ flags: "PA", seq: 1, ack: 1, data: 11 });
    t.expect({ flags: "R", seq: 1 });
    t.expectEvents();
  });
});

describe("tcp_queue_send_recv_in_syn_sent", () => {
  test("both directions begin with the SYN-ACK", () => {
    const t = synSent();
    t.write(1, 11);
    t.send({ flags: "SA", seq: 0, ack: 1, mss: 1460 });
    t.expect({ flags: "PA", seq: 1, ack: 1, data: 11 });
    t.send({ flags: "PA", seq: 1, ack: 12, data: 11 });
    t.expectEvents("established", "data 11");
    t.advance(500);
    t.expect({ flags: "A", seq: 12, ack: 12 });
  });
});

describe("tcp_connect_icmp_error", () => {
  test.each([0, 1, 2, 3, 9, 10, 13])(
    "ICMP destination unreachable, code %i, about the SYN ends the attempt",
    (code) => {
      const t = trace();
      t.lan.announce();
      t.dial();
      t.unreachable(code, t.expect({ flags: "S" }));
      t.expectEvents("closed unreachable");
      expect(t.lan.stack.tcp.size).toBe(0);
      t.advance(10_000);
      t.expectNothing();
    },
  );

  test("it does not end a handshake that the peer began, which may yet succeed", () => {
    const t = trace();
    t.send({ flags: "S", mss: 1460 });
    t.accept();
    t.unreachable(1, t.expect({ flags: "SA", seq: 0 }));
    t.expectEvents();
    t.send({ flags: "A", seq: 1, ack: 1 });
    t.expectEvents("established");
  });

  // RFC 1122, 4.2.3.9; RFC 5927, 4 and 5.2: an attacker could otherwise end any connection.
  test.each([0, 1, 2, 3, 13])("code %i does not end a connection, whose data is sent until it arrives", (code) => {
    const t = trace().dialed();
    t.write(1, 100);
    t.unreachable(code, t.expect({ flags: "PA", seq: 1, data: 100 }));
    t.expectEvents();
    t.advance(1000);
    expect(t.take()[0]).toMatchObject({ seq: 1, data: 100 });
    t.send({ flags: "A", seq: 1, ack: 101 });
    expect(t.flow.sendQueued).toBe(0);
  });

  test.each([
    ["source quench", 4, 0],
    ["a redirect", 5, 1],
    ["time exceeded in transit", 11, 0],
    ["time exceeded in reassembly", 11, 1],
    ["a parameter problem", 12, 0],
  ])("%s about data changes nothing (RFC 9293, 3.9.2.2, MUST-55 and MUST-56)", (_, type, code) => {
    const t = trace().established({ rtt: 100, wscale: 7 });
    t.write(1, 14_600);
    t.icmpError(type, code, t.expect({ flags: "A", seq: 1, data: 1460 }));
    t.lan.all();
    t.expectEvents();
    t.send({ flags: "A", seq: 1, ack: 14_601 });
    t.write(14_601, 14_600);
    expect(t.take().length).toBe(10);
  });
});

describe("tcp_network_unreachable", () => {
  test("ends the attempt at once, and the next one begins afresh", () => {
    const t = trace();
    t.lan.announce();
    t.dial();
    t.unreachable(0, t.expect({ flags: "S" }));
    t.expectEvents("closed unreachable");
    const again = new Peer(t.lan);
    again.dialed();
    again.write(1, 10);
    again.expect({ flags: "PA", seq: 1, data: 10 });
  });
});

describe("syn_with_same_ip", () => {
  test.each([
    ["own", GATEWAY],
    ["proxied", HOST],
  ])("a SYN from the %s address to itself is dropped without an answer", (_, address) => {
    const t = trace({}, { address, stackAddress: address, port: 80, stackPort: 80 });
    t.send({ flags: "S", mss: 1460 });
    t.expectNothing();
    expect(t.lan.stack.tcp.size).toBe(0);
    expect(t.lan.stack.statistics.dropAddress).toBe(1);
  });
});

describe("RFC 9293, 3.9.2.3: addresses that belong to no single host", () => {
  test.each(["192.168.65.255", "255.255.255.255", "224.0.0.1", "239.1.2.3"])(
    "a SYN to %s is dropped without an answer (MUST-57)",
    (address) => {
      const t = trace({}, { stackAddress: parseIpv4(address) });
      t.send({ flags: "S", mss: 1460 });
      t.expectNothing();
      expect(t.lan.requests.length).toBe(0);
    },
  );

  test.each(["192.168.65.255", "255.255.255.255", "224.0.0.1", "0.0.0.0", "127.0.0.1"])(
    "a SYN from %s is ignored (MUST-63)",
    (address) => {
      const t = trace({}, { address: parseIpv4(address) });
      t.send({ flags: "S", mss: 1460 });
      t.expectNothing();
      expect(t.lan.requests.length).toBe(0);
    },
  );
});

describe("RFC 9293, 3.5: simultaneous open", () => {
  test("is established by the acknowledgments of both SYNs, with the options of both", () => {
    const t = trace();
    t.lan.announce();
    t.dial();
    t.expect({ flags: "S", seq: 0, mss: 1460, wscale: 7, sackOK: true });
    t.send({ flags: "S", seq: 0, mss: 1000, wscale: 3, sackOK: true, ts: [undefined, undefined] });
    expect(t.stateName).toBe("SYN-RECEIVED");
    t.expect({ flags: "SA", seq: 0, ack: 1, mss: 1460, wscale: 7, sackOK: true, ts: [undefined, 0] });
    t.send({ flags: "SA", seq: 0, ack: 1, mss: 1000, wscale: 3, sackOK: true });
    t.expectEvents("established");
    t.lan.all();
    t.write(1, 2000);
    t.expect({ flags: "A", seq: 1, ack: 1, data: 988 });
    t.expect({ flags: "A", seq: 989, ack: 1, data: 988 });
    t.expect({ flags: "PA", seq: 1977, ack: 1, data: 24 });
  });

  test("is established by a bare acknowledgment as well, and what was written before leaves then", () => {
    const t = synSent();
    t.write(1, 10);
    t.send({ flags: "S", seq: 0, mss: 1460 });
    t.expect({ flags: "SA", seq: 0, ack: 1 });
    t.expectNothing();
    t.send({ flags: "A", seq: 1, ack: 1 });
    t.expectEvents("established");
    t.expect({ flags: "PA", seq: 1, ack: 1, data: 10 });
  });
});

describe("RFC 9293, 3.10.7.2 and 3.10.7.3: data and FIN on a SYN", () => {
  test("data on a SYN is handed over once, and only after the handshake", () => {
    const t = trace();
    t.send({ flags: "S", seq: 0, mss: 1460, data: pattern(0, 10) });
    t.accept();
    const { acknowledgment } = t.expect({ flags: "SA", seq: 0 });
    const next = (acknowledgment - t.isn) | 0;
    expect([1, 11]).toContain(next);
    t.expectEvents();
    t.send({ flags: "A", seq: next, ack: 1 });
    t.send({ flags: "PA", seq: 1, ack: 1, data: 20 });
    expect(t.log.receivedBytes).toBe(20);
    expect(t.log.take()[0]).toBe("established");
    t.advance(500);
    expect(t.take().at(-1)).toMatchObject({ flags: "A", ack: 21 });
  });

  test("data on a SYN-ACK is handed over once, at the latest when it comes again", () => {
    const t = synSent();
    t.send({ flags: "SA", seq: 0, ack: 1, mss: 1460, data: pattern(0, 10) });
    expect(t.log.events[0]).toBe("established");
    const [first] = t.take();
    expect(first).toMatchObject({ flags: "A", seq: 1 });
    expect([1, 11]).toContain(first.ack);
    t.send({ flags: "PA", seq: 1, ack: 1, data: 20 });
    expect(t.log.receivedBytes).toBe(20);
  });

  test("a FIN on a SYN ends the peer's direction after the handshake, at the latest when it comes again", () => {
    const t = trace();
    t.send({ flags: "SF", seq: 0, mss: 1460 });
    t.accept();
    const { acknowledgment } = t.expect({ flags: "SA", seq: 0 });
    const next = (acknowledgment - t.isn) | 0;
    expect([1, 2]).toContain(next);
    t.expectEvents();
    t.send({ flags: "A", seq: next, ack: 1 });
    t.send({ flags: "FA", seq: 1, ack: 1 });
    t.expectEvents("established", "end");
    expect(t.take().at(-1)).toMatchObject({ flags: "A", ack: 2 });
    expect(t.stateName).toBe("CLOSE-WAIT");
  });

  test("a FIN on a SYN-ACK does so too", () => {
    const t = synSent();
    t.send({ flags: "SFA", seq: 0, ack: 1, mss: 1460 });
    t.lan.all();
    t.send({ flags: "FA", seq: 1, ack: 1 });
    t.expectEvents("established", "end");
    expect(t.stateName).toBe("CLOSE-WAIT");
  });

  test("a SYN with RST asks for nothing", () => {
    const t = trace();
    t.send({ flags: "SR", seq: 0, mss: 1460 });
    t.expectNothing();
    expect(t.lan.requests.length).toBe(0);
  });
});
