import { describe, expect, it } from "vitest";
import { parseIpv4, parseMac } from "../address.ts";
import { DHCP_FLAG_BROADCAST, DHCP_OPTION, DHCP_TYPE, DhcpOptions, decodeDomainSearch } from "../wire/dhcpv4.ts";
import { A, B, C, DAY, type Fields, GATEWAY, Lan, read, request, route, words } from "./test-lan.ts";

function discover(fields: Fields): Uint8Array {
  return request(DHCP_TYPE.discover, fields);
}

describe("the server's offer", () => {
  it("has these bytes", () => {
    const lan = new Lan({ domainName: "vm.internal" });
    const reply = lan.deliver(discover({ more: new DhcpOptions().set(61, Uint8Array.of(1, 82, 84, 0, 0, 0, 10)) }));

    const expected = [
      "02010600 3903f326 00000000", // BOOTREPLY, Ethernet, 6, xid
      "00000000 c0a84103 00000000 00000000", // ciaddr, yiaddr 192.168.65.3, siaddr, giaddr
      "52540000000a 00000000000000000000", // chaddr
      "00".repeat(64 + 128), // sname, file
      "63825363 350102 3604c0a84101", // cookie, OFFER, server identifier
      "330400015180 3a040000a8c0 3b0400012750", // a day, T1 of half of it, T2 of seven eighths
      "0104ffffff00 0304c0a84101 0604c0a84101", // subnet mask, router, DNS server
      "0f0b766d2e696e7465726e616c 1a0205dc 1c04c0a841ff", // domain name, MTU 1500, broadcast address
      "770e04636f7270076578616d706c6500 3d0701525400 00000a ff", // domain search, client identifier, end
    ];
    const hex = Array.from(reply?.message ?? [], (byte) => byte.toString(16).padStart(2, "0")).join("");
    expect(hex).toBe(expected.join("").replaceAll(" ", ""));
  });

  it("has the parameters that the client lists first, after the subnet mask", () => {
    const lan = new Lan();
    const reply = read(lan.deliver(discover({ parameters: [28, 42, 6, 6, 3] })));

    expect([...reply.options].map(([code]) => code)).toEqual([54, 51, 58, 59, 1, 28, 6, 3, 26, 119]);
  });

  it("returns the client identifier and does not go by it", () => {
    const lan = new Lan();
    const identified = (...value: number[]) => new DhcpOptions().set(61, Uint8Array.from(value));
    const first = read(lan.deliver(discover({ more: identified(255, 1, 2, 3) })));

    expect(first.options.bytes(DHCP_OPTION.clientIdentifier)).toEqual(Uint8Array.of(255, 1, 2, 3));
    expect(lan.request({ requested: "192.168.65.3", server: GATEWAY, more: identified(255, 1, 2, 3) })).toBe(
      "ACK 192.168.65.3",
    );
    expect(lan.discover({ more: identified(0, 9) })).toBe("OFFER 192.168.65.3");
    expect(lan.discover({ mac: B, more: identified(255, 1, 2, 3) })).toBe("OFFER 192.168.65.4");
  });

  it("fits what the client takes, with the last search domains left out", () => {
    const domains = Array.from({ length: 40 }, (_, index) => `department-${index}.corp.example`);
    const lan = new Lan({ searchDomains: domains });
    const search = (fields: Fields) => {
      const reply = lan.deliver(discover(fields));
      const value = read(reply).options.bytes(DHCP_OPTION.domainSearch);
      return { size: reply?.message.length ?? 0, domains: decodeDomainSearch(value ?? new Uint8Array(0)) };
    };

    const short = search({});
    expect(short.size).toBeLessThanOrEqual(548);
    expect(short.domains).toEqual(domains.slice(0, short.domains?.length));
    expect(short.domains?.length).toBeGreaterThan(5);
    expect(search({ size: 300 })).toEqual(short);
    expect(search({ size: 1500 })).toMatchObject({ domains });
    expect(new Lan({ searchDomains: domains, mtu: 576 }).deliver(discover({ size: 1500 }))?.message.length).toBe(
      short.size,
    );
  });

  it("takes the search domains from a function at each message, without those that do not fit", () => {
    let domains: readonly string[] = ["old.example"];
    const lan = new Lan({ searchDomains: () => domains });
    const search = () => {
      const value = read(lan.deliver(discover({ size: 1500 }))).options.bytes(DHCP_OPTION.domainSearch);
      return value === null ? null : decodeDomainSearch(value);
    };

    expect(search()).toEqual(["old.example"]);
    domains = ["new.example", "not a name", "corp.example"];
    expect(search()).toEqual(["new.example", "corp.example"]);
    domains = Array.from({ length: 100 }, (_, index) => `d${index}.example`);
    expect(search()).toEqual(domains.slice(0, 64));
    domains = [];
    expect(search()).toBeNull();
  });

  it("says nothing of what it has not", () => {
    const reply = read(new Lan({ dnsServers: [], searchDomains: [] }).deliver(discover({ parameters: [6, 15, 119] })));

    expect([...reply.options].map(([code]) => code)).toEqual([54, 51, 58, 59, 1, 3, 26, 28]);
  });
});

describe("where a reply goes", () => {
  it("is the client's MAC address and new address", () => {
    expect(route(new Lan().deliver(discover({}), { mac: A }))).toBe(`192.168.65.3:68 at ${A}`);
  });

  it("is everyone when the client asks for a broadcast", () => {
    const reply = new Lan().deliver(discover({ flags: DHCP_FLAG_BROADCAST }), { mac: A });

    expect(route(reply)).toBe("255.255.255.255:68 at all");
    expect(read(reply).flags).toBe(DHCP_FLAG_BROADCAST);
  });

  it("is the client's address when it has one, broadcast flag or not", () => {
    const lan = new Lan();
    const renewal = { ciaddr: lan.acquire(A), flags: DHCP_FLAG_BROADCAST };

    expect(route(lan.deliver(request(DHCP_TYPE.request, renewal)))).toBe(`192.168.65.3:68 at ${A}`);
  });

  it("is everyone for a refusal", () => {
    const reply = new Lan().deliver(request(DHCP_TYPE.request, { ciaddr: "10.0.0.5" }), { mac: A });

    expect(words(reply)).toBe("NAK");
    expect(route(reply)).toBe("255.255.255.255:68 at all");
    expect(read(reply).ciaddr).toBe(0);
  });

  it("is the relay's address and port, through which it came", () => {
    const lan = new Lan();
    const relayed = { giaddr: "192.168.65.77", more: new DhcpOptions().set(82, Uint8Array.of(1, 1, 7)) };
    const reply = lan.deliver(discover(relayed), { mac: C, source: "192.168.65.77", destination: GATEWAY });

    expect(words(reply)).toBe("OFFER 192.168.65.3");
    expect(route(reply)).toBe(`192.168.65.77:67 at ${C}`);
    expect(read(reply).giaddr).toBe(parseIpv4("192.168.65.77"));
    expect([...read(reply).options].at(-1)).toEqual([82, Uint8Array.of(1, 1, 7)]);
  });

  it("is the relay for a refusal too, which it is to broadcast", () => {
    const wrong = request(DHCP_TYPE.request, { giaddr: "192.168.65.77", requested: "10.0.0.5" });
    const reply = new Lan().deliver(wrong);

    expect(words(reply)).toBe("NAK");
    expect(route(reply)).toBe("192.168.65.77:67 at all");
    expect(read(reply).flags).toBe(DHCP_FLAG_BROADCAST);
  });

  it("is nowhere for a relay of another subnet", () => {
    expect(words(new Lan().deliver(discover({ giaddr: "10.0.0.1" })))).toBe("silence");
    expect(words(new Lan().deliver(discover({ giaddr: "192.168.65.255" })))).toBe("silence");
  });
});

describe("a client without an address", () => {
  it("gets the lowest that no one had", () => {
    const lan = new Lan();

    expect(lan.acquire(A)).toBe("192.168.65.3");
    expect(lan.acquire(B)).toBe("192.168.65.4");
    expect(lan.events).toEqual([`new ${A} 192.168.65.3`, `new ${B} 192.168.65.4`]);
    expect(lan.leases.byMac(parseMac(A))?.expires).toBe(lan.now + DAY);
  });

  it("gets the one it asks for where it is free", () => {
    const lan = new Lan();

    expect(lan.discover({ mac: A, requested: "192.168.65.5" })).toBe("OFFER 192.168.65.5");
    expect(lan.discover({ mac: B, requested: "192.168.65.5" })).toBe("OFFER 192.168.65.3");
    expect(lan.discover({ mac: C, requested: GATEWAY })).toBe("OFFER 192.168.65.4");
  });

  it("gets the same offer again, and its old one is free when it asks for another", () => {
    const lan = new Lan();

    expect(lan.discover({ mac: A })).toBe("OFFER 192.168.65.3");
    expect(lan.discover({ mac: A })).toBe("OFFER 192.168.65.3");
    expect(lan.discover({ mac: A, requested: "192.168.65.4" })).toBe("OFFER 192.168.65.4");
    expect(lan.discover({ mac: B })).toBe("OFFER 192.168.65.3");
  });

  it("gets its former address though its lease ended", () => {
    const lan = new Lan();
    lan.acquire(A);
    lan.acquire(B);
    lan.now += 2 * DAY;

    expect(lan.discover({ mac: B, requested: "192.168.65.5" })).toBe("OFFER 192.168.65.4");
    expect(lan.discover({ mac: C })).toBe("OFFER 192.168.65.5");
  });

  it("gets the address that ended first when none is unused", () => {
    const lan = new Lan();
    for (const mac of [B, A, C]) {
      lan.acquire(mac);
      lan.now += 1000;
    }
    lan.request({ mac: B, ciaddr: "192.168.65.3" });
    lan.now += 2 * DAY;

    expect(lan.acquire("52:54:00:00:00:0d")).toBe("192.168.65.4");
    expect(lan.acquire(A)).toBe("192.168.65.5");
    expect(lan.acquire(C)).toBe("192.168.65.3");
    expect(lan.discover({ mac: B })).toBe("silence");
  });

  it("gets no answer when every address is leased or on offer", () => {
    const lan = new Lan();
    lan.acquire(A);
    lan.acquire(B);
    expect(lan.discover({ mac: C })).toBe("OFFER 192.168.65.5");
    lan.events.length = 0;

    expect(lan.discover({ mac: "52:54:00:00:00:0d", requested: "192.168.65.3" })).toBe("silence");
    expect(lan.events).toEqual(["exhausted 52:54:00:00:00:0d"]);
    lan.now += 59_999;
    expect(lan.discover({ mac: "52:54:00:00:00:0d" })).toBe("silence");
    lan.now += 1;
    expect(lan.discover({ mac: "52:54:00:00:00:0d" })).toBe("OFFER 192.168.65.5");
    expect(lan.request({ mac: C, requested: "192.168.65.5", server: GATEWAY })).toBe("NAK");
  });

  it("gets its offer late where it is still free", () => {
    const lan = new Lan();
    lan.discover({ mac: A });
    lan.now += 3_600_000;

    expect(lan.request({ mac: A, requested: "192.168.65.3", server: GATEWAY })).toBe("ACK 192.168.65.3");
  });

  it("frees its offer when it takes another server's", () => {
    const lan = new Lan();
    lan.discover({ mac: A });

    expect(lan.request({ mac: A, requested: "192.168.65.99", server: "192.168.65.2" })).toBe("silence");
    expect(lan.discover({ mac: B })).toBe("OFFER 192.168.65.3");
    expect(lan.leases.size).toBe(0);
  });

  it("cannot take what was offered to another", () => {
    const lan = new Lan();
    lan.discover({ mac: A });

    expect(lan.request({ mac: B, requested: "192.168.65.3", server: GATEWAY })).toBe("NAK");
    expect(lan.events).toEqual([`refused ${B} 192.168.65.3: offered to ${A}`]);
  });

  it("is known by the host name it gives, where that is one", () => {
    const lan = new Lan();
    lan.request({ mac: A, requested: "192.168.65.3", hostName: "vm-1" });
    lan.request({ mac: B, requested: "192.168.65.4", hostName: "<b>" });
    const hostNames = () => lan.leases.toJSON().map(({ hostName }) => hostName);

    expect(hostNames()).toEqual(["vm-1", undefined]);
    lan.request({ mac: A, ciaddr: "192.168.65.3" });
    lan.request({ mac: B, ciaddr: "192.168.65.4", hostName: "vm-2" });
    expect(hostNames()).toEqual(["vm-1", "vm-2"]);
    lan.request({ mac: A, ciaddr: "192.168.65.3", hostName: "renamed" });
    expect(hostNames()).toEqual(["renamed", "vm-2"]);
  });
});

describe("a client that reboots with an address", () => {
  it("keeps it", () => {
    const lan = new Lan();
    const address = lan.acquire(A);

    expect(lan.request({ mac: A, requested: address })).toBe(`ACK ${address}`);
    expect(lan.events.at(-1)).toBe(`renewed ${A} ${address}`);
  });

  it("keeps it though its lease ended or was lost", () => {
    const lan = new Lan();
    const address = lan.acquire(A);
    lan.now += 2 * DAY;

    expect(lan.request({ mac: A, requested: address })).toBe(`ACK ${address}`);
    expect(lan.events.at(-1)).toBe(`new ${A} ${address}`);
    expect(new Lan().request({ mac: A, requested: "192.168.65.5" })).toBe("ACK 192.168.65.5");
  });

  it.each([
    ["10.0.0.3", "not an address of 192.168.65.0/24"],
    [GATEWAY, "not an address for this client"],
    ["192.168.65.255", "not an address for this client"],
    ["192.168.65.6", "not an address for this client"],
    ["192.168.65.2", "not an address for this client"],
    ["192.168.65.4", `leased to ${B}`],
    ["192.168.65.5", "192.168.65.3 is leased to this client"],
  ])("is refused %s", (requested, reason) => {
    const lan = new Lan();
    lan.acquire(A);
    lan.acquire(B);

    const reply = lan.deliver(request(DHCP_TYPE.request, { mac: A, requested }));
    expect(words(reply)).toBe("NAK");
    expect([...read(reply).options].map(([code]) => code)).toEqual([54, 56]);
    expect(read(reply).options.text(DHCP_OPTION.message)).toBe(reason);
    expect(lan.events.at(-1)).toBe(`refused ${A} ${requested}: ${reason}`);
    expect(lan.discover({ mac: A })).toBe("OFFER 192.168.65.3");
  });

  it("gets no answer when it asks for none", () => {
    expect(new Lan().request({})).toBe("silence");
    expect(new Lan().request({ requested: "0.0.0.0" })).toBe("silence");
  });
});

describe("a client that extends its lease", () => {
  it("has it from now on, by unicast as by broadcast", () => {
    const lan = new Lan();
    const ciaddr = lan.acquire(A);
    lan.now += DAY / 2;
    const renewing = request(DHCP_TYPE.request, { ciaddr });

    expect(words(lan.deliver(renewing, { source: ciaddr, destination: GATEWAY }))).toBe(`ACK ${ciaddr}`);
    expect(lan.leases.byMac(parseMac(A))?.expires).toBe(lan.now + DAY);
    lan.now += (DAY * 7) / 8;
    const rebinding = lan.deliver(renewing, { source: ciaddr });
    expect(words(rebinding)).toBe(`ACK ${ciaddr}`);
    expect(read(rebinding).ciaddr).toBe(parseIpv4(ciaddr));
    expect(lan.leases.byMac(parseMac(A))?.expires).toBe(lan.now + DAY);
    expect(lan.events.slice(1)).toEqual([`renewed ${A} ${ciaddr}`, `renewed ${A} ${ciaddr}`]);
  });

  it("has the address it uses rather than the one on record", () => {
    const lan = new Lan();
    lan.acquire(A);

    expect(lan.request({ mac: A, ciaddr: "192.168.65.5" })).toBe("ACK 192.168.65.5");
    expect(lan.leases.toJSON()).toMatchObject([{ mac: A, address: "192.168.65.5" }]);
  });

  it("is refused when another client has the address by now", () => {
    const lan = new Lan({ lastAddress: parseIpv4("192.168.65.3") });
    const ciaddr = lan.acquire(A);
    lan.now += DAY;
    lan.acquire(B);

    expect(lan.request({ mac: A, ciaddr })).toBe("NAK");
  });

  it("is no matter of this server when sent to another", () => {
    const lan = new Lan();
    const ciaddr = lan.acquire(A);
    const renewal = request(DHCP_TYPE.request, { ciaddr });

    expect(words(lan.deliver(renewal, { destination: "192.168.65.2" }))).toBe("silence");
    expect(words(lan.deliver(renewal, { destination: "192.168.65.255" }))).toBe(`ACK ${ciaddr}`);
  });
});

describe("a client that gives its address up", () => {
  it("ends its lease, gets the same again, and others get it last", () => {
    const lan = new Lan();
    const ciaddr = lan.acquire(A);
    lan.now += 1000;
    expect(lan.send(DHCP_TYPE.release, { mac: A, ciaddr, server: GATEWAY })).toBe("silence");

    expect(lan.events.at(-1)).toBe(`released ${A} ${ciaddr}`);
    expect(lan.leases.byMac(parseMac(A))?.expires).toBe(lan.now);
    expect(lan.discover({ mac: B })).toBe("OFFER 192.168.65.4");
    expect(lan.acquire(A)).toBe(ciaddr);
  });

  it("leaves it to another client when there is no other", () => {
    const lan = new Lan({ lastAddress: parseIpv4("192.168.65.3") });
    const ciaddr = lan.acquire(A);
    expect(lan.discover({ mac: B })).toBe("silence");
    lan.send(DHCP_TYPE.release, { mac: A, ciaddr });

    expect(lan.acquire(B)).toBe(ciaddr);
    expect(lan.leases.byMac(parseMac(A))).toBeNull();
  });

  it("can neither release nor decline for another", () => {
    const lan = new Lan();
    const ciaddr = lan.acquire(A);
    const before = lan.leases.list();

    lan.send(DHCP_TYPE.release, { mac: B, ciaddr, server: GATEWAY });
    lan.send(DHCP_TYPE.release, { mac: A, ciaddr: "192.168.65.4", server: GATEWAY });
    lan.send(DHCP_TYPE.release, { mac: A, ciaddr, server: "192.168.65.2" });
    lan.deliver(request(DHCP_TYPE.release, { mac: A, ciaddr, server: GATEWAY }), { mac: B });
    lan.send(DHCP_TYPE.decline, { mac: B, requested: ciaddr, server: GATEWAY });
    lan.deliver(request(DHCP_TYPE.decline, { mac: A, requested: ciaddr }), { mac: B });
    lan.send(DHCP_TYPE.decline, { mac: A, requested: "192.168.65.4", server: GATEWAY });
    lan.send(DHCP_TYPE.decline, { mac: A });

    expect(lan.leases.list()).toEqual(before);
    expect(lan.events).toEqual([`new ${A} ${ciaddr}`]);
    expect(lan.discover({ mac: B })).toBe("OFFER 192.168.65.4");
  });

  it("gets another when it declined, and no one that one for ten minutes", () => {
    const lan = new Lan();
    const declined = lan.acquire(A);
    expect(lan.send(DHCP_TYPE.decline, { mac: A, requested: declined, server: GATEWAY })).toBe("silence");

    expect(lan.events.at(-1)).toBe(`declined ${A} ${declined}`);
    expect(lan.request({ mac: A, requested: declined })).toBe("NAK");
    expect(lan.acquire(A)).toBe("192.168.65.4");
    expect(lan.discover({ mac: B, requested: declined })).toBe("OFFER 192.168.65.5");
    lan.now += 600_000;
    expect(lan.discover({ mac: C, requested: declined })).toBe(`OFFER ${declined}`);
  });

  it("gets the one declined longest ago when there is no other", () => {
    const lan = new Lan();
    for (const offered of ["192.168.65.3", "192.168.65.4", "192.168.65.5", "192.168.65.3"]) {
      expect(lan.discover({ mac: A })).toBe(`OFFER ${offered}`);
      lan.now += 1000;
      lan.send(DHCP_TYPE.decline, { mac: A, requested: offered, server: GATEWAY });
    }

    expect(lan.discover({ mac: B })).toBe("OFFER 192.168.65.4");
  });
});

describe("a client with an address of its own", () => {
  it("gets parameters and no lease", () => {
    const lan = new Lan();
    const inform = request(DHCP_TYPE.inform, { ciaddr: "192.168.65.99" });
    const reply = lan.deliver(inform, { mac: A, source: "192.168.65.99" });

    expect(words(reply)).toBe("ACK");
    expect(route(reply)).toBe(`192.168.65.99:68 at ${A}`);
    expect([...read(reply).options].map(([code]) => code)).toEqual([54, 1, 3, 6, 26, 28, 119]);
    expect(lan.leases.size).toBe(0);
    expect(lan.events).toEqual([]);
  });

  it("is known by where it sends from when it does not say", () => {
    const lan = new Lan();
    const inform = request(DHCP_TYPE.inform, {});

    expect(route(lan.deliver(inform, { source: "192.168.65.99" }))).toBe(`192.168.65.99:68 at ${A}`);
    expect(lan.deliver(inform, { source: "0.0.0.0" })).toBeNull();
    expect(lan.deliver(inform, { source: "10.0.0.1" })).toBeNull();
    expect(lan.deliver(request(DHCP_TYPE.inform, { ciaddr: "192.168.65.255" }))).toBeNull();
  });
});
