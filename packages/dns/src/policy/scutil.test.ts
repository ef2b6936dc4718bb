import { beforeEach, describe, expect, test, vi } from "vitest";
import { formatServerAddress } from "../server-address.ts";
import { parseScutilDns, Scutil } from "./scutil.ts";

/** The resolvers of multicast DNS, which every macOS has, from a number on. */
function multicast(first: number): string {
  const domains = ["local", "254.169.in-addr.arpa", "8.e.f.ip6.arpa", "9.e.f.ip6.arpa"];
  const blocks = domains.map(
    (domain, index) => `resolver #${first + index}
  domain   : ${domain}
  options  : mdns
  timeout  : 5
  flags    : Request A records
  reach    : 0x00000000 (Not Reachable)
  order    : ${300_000 + 200 * index}
`,
  );
  return blocks.join("\n");
}

const WIFI = `DNS configuration

resolver #1
  search domain[0] : home.example
  nameserver[0] : 192.168.1.1
  nameserver[1] : 2001:db8::1
  if_index : 15 (en0)
  flags    : Request A records, Request AAAA records
  reach    : 0x00020002 (Reachable,Directly Reachable Address)

${multicast(2)}
DNS configuration (for scoped queries)

resolver #1
  search domain[0] : home.example
  nameserver[0] : 192.0.2.99
  if_index : 15 (en0)
  flags    : Scoped, Request A records, Request AAAA records
  reach    : 0x00020002 (Reachable,Directly Reachable Address)
`;

/** The servers of the tunnel come first, those of the Wi-Fi stay behind them. */
const FULL_TUNNEL = `DNS configuration

resolver #1
  search domain[0] : corp.example
  search domain[1] : home.example
  nameserver[0] : 10.8.0.1
  nameserver[1] : fd00:8::1
  if_index : 21 (utun4)
  flags    : Supplemental, Request A records, Request AAAA records
  reach    : 0x00000003 (Reachable,Transient Connection)
  order    : 101200

resolver #2
  nameserver[0] : 192.168.1.1
  if_index : 15 (en0)
  flags    : Request A records
  reach    : 0x00020002 (Reachable,Directly Reachable Address)
  order    : 200000

${multicast(3)}
DNS configuration (for scoped queries)

resolver #1
  nameserver[0] : 192.168.1.1
  if_index : 15 (en0)
  flags    : Scoped, Request A records
  reach    : 0x00020002 (Reachable,Directly Reachable Address)

resolver #2
  search domain[0] : corp.example
  nameserver[0] : 10.8.0.1
  if_index : 21 (utun4)
  flags    : Scoped, Request A records
  reach    : 0x00000003 (Reachable,Transient Connection)
`;

const SPLIT_TUNNEL = `DNS configuration

resolver #1
  search domain[0] : corp.example
  search domain[1] : home.example
  nameserver[0] : 192.168.1.1
  if_index : 15 (en0)
  flags    : Request A records
  reach    : 0x00020002 (Reachable,Directly Reachable Address)

resolver #2
  domain   : corp.example
  nameserver[0] : 10.8.0.1
  nameserver[1] : 10.8.0.2
  flags    : Supplemental, Request A records
  reach    : 0x00000003 (Reachable,Transient Connection)
  order    : 102600

resolver #3
  domain   : Lab.Example.
  nameserver[0] : 10.8.0.1
  nameserver[1] : 10.8.0.2
  flags    : Supplemental, Request A records
  reach    : 0x00000003 (Reachable,Transient Connection)
  order    : 102601

resolver #4
  domain   : 8.10.in-addr.arpa
  nameserver[0] : 10.8.0.1
  nameserver[1] : 10.8.0.2
  flags    : Supplemental, Request A records
  reach    : 0x00000003 (Reachable,Transient Connection)
  order    : 102602

${multicast(5)}
DNS configuration (for scoped queries)

resolver #1
  search domain[0] : home.example
  nameserver[0] : 192.168.1.1
  if_index : 15 (en0)
  flags    : Scoped, Request A records
  reach    : 0x00020002 (Reachable,Directly Reachable Address)
`;

/** Files of /etc/resolver. Ports are shown as signed numbers of 16 bits: -12001 is 53535. */
const RESOLVER_FILES = `DNS configuration

resolver #1
  nameserver[0] : 192.168.1.1
  if_index : 15 (en0)
  flags    : Request A records
  reach    : 0x00020002 (Reachable,Directly Reachable Address)

resolver #2
  domain   : test
  nameserver[0] : 127.0.0.1
  port     : 15353
  timeout  : 3
  flags    : Request A records, Request AAAA records
  reach    : 0x00030002 (Reachable,Local Address,Directly Reachable Address)
  order    : 1

resolver #3
  domain   : k8s.example
  search domain[0] : svc.k8s.example
  nameserver[0] : ::1
  nameserver[1] : 127.0.0.1
  port     : -12001
  timeout  : 5
  flags    : Request A records, Request AAAA records
  reach    : 0x00030002 (Reachable,Local Address,Directly Reachable Address)

${multicast(4)}`;

const ZONE = `DNS configuration

resolver #1
  nameserver[0] : fe80::8e3b:adff:fead:7bf6%en0
  nameserver[1] : 192.168.1.1
  if_index : 7 (en0)
  flags    : Request A records, Request AAAA records
  reach    : 0x00020002 (Reachable,Directly Reachable Address)

${multicast(2)}`;

const OFFLINE = `DNS configuration

resolver #1
  flags    : Request A records
  reach    : 0x00000000 (Not Reachable)

${multicast(2)}`;

/** Routes in short: from the domain to its servers. */
function routesOf(text: string) {
  const { routes } = parseScutilDns(text).policy.routes;
  return Object.fromEntries(routes.map(({ domain, set }) => [domain, set.servers.map(formatServerAddress)]));
}

const searchOf = (text: string) => parseScutilDns(text).policy.search;

describe("parseScutilDns", () => {
  test("reads plain Wi-Fi, without multicast DNS and the block of scoped queries", () => {
    expect(parseScutilDns(WIFI)).toMatchObject({
      policy: {
        routes: {
          routes: [
            {
              domain: "",
              from: "scutil --dns",
              set: {
                servers: [
                  { address: "192.168.1.1", family: 4, port: 53 },
                  { address: "2001:db8::1", family: 6, port: 53 },
                ],
                serverTimeout: null,
                attempts: null,
              },
            },
          ],
        },
        search: ["home.example"],
      },
      problems: [],
    });
    expect(parseScutilDns(WIFI).policy.routes.routes).toHaveLength(1);
  });

  test("asks the servers of a tunnel that takes every name, and no other", () => {
    expect(routesOf(FULL_TUNNEL)).toEqual({ "": ["10.8.0.1", "fd00:8::1"] });
    expect(searchOf(FULL_TUNNEL)).toEqual(["corp.example", "home.example"]);
  });

  test("asks the servers behind it when those of the tunnel cannot be reached", () => {
    const down = FULL_TUNNEL.replace("0x00000003 (Reachable,Transient Connection)", "0x00000000 (Not Reachable)");
    expect(routesOf(down)).toEqual({ "": ["192.168.1.1"] });
  });

  test("reads the several domains of a split tunnel", () => {
    const tunnel = ["10.8.0.1", "10.8.0.2"];
    expect(routesOf(SPLIT_TUNNEL)).toEqual({
      "": ["192.168.1.1"],
      "corp.example": tunnel,
      "lab.example": tunnel,
      "8.10.in-addr.arpa": tunnel,
    });
    expect(searchOf(SPLIT_TUNNEL)).toEqual(["corp.example", "home.example"]);
  });

  test("reads files of /etc/resolver with ports and timeouts", () => {
    expect(routesOf(RESOLVER_FILES)).toEqual({
      "": ["192.168.1.1"],
      test: ["127.0.0.1:15353"],
      "k8s.example": ["[::1]:53535", "127.0.0.1:53535"],
    });
    const { routes } = parseScutilDns(RESOLVER_FILES).policy;
    expect(routes.find(["a", "test"])?.set.serverTimeout).toBe(3000);
    expect(routes.find(["a", "k8s", "example"])?.set.serverTimeout).toBe(2500);
    expect(searchOf(RESOLVER_FILES)).toEqual([]);
  });

  test("keeps the zone of a link-local server", () => {
    expect(routesOf(ZONE)).toEqual({ "": ["fe80::8e3b:adff:fead:7bf6%en0", "192.168.1.1"] });
  });

  test("has no route without a network", () => {
    expect(routesOf(OFFLINE)).toEqual({});
  });

  test("joins resolvers of one domain and one order, and prefers a lower order", () => {
    const resolver = (domain: string, server: string, order: number) =>
      `\nresolver #1\n  domain   : ${domain}\n  nameserver[0] : ${server}\n  order    : ${order}\n`;
    const text =
      "DNS configuration\n" +
      resolver("a.example", "192.0.2.1", 7) +
      resolver("a.example", "192.0.2.2", 7) +
      resolver("a.example", "192.0.2.1", 7) +
      resolver("b.example", "192.0.2.3", 9) +
      resolver("b.example", "192.0.2.4", 8);
    expect(routesOf(text)).toEqual({ "a.example": ["192.0.2.1", "192.0.2.2"], "b.example": ["192.0.2.4"] });
  });

  test("takes the order of a default resolver that shows none as the usual one", () => {
    const text = FULL_TUNNEL.replace("  order    : 200000\n", "");
    expect(routesOf(text)).toEqual({ "": ["10.8.0.1", "fd00:8::1"] });
    expect(routesOf(text.replace("order    : 101200", "order    : 200001"))).toEqual({ "": ["192.168.1.1"] });
  });

  test("leaves out and reports what is no address and no domain", () => {
    const text = `DNS configuration

resolver #1
  search domain[0] : a..b
  nameserver[0] : nonsense
  nameserver[1] : 192.0.2.1:53
  nameserver[2] : 192.0.2.2
  order    : many

resolver #2
  domain   : *.corp.example
  nameserver[0] : 192.0.2.3

resolver #3
  domain   : lab.example
  nameserver[0] : nonsense
`;
    expect(routesOf(text)).toEqual({ "": ["192.0.2.2"] });
    expect(parseScutilDns(text).problems).toEqual([
      '"a..b" is not a domain name',
      '"*.corp.example" is not a domain name',
      '"nonsense" is not an IP address',
      '"192.0.2.1:53" is not an IP address',
      '"nonsense" is not an IP address',
    ]);
  });

  test.each(["", "No DNS configuration available\n", "resolver #1\n  nameserver[0] : 192.0.2.1\n"])(
    "refuses %j",
    (text) => expect(() => parseScutilDns(text)).toThrow("scutil: the output is no list of resolvers"),
  );
});

describe("Scutil", () => {
  const logger = { debug: vi.fn(), info: vi.fn(), warn: vi.fn() };
  /** What is under way. */
  let runs: { resolve(output: string): void; reject(error: Error): void }[];
  let time: number;
  const run = vi.fn(() => new Promise<string>((resolve, reject) => runs.push({ resolve, reject })));
  const open = () => new Scutil({ logger, run, now: () => time });

  beforeEach(() => {
    runs = [];
    time = 0;
    vi.clearAllMocks();
  });

  /** Asks at a time, and ends the run that this starts. */
  async function askAt(scutil: Scutil, at: number, output: string | Error) {
    time = at;
    scutil.current();
    const running = runs.at(-1);
    if (output instanceof Error) running?.reject(output);
    else running?.resolve(output);
    await scutil.settled();
    return scutil.current();
  }

  test("runs scutil --dns, one at a time, and follows it within a second", async () => {
    const scutil = open();
    expect(scutil.current()).toBeNull();
    for (time = 0; time < 10_000; time += 500) scutil.current();
    expect(run).toHaveBeenCalledExactlyOnceWith(
      { program: "/usr/sbin/scutil", args: ["--dns"] },
      expect.any(AbortSignal),
    );
    const first = await askAt(scutil, time, WIFI);
    expect(first?.search).toEqual(["home.example"]);
    expect((await askAt(scutil, time + 1000, SPLIT_TUNNEL))?.search).toEqual(["corp.example", "home.example"]);
    expect(run).toHaveBeenCalledTimes(2);
  });

  test("gives the same object while scutil says the same", async () => {
    const scutil = open();
    const first = await askAt(scutil, 0, WIFI);
    expect(await askAt(scutil, 1000, WIFI)).toBe(first);
    // The second block is not for us.
    expect(await askAt(scutil, 2000, WIFI.replace("192.0.2.99", "192.0.2.98"))).toBe(first);
    const second = await askAt(scutil, 3000, WIFI.replace("192.168.1.1", "192.168.1.2"));
    expect(second).not.toBe(first);
    expect(await askAt(scutil, 4000, WIFI.replace("192.168.1.1", "192.168.1.2"))).toBe(second);
    expect(run).toHaveBeenCalledTimes(5);
  });

  test("keeps the last one when scutil fails, and says so", async () => {
    const scutil = open();
    const first = await askAt(scutil, 0, WIFI);
    expect(await askAt(scutil, 1000, new Error("scutil: killed after 5000 ms"))).toBe(first);
    expect(await askAt(scutil, 3000, "")).toBe(first);
    expect(logger.warn.mock.calls).toEqual([
      [{ reason: "scutil: killed after 5000 ms" }, "cannot read the name servers of macOS"],
      [{ reason: "scutil: the output is no list of resolvers" }, "cannot read the name servers of macOS"],
    ]);
  });

  test("reports what cannot be used once", async () => {
    const scutil = open();
    const text = WIFI.replace("2001:db8::1", "nonsense");
    await askAt(scutil, 0, text);
    await askAt(scutil, 1000, text);
    expect(logger.warn).toHaveBeenCalledExactlyOnceWith(
      { problems: ['"nonsense" is not an IP address'] },
      "scutil --dns lists what cannot be used",
    );
  });
});
