import { describe, expect, test } from "vitest";
import { parseIpv4 } from "../address.ts";
import { GATEWAY, GUEST, HOST, Lan, OUTSIDE } from "../testing/lan.ts";
import { Peer, trace } from "../testing/trace.ts";

test("a handshake, data both ways, and a close from the peer", () => {
  const t = trace();
  t.send({ flags: "S", seq: 0, win: 65535, mss: 1460, wscale: 7 });
  t.expectNothing();
  t.accept();
  t.expect({ flags: "SA", seq: 0, ack: 1, win: 65535, mss: 1460, wscale: 7 });
  t.send({ flags: "A", seq: 1, ack: 1, win: 512 });
  t.expectEvents("established");
  t.expectNothing();
  t.send({ flags: "PA", seq: 1, ack: 1, data: 100 });
  t.expectEvents("data 100");
  t.advance(40);
  t.expect({ flags: "A", seq: 1, ack: 101, win: 512 });
  t.write(1, 100);
  t.expect({ flags: "PA", seq: 1, ack: 101, data: 100 });
  t.send({ flags: "A", seq: 101, ack: 101 });
  t.send({ flags: "FA", seq: 101, ack: 101 });
  t.expectEvents("end");
  t.expect({ flags: "A", seq: 101, ack: 102 });
  t.flow.shutdown();
  t.lan.flush();
  t.expect({ flags: "FA", seq: 101, ack: 102 });
  t.send({ flags: "A", seq: 102, ack: 102 });
  t.expectEvents("closed finished");
  expect(t.lan.stack.tcp.size).toBe(0);
  expect(t.lan.stack.tcp.reservedBytes).toBe(0);
});

describe("a request", () => {
  test("is handed over with its four-tuple and not answered before its owner does", () => {
    const t = trace();
    t.send({ flags: "S", mss: 1460 });
    expect(t.request).toMatchObject({
      localAddress: OUTSIDE,
      localPort: 80,
      remoteAddress: GUEST,
      remotePort: 40000,
      cancelled: false,
    });
    t.advance(60_000);
    t.expectNothing();
  });

  test("is not made twice by the same SYN", () => {
    const t = trace();
    for (const wait of [0, 1000, 2000]) {
      t.advance(wait);
      t.send({ flags: "S", mss: 1460 });
    }
    expect(t.lan.requests.length).toBe(1);
    t.expectNothing();
    t.accept();
    t.expect({ flags: "SA", seq: 0, ack: 1 });
    t.expectNothing();
  });

  test("ignores an acknowledgment of what was not sent", () => {
    const t = trace();
    t.send({ flags: "S" });
    t.send({ flags: "A", seq: 1, ack: 1, data: 10 });
    t.expectNothing();
    t.accept();
    t.expect({ flags: "SA", seq: 0, ack: 1 });
  });

  test("can be answered once only", () => {
    const t = trace();
    t.send({ flags: "S" });
    const { request } = t;
    t.accept();
    t.expect({ flags: "SA" });
    expect(request.accept(t.log)).toBeNull();
    request.reject("refused");
    t.lan.flush();
    t.expectNothing();
    expect(t.stateName).toBe("SYN-RECEIVED");
  });

  test("is cancelled by the peer's reset, and only by an exact one", () => {
    const t = trace();
    t.send({ flags: "S" });
    let cancels = 0;
    const { request } = t;
    request.onCancel = () => cancels++;
    t.send({ flags: "R", seq: 2 });
    expect(request.cancelled).toBe(false);
    t.send({ flags: "R", seq: 1 });
    expect(request.cancelled).toBe(true);
    expect(cancels).toBe(1);
    expect(request.accept(t.log)).toBeNull();
    request.reject("refused");
    t.lan.flush();
    t.expectNothing();
    expect(t.lan.stack.tcp.size).toBe(0);
    expect(t.lan.stack.tcp.reservedBytes).toBe(0);
    expect(cancels).toBe(1);
  });

  test("is cancelled and replaced by a SYN with another sequence number", () => {
    const t = trace();
    t.send({ flags: "S" });
    const first = t.request;
    const again = new Peer(t.lan, { isn: -500 });
    again.send({ flags: "S" });
    expect(first.cancelled).toBe(true);
    expect(t.lan.requests.length).toBe(2);
    again.accept();
    again.expect({ flags: "SA", seq: 0, ack: 1 });
  });

  test("is given up after three minutes", () => {
    const t = trace();
    t.send({ flags: "S" });
    t.advance(179_999);
    expect(t.request.cancelled).toBe(false);
    t.advance(1);
    expect(t.request.cancelled).toBe(true);
    expect(t.lan.stack.tcp.size).toBe(0);
  });

  test("is the oldest to go when there are too many", () => {
    const lan = new Lan({ tcp: { maximumHalfOpen: 2 } });
    for (const port of [1, 2, 3]) new Peer(lan, { port }).send({ flags: "S" });
    expect(lan.requests.map((request) => request.cancelled)).toEqual([true, false, false]);
    expect(lan.stack.tcp.size).toBe(2);
    expect(lan.stack.statistics.dropConnectionLimit).toBe(1);
  });

  test("is cancelled when the link goes away", () => {
    const t = trace();
    t.send({ flags: "S" });
    t.lan.stack.detach();
    expect(t.request.cancelled).toBe(true);
    expect(t.lan.stack.tcp.size).toBe(0);
  });
});

describe("a rejection", () => {
  test("as refused is a reset that acknowledges the SYN", () => {
    const t = trace();
    t.send({ flags: "S" });
    t.request.reject("refused");
    t.expect({ flags: "RA", seq: 0, ack: 1, win: 0 });
    expect(t.lan.stack.tcp.size).toBe(0);
    expect(t.lan.stack.statistics.tcpRejected).toBe(1);
    t.expectNothing();
  });

  test.each([
    ["net-unreachable", 0],
    ["host-unreachable", 1],
    ["prohibited", 13],
  ] as const)("as %s is ICMP destination unreachable with code %i that quotes the SYN", (reason, code) => {
    const t = trace();
    t.send({ flags: "S" });
    t.request.reject(reason);
    t.lan.flush();
    const error = t.lan.nextOf("icmp");
    expect(error).toMatchObject({
      type: 3,
      code,
      rest: 0,
      sourceAddress: GATEWAY,
      destinationAddress: GUEST,
      ttl: 64,
    });
    const quoted = new DataView(error.data.buffer);
    expect(error.data.length).toBe(28);
    expect(quoted.getUint8(0)).toBe(0x45);
    expect(quoted.getUint8(9)).toBe(6);
    expect(quoted.getInt32(12)).toBe(GUEST);
    expect(quoted.getInt32(16)).toBe(OUTSIDE);
    expect(quoted.getUint16(20)).toBe(40000);
    expect(quoted.getUint16(22)).toBe(80);
    expect(quoted.getInt32(24)).toBe(t.isn);
    t.expectNothing();
  });

  test("as silent is nothing at all, and the next SYN asks again", () => {
    const t = trace();
    t.send({ flags: "S" });
    t.request.reject("silent");
    t.lan.flush();
    t.expectNothing();
    t.send({ flags: "S" });
    expect(t.lan.requests.length).toBe(2);
  });
});

describe("where a SYN goes", () => {
  test("to the own address without a listener it is refused", () => {
    const t = trace({}, { stackAddress: GATEWAY });
    t.send({ flags: "S" });
    t.expect({ flags: "RA", seq: 0, ack: 1 });
    expect(t.lan.requests.length).toBe(0);
  });

  test("to the proxied address it is forwarded", () => {
    const t = trace({}, { stackAddress: HOST });
    t.send({ flags: "S" });
    expect(t.request.localAddress).toBe(HOST);
  });

  test("a listener for the address comes before one for every address, and before the owner", () => {
    const lan = new Lan();
    const seen: string[] = [];
    const closeExact = lan.stack.tcpListen(GATEWAY, 80, (request) => {
      seen.push("exact");
      request.reject("silent");
    });
    const closeAny = lan.stack.tcpListen(0, 80, (request) => {
      seen.push("any");
      request.reject("silent");
    });
    expect(() => lan.stack.tcpListen(GATEWAY, 80, () => {})).toThrow("80");
    const t = new Peer(lan, { stackAddress: GATEWAY });
    t.send({ flags: "S" });
    new Peer(lan, { port: 2 }).send({ flags: "S" });
    closeExact();
    closeExact();
    t.send({ flags: "S" });
    closeAny();
    t.send({ flags: "S" });
    t.expect({ flags: "RA" });
    expect(seen).toEqual(["exact", "any", "any"]);
    expect(lan.requests.length).toBe(0);
  });

  test("a second end of a listener leaves the next one alone", () => {
    const lan = new Lan();
    const close = lan.stack.tcpListen(GATEWAY, 80, () => {});
    lan.stack.tcpListen(0, 80, () => {});
    close();
    lan.stack.tcpListen(GATEWAY, 80, () => {});
    close();
    expect(lan.stack.tcp.isListening(GATEWAY, 80)).toBe(true);
  });

  test("ports of 0 are not talked to", () => {
    const t = trace({}, { port: 0 });
    t.send({ flags: "S" });
    expect(t.lan.requests.length).toBe(0);
    expect(t.lan.stack.statistics.dropAddress).toBe(1);
    t.expectNothing();
  });

  test("a broadcast address is nobody's", () => {
    for (const stackAddress of [parseIpv4("192.168.65.255"), -1, parseIpv4("224.0.0.1")]) {
      const t = trace({}, { stackAddress });
      t.send({ flags: "S" });
      t.expectNothing();
      expect(t.lan.requests.length).toBe(0);
      expect(t.lan.stack.statistics.dropAddress).toBe(1);
    }
  });
});

describe("options", () => {
  test("window scaling is offered only to a peer that offered it", () => {
    const t = trace();
    t.send({ flags: "S", mss: 1460 });
    t.accept();
    t.expect({ flags: "SA", win: 65535, mss: 1460, wscale: undefined });
    t.send({ flags: "A", seq: 1, ack: 1, data: 1000 });
    t.advance(40);
    t.expect({ flags: "A", ack: 1001, win: 64535 });
    t.write(1, 2000);
    t.expect({ flags: "A", data: 1460 });
  });

  test("the MSS follows from the MTU of the link", () => {
    const t = trace({ mtu: 4000 });
    t.send({ flags: "S", mss: 1460 });
    t.accept();
    t.expect({ flags: "SA", mss: 3960 });
  });

  test.each([
    ["none", {}, 536],
    ["0", { mss: 0 }, 28],
    ["1", { mss: 1 }, 28],
    ["more than the link's", { mss: 9000 }, 1460],
    ["its own", { mss: 1000 }, 1000],
  ])("a peer's MSS of %s", (_, options, segment) => {
    const t = trace();
    t.send({ flags: "S", ...options });
    t.accept();
    t.expect({ flags: "SA" });
    t.send({ flags: "A", seq: 1, ack: 1 });
    t.write(1, 2000);
    t.expect({ flags: "A", seq: 1, data: segment });
  });

  test.each([
    ["a zero length", [2, 0, 0, 0], 536, undefined],
    ["a length of 1", [3, 1, 1, 1], 536, undefined],
    ["a length past the end", [2, 40, 5, 180], 536, undefined],
    ["a kind without a length", [1, 1, 1, 2], 536, undefined],
    ["an MSS that is cut off", [1, 2, 4, 2], 536, undefined],
    ["a window scale that is cut off", [1, 1, 3, 3], 536, undefined],
    ["an MSS of a wrong length", [2, 3, 9, 1, 3, 3, 2, 0], 536, 7],
    ["an end before the rest", [0, 2, 4, 1], 536, undefined],
    ["unknown options in front", [200, 10, 0, 0, 0, 0, 0, 0, 0, 0, 2, 4, 2, 0], 512, undefined],
  ])("with %s are read as far as they go", (_, bytes, segment, wscale) => {
    const t = trace();
    const options = new Uint8Array((bytes.length + 3) & ~3);
    options.set(bytes);
    t.send({ flags: "S", options });
    t.accept();
    t.expect({ flags: "SA", wscale });
    t.send({ flags: "A", seq: 1, ack: 1 });
    t.write(1, 2000);
    t.expect({ flags: "A", seq: 1, data: segment });
  });

  test.each([14, 15, 255])("a window scale of %i counts as 14", (wscale) => {
    const t = trace();
    t.send({ flags: "S", win: 1460, mss: 1460, wscale });
    t.accept();
    t.expect({ flags: "SA", wscale: 7 });
    t.send({ flags: "A", seq: 1, ack: 1, win: 1 });
    t.write(1, 65536);
    for (let index = 0; index < 10; index++) t.expect({ flags: "A", seq: 1 + index * 1460, data: 1460 });
    t.expectNothing();
    // One unit of 16384 bytes is what bounds it now: 11 full segments and no scrap.
    t.send({ flags: "A", seq: 1, ack: 1 + 10 * 1460, win: 1 });
    for (let index = 10; index < 21; index++) t.expect({ flags: "A", seq: 1 + index * 1460, data: 1460 });
    t.expectNothing();
  });
});

describe("SYN-ACK", () => {
  test("is sent again with back-off and given up after three minutes", () => {
    const t = trace();
    t.send({ flags: "S", mss: 1460, wscale: 2 });
    t.accept();
    t.expect({ flags: "SA", seq: 0, ack: 1, win: 65535, mss: 1460, wscale: 7 });
    for (const wait of [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000]) {
      t.advance(wait - 1);
      t.expectNothing();
      t.advance(1);
      t.expect({ flags: "SA", seq: 0, ack: 1, win: 65535, mss: 1460, wscale: 7 });
    }
    t.advance(59_999);
    t.expectEvents();
    t.advance(1);
    t.expectEvents("closed timeout");
    t.expectNothing();
    expect(t.lan.stack.tcp.size).toBe(0);
    expect(t.lan.stack.tcp.reservedBytes).toBe(0);
  });

  test("is sent again for a SYN that comes again", () => {
    const t = trace();
    t.send({ flags: "S", mss: 1460 });
    t.accept();
    t.expect({ flags: "SA", seq: 0, ack: 1 });
    t.send({ flags: "S", mss: 1460 });
    t.expect({ flags: "SA", seq: 0, ack: 1 });
    t.send({ flags: "A", seq: 1, ack: 1 });
    t.expectEvents("established");
  });

  test("is not taken for acknowledged by an older or a later acknowledgment, which draw a reset", () => {
    for (const ack of [0, -1, -1000, 2, 1000]) {
      const t = trace();
      t.send({ flags: "S" });
      t.accept();
      t.expect({ flags: "SA" });
      t.send({ flags: "A", seq: 1, ack });
      t.expect({ flags: "R", seq: ack });
      t.expectEvents();
      expect(t.stateName).toBe("SYN-RECEIVED");
      t.send({ flags: "A", seq: 1, ack: 1 });
      t.expectEvents("established");
    }
  });

  test("is not taken for acknowledged by a segment from outside of the window", () => {
    const t = trace();
    t.send({ flags: "S" });
    t.accept();
    t.expect({ flags: "SA" });
    t.send({ flags: "A", seq: 0, ack: 1 });
    t.send({ flags: "A", seq: 100_000, ack: 1 });
    t.expectEvents();
    t.advance(1000);
    t.expect({ flags: "SA", seq: 0, ack: 1 });
    t.send({ flags: "A", seq: 1, ack: 1 });
    t.expectEvents("established");
  });

  test("may be acknowledged together with data and FIN", () => {
    const t = trace();
    t.send({ flags: "S" });
    t.accept();
    t.expect({ flags: "SA" });
    t.send({ flags: "FPA", seq: 1, ack: 1, data: 10 });
    t.expectEvents("established", "data 10", "end");
    t.expect({ flags: "A", seq: 1, ack: 12 });
    expect(t.stateName).toBe("CLOSE-WAIT");
  });

  test("is followed by what the owner sent and closed before the handshake was complete", () => {
    const t = trace();
    t.send({ flags: "S", mss: 1460 });
    t.accept();
    t.write(1, 10);
    t.flow.shutdown();
    t.lan.flush();
    t.expect({ flags: "SA" });
    t.expectNothing();
    t.send({ flags: "A", seq: 1, ack: 1 });
    t.expect({ flags: "FPA", seq: 1, ack: 1, data: 10 });
    t.send({ flags: "A", seq: 1, ack: 12 });
    expect(t.stateName).toBe("FIN-WAIT-2");
  });

  test("answered by a reset ends the connection", () => {
    const t = trace();
    t.send({ flags: "S" });
    t.accept();
    t.expect({ flags: "SA" });
    t.send({ flags: "R", seq: 1 });
    t.expectEvents("closed reset");
    expect(t.lan.stack.tcp.size).toBe(0);
  });

  test("answered by another SYN is a challenge, whose reset frees the ports for the next SYN", () => {
    const t = trace();
    t.send({ flags: "S" });
    t.accept();
    t.expect({ flags: "SA" });
    const again = new Peer(t.lan, { isn: 5000 });
    again.send({ flags: "S" });
    t.expect({ flags: "A", seq: 1, ack: 1 });
    t.send({ flags: "R", seq: 1 });
    t.expectEvents("closed reset");
    again.send({ flags: "S" });
    again.accept();
    again.expect({ flags: "SA", ack: 1 });
  });

  test("of an aborted handshake is taken back with a reset", () => {
    const t = trace();
    t.send({ flags: "S" });
    t.accept();
    t.expect({ flags: "SA" });
    t.flow.abort();
    t.expectEvents("closed aborted");
    t.lan.flush();
    t.expect({ flags: "RA", seq: 1, ack: 1 });
    t.expectNothing();
  });
});
