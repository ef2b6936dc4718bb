import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { buffer, text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { readPcap } from "../../packages/frontends/src/testing/read-pcap.ts";
import { ensureTcpdump, findCommand } from "../vm/host-packages.ts";
import { download, fileHash, serveFiles } from "./support/host-servers.ts";
import { HOSTD_COMMAND, HostdCommand, SLOW_AFTER_WRITING } from "./support/hostd-command.ts";
import { GATEWAY, HOST, inLab, type Lab } from "./support/lab.ts";
import { readCapture } from "./support/tshark.ts";

const missing = ensureTcpdump();

const apiOf = (lab: Lab) => `unix://${join(lab.folder, "api.sock")}`;

function startCapture(lab: Lab, ...args: string[]): HostdCommand {
  return new HostdCommand(lab, ["capture", "--api", apiOf(lab), ...args]);
}

/** How many whole packets are in a file that is being written. */
async function recordsSoFar(file: string): Promise<number> {
  const bytes = await readFile(file);
  try {
    return readPcap(bytes).length;
  } catch {
    // Its head, or its last record, is not there yet.
    return 0;
  }
}

/** The protocols of IPv4 packets, the type of others. */
function kindsOf(file: Uint8Array): number[] {
  return readPcap(file).map(({ data }) => {
    const etherType = (data[12] << 8) | data[13];
    return etherType === 0x0800 ? data[23] : etherType;
  });
}

describe("hostd capture", () => {
  it("writes the frames of a VM that attaches later to a file for this user alone, until SIGINT", () =>
    inLab(async (lab) => {
      await lab.start({ api: apiOf(lab) });
      const file = lab.nextCapture();
      const capture = startCapture(lab, "-w", file);
      await capture.says("capturing every frame of all VMs");
      const before = Date.now();
      const guest = await lab.boot(1);
      await guest.ping(GATEWAY);
      await guest.ping(HOST);
      capture.child.kill("SIGINT");
      const { code, stderr } = await capture.outcome();
      expect(code).toBe(0);
      expect((await stat(file)).mode & 0o777).toBe(0o600);
      const records = readPcap(await readFile(file));
      expect(stderr).toMatch(new RegExp(`hostd: ${records.length} packets captured\n$`));
      for (const { time } of records) {
        expect(time / 1000).toBeGreaterThanOrEqual(before - 1);
        expect(time / 1000).toBeLessThanOrEqual(Date.now() + 1);
      }
      const summary = await readCapture(file);
      expect(summary.bad).toEqual([]);
      expect(await summary.count("icmp")).toBe(4);
      expect(await summary.count("dhcp")).toBe(4);
    }));

  it.skipIf(missing !== undefined && process.env.CI !== "true")("can be read by tcpdump while it goes on", () =>
    inLab(async (lab) => {
      await lab.start({ api: apiOf(lab) });
      const guest = await lab.boot(1);
      const capture = startCapture(lab, "--filter", "icmp and host 192.168.65.1", "-w", "-");
      const tcpdump = spawn(findCommand("tcpdump") ?? "tcpdump", ["-n", "-l", "-r", "-"], {
        stdio: [capture.child.stdout, "pipe", "ignore"],
      });
      lab.defer(() => tcpdump.kill("SIGKILL"));
      capture.child.stdout.destroy();
      await capture.says("capturing");
      let seen = "";
      tcpdump.stdout.setEncoding("utf8").on("data", (piece) => {
        seen += piece;
      });
      await guest.ping(HOST);
      await guest.ping(GATEWAY);
      // The packets are there while the capture goes on.
      while (!seen.includes("192.168.65.1 > ")) await once(tcpdump.stdout, "data");
      capture.child.kill("SIGTERM");
      expect(await capture.outcome()).toMatchObject({ code: 0 });
      await once(tcpdump, "close");
      const lines = seen.trim().split("\n");
      expect(lines).toHaveLength(2);
      expect(lines[0]).toMatch(/ IP 192\.168\.65\.\d+ > 192\.168\.65\.1: ICMP echo request,/);
      expect(lines[1]).toMatch(/ IP 192\.168\.65\.1 > 192\.168\.65\.\d+: ICMP echo reply,/);
    }),
  );

  it("ends after so many packets, of which it keeps so many bytes", () =>
    inLab(async (lab) => {
      await lab.start({ api: apiOf(lab) });
      const guest = await lab.boot(1);
      const capture = startCapture(lab, "--count", "3", "--snaplen", "20", "--filter", "icmp");
      const output = buffer(capture.child.stdout);
      await capture.says("capturing");
      for (let count = 0; count < 4; count++) await guest.ping(HOST);
      const { code, stderr } = await capture.outcome();
      expect(code).toBe(0);
      expect(stderr).toContain("hostd: 3 packets captured\n");
      const records = readPcap(await output);
      expect(records.map(({ data }) => data.length)).toEqual([20, 20, 20]);
    }));

  it("takes several at once, each with its own filter and VM, beside the one of the configuration", () =>
    inLab(async (lab) => {
      const daemon = await lab.start({ api: apiOf(lab) });
      const [one, two] = [await lab.boot(1), await lab.boot(2)];
      const [first] = daemon.control.vms();
      const captures = [
        startCapture(lab, "--filter", "icmp"),
        startCapture(lab, "--vm", first.name, "--filter", "icmp"),
        startCapture(lab, "--filter", "not icmp"),
      ];
      const outputs = captures.map(({ child }) => buffer(child.stdout));
      await Promise.all(captures.map((capture) => capture.says("capturing")));
      expect(daemon.control.captures.list()).toHaveLength(3);
      await one.ping(HOST);
      await two.ping(HOST);
      await two.ping(HOST);
      for (const { child } of captures) child.kill("SIGINT");
      const outcomes = await Promise.all(captures.map((capture) => capture.outcome()));
      for (const outcome of outcomes) expect(outcome).toMatchObject({ code: 0 });
      const [all, ofFirst, others] = (await Promise.all(outputs)).map(kindsOf);
      expect(all).toEqual(Array(6).fill(1));
      expect(ofFirst).toEqual([1, 1]);
      expect(others).not.toContain(1);
      expect(daemon.control.captures.list()).toEqual([]);
      // That of the configuration goes on.
      await one.ping(HOST);
      await daemon.close();
      expect(await (await readCapture(daemon.capture)).count("icmp")).toBe(8);
    }));

  it("ends in order at a signal that comes as soon as it says that it captures", () =>
    inLab(async (lab) => {
      await lab.start({ api: apiOf(lab) });
      const capture = new HostdCommand(lab, ["capture", "--api", apiOf(lab)], SLOW_AFTER_WRITING);
      const output = buffer(capture.child.stdout);
      await capture.says("capturing");
      capture.child.kill("SIGINT");
      expect(await capture.outcome()).toMatchObject({
        code: 0,
        stderr: expect.stringMatching(/0 packets captured\n$/),
      });
      expect(readPcap(await output)).toEqual([]);
    }));

  it("never slows the VM: what a reader does not take is dropped, and counted at the end", () =>
    inLab(async (lab) => {
      const daemon = await lab.start({ api: apiOf(lab) });
      const files = await serveFiles(lab);
      const guest = await lab.boot(1);
      const capture = startCapture(lab, "-w", "-");
      await capture.says("capturing");
      // Nobody reads its output.
      const size = 40_000_000;
      expect(await download(guest, HOST, files.port, size)).toBe(fileHash(size));
      const [live] = daemon.control.captures.list();
      expect(live.dropped).toBeGreaterThan(1000);
      expect(live.waiting).toBeLessThanOrEqual(4 * 1024 * 1024);
      capture.child.kill("SIGINT");
      const output = await buffer(capture.child.stdout);
      const { code, stderr } = await capture.outcome();
      expect(code).toBe(0);
      expect(readPcap(output)).toHaveLength(live.packets);
      expect(stderr).toContain(
        `hostd: ${live.packets} packets captured\n` +
          `hostd: ${live.dropped} packets dropped, because they were not written fast enough\n`,
      );
      const told = `a capture has ended: ${live.packets} packets captured, ${live.dropped} packets dropped`;
      while (!daemon.log.some(({ msg }) => msg === told)) await sleep(5);
      expect(daemon.log.find(({ msg }) => msg === told)).toMatchObject({ level: "warn" });
    }));

  it("ends quietly when its reader has seen enough", () =>
    inLab(async (lab) => {
      const daemon = await lab.start({ api: apiOf(lab) });
      const guest = await lab.boot(1);
      const capture = startCapture(lab, "-w", "-");
      await capture.says("capturing");
      await once(capture.child.stdout, "readable");
      capture.child.stdout.destroy();
      let isOver = false;
      const outcome = capture.outcome().finally(() => {
        isOver = true;
      });
      while (!isOver) await guest.ping(HOST);
      expect(await outcome).toMatchObject({ code: 0, stderr: expect.stringMatching(/^hostd: capturing .*\n$/) });
      while (daemon.control.captures.list().length > 0) await sleep(5);
    }));

  it("ends at the second signal although its reader has stopped", () =>
    inLab(async (lab) => {
      const daemon = await lab.start({ api: apiOf(lab) });
      const files = await serveFiles(lab);
      const guest = await lab.boot(1);
      const capture = startCapture(lab, "-w", "-");
      await capture.says("capturing");
      await download(guest, HOST, files.port, 5_000_000);
      capture.child.kill("SIGINT");
      // The first has come when hostd has ended the capture.
      while (daemon.control.captures.list().length > 0) await sleep(5);
      capture.child.kill("SIGINT");
      capture.child.stdout.resume();
      expect(await capture.outcome()).toMatchObject({ code: 130 });
    }));

  it("says when hostd ends, and keeps what it has", () =>
    inLab(async (lab) => {
      const daemon = await lab.start({ api: apiOf(lab) });
      const guest = await lab.boot(1);
      const file = lab.nextCapture();
      const capture = startCapture(lab, "-w", file);
      await capture.says("capturing");
      await guest.ping(HOST);
      while ((await recordsSoFar(file)) < 2) await sleep(5);
      await daemon.close();
      const { code, stderr } = await capture.outcome();
      expect(code).toBe(1);
      expect(stderr).toMatch(/hostd: hostd is gone \(.*\): \d+ packets captured\n$/);
      expect(readPcap(await readFile(file)).length).toBeGreaterThanOrEqual(2);
    }));

  it.runIf(existsSync("/dev/full"))("says when the disk is full", () =>
    inLab(async (lab) => {
      const daemon = await lab.start({ api: apiOf(lab) });
      const { code, stderr } = await startCapture(lab, "-w", "/dev/full").outcome();
      expect({ code, stderr }).toMatchObject({
        code: 1,
        stderr: expect.stringContaining("cannot write /dev/full: ENOSPC"),
      });
      while (daemon.control.captures.list().length > 0) await sleep(5);
    }),
  );

  it.each([
    [["--filter", "tcp prot 80"], 2, 'the filter "tcp prot 80", at character 5: "prot" is not understood'],
    [["--snaplen", "0"], 2, 'snaplen is "0"; allowed: a number of bytes from 1 to 262144'],
    [["--count", "0"], 2, '--count: "0" is no number of packets; allowed: 1 and more'],
    [["--vm", "other"], 1, "no VM other is attached; there is none"],
    [["--api", "unix:///missing.sock"], 1, "no hostd listens at /missing.sock"],
  ])("refuses %j and leaves a file that is there alone", (args, expected, message) =>
    inLab(async (lab) => {
      await lab.start({ api: apiOf(lab) });
      const file = join(lab.folder, "kept.pcap");
      await writeFile(file, "kept");
      const { code, stderr } = await startCapture(lab, "-w", file, ...args).outcome();
      expect({ code, stderr }).toMatchObject({ code: expected, stderr: expect.stringContaining(message) });
      expect(await readFile(file, "utf8")).toBe("kept");
    }),
  );

  it("says when its file cannot be made, and captures nothing", () =>
    inLab(async (lab) => {
      const daemon = await lab.start({ api: apiOf(lab) });
      const capture = startCapture(lab, "-w", join(lab.folder, "missing", "x.pcap"));
      expect(await capture.outcome()).toMatchObject({ code: 1, stderr: expect.stringContaining("ENOENT") });
      while (daemon.control.captures.list().length > 0) await sleep(5);
    }));

  it("does not write a capture to a terminal, and says what to do", () =>
    inLab(async (lab) => {
      // script(1) gives its command a terminal, and ends as that does.
      const command = `${process.execPath} ${HOSTD_COMMAND} capture`;
      const terminal = spawn("script", ["-qec", command, "/dev/null"], { stdio: ["ignore", "pipe", "ignore"] });
      lab.defer(() => terminal.kill("SIGKILL"));
      const exit = once(terminal, "exit");
      const said = await text(terminal.stdout);
      expect(said).toContain("write it to a file with -w FILE, or pipe it into a program");
      expect(said).toContain("hostd capture -w - | wireshark -k -i -");
      expect((await exit)[0]).toBe(2);
    }));
});
