import { chmodSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DHCP_CLIENTS, MAKE_BUSYBOX_CONTAINER_IMAGE, START_DOCKER } from "./guest-commands.ts";
import { ARTIFACTS, HostdProcess, makeFolder } from "./hostd-process.ts";
import { ensureVm, imageOf } from "./image.ts";
import { Unbound } from "./unbound.ts";
import { CONTAINER_PROCESSORS, Vm } from "./vm.ts";

const availability = await ensureVm();
const HOST = "192.168.65.254";
const ZONE = "lab.example";
const LONG_TEXT = "text ".repeat(100);

/** One record of each type that names are commonly asked for, and one of a type that has no name. */
const RECORDS: readonly [name: string, type: string, data: string][] = [
  ["a", "A", "192.0.2.10"],
  ["aaaa", "AAAA", "2001:db8::10"],
  ["alias", "CNAME", `a.${ZONE}.`],
  ["text", "TXT", `"${LONG_TEXT.slice(0, 250)}" "${LONG_TEXT.slice(250)}"`],
  ["mail", "MX", `10 a.${ZONE}.`],
  ["_http._tcp", "SRV", `1 2 8080 a.${ZONE}.`],
  ["caa", "CAA", '0 issue "ca.example"'],
  ["https", "HTTPS", `1 . alpn="h2,h3" ipv4hint=192.0.2.10`],
  ["svcb", "SVCB", `1 a.${ZONE}. port=8443`],
  ["naptr", "NAPTR", `10 20 "s" "SIP+D2U" "" _sip._udp.${ZONE}.`],
  ["ds", "DS", "12345 13 2 49fd46e6c4b45c55d4ac49fd46e6c4b45c55d4ac49fd46e6c4b45c55d4ac49fd"],
  ["key", "DNSKEY", "257 3 13 bm90IGEga2V5IGJ1dCAzMiBieXRlcyBsb25nIHRleHQ="],
  ["signature", "RRSIG", `A 13 3 300 20300101000000 20200101000000 12345 ${ZONE}. bm90IGEgc2lnbmF0dXJl`],
  ["other", "TYPE65280", String.raw`\# 4 c0000207`],
  ["10", "PTR", `a.${ZONE}.`],
];

describe.skipIf(!availability.available)("names in a VM", () => {
  const folder = makeFolder("dns");
  const socket = join(folder, "run", "vm.sock");
  let unbound: Unbound;
  let hostd: HostdProcess;
  let vm: Vm;

  beforeAll(async () => {
    const records = RECORDS.map(([name, type, data]) => `${name}.${ZONE}. 300 IN ${type} ${data}`);
    unbound = await Unbound.start(`${ZONE}.`, records);
    const config = join(folder, "hostd.yaml");
    writeFileSync(
      config,
      `dns:
  servers: [127.0.0.1:${unbound.port}]
  zones:
    - name: web
      records: [{name: "@", address: 192.0.2.66}]
    - name: ours.test
      records:
        - {name: a, address: 192.0.2.20}
        - {name: aaaa, address: "2001:db8::20"}
        - {name: alias, type: CNAME, target: a.ours.test}
        - {name: text, type: TXT, text: "${LONG_TEXT}"}
        - {name: mail, type: MX, preference: 5, exchange: a.ours.test}
        - {name: _http._tcp, type: SRV, priority: 1, weight: 2, port: 80, target: a.ours.test}
`,
    );
    chmodSync(config, 0o644);
    const args = ["--config", config, "--qemu", `unix://${socket}`, "--state", join(folder, "state")];
    hostd = await HostdProcess.start("dns", args);
    const netdev = `stream,id=n0,addr.type=unix,addr.path=${socket}`;
    vm = await Vm.boot({
      ...{ image: imageOf(availability), netdev, processors: CONTAINER_PROCESSORS },
      ...{ name: "dns", artifacts: ARTIFACTS },
    });
    await vm.check(DHCP_CLIENTS.udhcpc);
  });

  afterAll(async () => {
    await vm?.kill();
    await hostd?.stop();
    unbound?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  describe.each(["+notcp", "+tcp"])("asked with dig %s", (transport) => {
    it.each(["+edns", "+noedns"])("and %s answer every type as the host's server does", async (edns) => {
      const options = `${transport} ${edns} +noall +answer +comments +nottl`;
      const script = RECORDS.map(([name, type]) => `dig ${options} ${name}.${ZONE} ${type}; echo ==`);
      const { stdout } = await vm.check(script.join("\n"), { timeoutMs: 60_000 });
      const answers = stdout.split("==\n");
      for (const [index, [name, type]] of RECORDS.entries()) {
        const direct = records(await unbound.dig(`${options} ${name}.${ZONE} ${type}`));
        expect(direct, `${name} ${type} at the server`).toHaveLength(1);
        expect(records(answers[index]), `${name} ${type}`).toEqual(direct);
        expect(answers[index]).toContain("status: NOERROR");
      }
    });

    it("tell a missing name from a missing type", async () => {
      const ask = async (what: string) => (await vm.check(`dig ${transport} ${what}`)).stdout;
      expect(await ask(`missing.${ZONE}`)).toContain("status: NXDOMAIN");
      expect(await ask(`a.${ZONE} AAAA`)).toMatch(/status: NOERROR.*ANSWER: 0/s);
      expect(await ask("missing.ours.test")).toContain("status: NXDOMAIN");
      expect(await ask("a.ours.test AAAA")).toMatch(/status: NOERROR.*ANSWER: 0, AUTHORITY: 1/s);
    });

    it("answer the types of a zone of the configuration", async () => {
      const ask = async (what: string) => (await vm.check(`dig +short ${transport} ${what}`)).stdout;
      expect(await ask("a.ours.test")).toBe("192.0.2.20\n");
      expect(await ask("aaaa.ours.test AAAA")).toBe("2001:db8::20\n");
      expect(await ask("alias.ours.test A")).toBe("a.ours.test.\n192.0.2.20\n");
      expect((await ask("text.ours.test TXT")).replaceAll('" "', "").trim()).toBe(`"${LONG_TEXT}"`);
      expect(await ask("mail.ours.test MX")).toBe("5 a.ours.test.\n");
      expect(await ask("_http._tcp.ours.test SRV")).toBe("1 2 80 a.ours.test.\n");
      expect(await ask("-x 192.0.2.20")).toBe("a.ours.test.\n");
      expect(await ask(`-x ${HOST}`)).toContain("host.docker.internal.\n");
    });
  });

  it("that are too long for 512 bytes come by TCP, as resolvers ask for them", async () => {
    const plain = (await vm.check(`dig +noedns +notcp +ignore text.${ZONE} TXT`)).stdout;
    expect(plain).toMatch(/flags:[^;]* tc/);
    expect((await vm.check(`dig +noedns +short text.${ZONE} TXT`)).stdout).toContain("text text");
  });

  it("are found by containers on docker0 and on a network of their own, whose own names win", async () => {
    await vm.check(START_DOCKER, { timeoutMs: 120_000 });
    await vm.check(MAKE_BUSYBOX_CONTAINER_IMAGE, { timeoutMs: 60_000 });
    await vm.check("docker network create lab && docker run -d --name web --network lab busybox sleep 1000");
    const address = '{{(index .NetworkSettings.Networks "lab").IPAddress}}';
    const web = (await vm.check(`docker inspect -f '${address}' web`)).stdout.trim();
    const names = ["host.docker.internal", `a.${ZONE}`, "web"];
    // Starting a container takes seconds under emulation.
    const lookUp = async (network: string) => {
      const script = names.map((name) => `nslookup -type=a ${name}; echo ==`).join("; ");
      const command = `docker run --rm --network ${network} busybox sh -c '${script}'`;
      const { stdout } = await vm.check(command, { timeoutMs: 120_000 });
      return stdout.split("==\n").map((answer) => /Name:.*\nAddress: (.*)\n/.exec(answer)?.[1]);
    };
    // Our zone of that name is what a container on docker0 sees, where dockerd has no names.
    expect(await lookUp("bridge")).toEqual([HOST, "192.0.2.10", "192.0.2.66", undefined]);
    expect(await lookUp("lab")).toEqual([HOST, "192.0.2.10", web, undefined]);
  });
});

/** The records of an answer section: the name, class, type and data of each. */
function records(output: string): string[] {
  return output
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith(";"))
    .map((line) => line.replaceAll(/\s+/g, " "));
}
