import { once } from "node:events";
import { existsSync } from "node:fs";
import { lstat, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { attachStoppedGuest, closed, serveTcp } from "./support/host-servers.ts";
import { HostdCommand, type Outcome, SLOW_AFTER_WRITING } from "./support/hostd-command.ts";
import { requestOver } from "./support/http-socket.ts";
import { GATEWAY, HOST, inLab, type Lab } from "./support/lab.ts";
import { readCapture } from "./support/tshark.ts";

/** `hostd up` as a process of its own. */
class Hostd {
  readonly #command: HostdCommand;
  #output = "";

  constructor(lab: Lab, capture: string, flags: readonly string[] = [], variables: Record<string, string> = {}) {
    const args = ["up", "--qemu", `unix://${lab.socket}`, "--state", join(lab.folder, "state")];
    this.#command = new HostdCommand(lab, [...args, "--capture", capture, ...flags], variables);
    this.#command.child.stdout.on("data", (chunk) => {
      this.#output += chunk;
    });
  }

  /** What it printed once VMs can attach. */
  async announcement(): Promise<string> {
    while (!this.#output.includes("-netdev")) {
      await Promise.race([once(this.#command.child.stdout, "data"), this.#failed()]);
    }
    return this.#output;
  }

  /** Waits until its log has some text. */
  logs(text: string): Promise<void> {
    return this.#command.says(text);
  }

  kill(signal: NodeJS.Signals): void {
    this.#command.child.kill(signal);
  }

  outcome(): Promise<Outcome> {
    return this.#command.outcome();
  }

  async #failed(): Promise<never> {
    const { code, stderr } = await this.outcome();
    throw new Error(`hostd ended with code ${code}: ${stderr}`);
  }
}

describe("hostd up", () => {
  it("serves a guest, and ends in order at SIGTERM", () =>
    inLab(async (lab) => {
      const api = join(lab.folder, "api.sock");
      const hostd = new Hostd(lab, lab.nextCapture(), [
        "--api",
        `unix://${api}`,
        "--dns-server",
        lab.nameServer.address,
      ]);
      const announcement = await hostd.announcement();
      expect(announcement).toContain("subnet 192.168.65.0/24, gateway 192.168.65.1, this host 192.168.65.254");
      expect(announcement).toContain(`Attach a VM at unix://${lab.socket}:`);
      expect(announcement).toContain(`-netdev stream,id=net0,server=off,addr.type=unix,addr.path=${lab.socket}\n`);

      const server = await serveTcp(lab, (socket) => socket.resume().write("hello"));
      const guest = await lab.boot(1);
      await guest.ping(HOST);
      expect(await guest.resolve("www.test")).toEqual(["203.0.113.80"]);
      const stream = await guest.connect(HOST, server.port);
      expect(String(await once(stream, "data"))).toBe("hello");
      const failed = once(stream, "error");
      expect(JSON.parse((await requestOver(api, "/healthz")).body)).toEqual({ status: "ok", vms: 1 });

      hostd.kill("SIGTERM");
      const { code, signal, stderr } = await hostd.outcome();
      expect({ code, signal }).toEqual({ code: 0, signal: null });
      expect(stderr).toContain("SIGTERM: closing");
      expect(stderr).toMatch(/"msg":"closed"\}\n$/);
      expect(await failed).toMatchObject([{ code: "ECONNRESET" }]);
      await guest.closed;
      await Promise.all(server.sockets.map(closed));
      expect([lab.socket, api].filter(existsSync)).toEqual([]);
      const leases = JSON.parse(await readFile(join(lab.folder, "state", "leases.json"), "utf8"));
      expect(leases).toMatchObject([{ mac: "02:00:00:00:01:01" }]);
    }));

  it("ends in order at SIGINT although a VM has been stopped", () =>
    inLab(async (lab) => {
      const hostd = new Hostd(lab, lab.nextCapture());
      await hostd.announcement();
      await attachStoppedGuest(lab);
      hostd.kill("SIGINT");
      expect(await hostd.outcome()).toMatchObject({ code: 0, signal: null });
    }));

  it("reads its configuration again at SIGHUP, at one that comes as soon as VMs can attach as well", () =>
    inLab(async (lab) => {
      const file = join(lab.folder, "hostd.yaml");
      await writeFile(file, "log: { level: info }\n");
      const hostd = new Hostd(lab, lab.nextCapture(), ["--config", file], SLOW_AFTER_WRITING);
      await hostd.announcement();
      await writeFile(file, "forwards: [{ listen: 0, to: 80 }]\n");
      hostd.kill("SIGHUP");
      await hostd.logs("configuration read again: forwards changed");
      await writeFile(file, "mtu: 1\n");
      hostd.kill("SIGHUP");
      await hostd.logs("mtu: 1 is not a whole number of bytes from 576 to 65520");
      await (await lab.boot(1)).ping(GATEWAY);
      hostd.kill("SIGTERM");
      expect(await hostd.outcome()).toMatchObject({ code: 0 });
    }));

  it("takes over the socket of one that was killed, and its leases", () =>
    inLab(async (lab) => {
      const first = new Hostd(lab, lab.nextCapture());
      await first.announcement();
      const server = await serveTcp(lab, (socket) => {
        socket.write("hello");
        // The kernel closes the sockets of a killed process in order.
        socket.resume().once("end", () => socket.end());
      });
      const guest = await lab.boot(1);
      await lab.boot(2);
      const stream = await guest.connect(HOST, server.port);
      await once(stream, "data");
      const failed = once(stream, "error");
      const leases = join(lab.folder, "state", "leases.json");
      while (!existsSync(leases) || JSON.parse(await readFile(leases, "utf8")).length < 2) await guest.ping(GATEWAY);
      first.kill("SIGKILL");
      expect(await first.outcome()).toMatchObject({ code: null, signal: "SIGKILL" });
      expect(await failed).toMatchObject([{ code: "ECONNRESET" }]);
      await guest.closed;
      await Promise.all(server.sockets.map(closed));
      expect((await lstat(lab.socket)).isSocket()).toBe(true);

      const second = new Hostd(lab, lab.nextCapture());
      await second.announcement();
      const again = await lab.boot(1);
      expect(again.lease?.address).toBe(guest.lease?.address);
      await again.ping(HOST);
      second.kill("SIGTERM");
      expect(await second.outcome()).toMatchObject({ code: 0 });
    }));

  it("ends with code 1 and a clear word when another one has the socket, which is not disturbed", () =>
    inLab(async (lab) => {
      const capture = lab.nextCapture();
      const first = new Hostd(lab, capture);
      await first.announcement();
      const guest = await lab.boot(1);
      const second = new Hostd(lab, capture);
      const { code, stderr } = await second.outcome();
      expect(code).toBe(1);
      const lines = stderr
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line));
      expect(lines).toMatchObject([
        {
          level: "fatal",
          msg:
            `cannot start: ${lab.socket}: another process is listening on it (is hostd already running?); ` +
            "stop it or choose another path",
        },
      ]);
      await guest.ping(GATEWAY);
      await (await lab.boot(2)).ping(GATEWAY);
      first.kill("SIGTERM");
      expect(await first.outcome()).toMatchObject({ code: 0 });
      // The one that did not start has left the capture of the running one alone: both leases are in it.
      expect(await (await readCapture(capture)).count("dhcp")).toBe(8);
    }));
});
