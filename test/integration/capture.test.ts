import { existsSync } from "node:fs";
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { withCapture } from "./support/capture.ts";
import { download, fileHash, serveFiles, serveUdpEcho, upload } from "./support/host-servers.ts";
import { GATEWAY, HOST, HOST_NAME, inLab } from "./support/lab.ts";
import { readCapture } from "./support/tshark.ts";

describe("the capture", () => {
  it.each([1500, 576, 9000])("of every kind of traffic at an MTU of %d has no frame that is malformed", (mtu) =>
    inLab(async (lab) => {
      const daemon = await lab.start({ mtu });
      const files = await serveFiles(lab);
      const echo = await serveUdpEcho(lab);
      const guest = await lab.boot(1, { mtu, hostName: "box" });
      await guest.ping(GATEWAY);
      await guest.ping(HOST, 60000);
      expect(await guest.resolve(HOST_NAME)).toEqual([HOST]);
      await expect(guest.resolve("missing.test")).rejects.toThrow("NXDOMAIN");
      expect(await download(guest, HOST, files.port, 1_000_000)).toBe(fileHash(1_000_000));
      expect(await upload(guest, HOST, files.port, 1_000_000)).toBe(fileHash(1_000_000));
      const socket = guest.udp();
      for (const length of [1, 1400, 60000]) {
        socket.send(HOST, echo, new Uint8Array(length).fill(length));
        expect((await socket.receive()).data).toHaveLength(length);
      }
      socket.send(HOST, 9, new Uint8Array(3));
      await expect(socket.receive()).rejects.toMatchObject({ code: "ECONNREFUSED" });
      await expect(guest.connect(HOST, 1)).rejects.toMatchObject({ code: "ECONNREFUSED" });
      await guest.close();
      await daemon.close();

      const summary = await readCapture(daemon.capture, [files.port, echo]);
      expect(summary.bad).toEqual([]);
      expect(summary.frames).toBeGreaterThan(200);
      // DISCOVER, OFFER, REQUEST, ACK and RELEASE; two queries and their answers.
      expect(await summary.count("dhcp")).toBe(5);
      expect(await summary.count("dns")).toBe(4);
      for (const protocol of ["arp", "icmp", "tcp", "udp"] as const) {
        expect(await summary.count(protocol), protocol).toBeGreaterThan(0);
      }
    }),
  );

  it("has the frames of every VM, and is for this user alone", () =>
    inLab(async (lab) => {
      const daemon = await lab.start();
      const { capture } = daemon;
      expect(daemon.log.map(({ msg }) => msg)).toContain(`capturing every frame to ${capture}`);
      const guests = [await lab.boot(1), await lab.boot(2)];
      await Promise.all(guests.map((guest) => guest.ping(GATEWAY)));
      await daemon.close();
      expect((await stat(capture)).mode & 0o777).toBe(0o600);
      const summary = await readCapture(capture);
      expect(summary.bad).toEqual([]);
      expect(await summary.count("icmp")).toBe(4);
    }));

  it.runIf(existsSync("/dev/full"))("ends with one line in the log when the disk is full, and nothing else does", () =>
    inLab(async (lab) => {
      const daemon = await lab.start({ capture: "/dev/full" });
      const files = await serveFiles(lab);
      const guest = await lab.boot(1);
      expect(await download(guest, HOST, files.port, 3_000_000)).toBe(fileHash(3_000_000));
      const errors = daemon.log.filter(({ level }) => level === "error").map(({ msg }) => msg);
      expect(errors).toEqual([expect.stringMatching(/^the capture ends here: ENOSPC/)]);
    }),
  );

  it("keeps hostd from starting when its file cannot be made, and nothing is left behind", () =>
    inLab(async (lab) => {
      await expect(lab.start({ capture: join(lab.folder, "missing", "x.pcap") })).rejects.toThrow("ENOENT");
      expect(existsSync(lab.socket)).toBe(false);
      await lab.start();
      await lab.boot(1);
    }));
});

describe("withCapture", () => {
  it("leaves the captures of a test that fails, and removes those of one that passes", async () => {
    const paths: string[] = [];
    const body = async (fails: boolean) => {
      await withCapture(async (captures) => {
        paths.push(captures.next(), captures.next());
        for (const path of paths.slice(-2)) await writeFile(path, "frames");
        if (fails) throw new Error("the test failed");
      });
    };
    await expect(body(true)).rejects.toThrow("the test failed");
    expect(await Promise.all(paths.map((path) => readFile(path, "utf8")))).toEqual(["frames", "frames"]);
    expect(paths[0]).toMatch(/test\/output\/withCapture-leaves-the-captures-.*\.pcap$/);
    expect(paths[1]).toMatch(/-2\.pcap$/);
    await body(false);
    expect(paths.slice(2)).toEqual(paths.slice(0, 2));
    expect(paths.filter(existsSync)).toEqual([]);
  });
});
