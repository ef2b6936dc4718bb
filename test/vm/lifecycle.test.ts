import { chmodSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DHCP_CLIENTS } from "./guest-commands.ts";
import { HostServers } from "./host-servers.ts";
import { ARTIFACTS, HostdProcess, makeFolder } from "./hostd-process.ts";
import { ensureVm, imageOf } from "./image.ts";
import { Vm } from "./vm.ts";

const availability = await ensureVm();

describe.skipIf(!availability.available)("the life of a VM and of hostd", () => {
  const folder = makeFolder("life");
  const state = join(folder, "state");
  const servers = new HostServers(1024 * 1024);
  const address = "ip -4 -o addr show eth0 | awk '{print $4}'";

  beforeAll(() => servers.start());

  afterAll(async () => {
    await servers.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it("serves a VM that was killed and booted again, with the same address, without touching hostd", async () => {
    const socket = join(folder, "again.sock");
    const hostd = await HostdProcess.start("again", ["--qemu", `unix://${socket}`, "--state", state]);
    const options = { image: imageOf(availability), mac: "52:54:00:00:00:07", artifacts: ARTIFACTS } as const;
    const netdev = `stream,id=n0,addr.type=unix,addr.path=${socket}`;
    try {
      const first = await Vm.boot({ ...options, netdev, name: "again-1" });
      await first.check(DHCP_CLIENTS.udhcpc);
      const before = (await first.check(address)).stdout;
      await first.kill("SIGKILL");
      const second = await Vm.boot({ ...options, netdev, name: "again-2" });
      await second.check(DHCP_CLIENTS.dhclient);
      expect((await second.check(address)).stdout).toBe(before);
      await second.check(`curl -sS -o /dev/null http://host.docker.internal:${servers.httpPort}/small`);
      await second.kill();
    } finally {
      expect(await hostd.stop()).toBe(0);
    }
    expect(hostd.log.match(/VM attached/g)).toHaveLength(2);
    expect(hostd.log.match(/VM detached/g)).toHaveLength(2);
  });

  it("goes on under a running VM after it was stopped and started again", async () => {
    const socket = join(folder, "listening.sock");
    const args = ["--qemu", `dial+unix://${socket}`, "--state", state];
    let hostd = await HostdProcess.start("restart", args);
    // QEMU listens, so that it outlives hostd.
    const netdev = `stream,id=n0,server=on,addr.type=unix,addr.path=${socket}`;
    const vm = await Vm.boot({ image: imageOf(availability), netdev, name: "restart", artifacts: ARTIFACTS });
    // Here QEMU runs as another user than hostd.
    chmodSync(socket, 0o666);
    try {
      await vm.check(DHCP_CLIENTS.dhclient);
      const before = (await vm.check(address)).stdout;
      const url = `http://host.docker.internal:${servers.httpPort}/download`;
      await vm.check(`curl -sS -o /dev/null ${url}`);
      expect(await hostd.stop("SIGKILL")).toBe(null);
      hostd = await HostdProcess.start("restart", args);
      // Without a new lease: the guest does not know that anything happened.
      await vm.check(`for _ in $(seq 50); do curl -sS -m 2 -o /dev/null ${url} && exit 0; sleep 0.2; done; exit 1`);
      expect((await vm.check(address)).stdout).toBe(before);
      expect((await vm.check("dig +short vm.docker.internal")).stdout.trim()).toBe(before.trim().replace("/24", ""));
      // And its renewal is granted the same address.
      await vm.check(`dhclient -r -pf /run/dhclient.pid -lf /run/dhclient.leases eth0; ${DHCP_CLIENTS.dhclient}`);
      expect((await vm.check(address)).stdout).toBe(before);
    } finally {
      await hostd.stop();
      await vm.kill();
    }
  });

  it("carries packets of 65520 bytes when that is the MTU, which the VM learns by DHCP", async () => {
    const socket = join(folder, "jumbo.sock");
    const hostd = await HostdProcess.start("jumbo", ["--qemu", `unix://${socket}`, "--state", state, "--mtu", "65520"]);
    const netdev = `stream,id=n0,addr.type=unix,addr.path=${socket}`;
    const vm = await Vm.boot({ image: imageOf(availability), netdev, name: "jumbo", artifacts: ARTIFACTS });
    try {
      await vm.check(DHCP_CLIENTS.udhcpc);
      expect((await vm.check("cat /sys/class/net/eth0/mtu")).stdout).toBe("65520\n");
      // Not to be fragmented: the packet is 65520 bytes with its headers.
      expect((await vm.check("ping -c1 -M do -s 65492 192.168.65.1")).stdout).toContain("1 received");
      const { stdout } = await vm.check(
        `curl -sS http://host.docker.internal:${servers.httpPort}/download | sha256sum
         head -c 20000000 /dev/zero | curl -sS -T - http://host.docker.internal:${servers.httpPort}/upload
         head -c 20000000 /dev/zero | sha256sum`,
      );
      const [down, received, sent] = stdout.split("\n").map((line) => line.slice(0, 64));
      expect(down).toBe(servers.contentHash);
      expect(received).toBe(sent);
    } finally {
      await vm.kill();
      await hostd.stop();
    }
  });
});
