import { describe, expect, it } from "vitest";
import { formatMac, parseIpv4, parseMac } from "../address.ts";
import { BOOTREPLY, DHCP_TYPE, type DhcpMessageType } from "../wire/dhcpv4.ts";
import { AddressPool } from "./address-pool.ts";
import { LeaseTable } from "./lease-table.ts";
import type { DhcpServerOptions } from "./server.ts";
import { A, B, C, DAY, GATEWAY, Lan, request, words } from "./test-lan.ts";

/** A generator of numbers from 0 to below 1 (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}

function macOf(number: number): string {
  return formatMac(Uint8Array.of(2, 0, number >>> 24, number >>> 16, number >>> 8, number));
}

/** The leases of one server as another process reads them. */
function restarted(lan: Lan, options: Partial<DhcpServerOptions> = {}): Lan {
  const { table, rejected } = LeaseTable.fromJSON(JSON.parse(JSON.stringify(lan.leases)));
  expect(rejected).toEqual([]);
  return new Lan({ ...options, leases: table });
}

describe("after a restart of the server", () => {
  it("the same MAC address gets the same address", () => {
    const before = new Lan();
    before.acquire(B);
    before.acquire(A);
    const after = restarted(before);

    expect(after.discover({ mac: A })).toBe("OFFER 192.168.65.4");
    expect(after.discover({ mac: C })).toBe("OFFER 192.168.65.5");
    expect(after.request({ mac: B, ciaddr: "192.168.65.3" })).toBe("ACK 192.168.65.3");
    expect(after.events).toEqual([`renewed ${B} 192.168.65.3`]);
  });

  it("an offer made before is taken", () => {
    const before = new Lan();
    const offered = before.discover({ mac: A }).replace("OFFER ", "");

    expect(restarted(before).request({ mac: A, requested: offered, server: GATEWAY })).toBe(`ACK ${offered}`);
  });

  it("a client of the subnet that was is refused and gets an address of the new one", () => {
    const before = new Lan();
    const ciaddr = before.acquire(A);
    const after = restarted(before, {
      serverAddress: parseIpv4("10.1.0.1"),
      router: parseIpv4("10.1.0.1"),
      subnet: { address: parseIpv4("10.1.0.0"), prefixLength: 16 },
      firstAddress: parseIpv4("10.1.0.2"),
      lastAddress: parseIpv4("10.1.0.9"),
    });

    expect(after.request({ mac: A, ciaddr })).toBe("NAK");
    expect(after.request({ mac: A, requested: ciaddr })).toBe("NAK");
    expect(after.discover({ mac: A })).toBe("OFFER 10.1.0.2");
    expect(after.request({ mac: A, requested: "10.1.0.2", server: "10.1.0.1" })).toBe("ACK 10.1.0.2");
    expect(after.leases.size).toBe(1);
  });

  it("a client outside of a range that became smaller moves into it", () => {
    const before = new Lan();
    before.acquire(A);
    const ciaddr = before.acquire(B);
    const after = restarted(before, { lastAddress: parseIpv4("192.168.65.3") });

    expect(after.request({ mac: B, ciaddr })).toBe("NAK");
    expect(after.discover({ mac: B })).toBe("silence");
    after.now += 2 * DAY;
    expect(after.discover({ mac: B })).toBe("OFFER 192.168.65.3");
  });
});

describe("a reservation", () => {
  const reserved = (mac: string, address: string): Partial<DhcpServerOptions> => ({
    reservations: new Map([[mac, parseIpv4(address)]]),
  });

  it("gives its client its address, in the range or out of it", () => {
    const outside = new Lan(reserved("52-54-00-00-00-0A", "192.168.65.100"));

    expect(outside.acquire(A)).toBe("192.168.65.100");
    expect(outside.request({ mac: A, ciaddr: "192.168.65.100" })).toBe("ACK 192.168.65.100");
    expect(new Lan(reserved(A, "192.168.65.5")).discover({ mac: A, requested: "192.168.65.3" })).toBe(
      "OFFER 192.168.65.5",
    );
  });

  it("keeps its address from all others", () => {
    const lan = new Lan(reserved(A, "192.168.65.3"));

    expect(lan.discover({ mac: B, requested: "192.168.65.3" })).toBe("OFFER 192.168.65.4");
    expect(lan.request({ mac: B, requested: "192.168.65.3" })).toBe("NAK");
    lan.acquire(B);
    lan.acquire(C);
    expect(lan.discover({ mac: macOf(1) })).toBe("silence");
    expect(lan.acquire(A)).toBe("192.168.65.3");
  });

  it("moves its client there from the address it had", () => {
    const before = new Lan();
    const ciaddr = before.acquire(A);
    const after = restarted(before, reserved(A, "192.168.65.100"));

    expect(after.request({ mac: A, ciaddr })).toBe("NAK");
    expect(after.events).toEqual([`refused ${A} ${ciaddr}: 192.168.65.100 is reserved for this client`]);
    expect(after.acquire(A)).toBe("192.168.65.100");
    expect(after.leases.size).toBe(1);
  });

  it("waits while another client has a lease of its address", () => {
    const before = new Lan();
    const ciaddr = before.acquire(B);
    const after = restarted(before, reserved(A, ciaddr));

    expect(after.acquire(A)).toBe("192.168.65.4");
    expect(after.request({ mac: A, ciaddr: "192.168.65.4" })).toBe("ACK 192.168.65.4");
    expect(after.request({ mac: B, ciaddr })).toBe("NAK");
    after.now += DAY;
    expect(after.request({ mac: A, ciaddr: "192.168.65.4" })).toBe("NAK");
    expect(after.acquire(A)).toBe(ciaddr);
  });

  it("is no reason to leave a client without an address when its own is in use", () => {
    const lan = new Lan(reserved(A, "192.168.65.100"));
    lan.acquire(A);
    lan.send(DHCP_TYPE.decline, { mac: A, requested: "192.168.65.100", server: GATEWAY });

    expect(lan.acquire(A)).toBe("192.168.65.3");
  });
});

describe("a server that cannot be", () => {
  it.each<[string, Partial<DhcpServerOptions>]>([
    ["the DHCP server address 10.0.0.1 must be a host of 192.168.65.0/24", { serverAddress: parseIpv4("10.0.0.1") }],
    ["the DHCP router 192.168.65.0 must be a host of 192.168.65.0/24", { router: parseIpv4("192.168.65.0") }],
    [
      "the DHCP range 192.168.65.3 to 192.168.65.255 must be host addresses of 192.168.65.0/24",
      { lastAddress: parseIpv4("192.168.65.255") },
    ],
    [
      "the DHCP range 192.168.65.9 to 192.168.65.5 must be 1 to 4096 addresses, first to last",
      { firstAddress: parseIpv4("192.168.65.9") },
    ],
    ["the MTU must be a whole number from 68 to 65535, not 67", { mtu: 67 }],
    ["the DHCP lease time must be a whole number of seconds from 60 to 4294967294, not 59", { leaseTimeSeconds: 59 }],
    ["the DHCP lease time must be a whole number of seconds from 60 to 4294967294, not NaN", { leaseTimeSeconds: NaN }],
    ["DHCP takes at most 16 DNS servers and 64 search domains, not 17 and 1", { dnsServers: new Array(17).fill(1) }],
    ['not a domain name: "a b"', { searchDomains: ["a b"] }],
    ['not a domain name: ""', { domainName: "" }],
    ["DHCP takes a domain name of at most 128 characters, not a.a", { domainName: new Array(65).fill("a").join(".") }],
    ['not a MAC address: "52:54"', { reservations: new Map([["52:54", parseIpv4("192.168.65.9")]]) }],
    [
      `the DHCP reservation of ${GATEWAY} for ${A} must be a host address of 192.168.65.0/24 that is not in use`,
      { reservations: new Map([[A, parseIpv4(GATEWAY)]]) },
    ],
    [
      `the DHCP reservation of 192.168.65.9 for ${B} clashes with another reservation`,
      {
        reservations: new Map([
          [A, parseIpv4("192.168.65.9")],
          [B, parseIpv4("192.168.65.9")],
        ]),
      },
    ],
  ])("says: %s", (text, options) => {
    expect(() => new Lan(options)).toThrow(new RegExp(`^${text.replaceAll(".", "\\.")}`));
  });

  it("says every parameter it took in the shortest message", () => {
    const longest = new Lan({
      dnsServers: new Array(16).fill(parseIpv4(GATEWAY)),
      domainName: `${"a".repeat(63)}.${"b".repeat(63)}`,
      searchDomains: [],
    });

    expect(longest.discover({})).toBe("OFFER 192.168.65.3");
  });
});

describe("a hostile guest", () => {
  it("has no answer to what is no message of an Ethernet client", () => {
    const lan = new Lan();
    const good = request(DHCP_TYPE.discover, {});
    const damaged = [
      good.subarray(0, 200),
      good.with(0, BOOTREPLY),
      good.with(1, 6),
      good.with(2, 8),
      good.with(28, 0x53),
      good.fill(0, 28, 34),
      new Uint8Array(0),
    ];

    expect(damaged.map((payload) => words(lan.deliver(payload)))).toEqual(damaged.map(() => "silence"));
    expect(lan.server.counters).toEqual({ received: 7, malformed: 7, replied: 0 });
  });

  it("has no answer to what only servers send", () => {
    const lan = new Lan();

    for (const type of [DHCP_TYPE.offer, DHCP_TYPE.ack, DHCP_TYPE.nak]) {
      expect(lan.send(type, { requested: "192.168.65.3" })).toBe("silence");
    }
    expect(lan.server.counters).toEqual({ received: 3, malformed: 0, replied: 0 });
  });

  it("holds no more than the pool by asking under many MAC addresses, and only for a minute", () => {
    const lan = new Lan({ lastAddress: parseIpv4("192.168.65.250") });
    const kept = lan.acquire(A);
    let offers = 0;
    for (let number = 0; number < 5000; number++) {
      offers += lan.discover({ mac: macOf(number) }) === "silence" ? 0 : 1;
    }

    expect(offers).toBe(247);
    expect(lan.leases.size).toBe(1);
    expect(lan.request({ mac: A, ciaddr: kept })).toBe(`ACK ${kept}`);
    lan.now += 60_000;
    expect(lan.discover({ mac: B })).toBe("OFFER 192.168.65.4");
  });

  it("takes no lease from another that is active", () => {
    const lan = new Lan({ lastAddress: parseIpv4("192.168.65.250") });
    const kept = lan.acquire(A);
    for (let number = 0; number < 1000; number++) {
      const mac = macOf(number);
      lan.request({ mac, requested: kept, server: GATEWAY });
      lan.request({ mac, ciaddr: kept });
      const offered = lan.discover({ mac, requested: kept }).replace("OFFER ", "");
      lan.request({ mac, ...(offered === "silence" ? {} : { requested: offered }), server: GATEWAY });
    }

    expect(lan.leases.size).toBe(248);
    expect(lan.leases.byMac(parseMac(A))?.address).toBe(parseIpv4(kept));
  });

  it("may send anything: 10,000 damaged messages never throw and leave no more leases than addresses", () => {
    const random = seeded(20_251_121);
    const below = (limit: number) => Math.floor(random() * limit);
    const lan = new Lan({
      lastAddress: parseIpv4("192.168.65.18"),
      reservations: new Map([[macOf(3), parseIpv4("192.168.65.100")]]),
    });
    const types = Object.values(DHCP_TYPE);
    const address = () => `192.168.65.${below(24)}`;
    let replies = 0;
    for (let count = 0; count < 10_000; count++) {
      const type: DhcpMessageType = types[below(types.length)];
      const mac = macOf(below(64));
      const payload = request(type, {
        mac,
        ...(random() < 0.3 ? { ciaddr: address() } : {}),
        ...(random() < 0.5 ? { requested: address() } : {}),
        ...(random() < 0.4 ? { server: random() < 0.8 ? GATEWAY : address() } : {}),
        ...(random() < 0.1 ? { giaddr: address() } : {}),
        parameters: Array.from({ length: below(20) }, () => below(256)),
        size: below(65_536),
      });
      for (let damage = below(8); damage > 0; damage--) {
        // The options more often than the 200 bytes of zeros before them.
        payload[random() < 0.7 ? 240 + below(payload.length - 240) : below(payload.length)] = below(256);
      }
      const length = random() < 0.9 ? payload.length : below(payload.length);
      const reply = lan.server.handle(payload, 0, length, {
        sourceMac: parseMac(random() < 0.8 ? mac : macOf(below(64))),
        source: parseIpv4(address()),
        destination: parseIpv4(random() < 0.9 ? GATEWAY : address()),
      });
      replies += reply === null ? 0 : 1;
      expect(reply?.message.length ?? 300).toBeGreaterThanOrEqual(300);
      expect(reply?.message.length ?? 300).toBeLessThanOrEqual(1472);
      expect(lan.leases.size).toBeLessThanOrEqual(17);
      lan.now += below(2000);
    }

    expect(replies).toBeGreaterThan(1000);
    expect(lan.server.counters.malformed).toBeGreaterThan(1000);
    expect(lan.events.some((event) => event.startsWith("declined"))).toBe(true);
    expect(lan.events.some((event) => event.startsWith("exhausted"))).toBe(true);
    const { rejected } = LeaseTable.fromJSON(JSON.parse(JSON.stringify(lan.leases)));
    expect(rejected).toEqual([]);
  });
});

describe("an address pool", () => {
  it("holds no more addresses than it has, however many clients are offered and decline them", () => {
    const pool = new AddressPool({
      subnet: { address: parseIpv4("192.168.65.0"), prefixLength: 24 },
      firstAddress: parseIpv4("192.168.65.3"),
      lastAddress: parseIpv4("192.168.65.12"),
      reserved: [parseIpv4("192.168.65.5")],
      reservations: new Map(),
      leases: new LeaseTable(),
    });
    const given = new Set<number>();
    for (let number = 0; number < 2000; number++) {
      const mac = parseMac(macOf(number));
      const now = number * 10_000;
      const address = pool.choose(mac, null, now);
      if (address !== null) {
        given.add(address);
        pool.offer(mac, address, now + 60_000);
        expect(pool.isOffered(mac, address, now)).toBe(true);
        if (number % 3 === 0) {
          pool.forgetOffer(mac);
          pool.quarantine(address, now + 600_000);
          expect(pool.isOffered(mac, address, now)).toBe(false);
        }
      }
    }

    expect(given.size).toBe(9);
    expect(given.has(parseIpv4("192.168.65.5"))).toBe(false);
    expect(pool.holdCount).toBeLessThanOrEqual(9);
  });

  it("ends at the last address of the address space", () => {
    const pool = new AddressPool({
      subnet: { address: parseIpv4("255.255.255.0"), prefixLength: 24 },
      firstAddress: parseIpv4("255.255.255.254"),
      lastAddress: parseIpv4("255.255.255.254"),
      reserved: [],
      reservations: new Map(),
      leases: new LeaseTable(),
    });

    expect(pool.choose(parseMac(A), null, 0)).toBe(parseIpv4("255.255.255.254"));
    expect(pool.refusal(parseMac(A), parseIpv4("255.255.255.255"), 0)).toBe("not an address for this client");
  });

  it("reaches across the sign of a 32-bit integer", () => {
    const pool = new AddressPool({
      subnet: { address: 0, prefixLength: 0 },
      firstAddress: parseIpv4("127.255.255.255"),
      lastAddress: parseIpv4("128.0.0.1"),
      reserved: [],
      reservations: new Map(),
      leases: new LeaseTable(),
    });
    const given = [1, 2, 3, 4].map((number) => {
      const mac = parseMac(macOf(number));
      const address = pool.choose(mac, null, 0);
      pool.offer(mac, address ?? 0, 1);
      return address;
    });

    expect(given).toEqual([...["127.255.255.255", "128.0.0.0", "128.0.0.1"].map(parseIpv4), null]);
  });
});
