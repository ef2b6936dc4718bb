import { once } from "node:events";
import { connect } from "node:net";
import { join } from "node:path";
import { dialPort } from "@hostd/guest";
import { describe, expect, it, vi } from "vitest";
import { closed, download, fileHash, serveEndless, serveFiles, serveTcp } from "./support/host-servers.ts";
import { requestOver } from "./support/http-socket.ts";
import { GATEWAY, HOST, inLab, type LabDaemon } from "./support/lab.ts";
import { ListeningVm } from "./support/qemu-peer.ts";

/** Open handles of this process by kind, of those that hostd opens for flows. */
function flowHandles(): string[] {
  return process.getActiveResourcesInfo().filter((kind) => kind === "TCPSocketWrap" || kind === "UDPWrap");
}

async function logged(daemon: LabDaemon, message: string | RegExp, count = 1): Promise<void> {
  const matches = (msg: string) => (typeof message === "string" ? msg === message : message.test(msg));
  await vi.waitUntil(() => daemon.log.filter(({ msg }) => matches(msg)).length >= count, { timeout: 10_000 });
}

describe("a VM that vanishes in the middle of transfers", () => {
  it("leaves no socket of the host open, and the next one is served", () =>
    inLab(async (lab) => {
      const api = join(lab.folder, "api.sock");
      const daemon = await lab.start({ api: `unix://${api}` });
      const attached = async () => JSON.parse((await requestOver(api, "/healthz")).body).vms;
      const handlesBefore = flowHandles().length;
      const downloads = await serveEndless(lab);
      const uploads = await serveTcp(lab, (socket) => socket.resume());
      const guest = await lab.boot(1);
      const streams = await Promise.all(
        Array.from({ length: 20 }, (_, index) => guest.connect(HOST, index % 2 === 0 ? downloads.port : uploads.port)),
      );
      for (const [index, stream] of streams.entries()) {
        stream.on("error", () => {});
        if (index % 2 === 0) stream.resume();
        else stream.write(Buffer.alloc(4_000_000));
      }
      const datagrams = guest.udp();
      datagrams.send(HOST, 9, Buffer.from("x"));
      await Promise.all(streams.filter((_, index) => index % 2 === 0).map((stream) => once(stream, "data")));
      await vi.waitUntil(() => uploads.sockets.every(({ bytesRead }) => bytesRead > 100_000));

      expect(await attached()).toBe(1);
      await guest.kill();
      const sockets = [...downloads.sockets, ...uploads.sockets];
      expect(sockets).toHaveLength(20);
      await Promise.all(sockets.map(closed));
      await logged(daemon, "VM detached");
      await vi.waitUntil(async () => (await attached()) === 0);
      // The last handles go in the turn after their sockets' 'close'.
      await vi.waitUntil(() => flowHandles().length <= handlesBefore);

      const files = await serveFiles(lab);
      const next = await lab.boot(1);
      expect(await download(next, HOST, files.port, 1_000_000)).toBe(fileHash(1_000_000));
    }));
});

describe("a VM that breaks the framing", () => {
  it("loses its own link alone, with one line in the log", () =>
    inLab(async (lab) => {
      const daemon = await lab.start();
      const neighbor = await lab.boot(1);
      for (const [index, prefix] of [
        [0, 0, 0, 0],
        [0xff, 0xff, 0xff, 0xff],
      ].entries()) {
        const broken = connect(lab.socket);
        broken.write(Buffer.concat([Buffer.from(prefix), Buffer.alloc(100_000)]));
        broken.resume().on("error", () => {});
        await new Promise((resolve) => broken.once("close", resolve));
        await logged(daemon, /^VM detached: a frame length of/, index + 1);
      }
      await neighbor.ping(GATEWAY);
      const warnings = daemon.log.filter(({ level }) => level === "warn" || level === "error");
      expect(warnings).toMatchObject([
        { level: "warn", vm: `unix://${lab.socket}#2`, msg: expect.stringContaining("a frame length of 0, allowed") },
        { level: "warn", vm: `unix://${lab.socket}#2`, msg: expect.stringContaining("a frame length of 4294967295") },
      ]);
      await (await lab.boot(2)).ping(GATEWAY);
    }));

  it("may send any frame: what is no Ethernet frame of sense is dropped", () =>
    inLab(async (lab) => {
      const daemon = await lab.start();
      const noisy = connect(lab.socket);
      noisy.on("error", () => {});
      for (let length = 1; length < 200; length++) {
        const frame = Buffer.alloc(4 + length, length);
        frame.writeUInt32BE(length);
        // To everybody, from a station, with IPv4 or ARP inside: nonsense from there on.
        if (length >= 14) {
          frame.fill(0xff, 4, 10);
          frame[10] = 2;
          frame.writeUInt16BE(length % 2 === 0 ? 0x0800 : 0x0806, 16);
          if (length >= 15) frame[18] = 0x45;
        }
        noisy.write(frame);
      }
      const guest = await lab.boot(1);
      await guest.ping(GATEWAY);
      expect(noisy.destroyed).toBe(false);
      noisy.destroy();
      await logged(daemon, "VM detached");
      expect(daemon.log.filter(({ level }) => level === "warn" || level === "error")).toEqual([]);
    }));
});

describe("a VM that listens", () => {
  it("is dialled, and dialled again when it comes back", () =>
    inLab(async (lab) => {
      const path = join(lab.folder, "qemu.sock");
      const daemon = await lab.start({ qemu: [`dial+unix://${path}`] });
      expect(daemon.endpoints).toEqual([`dial+unix://${path}`]);
      await logged(daemon, /ENOENT.*trying again until it answers$/);

      const first = await ListeningVm.listen(path);
      const guest = await lab.boot(1, { port: await first.link() });
      await guest.ping(GATEWAY);
      await guest.kill();
      await first.close();
      await logged(daemon, "VM detached");
      await logged(daemon, /trying again until it answers$/, 2);

      const second = await ListeningVm.listen(path);
      const again = await lab.boot(1, { port: await second.link() });
      expect(again.lease?.address).toBe(guest.lease?.address);
      await again.ping(HOST);
      await daemon.close();
      await again.closed;
      await second.close();
    }));

  it("may be one of several endpoints of every kind", () =>
    inLab(async (lab) => {
      const path = join(lab.folder, "qemu.sock");
      const vm = await ListeningVm.listen(path);
      const daemon = await lab.start({
        qemu: [`unix://${lab.socket}`, "tcp://127.0.0.1:0", `dial+unix://${path}`],
      });
      expect(daemon.endpoints).toEqual([
        `unix://${lab.socket}`,
        expect.stringMatching(/^tcp:\/\/127\.0\.0\.1:[1-9]\d*$/),
        `dial+unix://${path}`,
      ]);
      const port = Number(daemon.endpoints[1].split(":").at(-1));
      const guests = [
        await lab.boot(1),
        await lab.boot(2, { port: await dialPort({ transport: "tcp", host: "127.0.0.1", port, mode: "dial" }) }),
        await lab.boot(3, { port: await vm.link() }),
      ];
      await Promise.all(guests.map((guest) => guest.ping(HOST, 5000)));
      await daemon.close();
      await Promise.all(guests.map((guest) => guest.closed));
      await vm.close();
    }));
});
