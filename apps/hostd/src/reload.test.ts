import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { RequestError } from "./api/problem.ts";
import { expandForward } from "./config/forward.ts";
import { ConfigError } from "./config/problems.ts";
import { type HostdConfig, parseConfig } from "./config/resolve.ts";
import type { SettingsInput } from "./config/schema.ts";
import { Reloader } from "./reload.ts";
import { openBook, type TestBook } from "./testing/forward-book.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface Played extends TestBook {
  readonly reloader: Reloader;
  /** The configurations that the name server was given. */
  readonly dns: HostdConfig[];
  /** Writes another configuration, which the next reload reads. */
  write(settings: SettingsInput): void;
}

async function play(settings: SettingsInput = {}): Promise<Played> {
  const opened = await openBook(settings);
  const { book, forwarder, hub, logger, config } = opened;
  await book.openAll(config.forwards.flatMap(expandForward), { origin: "config" });
  const dns: HostdConfig[] = [];
  let written: SettingsInput = settings;
  const base = { qemu: [], publish: { waitSeconds: 0 }, state: config.state };
  const reloader = new Reloader(config, async () => parseConfig({ ...base, ...written }, "test"), {
    forwarder,
    forwards: book,
    proxy: { prepare: () => () => {} },
    dns: { configure: (given: HostdConfig) => void dns.push(given) },
    events: hub,
    logger,
  });
  opened.events.length = 0;
  return { ...opened, reloader, dns, write: (given) => (written = given) };
}

const idsOf = ({ book }: TestBook) => book.list().map(({ id }) => id);

/** Ports of this host that nobody listens on. */
async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => once(server, "listening")));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

describe("a reload", () => {
  it("says that nothing has changed when nothing has", async () => {
    const played = await play({ forwards: [{ listen: 0, to: 80 }] });
    const ids = idsOf(played);
    expect(await played.reloader.reload()).toEqual({ changed: [], needRestart: [] });
    expect(idsOf(played)).toEqual(ids);
    expect(played.dns).toEqual([]);
    expect(played.events).toMatchObject([{ type: "config.reloaded", changed: [] }]);
  });

  it("opens and closes published ports, and leaves alone those that stay and those of others", async () => {
    const [one, two, three] = await freePorts(3);
    const played = await play({
      forwards: [
        { listen: one, to: 1 },
        { listen: two, to: 2 },
      ],
    });
    const other = await played.book.open(
      { protocol: "tcp", listen: { host: "127.0.0.1", port: 0 }, to: { address: null, port: 9 } },
      { origin: "api" },
    );
    const kept = played.book.get(`tcp/127.0.0.1:${two}`)?.forward;
    played.write({
      forwards: [
        { listen: two, to: 2 },
        { listen: three, to: 3 },
      ],
    });
    expect(await played.reloader.reload()).toEqual({ changed: ["forwards"], needRestart: [] });
    expect(idsOf(played).sort()).toEqual([`tcp/127.0.0.1:${two}`, `tcp/127.0.0.1:${three}`, other.id].sort());
    expect(played.book.get(`tcp/127.0.0.1:${two}`)?.forward).toBe(kept);
    expect(played.events).toMatchObject([
      { type: "forward.added", id: other.id },
      { type: "forward.removed", id: `tcp/127.0.0.1:${one}` },
      { type: "forward.added", id: `tcp/127.0.0.1:${three}` },
      { type: "config.reloaded" },
    ]);
  });

  it("has a port lead somewhere else", async () => {
    const [port] = await freePorts(1);
    const played = await play({ forwards: [{ listen: port, to: 1 }] });
    played.write({ forwards: [{ listen: port, to: 2 }] });
    await played.reloader.reload();
    expect(played.book.list()).toMatchObject([{ rule: { to: { port: 2 } }, origin: "config" }]);
  });

  it("changes nothing when a port cannot be listened on, and says which", async () => {
    const [port] = await freePorts(1);
    const holder = createServer().listen(0, "127.0.0.1");
    cleanups.push(() => new Promise((resolve) => holder.close(resolve)));
    await once(holder, "listening");
    const { port: held } = holder.address() as AddressInfo;
    const played = await play({ forwards: [{ listen: port, to: 1 }] });
    played.write({ forwards: [{ listen: held, to: 2 }], dns: { servers: ["192.0.2.1"] } });
    const refused = played.reloader.reload();
    await expect(refused).rejects.toThrow(RequestError);
    await expect(refused).rejects.toMatchObject({ status: 409, message: expect.stringContaining(`127.0.0.1:${held}`) });
    expect(played.book.list()).toMatchObject([{ id: `tcp/127.0.0.1:${port}`, rule: { to: { port: 1 } } }]);
    expect(played.dns).toEqual([]);
    expect(played.reloader.config.dns.servers).toEqual([]);
    // The next one starts from what holds.
    played.write({ forwards: [{ listen: port, to: 1 }], dns: { servers: ["192.0.2.1"] } });
    expect(await played.reloader.reload()).toEqual({ changed: ["dns.servers"], needRestart: [] });
  });

  it("changes nothing when the configuration cannot be used", async () => {
    const played = await play();
    played.write({ mtu: 1 });
    await expect(played.reloader.reload()).rejects.toThrow(ConfigError);
    played.write({ forwards: [{ listen: "0.0.0.0:0", to: 1 }], publish: { allow: ["127.0.0.1"] } });
    await expect(played.reloader.reload()).rejects.toMatchObject({ status: 403 });
    // The old policy holds again.
    const wide = { protocol: "tcp", listen: { host: "0.0.0.0", port: 0 }, to: { address: null, port: 1 } } as const;
    await played.book.open(wide, { origin: "api" });
  });

  it("has the name server, the log and how ports behave follow, and names what needs a restart", async () => {
    const played = await play();
    played.write({
      dns: { zones: [{ name: "lab" }], maxQueriesPerSecond: 5 },
      log: { level: "warn", format: "json" },
      publish: { allow: ["[::1]"], waitSeconds: 0 },
      guestApi: { enabled: true, allow: ["[::1]"] },
      mtu: 4000,
      egress: { icmp: false },
    });
    expect(await played.reloader.reload()).toEqual({
      changed: ["dns.zones", "publish.allow", "guestApi.allow", "log.level"],
      needRestart: ["mtu", "dns.maxQueriesPerSecond", "egress.icmp", "guestApi.enabled", "log.format"],
    });
    expect(played.logger.level).toBe("warn");
    expect(played.dns).toMatchObject([{ zones: [{ name: "lab" }] }].map((dns) => ({ dns })));
    const { config } = played.reloader;
    expect(config).toMatchObject({
      mtu: 1500,
      guestApi: { enabled: false },
      dns: { zones: [{ name: "lab" }], maxQueriesPerSecond: 30_000 },
    });
    await expect(
      played.book.open(
        { protocol: "tcp", listen: { host: "127.0.0.1", port: 0 }, to: { address: null, port: 1 } },
        { origin: "api" },
      ),
    ).rejects.toThrow("not allowed; allowed: [::1]");
  });

  it("is done one after the other", async () => {
    const played = await play();
    played.write({ forwards: [{ listen: 0, to: 80 }] });
    const both = await Promise.all([played.reloader.reload(), played.reloader.reload()]);
    expect(both).toEqual([
      { changed: ["forwards"], needRestart: [] },
      { changed: [], needRestart: [] },
    ]);
    expect(played.book.list()).toHaveLength(1);
  });
});
