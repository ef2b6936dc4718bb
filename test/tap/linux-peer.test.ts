import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { HostdProcess, makeFolder } from "../vm/hostd-process.ts";
import { TapGuest, tapGuestsAreAvailable } from "./tap-guest.ts";
import { Traffic } from "./traffic.ts";

const isAvailable = tapGuestsAreAvailable();
const GATEWAY = "192.168.65.1";
const MB = 1_000_000;

describe.skipIf(!isAvailable)("Linux's own TCP as the guest's", () => {
  const folder = isAvailable ? makeFolder("tap") : "";
  let traffic: Traffic;

  beforeAll(async () => {
    traffic = await Traffic.start();
  });

  afterAll(async () => {
    await traffic?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Prints what a transfer of so many bytes has reached, for who reads the tests' output. */
  function print(what: string, bytes: number, seconds: number): void {
    const rate = ((bytes * 8) / seconds / 1e9).toFixed(2);
    process.stderr.write(`tap: ${what}: ${bytes / MB} MB in ${seconds.toFixed(2)} s, ${rate} Gbit/s\n`);
  }

  describe.each([1500, 65520])("with an MTU of %i", (mtu) => {
    const socket = join(folder, `mtu-${mtu}.sock`);
    let hostd: HostdProcess;
    let guest: TapGuest;
    let idleDescriptors = 0;
    const descriptors = () => readdirSync(`/proc/${hostd.pid}/fd`).length;

    beforeAll(async () => {
      const args = ["--qemu", `unix://${socket}`, "--state", join(folder, `mtu-${mtu}`), "--mtu", String(mtu)];
      hostd = await HostdProcess.start(`tap-${mtu}`, args);
      guest = await TapGuest.create({ socket, name: `mtu${mtu}` });
      idleDescriptors = descriptors();
    });

    afterAll(async () => {
      try {
        await guest?.destroy();
      } finally {
        await hostd?.stop();
      }
    });

    it("gets a lease with the MTU, a route and a name server", async () => {
      const { stdout } = await guest.check("ip -4 address show eth0; ip route; cat /etc/resolv.conf");
      expect(stdout).toMatch(new RegExp(`\\bmtu ${mtu}\\b`));
      expect(stdout).toContain("inet 192.168.65.3/24");
      expect(stdout).toContain(`default via ${GATEWAY}`);
      expect(stdout).toContain(`nameserver ${GATEWAY}`);
      const { stdout: hosts } = await guest.check("getent hosts host.docker.internal");
      expect(hosts).toMatch(/^192\.168\.65\.254\s/);
    });

    it("pings the gateway, with small packets and with the largest that needs no fragments", async () => {
      const { stdout } = await guest.check(`busybox ping -c3 -i0.1 ${GATEWAY}`);
      expect(stdout).toContain("3 packets received");
      const largest = await guest.check(`busybox ping -c1 -s ${mtu - 28} ${GATEWAY}`);
      expect(largest.stdout).toContain("1 packets received");
    });

    it("carries 1 GB down", async () => {
      const { seconds, failures } = await traffic.run(guest, [{ up: 0, down: 1000 * MB }]);
      expect(failures).toEqual([]);
      print(`MTU ${mtu}, down`, 1000 * MB, seconds);
    });

    it("carries 1 GB up", async () => {
      const { seconds, failures } = await traffic.run(guest, [{ up: 1000 * MB, down: 0 }]);
      expect(failures).toEqual([]);
      print(`MTU ${mtu}, up`, 1000 * MB, seconds);
    });

    it("carries 200 MB each way at once on one connection", async () => {
      const { seconds, failures } = await traffic.run(guest, [{ up: 200 * MB, down: 200 * MB }]);
      expect(failures).toEqual([]);
      print(`MTU ${mtu}, both ways at once`, 400 * MB, seconds);
    });

    it.each(["client", "server"] as const)(
      "keeps the connection open for the other end when the %s has ended",
      async (first) => {
        const { failures } = await traffic.run(guest, [{ up: 5 * MB, down: 5 * MB, first }]);
        expect(failures).toEqual([]);
      },
    );

    it("waits with a closed window while the server does not read, and goes on when it does", async () => {
      const plan = { up: 100 * MB, down: 0, serverPause: { afterBytes: 1 * MB, ms: 3000 } };
      const transfer = traffic.run(guest, [plan]);
      // The kernel's own word for a sender that probes a closed window.
      const persists = async () => (await guest.check("ss -tino")).stdout.includes("timer:(persist");
      await expect.poll(persists, { timeout: 2900, interval: 100 }).toBe(true);
      const { seconds, failures } = await transfer;
      expect(failures).toEqual([]);
      expect(seconds).toBeGreaterThan(3);
      // The rest takes a second or two. A lost window update would cost a whole probe interval, and grow with each.
      expect(seconds).toBeLessThan(8);
    });

    it("waits while the guest does not read, and goes on when it does", async () => {
      const before = await counters(guest);
      const plan = { up: 0, down: 100 * MB, clientPause: { afterBytes: 1 * MB, ms: 3000 } };
      const transfer = traffic.run(guest, [plan]);
      const closures = async () => (await counters(guest)).TCPToZeroWindowAdv;
      await expect.poll(closures, { timeout: 2900, interval: 100 }).toBeGreaterThan(before.TCPToZeroWindowAdv);
      const { seconds, failures } = await transfer;
      expect(failures).toEqual([]);
      // hostd has probed the closed window now and then, and otherwise kept silent.
      const after = await counters(guest);
      const probes = after.TCPZeroWindowDrop - before.TCPZeroWindowDrop + (after.BeyondWindow - before.BeyondWindow);
      expect(probes).toBeGreaterThan(0);
      expect(probes).toBeLessThan(10);
      expect(seconds).toBeGreaterThan(3);
      expect(seconds).toBeLessThan(8);
    });

    it("had next to nothing sent twice by either end", async () => {
      const seen = await counters(guest);
      process.stderr.write(`tap: MTU ${mtu}, the guest's counters: ${JSON.stringify(seen)}\n`);
      expect(seen.RetransSegs / seen.OutSegs).toBeLessThan(0.001);
      expect(seen.DelayedACKLost / seen.InSegs).toBeLessThan(0.001);
    });

    it("carries 1 MB each way on 200 connections at once", async () => {
      const { seconds, failures } = await traffic.run(guest, new Array(200).fill({ up: MB, down: MB }));
      expect(failures).toEqual([]);
      print(`MTU ${mtu}, 200 connections`, 400 * MB, seconds);
    });

    it("loses none of 2000 connections one after another, and keeps no descriptor of them", async () => {
      const plans = new Array(2000).fill({ up: 100, down: 1000 });
      const { seconds, failures } = await traffic.run(guest, plans, { parallel: 1 });
      expect(failures).toEqual([]);
      // At the start a socket to a name server was open, which is gone by now.
      await expect.poll(descriptors, { timeout: 5000 }).toBeLessThanOrEqual(idleDescriptors);
      process.stderr.write(`tap: MTU ${mtu}: ${Math.round(2000 / seconds)} connections per second\n`);
    });

    it("had nothing damaged, reordered or dropped", async () => {
      const seen = await counters(guest);
      process.stderr.write(`tap: MTU ${mtu}, the guest's counters: ${JSON.stringify(seen)}\n`);
      expect(seen).toMatchObject({ InErrs: 0, InCsumErrors: 0, TCPOFOQueue: 0, PAWSEstab: 0 });
      const [link] = JSON.parse((await guest.check("ip -json -stats link show eth0")).stdout);
      expect(link.stats64.tx).toMatchObject({ errors: 0, dropped: 0 });
      expect(link.stats64.rx).toMatchObject({ errors: 0, dropped: 0 });
      const attention = hostd.log.split("\n").filter((line) => /"level":"(warn|error|fatal)"/.test(line));
      expect(attention).toEqual([]);
    });
  });
});

/** What the guest's kernel has counted of TCP: /proc/net/snmp and /proc/net/netstat. */
async function counters(guest: TapGuest) {
  const { stdout } = await guest.check("cat /proc/net/snmp /proc/net/netstat");
  const lines = stdout.split("\n").map((line) => line.split(" "));
  const count = (group: string, name: string): number => {
    const [names = [], values = []] = lines.filter(([first]) => first === `${group}:`);
    // Counters come with kernels.
    return Number(values[names.indexOf(name)] ?? 0);
  };
  return {
    OutSegs: count("Tcp", "OutSegs"),
    RetransSegs: count("Tcp", "RetransSegs"),
    InSegs: count("Tcp", "InSegs"),
    /** Segments that came although all of their data had been received. */
    DelayedACKLost: count("TcpExt", "DelayedACKLost"),
    InErrs: count("Tcp", "InErrs"),
    InCsumErrors: count("Tcp", "InCsumErrors"),
    TCPOFOQueue: count("TcpExt", "TCPOFOQueue"),
    /** Segments dropped as old by their timestamps. */
    PAWSEstab: count("TcpExt", "PAWSEstab"),
    TCPTimeouts: count("TcpExt", "TCPTimeouts"),
    TCPWinProbe: count("TcpExt", "TCPWinProbe"),
    TCPToZeroWindowAdv: count("TcpExt", "TCPToZeroWindowAdv"),
    /** Segments that came while the window was closed; newer kernels count them as those beyond a window. */
    TCPZeroWindowDrop: count("TcpExt", "TCPZeroWindowDrop"),
    BeyondWindow: count("TcpExt", "BeyondWindow"),
    EstabResets: count("Tcp", "EstabResets"),
    OutRsts: count("Tcp", "OutRsts"),
  };
}
