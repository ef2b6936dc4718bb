import { createSocket } from "node:dgram";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { askDaemon } from "./support/control.ts";
import {
  addressOf,
  apiOf,
  client,
  DONE,
  echo,
  expose,
  freePort,
  lastWords,
  PORT,
  post,
  read,
  refusal,
  send,
  serveEcho,
  shown,
  unexpose,
  withApi,
} from "./support/gvproxy-client.ts";
import { GATEWAY, HOST, inLab } from "./support/lab.ts";

describe("gvproxy's API", () => {
  it("answers beside hostd's own", () =>
    inLab(async (lab) => {
      await lab.start(withApi(lab));
      const leases = await askDaemon(apiOf(lab), "GET", "/leases");
      expect(leases.status).toBe(200);
      expect(leases.headers).toMatchObject({ "content-type": "text/plain; charset=utf-8" });
      expect(Object.keys(JSON.parse(leases.body))).toEqual([GATEWAY]);
      const nothing = await askDaemon(apiOf(lab), "GET", "/services/nothing");
      expect([nothing.status, nothing.body]).toEqual([404, "404 page not found\n"]);
      const own = await askDaemon(apiOf(lab), "GET", "/v1/vms");
      expect([own.status, own.json]).toEqual([200, []]);
      const neither = await askDaemon(apiOf(lab), "GET", "/nothing");
      expect(neither.headers["content-type"]).toBe("application/problem+json");
    }));

  it("publishes a port, lists it as it was written, and removes it while its connections go on", () =>
    inLab(async (lab) => {
      const { control } = await lab.start(withApi(lab));
      const guest = await lab.boot();
      serveEcho(guest);
      const port = await freePort();
      const forward = { local: `localhost:${port}`, remote: `${addressOf(guest)}:${PORT}`, protocol: "tcp" };
      expect(await expose(lab, forward)).toEqual(DONE);
      expect(await shown(lab)).toEqual([forward]);
      expect(control.forwards.list().map(({ id, origin }) => [id, origin])).toEqual([
        [`tcp/127.0.0.1:${port}`, "gvproxy"],
      ]);
      const socket = client(lab, port);
      expect(await echo(socket, "one")).toBe("one");
      expect(await unexpose(lab, { local: `127.0.0.1:${port}` })).toEqual({ status: 500, body: "proxy not found\n" });
      expect(await unexpose(lab, forward)).toEqual(DONE);
      expect(await refusal(lab, port)).toBe("ECONNREFUSED");
      expect(await shown(lab)).toEqual([]);
      expect(await echo(socket, "two")).toBe("two");
      expect(await lastWords(socket)).toBe("last words");
    }));

  it("publishes a port of UDP, and ends its flows with it", () =>
    inLab(async (lab) => {
      const { control } = await lab.start(withApi(lab));
      const guest = await lab.boot();
      const server = guest.udp(PORT);
      const port = await freePort();
      const forward = { local: `127.0.0.1:${port}`, remote: `${addressOf(guest)}:${PORT}`, protocol: "udp" };
      expect(await expose(lab, forward)).toEqual(DONE);
      const socket = createSocket("udp4");
      onTestFinished(() => {
        socket.close();
      });
      socket.send("hello", port, "127.0.0.1");
      const datagram = await server.receive(5000);
      expect(Buffer.from(datagram.data).toString()).toBe("hello");
      server.send(datagram.address, datagram.port, Buffer.from("back"));
      const [answer] = (await once(socket, "message")) as [Buffer];
      expect(answer.toString()).toBe("back");
      expect(await unexpose(lab, forward)).toEqual(DONE);
      expect(control.forwarder.stats()).toEqual([]);
    }));

  it("publishes a Unix socket, in the place of one that nobody listens on and of nothing else", () =>
    inLab(async (lab) => {
      await lab.start(withApi(lab));
      const guest = await lab.boot();
      serveEcho(guest);
      const path = join(lab.folder, "web.sock");
      const remote = `tcp://${addressOf(guest)}:${PORT}`;
      const forward = { local: path, remote, protocol: "unix" };
      expect(await expose(lab, forward)).toEqual(DONE);
      expect(await shown(lab)).toEqual([forward]);
      const socket = await send(lab, path);
      expect(await echo(socket, "one")).toBe("one");
      expect(await lastWords(socket)).toBe("last words");
      expect(await expose(lab, forward)).toEqual({ status: 500, body: "proxy already running\n" });
      expect(await unexpose(lab, forward)).toEqual(DONE);
      writeFileSync(path, "a file");
      const refused = await expose(lab, forward);
      expect(refused).toMatchObject({ status: 500 });
      expect(refused.body).toContain("is not a socket");
      expect(readFileSync(path, "utf8")).toBe("a file");
    }));

  it("opens one of two that are asked for at once under one name", () =>
    inLab(async (lab) => {
      await lab.start(withApi(lab));
      const forward = { local: "127.0.0.1:0", remote: "192.168.65.3:80" };
      const answers = await Promise.all([expose(lab, forward), expose(lab, forward)]);
      expect(answers.map(({ status }) => status).toSorted()).toEqual([200, 500]);
      expect(answers.map(({ body }) => body).toSorted()).toEqual(["", "proxy already running\n"]);
    }));

  it("lists and removes forwards that others have opened", () =>
    inLab(async (lab) => {
      const path = join(lab.folder, "config.sock");
      const [first, second] = [await freePort(), await freePort()];
      const key = join(lab.folder, "key");
      writeFileSync(key, "");
      await lab.start({
        ...withApi(lab),
        forwards: [
          { listen: `*:${first}`, to: 80 },
          { listen: `127.0.0.1:${first}`, to: "172.17.0.2:53", protocol: "udp" },
          { listen: `unix://${path}`, to: "192.168.65.3:81" },
          { listen: `[::1]:${second}`, to: "ssh://core@vm/run/x.sock", identity: key },
        ],
      });
      const expected = (vm: string) => [
        { local: path, remote: "tcp://192.168.65.3:81", protocol: "unix" },
        { local: `127.0.0.1:${first}`, remote: "172.17.0.2:53", protocol: "udp" },
        { local: `:${first}`, remote: `${vm}:80`, protocol: "tcp" },
        { local: `[::1]:${second}`, remote: `ssh-tunnel://core@${vm}:22/run/x.sock?key=${key}`, protocol: "tcp" },
      ];
      const sorted = (vm: string) => expected(vm).toSorted((one, other) => (one.local < other.local ? -1 : 1));
      expect(await shown(lab)).toEqual(sorted(""));
      const guest = await lab.boot();
      expect(await shown(lab)).toEqual(sorted(addressOf(guest)));
      for (const { local, protocol } of expected("")) expect(await unexpose(lab, { local, protocol })).toEqual(DONE);
      expect(await shown(lab)).toEqual([]);
    }));

  it("refuses what the configuration has not", () =>
    inLab(async (lab) => {
      await lab.start({ ...withApi(lab), publish: { allow: ["127.0.0.1:8000-8999"] } });
      expect(await expose(lab, { local: "127.0.0.1:9000", remote: "192.168.65.3:80" })).toEqual({
        status: 403,
        body: "listening on 127.0.0.1:9000 is not allowed; allowed: 127.0.0.1:8000-8999\n",
      });
      const every = await expose(lab, { local: ":8000", remote: "192.168.65.3:80" });
      expect(every).toMatchObject({ status: 403 });
      expect(await expose(lab, { local: "127.0.0.1:9000", remote: `${HOST}:80` })).toEqual({
        status: 400,
        body: `remote ${HOST}:80: ${HOST} is an address of the gateway, not of a guest\n`,
      });
    }));

  it("takes a body of 1 MiB and no more", () =>
    inLab(async (lab) => {
      await lab.start(withApi(lab));
      const body = (length: number) => ({ local: "x".repeat(length - '{"local":""}'.length) });
      expect(await expose(lab, body(1024 * 1024))).toEqual({ status: 400, body: "missing port in address\n" });
      expect(await expose(lab, body(1024 * 1024 + 1))).toEqual({ status: 413, body: "http: request body too large\n" });
    }));

  it("tells leases, MAC addresses and counters of VMs", () =>
    inLab(async (lab) => {
      await lab.start({ ...withApi(lab), dhcp: { static: { "02:00:00:00:99:99": "192.168.65.99" } } });
      const guests = [await lab.boot(1), await lab.boot(2)];
      await guests[0].ping(GATEWAY);
      const [first, second] = guests.map(addressOf);
      const leases = await read<Record<string, string>>(lab, "/services/dhcp/leases");
      expect(leases).toMatchObject({ [first]: "02:00:00:00:01:01", [second]: "02:00:00:00:01:02" });
      expect(leases["192.168.65.99"]).toBe("02:00:00:00:99:99");
      expect(Object.keys(leases)).toEqual(Object.keys(leases).toSorted());
      expect(await read(lab, "/cam")).toEqual({ "02:00:00:00:01:01": 0, "02:00:00:00:01:02": 1 });
      const stats = await read<{ BytesReceived: number; IP: { PacketsReceived: number } }>(lab, "/stats");
      expect(stats.BytesReceived).toBeGreaterThan(500);
      expect(stats.IP.PacketsReceived).toBeGreaterThan(4);
      await guests[0].kill();
      await vi.waitFor(async () => expect(await read(lab, "/cam")).toEqual({ "02:00:00:00:01:02": 0 }));
      expect((await read<{ BytesReceived: number }>(lab, "/stats")).BytesReceived).toBeGreaterThanOrEqual(
        stats.BytesReceived,
      );
    }));

  it("adds zones that VMs look up at once, the newest record first", () =>
    inLab(async (lab) => {
      const { control } = await lab.start(withApi(lab));
      const told: string[] = [];
      control.events.listen((event) => told.push(event.type));
      const guest = await lab.boot();
      const add = (zone: unknown) => post(lab, "dns/add", zone);
      expect(await add({ Name: "dynamic.", Records: [{ Name: "a.b", IP: "192.0.2.1" }] })).toEqual(DONE);
      expect(await guest.resolve("a.b.dynamic")).toEqual(["192.0.2.1"]);
      expect(await add({ Name: "dynamic.", Records: [{ Name: "a.b", IP: "192.0.2.2" }] })).toEqual(DONE);
      expect(await guest.resolve("a.b.dynamic")).toEqual(["192.0.2.2"]);
      const both = { Name: "both", Regexp: "^c[0-9]$", IP: "192.0.2.3" };
      expect(await add({ name: "dynamic.", records: [both], defaultip: "192.0.2.9" })).toEqual(DONE);
      for (const name of ["both", "c1"]) expect(await guest.resolve(`${name}.dynamic`)).toEqual(["192.0.2.3"]);
      expect(await guest.resolve("x.dynamic")).toEqual(["192.0.2.9"]);
      expect(await add({ Name: "dynamic." })).toEqual(DONE);
      await expect(guest.resolve("x.dynamic")).rejects.toThrow("NXDOMAIN");
      expect(told.filter((type) => type === "zone.added")).toHaveLength(4);
      const zones = await read<{ Name: string }[]>(lab, "/services/dns/all");
      expect(zones.find(({ Name }) => Name === "dynamic.")).toEqual({
        Name: "dynamic.",
        Records: [
          { Name: "both", IP: "192.0.2.3" },
          { Name: "", IP: "192.0.2.3", Regexp: "^c[0-9]$" },
          { Name: "a.b", IP: "192.0.2.2" },
        ],
        DefaultIP: "",
      });
      expect(JSON.stringify(zones)).toContain(`{"Name":"vm","IP":"${addressOf(guest)}"}`);
    }));

  it("leaves out of its zones what it has no form for", () =>
    inLab(async (lab) => {
      const records = [
        { name: "six", address: "2001:db8::1" },
        { name: "other", type: "CNAME" as const, target: "six.lab.internal" },
        { name: "words", type: "TXT" as const, text: "words" },
      ];
      const { control } = await lab.start({
        ...withApi(lab),
        dns: { servers: [lab.nameServer.address], zones: [{ name: "lab.internal", records }] },
      });
      control.dns.addZone({ name: "private.internal", link: "vm", records: [] });
      const zones = await read<{ Name: string }[]>(lab, "/services/dns/all");
      expect(zones[0]).toEqual({ Name: "lab.internal.", Records: [{ Name: "six", IP: "2001:db8::1" }], DefaultIP: "" });
      expect(zones.map(({ Name }) => Name)).not.toContain("private.internal.");
    }));
});
