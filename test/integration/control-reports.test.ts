import { randomBytes } from "node:crypto";
import { once } from "node:events";
import type { FlowStream } from "@hostd/streams";
import { describe, expect, it } from "vitest";
import { dnsQuerySchema, dnsSchema, zoneListSchema, zoneSchema } from "../../apps/hostd/src/dns/schemas.ts";
import { askDaemon } from "./support/control.ts";
import {
  Api,
  client,
  connectQuietly,
  FORWARDS,
  failure,
  fullPort,
  openFlows,
  PORT,
  serve,
  until,
} from "./support/control-lab.ts";
import { closed, serveTcp } from "./support/host-servers.ts";
import { GATEWAY, HOST, inLab } from "./support/lab.ts";

describe("the VMs", () => {
  it("are none while none is attached", () =>
    inLab(async (lab) => {
      const api = await Api.start(lab);
      expect(await api.vms()).toEqual([]);
      expect((await api.ask("DELETE", "/v1/vms?vm=nobody")).json).toMatchObject({
        status: 404,
        detail: "no VM nobody is attached; there is none",
      });
    }));

  it("are told with their address, what passed their link and what they have open", () =>
    inLab(async (lab) => {
      const api = await Api.start(lab, { forwards: FORWARDS, mtu: 1400 });
      const before = Date.now();
      await lab.attach(2);
      const [bare] = await api.vms();
      expect(bare).toMatchObject({ name: `unix://${lab.socket}`, mac: null, address: null, mtu: 1400 });
      expect(Date.parse(bare.attachedAt)).toBeGreaterThanOrEqual(before);
      expect(Date.parse(bare.attachedAt)).toBeLessThanOrEqual(Date.now());

      await openFlows(api);
      const [, vm] = await api.vms();
      expect(vm).toMatchObject({
        name: `unix://${lab.socket}#2`,
        endpoint: `unix://${lab.socket}`,
        mac: "02:00:00:00:01:01",
        address: "192.168.65.3",
        flows: { tcp: 3, udp: 2, icmp: 0 },
        forwardedConnections: 1,
      });
      const { link } = vm;
      expect(link.framesFromVm).toBeGreaterThan(5);
      expect(link.bytesFromVm).toBeGreaterThan(link.framesFromVm * 42);
      expect(link.framesToVm).toBeGreaterThan(5);
      expect(link.bytesToVm).toBeGreaterThan(link.framesToVm * 42);
      expect(Object.values(link.drops).reduce((sum, count) => sum + count, 0)).toBe(0);
    }));

  it("are detached by their name, which resets what they have open", () =>
    inLab(async (lab) => {
      const api = await Api.start(lab, { forwards: FORWARDS });
      const { guest, host, inward } = await openFlows(api);
      const [{ name }] = await api.vms();
      const ends = [failure(host.sockets[0]), failure(inward), guest.closed];
      const answer = await api.ask("DELETE", `/v1/vms?vm=${encodeURIComponent(name)}`);
      expect(answer).toEqual({ status: 200, json: { detached: name } });
      expect(await Promise.all(ends)).toEqual(["ECONNRESET", "ECONNRESET", undefined]);
      expect(await api.vms()).toEqual([]);
      expect((await api.ask("DELETE", `/v1/vms?vm=${encodeURIComponent(name)}`)).status).toBe(404);
      // Its endpoint is free again.
      await lab.boot();
      expect((await api.vms()).map((vm) => vm.name)).toEqual([name]);
    }));
});

describe("the leases", () => {
  it("are those of DHCP and the static addresses, with who has them", () =>
    inLab(async (lab) => {
      const api = await Api.start(lab, {
        dhcp: {
          static: { "02:00:00:00:01:02": "192.168.65.77", "02:00:00:00:01:09": "192.168.65.99" },
        },
      });
      await lab.boot(1, { hostName: "first" });
      const second = await lab.boot(2);
      const names = (await api.vms()).map(({ name }) => name);
      const [first, fixed, unasked, ...others] = await api.leases();
      expect(others).toEqual([]);
      expect(first).toMatchObject({
        ...{ mac: "02:00:00:00:01:01", address: "192.168.65.3", hostName: "first" },
        ...{ isActive: true, isStatic: false, vm: names[0] },
      });
      expect(fixed).toMatchObject({
        ...{ mac: "02:00:00:00:01:02", address: "192.168.65.77", hostName: null },
        ...{ isActive: true, isStatic: true, vm: names[1] },
      });
      expect(unasked).toEqual({
        ...{ mac: "02:00:00:00:01:09", address: "192.168.65.99", hostName: null, expires: null },
        ...{ isActive: false, isStatic: true, vm: null },
      });
      const left = Date.parse(first.expires ?? "") - Date.now();
      expect(left).toBeGreaterThan(86_300_000);
      expect(left).toBeLessThanOrEqual(86_400_000);

      // It gives its lease back.
      await second.close();
      await until(async () => (await api.vms()).length === 1);
      expect((await api.leases())[1]).toMatchObject({ address: "192.168.65.77", isActive: false, vm: null });
    }));
});

describe("the flows", () => {
  it("are those of TCP and UDP, out of the guest, into it and to hostd itself", () =>
    inLab(async (lab) => {
      const api = await Api.start(lab, { forwards: FORWARDS });
      const { out, own, inward, mapping, host, echoPort, datagrams, asked, streams } = await openFlows(api);
      // The guest acknowledges a little later what it has nothing to say to.
      const { total, flows } = await until(async () => {
        const list = await api.flows();
        return list.flows.some(({ direction, bytesToGuest }) => direction === "out" && bytesToGuest === 16) && list;
      });
      expect(total).toBe(5);
      const guest = "192.168.65.3";
      const [vm] = await api.vms();
      const byId = new Map(flows.map((flow) => [flow.id, flow]));
      const tcp = { vm: vm.name, protocol: "tcp", state: "ESTABLISHED", retransmissions: 0 };
      const udp = { vm: vm.name, protocol: "udp", state: null, retransmissions: null, roundTripMilliseconds: null };
      expect(byId.get(`tcp/${guest}:${out.localPort}/${HOST}:${host.port}`)).toMatchObject({
        ...{ ...tcp, direction: "out", client: null, bytesFromGuest: 16, bytesToGuest: 16 },
        guest: { address: guest, port: out.localPort },
        remote: { address: HOST, port: host.port },
      });
      expect(byId.get(`tcp/${guest}:${own.localPort}/${GATEWAY}:53`)).toMatchObject({
        ...{ ...tcp, direction: "own", client: null, bytesFromGuest: 0, bytesToGuest: 0 },
        remote: { address: GATEWAY, port: 53 },
      });
      expect(byId.get(`tcp/${guest}:${PORT}/${GATEWAY}:${streams[0].remotePort}`)).toMatchObject({
        ...{ ...tcp, direction: "in", bytesFromGuest: 7, bytesToGuest: 0 },
        guest: { address: guest, port: PORT },
        remote: { address: GATEWAY, port: streams[0].remotePort },
        client: { address: "127.0.0.1", port: inward.localPort },
      });
      expect(byId.get(`udp/${guest}:${mapping.port}`)).toMatchObject({
        ...{ ...udp, direction: "out", client: null, bytesFromGuest: 8, bytesToGuest: 8 },
        guest: { address: guest, port: mapping.port },
        remote: { address: HOST, port: echoPort },
      });
      expect(byId.get(`udp/${guest}:5353/${GATEWAY}:${asked.port}`)).toMatchObject({
        ...{ ...udp, direction: "in", bytesFromGuest: 4, bytesToGuest: 12 },
        guest: { address: guest, port: 5353 },
        remote: { address: GATEWAY, port: asked.port },
        client: { address: "127.0.0.1", port: datagrams.address().port },
      });
      const ages = flows.map(({ ageSeconds }) => ageSeconds);
      expect(ages).toEqual(ages.toSorted((one, other) => one - other));
      expect(Math.max(...ages)).toBeLessThan(60);
      for (const { ageSeconds, idleSeconds, roundTripMilliseconds, protocol } of flows) {
        expect(idleSeconds).toBeLessThanOrEqual(ageSeconds);
        if (protocol === "tcp") expect(roundTripMilliseconds).toBeLessThan(10_000);
      }
    }));

  it("are listed by VM and protocol, the newest first and as many as are asked for", () =>
    inLab(async (lab) => {
      const api = await Api.start(lab, { forwards: FORWARDS });
      const { out } = await openFlows(api);
      const other = await lab.boot(2);
      const host = await serveTcp(lab, () => {});
      const last = await connectQuietly(other, HOST, host.port);
      const [one, two] = (await api.vms()).map(({ name }) => name);
      expect(await api.flows()).toMatchObject({ total: 6 });
      const newest = await api.flows("?limit=1");
      expect(newest).toMatchObject({ total: 6, flows: [{ vm: two, guest: { port: last.localPort } }] });
      expect((await api.flows("?limit=20000")).flows.at(-1)?.guest.port).toBe(out.localPort);
      expect((await api.flows(`?vm=${encodeURIComponent(two)}`)).total).toBe(1);
      const udp = await api.flows(`?vm=${encodeURIComponent(one)}&protocol=udp`);
      expect(udp.flows.map(({ protocol, direction }) => [protocol, direction])).toEqual([
        ["udp", "in"],
        ["udp", "out"],
      ]);
      expect(await api.flows("?protocol=icmp")).toEqual({ total: 0, flows: [] });
    }));

  it.for([
    ["GET", "?protocol=sctp", 400, 'protocol is "sctp"; allowed: tcp, udp, icmp'],
    ["GET", "?limit=0", 400, 'limit is "0"; allowed: 1 to 20000'],
    ["GET", "?limit=20001", 400, 'limit is "20001"; allowed: 1 to 20000'],
    ["GET", "?limit=1e3", 400, 'limit is "1e3"; allowed: 1 to 20000'],
    ["GET", "?vm=nobody", 404, "no VM nobody is attached; there is none"],
    ["DELETE", "?id=tcp/1.2.3.4:5/6.7.8.9:10", 404, "there is no flow tcp/1.2.3.4:5/6.7.8.9:10"],
    ["DELETE", "?id=x&vm=nobody", 404, "no VM nobody is attached; there is none"],
    ["DELETE", "", 400, "the parameter id is missing"],
  ] as const)("answer %s %s with %i", ([method, query, status, detail]) =>
    inLab(async (lab) => {
      const api = await Api.start(lab);
      const answer = await api.ask(method, `/v1/flows${query}`);
      expect(answer).toMatchObject({ status, json: { status, detail: expect.stringContaining(detail) } });
    }),
  );

  it("are ended at both sides", () =>
    inLab(async (lab) => {
      const api = await Api.start(lab, { forwards: FORWARDS });
      const opened = await openFlows(api);
      const { guest, host, out, own, inward, streams, mapping, echoPort, served, datagrams, asked } = opened;
      const { flows } = await api.flows();
      const idOf = (direction: string, protocol: string) => {
        return flows.find((flow) => flow.direction === direction && flow.protocol === protocol)?.id ?? "";
      };
      const end = async (id: string) => {
        expect(await api.ask("DELETE", `/v1/flows?id=${id}`)).toEqual({ status: 200, json: { ended: id } });
        expect((await api.ask("DELETE", `/v1/flows?id=${id}`)).status).toBe(404);
      };
      const outEnds = [failure(out), failure(host.sockets[0])];
      await end(idOf("out", "tcp"));
      expect(await Promise.all(outEnds)).toEqual(["ECONNRESET", "ECONNRESET"]);

      const inEnds = [failure(inward), failure(streams[0])];
      await end(idOf("in", "tcp"));
      expect(await Promise.all(inEnds)).toEqual(["ECONNRESET", "ECONNRESET"]);

      const ownEnd = failure(own);
      await end(idOf("own", "tcp"));
      expect(await ownEnd).toBe("ECONNRESET");

      await end(idOf("out", "udp"));
      await end(idOf("in", "udp"));
      expect((await api.flows()).flows).toEqual([]);
      // The client's end of a flow into the guest is gone: what the guest still sends there reaches nobody.
      served.send(asked.address, asked.port, Buffer.from("too late"));
      datagrams.send("again");
      const again = await served.receive();
      served.send(again.address, again.port, Buffer.from("in time"));
      const [answer] = (await once(datagrams, "message")) as [Buffer];
      expect(String(answer)).toBe("in time");
      // Whoever goes on has another flow.
      mapping.send(HOST, echoPort, Buffer.from("again"));
      expect(Buffer.from((await mapping.receive()).data).toString()).toBe("again");
      expect((await connectQuietly(guest, HOST, host.port)).destroyed).toBe(false);
      expect((await api.flows()).total).toBe(3);
    }));

  it("that wait for the host's answer are refused to the guest when they are ended", () =>
    inLab(async (lab) => {
      const api = await Api.start(lab);
      const guest = await lab.boot();
      const attempt = guest.connect(HOST, await fullPort(lab)).then(
        () => "connected",
        (error: NodeJS.ErrnoException) => error.code,
      );
      const waiting = await until(async () => {
        const { flows } = await api.flows();
        return flows.find(({ state }) => state === "SYN-RECEIVED");
      });
      expect(waiting).toMatchObject({ direction: "out", roundTripMilliseconds: null, bytesFromGuest: 0 });
      expect((await api.ask("DELETE", `/v1/flows?id=${waiting.id}`)).status).toBe(200);
      expect(await attempt).toBe("ECONNREFUSED");
      expect((await api.stats()).totals.egress.tcp).toMatchObject({ pending: 0, open: 0, connected: 0 });
    }));

  it("count every byte of a transfer, and what each side still sends after the other's end", () =>
    inLab(async (lab) => {
      const api = await Api.start(lab, { forwards: FORWARDS });
      const guest = await lab.boot();
      const up = randomBytes(3_000_000);
      const down = randomBytes(2_000_000);
      const held = Promise.withResolvers<FlowStream>();
      serve(guest, PORT, (stream) => {
        stream.resume();
        stream.write(down);
        held.resolve(stream);
      });
      const socket = client(lab, api.portOf());
      socket.write(up);
      let received = 0;
      socket.on("data", (chunk) => {
        received += chunk.length;
      });
      const stream = await held.promise;
      const flow = await until(async () => {
        const [found] = (await api.flows()).flows;
        return found?.bytesToGuest === up.length && received === down.length ? found : undefined;
      });
      expect(flow).toMatchObject({ direction: "in", bytesFromGuest: down.length, state: "ESTABLISHED" });
      expect(flow.roundTripMilliseconds).not.toBeNull();
      stream.end("last words");
      await once(socket, "end");
      expect((await api.flows()).flows).toMatchObject([{ bytesFromGuest: down.length + 10, state: "CLOSE-WAIT" }]);
      const { vms, totals } = await api.stats();
      expect(vms[0].stack.bytesReceived).toBeGreaterThan(down.length);
      expect(vms[0].stack.bytesSent).toBeGreaterThan(up.length);
      expect(totals).toEqual({ stack: vms[0].stack, egress: vms[0].egress, dns: vms[0].dns });
      const [link] = (await api.vms()).map((vm) => vm.link);
      expect(link.bytesFromVm).toBeGreaterThanOrEqual(vms[0].stack.bytesReceived);
      socket.end();
      await closed(socket);
    }));
});

describe("the statistics", () => {
  it("are of the process, each VM, all VMs, the cache and each forward", () =>
    inLab(async (lab) => {
      const api = await Api.start(lab, { forwards: FORWARDS });
      const { guest } = await openFlows(api);
      await guest.resolve("www.test");
      await guest.resolve("www.test");
      await guest.resolve("host.docker.internal");
      const { process: used, vms, totals, cache, forwards } = await api.stats();
      expect(used.pid).toBe(process.pid);
      expect(used.residentBytes).toBeGreaterThan(10_000_000);
      expect(used.cpuUserSeconds).toBeGreaterThan(0);
      expect(used.uptimeSeconds).toBeLessThan(60);
      expect(vms).toMatchObject([
        {
          stack: { tcpAccepted: 2, tcpDialed: 1, dropMalformed: 0 },
          egress: { tcp: { connected: 1, open: 1 }, udp: { sent: 1, received: 1, opened: 1, mappings: 1 } },
          dns: { queries: 3, answeredLocally: 1, answeredFromCache: 1, forwarded: 1 },
        },
      ]);
      expect(totals).toEqual({ stack: vms[0].stack, egress: vms[0].egress, dns: vms[0].dns });
      expect(cache).toMatchObject({ entries: 1, hits: 1, misses: 1 });
      expect(forwards).toMatchObject([
        { protocol: "tcp", state: "listening", statistics: { connected: 1, open: 1 } },
        { protocol: "udp", state: "listening", statistics: { flows: 1, received: 1, answered: 1 } },
      ]);
    }));

  it("keep what VMs have counted that are gone, and forget what they had open", () =>
    inLab(async (lab) => {
      const api = await Api.start(lab, { forwards: FORWARDS });
      await openFlows(api);
      const before = await api.stats();
      expect((await api.ask("DELETE", `/v1/vms?vm=${encodeURIComponent(before.vms[0].name)}`)).status).toBe(200);
      const { vms, totals } = await api.stats();
      expect(vms).toEqual([]);
      expect(totals.stack.bytesReceived).toBeGreaterThanOrEqual(before.totals.stack.bytesReceived);
      expect(totals.egress).toMatchObject({
        tcp: { connected: 1, open: 0, pending: 0, queuedBytes: 0 },
        udp: { opened: 1, sent: 1, mappings: 0, siblings: 0 },
        icmp: { sockets: 0 },
      });
      await lab.boot(2);
      const after = await api.stats();
      expect(after.totals.stack.framesReceived).toBe(totals.stack.framesReceived + after.vms[0].stack.framesReceived);
    }));
});

describe("the name server", () => {
  it("is told by what its schemas have, whatever there is", () =>
    inLab(async (lab) => {
      const records = [
        { name: "@", address: "192.0.2.1" },
        { name: "six", address: "2001:db8::1", ttl: 5 },
        { name: "alias", type: "CNAME" as const, target: "www.test" },
        { name: "pointer", type: "PTR" as const, target: "www.test" },
        { name: "words", type: "TXT" as const, text: ["one", "two"] },
        { name: "mail", type: "MX" as const, preference: 1, exchange: "www.test" },
        { name: "service", type: "SRV" as const, priority: 1, weight: 2, port: 3, target: "www.test" },
        { regexp: "^r", address: "192.0.2.2" },
      ];
      const api = await Api.start(lab, {
        dns: {
          servers: [lab.nameServer.address],
          rules: [{ domain: "corp.example", servers: [lab.nameServer.address] }],
          zones: [{ name: "every.test", records, defaultAddress: "192.0.2.3" }],
        },
      });
      await api.get("/v1/dns", dnsSchema);
      const guest = await lab.boot();
      await guest.resolve("www.test");
      const report = await api.get<{ vms: { statistics: { queries: number } }[] }>("/v1/dns", dnsSchema);
      expect(report.vms).toMatchObject([{ statistics: { queries: 1 } }]);
      const zones = await api.get<{ name: string; records: unknown[] }[]>("/v1/dns/zones", zoneListSchema);
      expect(zones.find(({ name }) => name === "every.test")?.records.length).toBe(records.length);
      for (const name of [
        "www.test",
        "host.docker.internal",
        "alias.every.test",
        "localhost",
        "nothing.corp.example",
      ]) {
        await api.get(`/v1/dns/query?name=${name}`, dnsQuerySchema);
      }
      const added = await askDaemon(`${lab.folder}/api.sock`, "POST", "/v1/dns/zones", { name: "new.test", records });
      expect(zoneSchema.parse(added.json)).toEqual(added.json);
    }));
});
