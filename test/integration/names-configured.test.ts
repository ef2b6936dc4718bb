import { execFile } from "node:child_process";
import { once } from "node:events";
import { rename, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type ShownMessage, showMessage } from "@hostd/dns";
import type { SettingsInput } from "hostd";
import { describe, expect, it } from "vitest";
import { encodeQuery, NameServer, withLength } from "./support/dns.ts";
import { GATEWAY, HOST, inLab, type Lab } from "./support/lab.ts";

const COMMAND = fileURLToPath(new URL("../../apps/hostd/bin/hostd.mjs", import.meta.url));

/** The numbers of the types that are asked for (RFC 1035, 3.2.2; RFC 3596; RFC 2782). */
const TYPE = { A: 1, CNAME: 5, PTR: 12, MX: 15, TXT: 16, AAAA: 28, SRV: 33 } as const;

type Guest = Awaited<ReturnType<Lab["boot"]>>;

async function overUdp(guest: Guest, name: string, type: number = TYPE.A, timeout?: number): Promise<ShownMessage> {
  const socket = guest.udp();
  try {
    socket.send(GATEWAY, 53, encodeQuery(1, name, type));
    return showMessage((await socket.receive(timeout)).data);
  } finally {
    socket.close();
  }
}

async function overTcp(guest: Guest, name: string, type: number): Promise<ShownMessage> {
  const stream = await guest.connect(GATEWAY, 53);
  stream.end(withLength(encodeQuery(1, name, type)));
  return showMessage(Buffer.concat(await stream.toArray()).subarray(2));
}

/** The data of the records of an answer, each with its type. */
const dataOf = ({ answers }: ShownMessage) => answers.map(({ type, data }) => `${type} ${data}`);

/** Writes a file that takes the place of the one that is there. */
async function replace(path: string, text: string): Promise<void> {
  await writeFile(`${path}.new`, text);
  await rename(`${path}.new`, path);
}

/** Runs `hostd` to its end. */
async function hostd(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return await new Promise((resolve, reject) => {
    execFile(process.execPath, [COMMAND, ...args], (error, stdout, stderr) => {
      const code = error === null ? 0 : error.code;
      if (typeof code === "number") resolve({ code, stdout, stderr });
      else reject(error);
    });
  });
}

/** Whether a name server can be started at the port of name servers, which takes a right that not everybody has. */
async function canServeAt(host: string): Promise<boolean> {
  const server = await NameServer.start({}, host, 53).catch(() => null);
  server?.close();
  return server !== null;
}

const [OLD, NEW] = ["127.0.53.1", "127.0.53.2"];
const canServe = (await canServeAt(OLD)) && (await canServeAt(NEW));

describe("zones of the configuration", () => {
  const zones: NonNullable<NonNullable<SettingsInput["dns"]>["zones"]> = [
    {
      name: "lab.test",
      records: [
        { name: "@", address: "10.0.0.1" },
        { name: "six", address: "fd00::6", ttl: 7 },
        { name: "alias", type: "CNAME", target: "six.lab.test" },
        { name: "outside", type: "CNAME", target: "www.test" },
        { name: "pointer", type: "PTR", target: "six.lab.test" },
        { name: "text", type: "TXT", text: ["a b", "c"] },
        { name: "mail", type: "MX", preference: 10, exchange: "six.lab.test" },
        { name: "_http._tcp", type: "SRV", priority: 1, weight: 2, port: 80, target: "six.lab.test" },
        { name: "*.apps", address: "10.0.0.2" },
        { regexp: "^node-[0-9]+$", address: "10.0.0.3" },
      ],
    },
    { name: "all.test", defaultAddress: "10.0.0.9" },
  ];

  it("answer for each type of record, over UDP and TCP", () =>
    inLab(async (lab) => {
      const daemon = await lab.start({
        dns: {
          servers: [lab.nameServer.address],
          zones,
          aliases: ["lima"],
        },
      });
      const guest = await lab.boot(1);
      for (const [name, type, data] of [
        ["lab.test", TYPE.A, ["A 10.0.0.1"]],
        ["SIX.lab.test", TYPE.AAAA, ["AAAA fd00::6"]],
        ["alias.lab.test", TYPE.AAAA, ["CNAME six.lab.test.", "AAAA fd00::6"]],
        ["outside.lab.test", TYPE.A, ["CNAME www.test.", "A 203.0.113.80"]],
        ["pointer.lab.test", TYPE.PTR, ["PTR six.lab.test."]],
        ["text.lab.test", TYPE.TXT, ['TXT "a b" "c"']],
        ["mail.lab.test", TYPE.MX, ["MX 10 six.lab.test."]],
        ["_http._tcp.lab.test", TYPE.SRV, ["SRV 1 2 80 six.lab.test."]],
        ["any.thing.apps.lab.test", TYPE.A, ["A 10.0.0.2"]],
        ["node-12.lab.test", TYPE.A, ["A 10.0.0.3"]],
        ["x.all.test", TYPE.A, ["A 10.0.0.9"]],
        ["1.0.0.10.in-addr.arpa", TYPE.PTR, ["PTR lab.test."]],
        ["host.lima.internal", TYPE.A, [`A ${HOST}`]],
      ] as const) {
        const udp = await overUdp(guest, name, type);
        expect(udp, name).toMatchObject({ rcode: "NOERROR" });
        expect(dataOf(udp), name).toEqual(data);
        expect(await overTcp(guest, name, type), name).toEqual(udp);
      }
      expect((await overUdp(guest, "six.lab.test", TYPE.AAAA)).answers).toMatchObject([{ ttl: 7 }]);
      expect(await overUdp(guest, "six.lab.test", TYPE.A)).toMatchObject({
        rcode: "NOERROR",
        answers: [],
        authorities: [{ type: "SOA", name: "lab.test." }],
      });
      expect(await overUdp(guest, "node-x.lab.test")).toMatchObject({ rcode: "NXDOMAIN" });
      expect(lab.nameServer.queries).toEqual(["www.test"]);
      expect(daemon.log.filter(({ level }) => level === "warn" || level === "error")).toEqual([]);
    }));

  it("go before the names that everybody gets, name by name", () =>
    inLab(async (lab) => {
      const records = [
        { name: "host", address: "10.0.0.1" },
        { name: "db", address: "10.0.0.2" },
      ];
      await lab.start({ dns: { servers: [lab.nameServer.address], zones: [{ name: "Docker.Internal", records }] } });
      const guest = await lab.boot(1);
      expect(dataOf(await overUdp(guest, "host.docker.internal"))).toEqual(["A 10.0.0.1"]);
      expect(dataOf(await overUdp(guest, "db.docker.internal"))).toEqual(["A 10.0.0.2"]);
      expect(dataOf(await overUdp(guest, "gateway.docker.internal"))).toEqual([`A ${GATEWAY}`]);
      expect(dataOf(await overUdp(guest, "host.containers.internal"))).toEqual([`A ${HOST}`]);
    }));
});

describe("rules", () => {
  it("say which servers a domain is asked of, the longest one first", () =>
    inLab(async (lab) => {
      const corp = await NameServer.start({ "db.corp.test": ["10.7.7.7"], "www.test": ["10.8.8.8"] });
      lab.defer(() => corp.close());
      await lab.start({
        dns: {
          servers: [lab.nameServer.address],
          rules: [
            { domain: "corp.test", servers: [corp.address] },
            { domain: "public.corp.test", servers: [lab.nameServer.address] },
          ],
        },
      });
      const guest = await lab.boot(1);
      expect(dataOf(await overUdp(guest, "db.corp.test"))).toEqual(["A 10.7.7.7"]);
      expect(dataOf(await overUdp(guest, "www.test"))).toEqual(["A 203.0.113.80"]);
      expect(await overUdp(guest, "missing.corp.test")).toMatchObject({ rcode: "NXDOMAIN" });
      expect(await overUdp(guest, "a.public.corp.test")).toMatchObject({ rcode: "NXDOMAIN" });
      expect(corp.queries).toEqual(["db.corp.test", "missing.corp.test"]);
      expect(lab.nameServer.queries).toEqual(["www.test", "a.public.corp.test"]);
    }));
});

describe("the system's resolver", () => {
  it("leaves other types than addresses to the name servers", () =>
    inLab(async (lab) => {
      const api = join(lab.folder, "api.sock");
      await lab.start({ api, dns: { servers: [lab.nameServer.address], resolver: "system" } });
      const guest = await lab.boot(1);
      expect(await overUdp(guest, "www.test", TYPE.TXT)).toMatchObject({ rcode: "NOERROR" });
      expect(lab.nameServer.queries).toEqual(["www.test"]);
      expect((await hostd("dns", "--api", api)).stdout).toContain("Addresses are looked up by the system's own call");
    }));
});

describe("the hosts file", () => {
  it("goes before the name servers, and is followed", () =>
    inLab(async (lab) => {
      const hosts = join(lab.folder, "hosts");
      await writeFile(hosts, "10.3.3.3 printer.test Printer\n127.0.0.1 localhost dev.test\n10.3.3.4 www.test\n");
      await lab.start({ dns: { servers: [lab.nameServer.address], hosts } });
      const guest = await lab.boot(1);
      expect(dataOf(await overUdp(guest, "printer.test"))).toEqual(["A 10.3.3.3"]);
      expect(dataOf(await overUdp(guest, "printer"))).toEqual(["A 10.3.3.3"]);
      expect(dataOf(await overTcp(guest, "3.3.3.10.in-addr.arpa", TYPE.PTR))).toEqual(["PTR printer.test."]);
      // A loopback address of the host is where the guest finds the host.
      expect(dataOf(await overUdp(guest, "dev.test"))).toEqual([`A ${HOST}`]);
      expect(dataOf(await overUdp(guest, "localhost"))).toEqual(["A 127.0.0.1"]);
      expect(dataOf(await overUdp(guest, "www.test"))).toEqual(["A 10.3.3.4"]);
      expect(lab.nameServer.queries).toEqual([]);

      await replace(hosts, "10.3.3.5 printer.test\n");
      const until = performance.now() + 2000;
      while (dataOf(await overUdp(guest, "printer.test"))[0] !== "A 10.3.3.5") {
        expect(performance.now()).toBeLessThan(until);
        await sleep(50);
      }
      expect(dataOf(await overUdp(guest, "www.test"))).toEqual(["A 203.0.113.80"]);
    }));

  it("is left alone when told so", () =>
    inLab(async (lab) => {
      await lab.start({ dns: { servers: [lab.nameServer.address], hosts: "none" } });
      const guest = await lab.boot(1);
      expect(await overUdp(guest, "some-host.test")).toMatchObject({ rcode: "NXDOMAIN" });
    }));
});

describe("the host's resolv.conf", () => {
  it("gives DHCP its search domains, those of the moment", () =>
    inLab(async (lab) => {
      const resolvConf = join(lab.folder, "resolv.conf");
      await writeFile(resolvConf, "search old.test\n");
      await lab.start({ dns: { servers: [lab.nameServer.address], resolvConf } });
      expect((await lab.boot(1)).lease?.searchDomains).toEqual(["old.test"]);
      await replace(resolvConf, "search new.test corp.test\n");
      const until = performance.now() + 2000;
      for (let number = 2; ; number++) {
        const { lease } = await lab.boot(number);
        if (lease?.searchDomains[0] === "new.test") break;
        expect(performance.now()).toBeLessThan(until);
        await sleep(50);
      }
    }));

  it.skipIf(!canServe)(
    `is followed within two seconds under load, without losing a query (needs port 53 of ${OLD})`,
    () =>
      inLab(async (lab) => {
        const [RATE, BEFORE, AFTER] = [200, 1000, 3500];
        const names = Array.from({ length: (RATE * (BEFORE + AFTER)) / 1000 + 1 }, (_, index) => `n${index}.load.test`);
        const serve = async (host: string, address: string) => {
          const server = await NameServer.start(Object.fromEntries(names.map((name) => [name, [address]])), host, 53);
          lab.defer(() => server.close());
          return server;
        };
        const [, next] = [await serve(OLD, "10.1.1.1"), await serve(NEW, "10.2.2.2")];
        const resolvConf = join(lab.folder, "resolv.conf");
        await writeFile(resolvConf, `nameserver ${OLD}\n`);
        await lab.start({ dns: { resolvConf } });
        const guest = await lab.boot(1);

        const ask = async (name: string) => {
          const sentAt = performance.now();
          const data = dataOf(await overUdp(guest, name, TYPE.A, 6000));
          return { sentAt, answeredAt: performance.now(), data };
        };
        const asked: ReturnType<typeof ask>[] = [];
        const began = performance.now();
        let replacedAt = Number.POSITIVE_INFINITY;
        for (let elapsed = 0; elapsed < BEFORE + AFTER; elapsed = performance.now() - began) {
          if (elapsed >= BEFORE && replacedAt === Number.POSITIVE_INFINITY) {
            await replace(resolvConf, `nameserver ${NEW}\n`);
            replacedAt = performance.now();
          }
          while (asked.length < (elapsed * RATE) / 1000) asked.push(ask(names[asked.length]));
          await sleep(5);
        }
        const answers = await Promise.all(asked);

        expect(answers.length).toBeGreaterThan((0.9 * RATE * (BEFORE + AFTER)) / 1000);
        expect(answers.filter(({ data }) => !["A 10.1.1.1", "A 10.2.2.2"].includes(data.join()))).toEqual([]);
        expect(answers.filter(({ sentAt, data }) => sentAt > replacedAt + 2000 && data[0] !== "A 10.2.2.2")).toEqual(
          [],
        );
        expect(answers.filter(({ answeredAt, data }) => answeredAt < replacedAt && data[0] !== "A 10.1.1.1")).toEqual(
          [],
        );
        expect(next.queries.length).toBeGreaterThan(RATE);
      }),
  );
});

describe("zones given to the control API of a running hostd", () => {
  it("are answered at once, to all VMs or to one, and are gone when they are taken out", () =>
    inLab(async (lab) => {
      const api = join(lab.folder, "api.sock");
      await lab.start({ api, dns: { servers: [lab.nameServer.address] } });
      const guest = await lab.boot(1);
      const zones = async (method: string, query = "", body?: unknown): Promise<unknown> => {
        const outgoing = request({ socketPath: api, path: `/v1/dns/zones${query}`, method });
        outgoing.end(body === undefined ? undefined : JSON.stringify(body));
        const [response] = await once(outgoing, "response");
        return JSON.parse(await text(response));
      };

      await zones("POST", "", { name: "late.test", records: [{ name: "db", address: "10.0.0.7" }] });
      expect(dataOf(await overUdp(guest, "db.late.test"))).toEqual(["A 10.0.0.7"]);
      const added = await zones("POST", "", { name: "late.test", records: [{ name: "db", address: "10.0.0.8" }] });
      expect(added).toMatchObject({ name: "late.test", records: [{ name: "db", address: "10.0.0.8" }] });
      expect(dataOf(await overUdp(guest, "db.late.test"))).toEqual(["A 10.0.0.8"]);
      await zones("POST", "", { name: "late.test", vm: "another", defaultAddress: "10.0.0.9" });
      expect((await overUdp(guest, "missing.late.test")).rcode).toBe("NXDOMAIN");
      const refused = await zones("POST", "", { name: "late.test", records: [{ name: "db", type: "MX" }] });
      expect(refused).toMatchObject({ status: 400, detail: expect.stringContaining("zone.records[0]") });
      expect(await zones("DELETE", "?name=late.test")).toEqual({ removed: "late.test" });
      expect(dataOf(await overUdp(guest, "db.late.test"))).not.toContain("A 10.0.0.8");
    }));
});

describe("hostd dns", () => {
  it("shows what a running hostd answers from where, and how it is doing", () =>
    inLab(async (lab) => {
      const api = join(lab.folder, "api.sock");
      const hosts = join(lab.folder, "hosts");
      await writeFile(hosts, "10.3.3.3 printer.test\n");
      await lab.start({
        api,
        dns: {
          servers: [lab.nameServer.address],
          rules: [{ domain: "corp.test", servers: [lab.nameServer.address] }],
          zones: [{ name: "lab.test", records: [{ name: "db", address: "10.0.0.1" }] }],
          hosts,
        },
        dhcp: { search: ["corp.test"] },
      });
      const guest = await lab.boot(1);
      await overUdp(guest, "db.lab.test");
      await overUdp(guest, "www.test");
      await overUdp(guest, "www.test");

      const { code, stdout, stderr } = await hostd("dns", "--api", api);
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      const flat = stdout.replaceAll(/ +/g, " ");
      for (const part of [
        " lab.test\n db A 10.0.0.1\n docker.internal\n host A 192.168.65.254\n",
        `Hosts file: ${hosts}, 1 name\n`,
        "Search domains: corp.test\n",
        ` corp.test ${lab.nameServer.address} alive `,
        ` (every other name) ${lab.nameServer.address} alive `,
        "Cache: 1 of at most 10000 answers, ",
        " 1 from it, 1 not in it, ",
        ` unix://${lab.socket} 3 1 1 1 0 0 0\n`,
      ]) {
        expect(flat).toContain(part);
      }
      const json = JSON.parse((await hostd("dns", "--api", api, "--json")).stdout);
      expect(json).toMatchObject({
        zones: [{ name: "lab.test" }, { name: "docker.internal" }, { name: "containers.internal" }],
        resolver: "servers",
        upstreams: [
          { domain: "corp.test", from: "the configuration", servers: [{ server: lab.nameServer.address }] },
          { domain: "", from: "the configuration" },
        ],
        search: ["corp.test"],
        cache: { entries: 1, hits: 1, misses: 1, maxEntries: 10_000 },
        hosts: { path: hosts, names: 1 },
        vms: [{ statistics: { queries: 3, answeredLocally: 1, answeredFromCache: 1, forwarded: 1 } }],
      });
    }));

  it("shows how a name is resolved, and why", () =>
    inLab(async (lab) => {
      const api = join(lab.folder, "api.sock");
      const hosts = join(lab.folder, "hosts");
      await writeFile(hosts, "10.3.3.3 printer.test\n");
      const server = lab.nameServer.address;
      const nobody = "127.0.0.1:9";
      const rules = [
        { domain: "corp.test", servers: [server] },
        { domain: "dead.test", servers: [nobody] },
      ];
      await lab.start({ api, dns: { servers: [server], rules, hosts } });
      const query = async (...args: string[]) => {
        const { code, stdout } = await hostd("dns", "query", ...args, "--api", api);
        return [code, stdout.replaceAll(/ +/g, " ")] as const;
      };
      const time = "[0-9.]+ ms";

      // Without a VM there is none whose address vm.docker.internal is.
      expect((await query("vm.docker.internal"))[1]).not.toContain("ANSWER");
      const guest = await lab.boot(1);
      await guest.ping(GATEWAY);
      const vm = `unix://${lab.socket}`;
      expect(await query("vm.docker.internal")).toEqual([
        0,
        `vm.docker.internal A: zone docker.internal\n;; for ${vm}\n;; status: NOERROR, flags: aa rd ra\n\n` +
          ";; ANSWER SECTION:\nvm.docker.internal. 60 IN A 192.168.65.3\n",
      ]);
      expect((await query("printer.test"))[1]).toContain(`printer.test A: hosts file ${hosts}\n`);
      expect(await query("www.test")).toEqual([
        0,
        expect.stringMatching(`^www.test A: ${server} \\(the configuration\\), answered in ${time} by ${server}\n`),
      ]);
      expect((await query("www.test"))[1]).toContain(`www.test A: ${server} (the configuration), from the cache\n`);
      expect(await query("a.corp.test", "TYPE65")).toEqual([
        0,
        expect.stringMatching(
          `^a.corp.test HTTPS: rule corp.test -> ${server} \\(the configuration\\), answered in ${time} by ${server}\n.*\n;; status: NXDOMAIN,`,
        ),
      ]);
      expect(await query("a.dead.test")).toEqual([
        1,
        expect.stringMatching(
          `^a.dead.test A: rule dead.test -> ${nobody} \\(the configuration\\), no answer after ${time}: `,
        ),
      ]);

      const second = await lab.boot(2);
      await second.ping(GATEWAY);
      const refused = await hostd("dns", "query", "vm.docker.internal", "--api", api);
      expect(refused).toMatchObject({
        code: 2,
        stderr: expect.stringContaining(`2 VMs are attached, so one has to be named: ${vm}, ${vm}#2`),
      });
      const [code, text] = await query("vm.docker.internal", "--vm", `${vm}#2`);
      expect(code).toBe(0);
      expect(text).toContain("vm.docker.internal. 60 IN A 192.168.65.4\n");
    }));
});
