import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findCommand } from "../vm/host-packages.ts";
import { HostdProcess, makeFolder } from "../vm/hostd-process.ts";
import { freePort } from "../vm/unbound.ts";
import { type DnsperfOptions, type DnsperfResult, dnsperfCommand, dnsperfNames, parseDnsperf } from "./dnsperf.ts";
import { TapGuest, tapGuestsAreAvailable } from "./tap-guest.ts";
import { whileUndisturbed } from "./undisturbed.ts";

const isAvailable = tapGuestsAreAvailable();
const GATEWAY = "192.168.65.1";
const DOMAIN = "load.example";

describe.skipIf(!isAvailable)("dnsperf from a guest", () => {
  const folder = isAvailable ? makeFolder("dnsperf") : "";
  let files = 0;
  let server: ChildProcess;
  let hostd: HostdProcess;
  let guest: TapGuest;

  beforeAll(async () => {
    const port = await freePort();
    // Every name of the domain has an address, and may be kept for a minute.
    const dnsmasq = ["--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--cache-size=0"];
    const address = [`--address=/${DOMAIN}/192.0.2.7`, "--local-ttl=60", "--bind-interfaces"];
    const place = ["--listen-address=127.0.0.1", `--port=${port}`, "--dns-forward-max=10000"];
    server = spawn(findCommand("dnsmasq") ?? "dnsmasq", [...dnsmasq, ...address, ...place], { stdio: "ignore" });
    const socket = join(folder, "vm.sock");
    hostd = await HostdProcess.start("dnsperf", [
      ...["--qemu", `unix://${socket}`, "--state", join(folder, "state")],
      ...["--dns-server", `127.0.0.1:${port}`, "--log-level", "info"],
    ]);
    guest = await TapGuest.create({ socket, name: "dnsperf" });
    chmodSync(folder, 0o755);
    await serverAnswers();
  });

  afterAll(async () => {
    try {
      await guest?.destroy();
    } finally {
      await hostd?.stop();
      server?.kill();
      rmSync(folder, { recursive: true, force: true });
    }
  });

  /** A file of names that were not asked for yet, which every user may read. */
  function newNames(prefix: string, count: number): string {
    const place = `${prefix}${++files}-`;
    const file = join(folder, `${place}names`);
    writeFileSync(file, dnsperfNames(place, DOMAIN, count));
    chmodSync(file, 0o644);
    return file;
  }

  async function run(options: Omit<DnsperfOptions, "server">): Promise<DnsperfResult> {
    const { stdout } = await guest.check(dnsperfCommand({ server: GATEWAY, ...options }).join(" "));
    const result = parseDnsperf(stdout);
    const { sent, lost, perSecond, slowest } = result;
    process.stderr.write(
      `tap: dnsperf: ${sent} queries, ${perSecond.toFixed(0)}/s, ${lost} lost, slowest ${slowest} ms\n`,
    );
    return result;
  }

  /** Waits until the name server answers, which it does soon after its start. */
  async function serverAnswers(): Promise<void> {
    for (let tries = 0; tries < 100; tries++) {
      const { stdout } = await guest.exec(`dig +short +tries=1 +time=1 first.${DOMAIN}`);
      if (stdout.trim() === "192.0.2.7") return;
      await sleep(50);
    }
    throw new Error(`the name server does not answer:\n${hostd.log}`);
  }

  it("gets at least 20,000 kept answers a second, and loses none", async () => {
    const { sent, lost, perSecond, codes } = await run({ names: newNames("kept", 100), seconds: 3, outstanding: 100 });
    expect(lost).toBe(0);
    expect([...codes.keys()]).toEqual(["NOERROR"]);
    expect(codes.get("NOERROR")).toBe(sent);
    expect(perSecond).toBeGreaterThanOrEqual(20_000);
  });

  it("waits at most 50 ms for any of 5,000 new names a second", async () => {
    const ask = async () => {
      const names = newNames("fresh", 100_000);
      const result = await run({ names, seconds: 4, outstanding: 1000, perSecond: 5000 });
      expect(result.lost).toBe(0);
      expect(result.codes.get("NOERROR")).toBe(result.sent);
      expect(result.sent).toBeGreaterThan(15_000);
      return result;
    };
    await whileUndisturbed(ask, ({ slowest }) => {
      expect(slowest).toBeLessThanOrEqual(50);
    });
  });
});
