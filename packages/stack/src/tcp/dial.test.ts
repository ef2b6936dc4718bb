import { describe, expect, test } from "vitest";
import { parseIpv4 } from "../address.ts";
import { concatenate, icmp, ipv4 } from "../testing/frames.ts";
import { GATEWAY, GUEST, Lan } from "../testing/lan.ts";
import { Peer, trace } from "../testing/trace.ts";

/** An address on the link that nobody answers for. */
const NOBODY = parseIpv4("192.168.65.99");

describe("a dial", () => {
  test("sends a SYN with our options and is established by the SYN-ACK", () => {
    const t = trace();
    t.lan.announce();
    t.dial();
    t.expect({ flags: "S", seq: 0, win: 65535, mss: 1460, wscale: 7 });
    expect(t.stateName).toBe("SYN-SENT");
    t.expectEvents();
    t.send({ flags: "SA", seq: 0, ack: 1, win: 65535, mss: 1460, wscale: 2 });
    t.expect({ flags: "A", seq: 1, ack: 1, win: 512 });
    t.expectEvents("established");
    t.write(1, 10);
    t.expect({ flags: "PA", seq: 1, ack: 1, data: 10 });
  });

  test("asks for the MAC first", () => {
    const t = trace();
    t.dial();
    t.expect({ flags: "S", seq: 0 });
    expect(t.lan.stack.statistics.arpSent).toBe(1);
  });

  test("without window scaling in the answer, scales neither way", () => {
    const t = trace();
    t.lan.announce();
    t.dial();
    t.expect({ flags: "S", wscale: 7 });
    t.send({ flags: "SA", ack: 1, win: 1000, mss: 500 });
    t.expect({ flags: "A", win: 65535 });
    t.write(1, 5000);
    t.expect({ flags: "A", seq: 1, data: 500 });
    t.expect({ flags: "A", seq: 501, data: 500 });
    t.expectNothing();
  });

  test("takes the window of the SYN-ACK unscaled and those that follow scaled", () => {
    const t = trace();
    t.lan.announce();
    t.dial();
    t.expect({ flags: "S" });
    t.send({ flags: "SA", ack: 1, win: 1000, mss: 500, wscale: 7 });
    t.expect({ flags: "A" });
    t.write(1, 5000);
    t.expect({ flags: "A", seq: 1, data: 500 });
    t.expect({ flags: "A", seq: 501, data: 500 });
    t.expectNothing();
    t.send({ flags: "A", seq: 1, ack: 1001, win: 16 });
    for (let seq = 1001; seq < 3001; seq += 500) t.expect({ flags: "A", seq, data: 500 });
    t.expectNothing();
  });

  test("believes no segment size below the smallest of IP", () => {
    const t = trace();
    t.lan.announce();
    t.dial();
    t.expect({ flags: "S" });
    t.send({ flags: "SA", ack: 1, mss: 1 });
    t.expect({ flags: "A" });
    t.write(1, 100);
    t.expect({ flags: "A", data: 28 });
  });

  test("sends what was written and closed before the handshake was complete", () => {
    const t = trace();
    t.lan.announce();
    t.dial();
    t.write(1, 10);
    t.flow.shutdown();
    t.lan.flush();
    t.expect({ flags: "S" });
    t.send({ flags: "SA", ack: 1, mss: 1460 });
    t.expect({ flags: "FPA", seq: 1, ack: 1, data: 10 });
  });

  test("is refused by a reset that acknowledges the SYN, and by no other", () => {
    const t = trace();
    t.lan.announce();
    t.dial();
    t.expect({ flags: "S" });
    t.send({ flags: "RA", ack: 0 });
    t.send({ flags: "RA", ack: 2 });
    t.send({ flags: "R", seq: 1 });
    t.expectEvents();
    t.send({ flags: "RA", ack: 1 });
    t.expectEvents("closed refused");
    expect(t.lan.stack.tcp.size).toBe(0);
    expect(t.lan.stack.tcp.reservedBytes).toBe(0);
    t.expectNothing();
  });

  test("answers an acknowledgment of another connection with a reset and goes on", () => {
    const t = trace();
    t.lan.announce();
    t.dial();
    t.expect({ flags: "S" });
    t.send({ flags: "SA", ack: 1000, mss: 1460 });
    t.expect({ flags: "R", seq: 1000 });
    t.send({ flags: "A", ack: 0 });
    t.expect({ flags: "R", seq: 0 });
    t.expectEvents();
    t.send({ flags: "SA", ack: 1, mss: 1460 });
    t.expect({ flags: "A", seq: 1, ack: 1 });
  });

  test("takes no notice of an acknowledgment without SYN", () => {
    const t = trace();
    t.lan.announce();
    t.dial();
    t.expect({ flags: "S" });
    t.send({ flags: "A", seq: 1, ack: 1 });
    t.expectNothing();
    expect(t.stateName).toBe("SYN-SENT");
  });

  test("sends the SYN again with back-off and gives up after three minutes", () => {
    const t = trace();
    t.lan.announce();
    t.dial();
    t.expect({ flags: "S" });
    for (const wait of [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000]) {
      t.advance(wait - 1);
      t.expectNothing();
      t.advance(1);
      t.expect({ flags: "S", seq: 0, win: 65535, mss: 1460, wscale: 7 });
    }
    t.advance(59_999);
    t.expectEvents();
    t.advance(1);
    t.expectEvents("closed timeout");
    expect(t.lan.stack.tcp.size).toBe(0);
  });

  test("ends when nobody answers ARP", () => {
    const t = trace({}, { address: NOBODY });
    t.dial();
    t.advance(2999);
    t.expectEvents();
    t.advance(1);
    t.expectEvents("closed unreachable");
    expect(t.lan.all().map((frame) => frame.kind)).toEqual(["arp", "arp", "arp"]);
  });

  test("ends when there is no way to the address", () => {
    const t = trace({}, { address: parseIpv4("10.1.2.3") });
    t.dial();
    t.advance(1000);
    t.expectEvents("closed unreachable");
    t.expectNothing();
  });

  test("goes by the router when there is one", () => {
    const t = trace({}, { address: parseIpv4("10.1.2.3") });
    t.lan.stack.setRouter(GUEST);
    t.dial();
    t.expect({ flags: "S" });
    t.send({ flags: "SA", ack: 1, mss: 1460 });
    t.expect({ flags: "A" });
    t.expectEvents("established");
  });

  test.each([
    ["net", 0],
    ["host", 1],
    ["port", 3],
    ["administration", 13],
  ])("ends when ICMP says unreachable by %s about its SYN", (_, code) => {
    const t = trace();
    t.lan.announce();
    t.dial();
    const syn = t.expect({ flags: "S" });
    const quote = (shift: number) => {
      const bytes = syn.ipPayload.slice(0, 8);
      bytes[7] += shift;
      return ipv4({ source: syn.sourceAddress, destination: GUEST, protocol: 6, payload: bytes, totalLength: 48 });
    };
    // About another incarnation's SYN, and about a size that no SYN has.
    t.lan.deliverIpv4({ protocol: 1, payload: icmp(3, code, 0, quote(1)) });
    t.lan.deliverIpv4({ protocol: 1, payload: icmp(3, 4, 1400, quote(0)) });
    t.expectEvents();
    t.lan.deliverIpv4({ protocol: 1, payload: icmp(3, code, 0, quote(0)) });
    t.expectEvents("closed unreachable");
  });

  test("that is established is not ended by ICMP unreachable", () => {
    const t = trace().dialed();
    const segment = concatenate(Uint8Array.from([0, 80, 156, 64]), new Uint8Array(4));
    new DataView(segment.buffer).setInt32(4, t.stackIsn ?? 0);
    const quote = ipv4({ source: t.stackAddress, destination: GUEST, protocol: 6, payload: segment });
    t.lan.deliverIpv4({ protocol: 1, payload: icmp(3, 1, 0, quote) });
    t.expectEvents();
  });

  test("aborted before the answer sends nothing, and resets the answer", () => {
    const t = trace();
    t.lan.announce();
    t.dial();
    t.expect({ flags: "S" });
    t.flow.abort();
    t.expectEvents("closed aborted");
    t.lan.flush();
    t.expectNothing();
    t.send({ flags: "SA", ack: 1, mss: 1460 });
    t.expect({ flags: "R", seq: 1 });
  });

  test("is turned down when the four-tuple is in use", () => {
    const t = trace().dialed();
    const { stackAddress: localAddress, stackPort: localPort } = t;
    const again = { localAddress, localPort, remoteAddress: GUEST, remotePort: t.port };
    expect(t.lan.stack.tcpDial(again, t.log)).toBeNull();
    expect(t.lan.stack.tcpDial({ ...again, remotePort: 1 }, t.log)).not.toBeNull();
  });

  test("from port 0 takes ephemeral ports that are free, all different", () => {
    const lan = new Lan();
    lan.announce();
    const ports = new Set<number>();
    for (let index = 0; index < 1000; index++) {
      const log = new Peer(lan).log;
      const flow = lan.stack.tcpDial(
        { localAddress: GATEWAY, localPort: 0, remoteAddress: GUEST, remotePort: 22 },
        log,
      );
      ports.add(flow?.localPort ?? 0);
    }
    expect(ports.size).toBe(1000);
    for (const port of ports) expect(port).toBeGreaterThanOrEqual(49152);
  });

  test("from port 0 fails when every ephemeral port is taken", () => {
    const lan = new Lan({ tcp: { maximumConnections: 20_000 } });
    const { log } = new Peer(lan);
    const dial = () =>
      lan.stack.tcpDial({ localAddress: GATEWAY, localPort: 0, remoteAddress: GUEST, remotePort: 22 }, log);
    for (let index = 0; index < 16384; index++) expect(dial()).not.toBeNull();
    expect(dial()).toBeNull();
  });
});

describe("a simultaneous open", () => {
  test("is established by the acknowledgments of both SYNs", () => {
    const t = trace();
    t.lan.announce();
    t.dial();
    t.expect({ flags: "S", seq: 0, wscale: 7 });
    t.send({ flags: "S", seq: 0, win: 1000, mss: 500, wscale: 7 });
    t.expect({ flags: "SA", seq: 0, ack: 1, mss: 1460, wscale: 7 });
    expect(t.stateName).toBe("SYN-RECEIVED");
    t.send({ flags: "SA", seq: 0, ack: 1, win: 1000, mss: 500, wscale: 7 });
    t.expectEvents("established");
    t.write(1, 5000);
    // The window of a SYN is not scaled, the second one's neither.
    t.expect({ flags: "A", seq: 1, ack: 1, data: 500 });
    t.expect({ flags: "A", seq: 501, ack: 1, data: 500 });
    t.expectNothing();
    t.send({ flags: "A", seq: 1, ack: 1001, win: 8, data: 5 });
    t.expectEvents("data 5");
    t.expect({ flags: "A", seq: 1001, ack: 6, data: 500 });
    t.expect({ flags: "A", seq: 1501, ack: 6, data: 500 });
    t.expectNothing();
  });

  test("with a peer that does not scale does not scale", () => {
    const t = trace();
    t.lan.announce();
    t.dial();
    t.expect({ flags: "S", wscale: 7 });
    t.send({ flags: "S", seq: 0, mss: 500 });
    t.expect({ flags: "SA", seq: 0, ack: 1, win: 65535, wscale: undefined });
    t.send({ flags: "A", seq: 1, ack: 1 });
    t.expectEvents("established");
  });

  test("sends its SYN-ACK again until it is acknowledged", () => {
    const t = trace();
    t.lan.announce();
    t.dial();
    t.expect({ flags: "S" });
    t.send({ flags: "S", seq: 0, mss: 500 });
    t.expect({ flags: "SA" });
    t.advance(1000);
    t.expect({ flags: "SA", seq: 0, ack: 1 });
    t.send({ flags: "A", seq: 1, ack: 1 });
    t.expectEvents("established");
    t.advance(10_000);
    t.expectNothing();
  });
});
