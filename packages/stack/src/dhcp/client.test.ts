import { describe, expect, it } from "vitest";
import { formatIpv4, parseIpv4, parseMac } from "../address.ts";
import {
  BOOTREPLY,
  DHCP_OPTION,
  DHCP_TYPE,
  type DhcpMessage,
  type DhcpMessageType,
  DhcpOptions,
  encodeDhcpMessage,
  encodeDomainSearch,
  parseDhcpMessage,
} from "../wire/dhcpv4.ts";
import { DhcpClient, type DhcpClientMessage, type DhcpClientOptions } from "./client.ts";
import { LeaseTable } from "./lease-table.ts";
import type { DhcpServerOptions } from "./server.ts";
import { A, B, GATEWAY, Lan, words } from "./test-lan.ts";

const DAY_SECONDS = 86_400;

const NAMES = Object.fromEntries(Object.entries(DHCP_TYPE).map(([name, type]) => [type, name.toUpperCase()]));

function read(sent: DhcpClientMessage): DhcpMessage {
  const message = parseDhcpMessage(sent.message, 0, sent.message.length);
  if (message === null) {
    throw new Error("the client sent what is no DHCP message");
  }
  return message;
}

/** What a client sent, in words: its type, and what it says of addresses. */
function says(sent: DhcpClientMessage): string {
  const { type, ciaddr, options } = read(sent);
  const requested = options.ipv4(DHCP_OPTION.requestedAddress);
  const server = options.ipv4(DHCP_OPTION.serverIdentifier);
  return [
    NAMES[type],
    ...(ciaddr === 0 ? [] : [`of ${formatIpv4(ciaddr)}`]),
    ...(requested === null ? [] : [`for ${formatIpv4(requested)}`]),
    ...(server === null ? [] : [`from ${formatIpv4(server)}`]),
    ...(sent.destination === -1 ? [] : [`to ${formatIpv4(sent.destination)}`]),
  ].join(" ");
}

/** A client and a server on one link, in virtual time. The client's clock is seconds from its start. */
class Exchange {
  lan: Lan;
  readonly client: DhcpClient;
  /** What went over the link, each with the second it did. */
  readonly trace: string[] = [];
  /** Whether the link carries anything to the server. */
  connected: boolean;
  /** Called after each reply. */
  onReply: (() => void) | null = null;
  #now = 0;
  readonly #epoch: number;

  constructor(client: Partial<DhcpClientOptions> = {}, server: Partial<DhcpServerOptions> = {}, connected = true) {
    this.connected = connected;
    this.lan = new Lan(server);
    this.#epoch = this.lan.now;
    this.client = new DhcpClient({ mac: parseMac(A), random: () => 0.5, ...client });
    this.client.start(0);
    this.run(0);
  }

  /** Lets the time pass to a second, with all that is due on the way. */
  run(second: number): this {
    for (;;) {
      const sent = this.client.poll(this.#now);
      if (sent !== null) {
        this.carry(sent);
      } else if (this.client.nextDeadline <= second * 1000) {
        this.#now = this.client.nextDeadline;
      } else {
        this.#now = second * 1000;
        return this;
      }
    }
  }

  carry(sent: DhcpClientMessage): void {
    this.lan.now = this.#epoch + this.#now;
    this.trace.push(`${this.#now / 1000} ${says(sent)}`);
    const reply = this.connected
      ? this.lan.server.handle(sent.message, 0, sent.message.length, {
          sourceMac: parseMac(A),
          source: sent.source,
          destination: sent.destination,
        })
      : null;
    if (reply !== null) {
      this.trace.push(words(reply));
      this.client.handle(reply.message, 0, reply.message.length, this.#now);
      this.onReply?.();
    }
  }

  /** Lets the time pass to a second with nothing done on the way, as a suspended machine does. */
  sleep(second: number): void {
    this.#now = second * 1000;
  }

  /** Replaces the server by a new process with what the old one wrote down, or with nothing. */
  restartServer(options: Partial<DhcpServerOptions> = {}, json: unknown = JSON.parse(JSON.stringify(this.lan.leases))) {
    this.lan = new Lan({ ...options, leases: LeaseTable.fromJSON(json).table });
    this.lan.now = this.#epoch + this.#now;
  }

  get address(): string {
    const { lease } = this.client;
    return lease === null ? "none" : `${formatIpv4(lease.address)}/${lease.prefixLength}`;
  }

  takeTrace(): string[] {
    return this.trace.splice(0);
  }
}

describe("a client without an address", () => {
  it("acquires a lease with its parameters", () => {
    const exchange = new Exchange({ hostName: "vm" }, { domainName: "vm.internal", mtu: 1400 });

    expect(exchange.trace).toEqual([
      "0 DISCOVER",
      "OFFER 192.168.65.3",
      "0 REQUEST for 192.168.65.3 from 192.168.65.1",
      "ACK 192.168.65.3",
    ]);
    expect(exchange.client.state).toBe("bound");
    expect(exchange.client.lease).toEqual({
      address: parseIpv4("192.168.65.3"),
      prefixLength: 24,
      router: parseIpv4(GATEWAY),
      dnsServers: [parseIpv4(GATEWAY)],
      domainName: "vm.internal",
      searchDomains: ["corp.example"],
      mtu: 1400,
      leaseSeconds: DAY_SECONDS,
      serverId: parseIpv4(GATEWAY),
    });
    expect(exchange.client.nextDeadline).toBe((DAY_SECONDS / 2) * 1000);
    expect(exchange.lan.leases.toJSON()).toMatchObject([{ mac: A, hostName: "vm" }]);
  });

  it("asks again after 4, 8, 16, 32 and then every 64 seconds", () => {
    const exchange = new Exchange({}, {}, false).run(200);

    expect(exchange.trace).toEqual([0, 4, 12, 28, 60, 124, 188].map((second) => `${second} DISCOVER`));
    expect(exchange.client.state).toBe("selecting");
    exchange.connected = true;
    expect(exchange.run(260).address).toBe("192.168.65.3/24");
    expect(exchange.client.nextDeadline).toBe((252 + DAY_SECONDS / 2) * 1000);
  });

  it("varies the pause by up to a second each way, and its transaction id", () => {
    const first = (random: () => number) => {
      const client = new DhcpClient({ mac: parseMac(A), random });
      client.start(0);
      const sent = client.poll(0);
      return { xid: sent === null ? null : read(sent).xid, next: client.nextDeadline };
    };

    expect(first(() => 0)).toEqual({ xid: 0, next: 3000 });
    expect(first(() => 0.75)).toEqual({ xid: 0xc0000000, next: 4500 });
    const most = first(() => 1 - 2 ** -53);
    expect(most.xid).toBe(0xffffffff);
    expect(most.next).toBeCloseTo(5000);
  });

  it("counts the seconds of its attempts, and says the same in the request as in the discovery", () => {
    const client = new DhcpClient({ mac: parseMac(A), random: () => 0.5 });
    client.start(0);
    const seconds: number[] = [];
    const discover = (now: number) => {
      const sent = client.poll(now);
      seconds.push(sent === null ? -1 : read(sent).secs);
      return sent;
    };
    discover(0);
    discover(4000);
    const last = discover(12_000);
    const offer = new Lan().server.handle(last?.message ?? new Uint8Array(0), 0, last?.message.length ?? 0, {
      source: 0,
      destination: -1,
    });
    client.handle(offer?.message ?? new Uint8Array(0), 0, offer?.message.length ?? 0, 13_500);
    discover(13_500);
    discover(17_500);

    expect(seconds).toEqual([0, 4, 12, 12, 12]);
    expect(client.state).toBe("requesting");
  });

  it("starts over when its request stays without an answer for a minute", () => {
    const exchange = new Exchange({}, {}, false);
    exchange.onReply = () => {
      exchange.connected = false;
    };
    exchange.connected = true;
    exchange.run(4);
    exchange.takeTrace();
    exchange.run(70);

    const request = "REQUEST for 192.168.65.3 from 192.168.65.1";
    expect(exchange.trace).toEqual([
      `8 ${request}`,
      `16 ${request}`,
      `32 ${request}`,
      "64 DISCOVER for 192.168.65.3",
      "68 DISCOVER for 192.168.65.3",
    ]);
  });

  it("asks for broadcasts where it needs them", () => {
    const first = (broadcast: boolean) => {
      const client = new DhcpClient({ mac: parseMac(A), random: () => 0.5, broadcast });
      client.start(0);
      const sent = client.poll(0);
      return sent === null ? null : read(sent).flags;
    };

    expect(first(true)).toBe(0x8000);
    expect(first(false)).toBe(0);
  });

  it("waits in vain while all addresses are leased, and gets the first that ends", () => {
    const lastAddress = parseIpv4("192.168.65.3");
    const exchange = new Exchange({}, { lastAddress, leaseTimeSeconds: 100 }, false);
    exchange.lan.acquire(B);
    exchange.connected = true;
    exchange.run(99);
    expect(exchange.address).toBe("none");

    exchange.run(130);
    expect(exchange.trace.slice(-4)).toEqual([
      "124 DISCOVER",
      "OFFER 192.168.65.3",
      "124 REQUEST for 192.168.65.3 from 192.168.65.1",
      "ACK 192.168.65.3",
    ]);
    expect(exchange.lan.leases.toJSON()).toMatchObject([{ mac: A }]);
  });
});

describe("a client with a lease", () => {
  it("renews it from its server at half of its time", () => {
    const exchange = new Exchange();
    exchange.takeTrace();
    exchange.run(DAY_SECONDS);

    expect(exchange.takeTrace()).toEqual([
      "43200 REQUEST of 192.168.65.3 to 192.168.65.1",
      "ACK 192.168.65.3",
      "86400 REQUEST of 192.168.65.3 to 192.168.65.1",
      "ACK 192.168.65.3",
    ]);
    expect(exchange.client.state).toBe("bound");
    expect(exchange.lan.events.slice(1)).toEqual([`renewed ${A} 192.168.65.3`, `renewed ${A} 192.168.65.3`]);
  });

  it("asks again after half of what remains, then asks everyone, then starts over", () => {
    const exchange = new Exchange({}, { leaseTimeSeconds: 1600 });
    exchange.takeTrace();
    exchange.connected = false;

    exchange.run(1399);
    expect(exchange.client.state).toBe("renewing");
    const renew = "REQUEST of 192.168.65.3 to 192.168.65.1";
    expect(exchange.takeTrace()).toEqual([
      `800 ${renew}`,
      `1100 ${renew}`,
      `1250 ${renew}`,
      `1325 ${renew}`,
      `1385 ${renew}`,
    ]);
    exchange.run(1599);
    expect(exchange.client.state).toBe("rebinding");
    expect(exchange.address).toBe("192.168.65.3/24");
    const rebind = "REQUEST of 192.168.65.3";
    expect(exchange.takeTrace()).toEqual([`1400 ${rebind}`, `1500 ${rebind}`, `1560 ${rebind}`]);
    exchange.run(1600);
    expect(exchange.client.state).toBe("selecting");
    expect(exchange.address).toBe("none");
    expect(exchange.takeTrace()).toEqual(["1600 DISCOVER for 192.168.65.3"]);
    exchange.connected = true;
    exchange.run(1604);
    expect(exchange.address).toBe("192.168.65.3/24");
  });

  it("rebinds with a server that lost its leases", () => {
    const exchange = new Exchange();
    exchange.connected = false;
    exchange.run(DAY_SECONDS * 0.8);
    exchange.restartServer({}, []);
    exchange.takeTrace();
    exchange.run(DAY_SECONDS * 0.875 - 1);
    exchange.connected = true;
    exchange.run(DAY_SECONDS * 0.9);

    expect(exchange.takeTrace().slice(-2)).toEqual(["75600 REQUEST of 192.168.65.3", "ACK 192.168.65.3"]);
    expect(exchange.client.state).toBe("bound");
  });

  it("goes on when it was asleep past every time of its lease", () => {
    const exchange = new Exchange({}, { leaseTimeSeconds: 1600 });
    exchange.takeTrace();
    exchange.sleep(1450);
    exchange.run(1450);
    expect(exchange.takeTrace()).toEqual(["1450 REQUEST of 192.168.65.3", "ACK 192.168.65.3"]);

    exchange.sleep(9000);
    exchange.run(9000);
    expect(exchange.takeTrace()).toEqual([
      "9000 DISCOVER for 192.168.65.3",
      "OFFER 192.168.65.3",
      "9000 REQUEST for 192.168.65.3 from 192.168.65.1",
      "ACK 192.168.65.3",
    ]);
  });

  it("keeps its address over a restart of the server, whoever comes in between", () => {
    const exchange = new Exchange();
    exchange.restartServer();
    exchange.lan.acquire(B);
    exchange.client.start(1000);
    exchange.takeTrace();
    exchange.run(1);

    expect(exchange.takeTrace()).toEqual(["1 REQUEST for 192.168.65.3", "ACK 192.168.65.3"]);
    expect(exchange.lan.leases.toJSON()).toMatchObject([{ mac: A }, { mac: B, address: "192.168.65.4" }]);
  });

  it("moves when the server's subnet became another", () => {
    const exchange = new Exchange();
    exchange.restartServer({
      serverAddress: parseIpv4("10.1.0.1"),
      router: parseIpv4("10.1.0.1"),
      subnet: { address: parseIpv4("10.1.0.0"), prefixLength: 16 },
      firstAddress: parseIpv4("10.1.0.2"),
      lastAddress: parseIpv4("10.1.0.9"),
    });
    exchange.takeTrace();
    exchange.run(DAY_SECONDS * 0.875);

    expect(exchange.takeTrace().slice(-6)).toEqual([
      "75600 REQUEST of 192.168.65.3",
      "NAK",
      "75600 DISCOVER",
      "OFFER 10.1.0.2",
      "75600 REQUEST for 10.1.0.2 from 10.1.0.1",
      "ACK 10.1.0.2",
    ]);
    expect(exchange.address).toBe("10.1.0.2/16");
  });

  it("gives it back, and the server keeps it for it", () => {
    const exchange = new Exchange();
    exchange.takeTrace();
    const release = exchange.client.release(0);
    if (release !== null) {
      exchange.carry(release);
    }

    expect(exchange.takeTrace()).toEqual(["0 RELEASE of 192.168.65.3 from 192.168.65.1 to 192.168.65.1"]);
    expect(exchange.lan.events.at(-1)).toBe(`released ${A} 192.168.65.3`);
    expect(exchange.client.state).toBe("init");
    expect(exchange.address).toBe("none");
    expect(exchange.run(100_000).takeTrace()).toEqual([]);
    expect(exchange.client.release(0)).toBeNull();
    expect(exchange.lan.acquire(B)).toBe("192.168.65.4");
    exchange.client.start(100_000_000);
    expect(exchange.run(100_000).address).toBe("192.168.65.3/24");
  });
});

describe("a client that reboots", () => {
  const formerAddress = parseIpv4("192.168.65.5");

  it("keeps its address without a discovery, also with a server that never knew it", () => {
    const exchange = new Exchange({ formerAddress });

    expect(exchange.trace).toEqual(["0 REQUEST for 192.168.65.5", "ACK 192.168.65.5"]);
    expect(exchange.address).toBe("192.168.65.5/24");
  });

  it("discovers at once when refused", () => {
    const exchange = new Exchange({ formerAddress: parseIpv4("10.0.0.5") });

    expect(exchange.trace).toEqual([
      "0 REQUEST for 10.0.0.5",
      "NAK",
      "0 DISCOVER",
      "OFFER 192.168.65.3",
      "0 REQUEST for 192.168.65.3 from 192.168.65.1",
      "ACK 192.168.65.3",
    ]);
  });

  it("discovers after a minute without an answer, and asks for its address", () => {
    const exchange = new Exchange({ formerAddress }, {}, false).run(60);

    expect(exchange.trace).toEqual([
      ...[0, 4, 12, 28].map((second) => `${second} REQUEST for 192.168.65.5`),
      "60 DISCOVER for 192.168.65.5",
    ]);
  });
});

describe("a client", () => {
  /** A reply to what a client sent, as no server of ours would make it. */
  function forge(sent: DhcpClientMessage, type: DhcpMessageType, change: Partial<DhcpMessage> = {}): Uint8Array {
    const options = new DhcpOptions()
      .setIpv4(DHCP_OPTION.serverIdentifier, parseIpv4(GATEWAY))
      .setUint32(DHCP_OPTION.leaseTime, 1000)
      .setIpv4(DHCP_OPTION.subnetMask, parseIpv4("255.255.255.0"));
    for (const [code, value] of change.options ?? []) {
      options.set(code, value);
    }
    const message = { ...read(sent), op: BOOTREPLY, yiaddr: parseIpv4("192.168.65.9"), type, ...change, options };
    return encodeDhcpMessage(message, 548) ?? new Uint8Array(0);
  }

  /** A client that sent its discovery, and its request where it is told an offer. */
  function clientIn(state: "selecting" | "requesting"): { client: DhcpClient; sent: DhcpClientMessage } {
    const client = new DhcpClient({ mac: parseMac(A), random: () => 0.5 });
    client.start(0);
    const discover = client.poll(0);
    if (discover === null || state === "selecting") {
      return { client, sent: discover! };
    }
    const offer = forge(discover, DHCP_TYPE.offer);
    client.handle(offer, 0, offer.length, 0);
    return { client, sent: client.poll(0)! };
  }

  it.each<[string, "selecting" | "requesting", (sent: DhcpClientMessage) => Uint8Array]>([
    ["an offer of another transaction", "selecting", (sent) => forge(sent, DHCP_TYPE.offer, { xid: 1 })],
    ["an offer to another", "selecting", (sent) => forge(sent, DHCP_TYPE.offer, { chaddr: parseMac(B) })],
    ["an offer of nothing", "selecting", (sent) => forge(sent, DHCP_TYPE.offer, { yiaddr: 0 })],
    ["its own message", "selecting", (sent) => sent.message],
    ["an acknowledgement of what it did not ask", "selecting", (sent) => forge(sent, DHCP_TYPE.ack)],
    ["a refusal of what it did not ask", "selecting", (sent) => forge(sent, DHCP_TYPE.nak)],
    ["a second offer", "requesting", (sent) => forge(sent, DHCP_TYPE.offer)],
    ["an acknowledgement of nothing", "requesting", (sent) => forge(sent, DHCP_TYPE.ack, { yiaddr: 0 })],
    [
      "a lease without an end",
      "requesting",
      (sent) => forge(sent, DHCP_TYPE.ack, { options: new DhcpOptions().setUint32(DHCP_OPTION.leaseTime, 0) }),
    ],
    [
      "a netmask with holes",
      "requesting",
      (sent) => forge(sent, DHCP_TYPE.ack, { options: new DhcpOptions().setIpv4(1, parseIpv4("255.0.255.0")) }),
    ],
  ])("takes no notice of %s", (_case, state, message) => {
    const { client, sent } = clientIn(state);
    const payload = message(sent);
    client.handle(payload, 0, payload.length, 1);

    expect(client.state).toBe(state);
    expect(client.nextDeadline).toBe(4000);
  });

  it("goes by its own times where the server's contradict each other", () => {
    const bound = (renewal: number, rebinding: number) => {
      const { client, sent } = clientIn("requesting");
      const options = new DhcpOptions().setUint32(DHCP_OPTION.renewalTime, renewal);
      const ack = forge(sent, DHCP_TYPE.ack, { options: options.setUint32(DHCP_OPTION.rebindingTime, rebinding) });
      client.handle(ack, 0, ack.length, 0);
      return client.nextDeadline;
    };

    expect(bound(100, 200)).toBe(100_000);
    expect(bound(200, 100)).toBe(500_000);
    expect(bound(100, 1001)).toBe(500_000);
    expect(bound(0, 0)).toBe(500_000);
  });

  it("keeps an infinite lease without renewing it", () => {
    const { client, sent } = clientIn("requesting");
    const options = new DhcpOptions().setUint32(DHCP_OPTION.leaseTime, 0xffffffff);
    const ack = forge(sent, DHCP_TYPE.ack, { options });
    client.handle(ack, 0, ack.length, 0);

    expect(client.nextDeadline).toBe(Number.POSITIVE_INFINITY);
    expect(client.poll(Number.MAX_SAFE_INTEGER)).toBeNull();
  });

  it("does without what it cannot read", () => {
    const { client, sent } = clientIn("requesting");
    const search = Uint8Array.of(...encodeDomainSearch(["a.example"]), 0xc0);
    const options = new DhcpOptions().set(DHCP_OPTION.domainSearch, search).setUint16(DHCP_OPTION.interfaceMtu, 67);
    const ack = forge(sent, DHCP_TYPE.ack, { options: options.set(DHCP_OPTION.domainName, Uint8Array.of(0)) });
    client.handle(ack, 0, ack.length, 0);

    expect(client.lease).toMatchObject({
      router: null,
      dnsServers: [],
      domainName: null,
      searchDomains: [],
      mtu: null,
    });
  });

  it("pauses longer with each refusal", () => {
    const client = new DhcpClient({ mac: parseMac(A), random: () => 0.5 });
    client.start(0);
    const pauses: number[] = [];
    let now = 0;
    for (let refusals = 0; refusals < 9; refusals++) {
      const discover = client.poll(now)!;
      const offer = forge(discover, DHCP_TYPE.offer);
      client.handle(offer, 0, offer.length, now);
      const nak = forge(client.poll(now)!, DHCP_TYPE.nak);
      client.handle(nak, 0, nak.length, now);
      pauses.push((client.nextDeadline - now) / 1000);
      now = client.nextDeadline;
    }

    expect(pauses).toEqual([0, 1, 2, 4, 8, 16, 32, 64, 64]);
  });

  it("says what it cannot send", () => {
    const client = (options: Partial<DhcpClientOptions>) => () =>
      new DhcpClient({ mac: parseMac(A), random: () => 0.5, ...options });

    expect(client({ hostName: "a b" })).toThrow('not a host name of at most 63 characters: "a b"');
    expect(client({ hostName: "a".repeat(64) })).toThrow(/^not a host name/);
    expect(client({ clientIdentifier: new Uint8Array(1) })).toThrow("must have 2 to 64 bytes, not 1");
    expect(client({ hostName: "a".repeat(63), clientIdentifier: new Uint8Array(64) })().state).toBe("init");
  });
});
