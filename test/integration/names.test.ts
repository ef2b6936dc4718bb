import { describe, expect, it } from "vitest";
import { type DnsAnswer, decodeAnswer, encodeQuery, NXDOMAIN, withLength } from "./support/dns.ts";
import { GATEWAY, HOST, inLab, type Lab } from "./support/lab.ts";

type Guest = Awaited<ReturnType<Lab["boot"]>>;

async function overUdp(guest: Guest, name: string): Promise<DnsAnswer> {
  const socket = guest.udp();
  socket.send(GATEWAY, 53, encodeQuery(0x1234, name));
  const answer = decodeAnswer((await socket.receive()).data);
  socket.close();
  expect(answer.id).toBe(0x1234);
  return answer;
}

/** Asks for all names at once on one connection; the answers may come in any order. */
async function overTcp(guest: Guest, ...names: string[]): Promise<DnsAnswer[]> {
  const stream = await guest.connect(GATEWAY, 53);
  stream.end(Buffer.concat(names.map((name, index) => withLength(encodeQuery(index, name)))));
  let rest = Buffer.concat(await stream.toArray());
  const answers: DnsAnswer[] = [];
  for (; rest.length > 0; rest = rest.subarray(2 + rest.readUInt16BE(0))) {
    const answer = decodeAnswer(rest.subarray(2, 2 + rest.readUInt16BE(0)));
    answers[answer.id] = answer;
  }
  return answers;
}

describe("the name server of the gateway", () => {
  it("knows the host, the gateway and the VM, over UDP and TCP", () =>
    inLab(async (lab) => {
      await lab.start();
      const guest = await lab.boot(1);
      // The VM is known by the first packet from its address.
      await guest.ping(GATEWAY);
      const names = ["host.docker.internal", "gateway.docker.internal", "vm.docker.internal"];
      const addresses = [[HOST], [GATEWAY], ["192.168.65.3"]];
      const udp = await Promise.all(names.map((name) => overUdp(guest, name)));
      expect(udp.map((answer) => answer.addresses)).toEqual(addresses);
      const tcp = await overTcp(guest, ...names);
      expect(tcp.map((answer) => answer.addresses)).toEqual(addresses);
      expect([...udp, ...tcp].every(({ rcode, isTruncated }) => rcode === 0 && !isTruncated)).toBe(true);
      expect(lab.nameServer.queries).toEqual([]);
    }));

  it("is the one that the lease names", () =>
    inLab(async (lab) => {
      await lab.start();
      const guest = await lab.boot(1);
      expect(await guest.resolve("host.docker.internal")).toEqual([HOST]);
    }));

  it("asks the host's name server for every other name", () =>
    inLab(async (lab) => {
      await lab.start();
      const guest = await lab.boot(1);
      expect(await overUdp(guest, "www.test")).toMatchObject({ rcode: 0, addresses: ["203.0.113.80"] });
      expect(await overTcp(guest, "www.test")).toMatchObject([{ rcode: 0, addresses: ["203.0.113.80"] }]);
      // What it said is kept.
      expect(lab.nameServer.queries).toEqual(["www.test"]);
    }));

  it("passes on that a name does not exist, and says so itself for names of its own", () =>
    inLab(async (lab) => {
      await lab.start();
      const guest = await lab.boot(1);
      expect(await overUdp(guest, "missing.test")).toMatchObject({ rcode: NXDOMAIN, addresses: [] });
      expect(await overTcp(guest, "missing.test")).toMatchObject([{ rcode: NXDOMAIN, addresses: [] }]);
      expect(lab.nameServer.queries).toHaveLength(2);
      expect(await overUdp(guest, "missing.docker.internal")).toMatchObject({ rcode: NXDOMAIN });
      expect(lab.nameServer.queries).toHaveLength(2);
      await expect(guest.resolve("missing.test")).rejects.toThrow("NXDOMAIN");
    }));

  it("says over UDP that an answer is too long, and gives it over TCP", () =>
    inLab(async (lab) => {
      await lab.start();
      const guest = await lab.boot(1);
      expect(await overUdp(guest, "large.test")).toMatchObject({ isTruncated: true });
      const [answer] = await overTcp(guest, "large.test");
      expect(answer.isTruncated).toBe(false);
      expect(answer.addresses).toHaveLength(100);
    }));

  it("answers many queries at once", () =>
    inLab(async (lab) => {
      await lab.start();
      const guest = await lab.boot(1);
      const answers = await Promise.all(Array.from({ length: 100 }, () => overUdp(guest, "www.test")));
      expect(answers.every(({ addresses }) => addresses[0] === "203.0.113.80")).toBe(true);
      const tcp = await overTcp(guest, ...Array<string>(100).fill("www.test"));
      expect(tcp.filter(({ addresses }) => addresses[0] === "203.0.113.80")).toHaveLength(100);
    }));

  it("knows the zones of the configuration, which go before its own", () =>
    inLab(async (lab) => {
      const records = [{ name: "db", address: "10.1.2.3" }];
      await lab.start({
        dns: { servers: [lab.nameServer.address], zones: [{ name: "corp.test", records }] },
      });
      const guest = await lab.boot(1);
      expect(await overUdp(guest, "db.corp.test")).toMatchObject({ addresses: ["10.1.2.3"] });
      expect(await overUdp(guest, "other.corp.test")).toMatchObject({ rcode: NXDOMAIN });
      expect(lab.nameServer.queries).toEqual([]);
    }));
});
