import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { formatIpv4, parseIpv4 } from "@hostd/stack";
import { FlowStream } from "@hostd/streams";
import { afterEach, describe, expect, it, vi } from "vitest";
import { dialPort } from "./dial-port.ts";
import { EmbeddedGuest, type EmbeddedGuestOptions, type GuestUdpSocket } from "./embedded-guest.ts";
import { GATEWAY, Gateway, type GatewayOptions } from "./testing/gateway.ts";

const MAC = Uint8Array.of(2, 0, 0, 0, 0, 0x10);
const OTHER_MAC = Uint8Array.of(2, 0, 0, 0, 0, 0x11);

let gateway: Gateway | null = null;
const guests: EmbeddedGuest[] = [];

afterEach(async () => {
  await Promise.all(guests.splice(0).map((guest) => guest.kill()));
  await gateway?.close();
  gateway = null;
});

async function start(options: GatewayOptions = {}): Promise<Gateway> {
  gateway = await Gateway.start(options);
  return gateway;
}

async function attach(to: Gateway, options: Partial<EmbeddedGuestOptions> = {}): Promise<EmbeddedGuest> {
  const port = await dialPort({ transport: "unix", path: to.path, mode: "dial" });
  const guest = new EmbeddedGuest({ port, mac: MAC, ...options });
  guests.push(guest);
  return guest;
}

/** A guest that has its address. */
async function boot(options: GatewayOptions = {}): Promise<EmbeddedGuest> {
  const guest = await attach(await start(options));
  await guest.configure();
  return guest;
}

/** Serves each connection with `serve`. */
const accepting = (serve: (stream: FlowStream) => void): GatewayOptions => ({
  connection: (request) => {
    const stream = FlowStream.accept(request);
    if (stream !== null) serve(stream);
  },
});

describe("DHCP", () => {
  it("gives the guest an address, a router and a name server", async () => {
    const to = await start();
    const guest = await attach(to, { hostName: "embedded" });
    expect(guest.lease).toBeNull();
    const lease = await guest.configure();
    expect(guest.lease).toBe(lease);
    expect(lease).toMatchObject({
      prefixLength: 24,
      router: parseIpv4(GATEWAY),
      dnsServers: [parseIpv4(GATEWAY)],
      mtu: 1500,
      leaseSeconds: 3600,
    });
    expect(formatIpv4(lease.address)).toBe(to.leaseOf(MAC));
    expect(to.leases.byMac(MAC)?.hostName).toBe("embedded");
  });

  it("gives the lease back when the guest closes", async () => {
    const to = await start();
    const guest = await attach(to);
    await guest.configure();
    expect(to.leases.byMac(MAC)?.expires).toBeGreaterThan(Date.now());
    await guest.close();
    await vi.waitUntil(() => to.links === 0);
    expect(to.leases.byMac(MAC)?.expires ?? 0).toBeLessThanOrEqual(Date.now());
  });

  it("gives a guest that was killed the same address when it attaches again", async () => {
    const to = await start();
    const first = await attach(to);
    const { address } = await first.configure();
    const other = await attach(to, { mac: OTHER_MAC });
    await other.configure();
    await first.kill();
    const second = await attach(to);
    expect((await second.configure()).address).toBe(address);
    await second.ping(GATEWAY);
  });

  it("fails when the link ends before there is an address", async () => {
    const to = await start();
    to.ignored.add("02:00:00:00:00:10");
    const guest = await attach(to);
    const configuring = guest.configure();
    const failed = expect(configuring).rejects.toMatchObject({ code: "ECONNRESET", message: "the link is gone" });
    to.dropLinks();
    await guest.closed;
    await failed;
    await expect(guest.configure()).rejects.toMatchObject({ code: "ECONNRESET" });
  });

  it("is needed before connections and datagrams", async () => {
    const guest = await attach(await start());
    await expect(guest.connect(GATEWAY, 80)).rejects.toThrow("call configure() first");
    await expect(guest.resolve("host.test")).rejects.toThrow("the lease names no DNS server");
    expect(() => guest.udp().send(GATEWAY, 7, new Uint8Array(1))).toThrow("call configure() first");
  });
});

describe("ping", () => {
  it.each([0, 56, 60000])("brings %d bytes back", async (length) => {
    const guest = await boot();
    const time = await guest.ping(GATEWAY, length);
    expect(time).toBeGreaterThan(0);
    expect(time).toBeLessThan(3000);
  });

  it("runs several times at once", async () => {
    const guest = await boot();
    const times = await Promise.all(Array.from({ length: 20 }, (_, index) => guest.ping(GATEWAY, 100 * index)));
    expect(times).toHaveLength(20);
  });

  it("says so when nobody answers", async () => {
    const guest = await boot();
    await expect(guest.ping("192.168.65.200", 56, 50)).rejects.toThrow(
      "no echo reply from 192.168.65.200 within 50 ms",
    );
  });
});

describe("names", () => {
  const names = { "host.test": ["192.168.65.254"], "two.test": ["10.0.0.1", "10.0.0.2"], "none.test": [] };

  it("are resolved by the name server of the lease", async () => {
    const guest = await boot({ names });
    expect(await guest.resolve("host.test")).toEqual(["192.168.65.254"]);
    expect(await guest.resolve("two.test")).toEqual(["10.0.0.1", "10.0.0.2"]);
    expect(await guest.resolve("none.test")).toEqual([]);
  });

  it("that do not exist are an error with the response code", async () => {
    const guest = await boot({ names });
    await expect(guest.resolve("missing.test")).rejects.toThrow("missing.test: NXDOMAIN");
  });
});

describe("TCP", () => {
  it("carries data both ways, a large amount unchanged", async () => {
    const guest = await boot(accepting((stream) => void pipeline(stream, stream)));
    const stream = await guest.connect(GATEWAY, 80);
    const data = randomBytes(5_000_000);
    stream.end(data);
    const sum = createHash("sha256");
    for await (const chunk of stream) sum.update(chunk);
    expect(sum.digest("hex")).toBe(createHash("sha256").update(data).digest("hex"));
  });

  it("is refused with ECONNREFUSED", async () => {
    const guest = await boot();
    await expect(guest.connect(GATEWAY, 81)).rejects.toMatchObject({ code: "ECONNREFUSED" });
    await expect(guest.connect("203.0.113.1", 80)).rejects.toMatchObject({ code: "ECONNREFUSED" });
  });

  it("opens many connections at once", async () => {
    const guest = await boot(accepting((stream) => stream.end(`to port ${stream.remotePort}`)));
    const answers = await Promise.all(
      Array.from({ length: 100 }, async () => {
        const stream = await guest.connect(GATEWAY, 80);
        stream.end();
        return [await text(stream), `to port ${stream.localPort}`];
      }),
    );
    expect(new Set(answers.map(([answer]) => answer)).size).toBe(100);
    for (const [answer, expected] of answers) expect(answer).toBe(expected);
  });

  it("ends with ECONNRESET when the link does", async () => {
    const guest = await boot(accepting((stream) => stream.on("error", () => {})));
    const stream = await guest.connect(GATEWAY, 80);
    const failed = once(stream, "error");
    await guest.kill();
    expect(await failed).toMatchObject([{ code: "ECONNRESET" }]);
  });
});

describe("UDP", () => {
  const echo = (socket: GuestUdpSocket, data: string) => socket.send(GATEWAY, 7, Buffer.from(data));
  const next = async (socket: GuestUdpSocket) => Buffer.from((await socket.receive()).data).toString();

  it.each([0, 1, 1472, 1473, 60000])("sends %d bytes and gets them back", async (length) => {
    const guest = await boot();
    const socket = guest.udp();
    const data = randomBytes(length);
    socket.send(GATEWAY, 7, data);
    const answer = await socket.receive();
    expect(answer).toMatchObject({ address: GATEWAY, port: 7 });
    expect(Buffer.compare(answer.data, data)).toBe(0);
  });

  it("keeps datagrams until they are asked for", async () => {
    const guest = await boot();
    const socket = guest.udp();
    for (const data of ["a", "b", "c"]) echo(socket, data);
    await guest.ping(GATEWAY);
    expect([await next(socket), await next(socket), await next(socket)]).toEqual(["a", "b", "c"]);
  });

  it("loses no datagram that comes in the same read as the one that was waited for", async () => {
    const guest = await boot();
    const socket = guest.udp();
    const first = next(socket);
    echo(socket, "2 answers");
    expect(await first).toBe("2 answers");
    expect(await next(socket)).toBe("2 answers");
  });

  it("reports ECONNREFUSED, whether it comes before or while a datagram is waited for", async () => {
    const guest = await boot();
    const socket = guest.udp();
    socket.send(GATEWAY, 9, Buffer.from("x"));
    await expect(socket.receive()).rejects.toMatchObject({ code: "ECONNREFUSED" });
    socket.send(GATEWAY, 9, Buffer.from("x"));
    await guest.ping(GATEWAY);
    await expect(socket.receive()).rejects.toMatchObject({ code: "ECONNREFUSED" });
    echo(socket, "still works");
    expect(await next(socket)).toBe("still works");
  });

  it("reports ETIMEDOUT, and goes on after it", async () => {
    const guest = await boot();
    const socket = guest.udp();
    await expect(socket.receive(20)).rejects.toMatchObject({ code: "ETIMEDOUT" });
    echo(socket, "late");
    expect(await next(socket)).toBe("late");
  });

  it("uses the port that is asked for, and one of its own for each socket else", async () => {
    const guest = await boot();
    expect(guest.udp(5000).port).toBe(5000);
    const ports = Array.from({ length: 50 }, () => guest.udp().port);
    expect(new Set(ports).size).toBe(50);
    expect(() => guest.udp(5000)).toThrow("UDP port 5000 is taken");
  });

  it("frees its port on closing, once", async () => {
    const guest = await boot();
    const first = guest.udp(5000);
    const waiting = expect(first.receive()).rejects.toMatchObject({ code: "ECANCELED" });
    first.close();
    await waiting;
    await expect(first.receive()).rejects.toMatchObject({ code: "ECANCELED" });
    const second = guest.udp(5000);
    first.close();
    echo(second, "mine");
    expect(await next(second)).toBe("mine");
  });

  it("is closed with the link", async () => {
    const guest = await boot();
    const waiting = expect(guest.udp().receive()).rejects.toMatchObject({ code: "ECANCELED" });
    await guest.kill();
    await waiting;
  });
});

describe("several guests", () => {
  it("are served at once, each with an address of its own", async () => {
    const to = await start(accepting((stream) => stream.end(`you are ${stream.remoteAddress}`)));
    const all = [await attach(to), await attach(to, { mac: OTHER_MAC })];
    const leases = await Promise.all(all.map((guest) => guest.configure()));
    expect(leases[0].address).not.toBe(leases[1].address);
    expect(to.links).toBe(2);
    const answers = all.map(async (guest) => {
      await guest.ping(GATEWAY);
      const stream = await guest.connect(GATEWAY, 80);
      stream.end();
      return await text(stream);
    });
    expect(await Promise.all(answers)).toEqual(leases.map(({ address }) => `you are ${formatIpv4(address)}`));
    await all[0].kill();
    await all[1].ping(GATEWAY);
  });
});

describe("dialPort", () => {
  it("fails where nobody listens", async () => {
    await expect(dialPort({ transport: "unix", path: "/nonexistent/vm.sock", mode: "dial" })).rejects.toMatchObject({
      code: "ENOENT",
    });
  });
});
