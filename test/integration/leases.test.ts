import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { StackDriver } from "@hostd/frontends";
import { dialPort } from "@hostd/guest";
import { formatIpv4, type Ipv4, parseIpv4 } from "@hostd/stack";
import { describe, expect, it } from "vitest";
import { GATEWAY, HOST, inLab, type Lab, macOf } from "./support/lab.ts";

const addressOf = (guest: { lease: { address: Ipv4 } | null }) => formatIpv4(guest.lease?.address ?? 0);

describe("leases", () => {
  it("survive a restart of hostd, in a file for this user alone", () =>
    inLab(async (lab) => {
      const first = await lab.start();
      const before = [await lab.boot(1), await lab.boot(2), await lab.boot(3)].map(addressOf);
      expect(new Set(before).size).toBe(3);
      await first.close();
      const path = join(lab.folder, "state", "leases.json");
      expect((await stat(path)).mode & 0o777).toBe(0o600);
      expect((await stat(join(lab.folder, "state"))).mode & 0o777).toBe(0o700);

      await lab.start();
      // In another order, so that it is not the order that brings the same addresses.
      const again = [await lab.boot(3), await lab.boot(1), await lab.boot(2)].map(addressOf);
      expect([again[1], again[2], again[0]]).toEqual(before);
      const fresh = await lab.boot(4);
      expect(before).not.toContain(addressOf(fresh));
    }));

  it("survive the end of the VM", () =>
    inLab(async (lab) => {
      await lab.start();
      const first = await lab.boot(1);
      const other = await lab.boot(2);
      await first.kill();
      const second = await lab.boot(1);
      expect(addressOf(second)).toBe(addressOf(first));
      expect(addressOf(second)).not.toBe(addressOf(other));
      await second.ping(HOST);
    }));

  it("are on disk before hostd ends, as a list that people can read", () =>
    inLab(async (lab) => {
      const daemon = await lab.start();
      const guest = await lab.boot(1, { hostName: "box" });
      await daemon.close();
      const leases = JSON.parse(await readFile(join(lab.folder, "state", "leases.json"), "utf8"));
      expect(leases).toEqual([
        { mac: "02:00:00:00:01:01", address: addressOf(guest), expires: expect.any(Number), hostName: "box" },
      ]);
      expect(await readdir(join(lab.folder, "state"))).toEqual(["leases.json"]);
    }));

  it("start anew when their file is broken, which is kept and reported", () =>
    inLab(async (lab) => {
      await (await lab.start()).close();
      const path = join(lab.folder, "state", "leases.json");
      await writeFile(path, '[{"mac": "02:00');
      const daemon = await lab.start();
      expect(await readFile(`${path}.broken`, "utf8")).toBe('[{"mac": "02:00');
      const errors = daemon.log.filter(({ level }) => level === "error");
      expect(errors.map(({ msg }) => msg)).toEqual([
        expect.stringMatching(
          /leases\.json is not JSON \(.+\): kept as .+leases\.json\.broken, starting without leases$/,
        ),
      ]);
      await (await lab.boot(1)).ping(GATEWAY);
      await daemon.close();
      expect(JSON.parse(await readFile(path, "utf8"))).toHaveLength(1);
    }));

  it("leave out an entry of their file that is no lease, and say which", () =>
    inLab(async (lab) => {
      await (await lab.start()).close();
      const good = { mac: "02:00:00:00:01:07", address: "192.168.65.77", expires: Date.now() + 3_600_000 };
      await writeFile(
        join(lab.folder, "state", "leases.json"),
        JSON.stringify([{ ...good, mac: "nonsense", address: "192.168.65.78" }, good]),
      );
      const daemon = await lab.start();
      const warnings = daemon.log.filter(({ level }) => level === "warn").map(({ msg }) => msg);
      expect(warnings).toEqual([expect.stringMatching(/leases\.json: entry 0 left out: .*nonsense/)]);
      expect(addressOf(await lab.boot(7))).toBe("192.168.65.77");
    }));

  it("are kept where the configuration says, however often the VM asks", () =>
    inLab(async (lab) => {
      await lab.start({ dhcp: { static: { "02:00:00:00:01:05": "192.168.65.55" } } });
      expect(addressOf(await lab.boot(5))).toBe("192.168.65.55");
      expect(addressOf(await lab.boot(6))).not.toBe("192.168.65.55");
    }));
});

describe("a machine with a lease that is silent after a restart of hostd", () => {
  it("is asked to show itself, so that it is known which one the VM is", () =>
    inLab(async (lab) => {
      const first = await lab.start();
      const address = addressOf(await lab.boot(1));
      await first.close();

      const second = await lab.start();
      const port = await dialPort({ transport: "unix", path: lab.socket, mode: "dial" });
      const network = { address: parseIpv4("192.168.65.0"), prefixLength: 24 };
      const handlers = { tcpRequest: () => {}, udpDatagram: () => {}, echoRequest: () => {} };
      const addresses = [parseIpv4(address)];
      const silent = new StackDriver({ port, stack: { mac: macOf(1), addresses, network, mtu: 1500, handlers } });
      lab.defer(() => silent.vanish());
      await expect.poll(() => second.control.vms()[0]?.address).toBe(parseIpv4(address));
    }));
});

/** Sends an echo request to the gateway from an address of the test's choice; tells which requests were answered. */
class Spoofer {
  readonly answered: number[] = [];
  readonly #driver: StackDriver;
  #answer: (() => void) | null = null;

  private constructor(port: Awaited<ReturnType<typeof dialPort>>, number: number) {
    this.#driver = new StackDriver({
      port,
      stack: {
        mac: macOf(number),
        addresses: [],
        network: { address: parseIpv4("192.168.65.0"), prefixLength: 24 },
        mtu: 1500,
        handlers: {
          tcpRequest: (request) => request.reject("refused"),
          udpDatagram: () => {},
          echoRequest: () => {},
          echoReply: ({ sequence }) => {
            this.answered.push(sequence);
            this.#answer?.();
          },
        },
      },
    });
  }

  static async attach(lab: Lab, number: number): Promise<Spoofer> {
    const spoofer = new Spoofer(await dialPort({ transport: "unix", path: lab.socket, mode: "dial" }), number);
    lab.defer(() => spoofer.#driver.vanish());
    return spoofer;
  }

  send(source: string, sequence: number): void {
    const network = { address: parseIpv4("192.168.65.0"), prefixLength: 24 };
    this.#driver.stack.configure(parseIpv4(source), network, null);
    this.#driver.stack.sendEchoRequest(parseIpv4(GATEWAY), 1, sequence, new Uint8Array(10));
  }

  async waitForAnswer(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#answer = resolve;
    });
  }
}

describe("the source addresses of a VM", () => {
  it("may be others than its lease, or not, as configured", () =>
    inLab(async (lab) => {
      for (const sources of ["shown", "leased"] as const) {
        const daemon = await lab.start({ egress: { sources } });
        const guest = await lab.boot(2);
        const lease = addressOf(guest);
        await guest.kill();
        // The same machine again: an address as of a container without masquerade, and then its own.
        const machine = await Spoofer.attach(lab, 2);
        machine.send("172.17.0.2", 1);
        machine.send(lease, 2);
        while (!machine.answered.includes(2)) await machine.waitForAnswer();
        expect(machine.answered).toEqual(sources === "shown" ? [1, 2] : [2]);
        await daemon.close();
      }
    }));
});

describe("two VMs at one socket", () => {
  it("have addresses of their own and are served at once", () =>
    inLab(async (lab) => {
      const daemon = await lab.start();
      const guests = [await lab.boot(1), await lab.boot(2)];
      expect(addressOf(guests[0])).not.toBe(addressOf(guests[1]));
      await Promise.all(guests.flatMap((guest) => [guest.ping(GATEWAY), guest.ping(HOST, 3000)]));
      expect(daemon.log.filter(({ msg }) => msg === "VM attached")).toHaveLength(2);
      await guests[0].kill();
      await guests[1].ping(GATEWAY);
    }));

  it("cannot use each other's address", () =>
    inLab(async (lab) => {
      const daemon = await lab.start();
      const victim = await lab.boot(1);
      const spoofer = await Spoofer.attach(lab, 2);
      // The last comes from an address that nobody has leased; its answer shows that the others got none.
      spoofer.send(addressOf(victim), 1);
      spoofer.send(GATEWAY, 2);
      spoofer.send(HOST, 3);
      spoofer.send("192.168.65.200", 4);
      await spoofer.waitForAnswer();
      expect(spoofer.answered).toEqual([4]);
      expect(daemon.log.filter(({ msg }) => msg === "a source address is leased to another machine")).toMatchObject([
        { level: "debug", source: addressOf(victim) },
      ]);
      await victim.ping(GATEWAY);
    }));
});
