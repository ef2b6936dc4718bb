import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { describe, expect, it, vi } from "vitest";
import { attachStoppedGuest, closed, serveTcp } from "./support/host-servers.ts";
import { requestOver, sendRaw } from "./support/http-socket.ts";
import { GATEWAY, HOST, inLab } from "./support/lab.ts";

describe("closing hostd", () => {
  it("ends every flow and link, and removes its sockets", () =>
    inLab(async (lab) => {
      const api = join(lab.folder, "api.sock");
      const daemon = await lab.start({ api: `unix://${api}` });
      const server = await serveTcp(lab, (socket) => socket.resume().write("hello"));
      const guests = [await lab.boot(1), await lab.boot(2)];
      const streams = await Promise.all(guests.map((guest) => guest.connect(HOST, server.port)));
      const ends = streams.map((stream) => once(stream.resume(), "error"));
      await Promise.all(streams.map((stream) => once(stream, "data")));
      const name = await guests[0].connect(GATEWAY, 53);
      const nameEnd = once(name.resume(), "error");
      const datagrams = guests[1].udp();
      datagrams.send(HOST, 9, Buffer.from("x"));

      const start = performance.now();
      await daemon.close();
      expect(performance.now() - start).toBeLessThan(1000);
      expect([lab.socket, api].filter(existsSync)).toEqual([]);
      await Promise.all(guests.map((guest) => guest.closed));
      // The guests get a reset on each flow before the link ends.
      expect(await Promise.all([...ends, nameEnd])).toMatchObject(
        Array(3).fill([{ code: "ECONNRESET", message: "connection reset by the guest" }]),
      );
      await Promise.all(server.sockets.map(closed));
      expect(server.sockets).toHaveLength(2);
      await expect(lab.attach(3)).rejects.toMatchObject({ code: "ENOENT" });
    }));

  it("is done when nothing is attached", () =>
    inLab(async (lab) => {
      await (await lab.start()).close();
      expect(existsSync(lab.socket)).toBe(false);
    }));

  it("does not wait for a VM that has been stopped", () =>
    inLab(async (lab) => {
      const daemon = await lab.start();
      await attachStoppedGuest(lab);
      const start = performance.now();
      await daemon.close();
      expect(performance.now() - start).toBeLessThan(3000);
      expect(daemon.log.at(-1)).toMatchObject({ level: "info", msg: "VM detached" });
    }));

  it("leaves nothing that keeps the process alive", async () => {
    const program = fileURLToPath(new URL("./support/daemon-life.ts", import.meta.url));
    const child = spawn(process.execPath, [program], { stdio: ["ignore", "pipe", "pipe"] });
    const exit = once(child, "exit", { signal: AbortSignal.timeout(20_000) }).finally(() => child.kill("SIGKILL"));
    const [out, errors, [code]] = await Promise.all([text(child.stdout), text(child.stderr), exit]);
    expect(errors).toBe("");
    expect(out).toBe("closed\n");
    expect(code).toBe(0);
  });
});

describe("starting hostd", () => {
  it("fails and leaves nothing running when a socket is in the way", () =>
    inLab(async (lab) => {
      const file = join(lab.folder, "file");
      await writeFile(file, "");
      const attempt = lab.start({ qemu: [`unix://${lab.socket}`, `unix://${file}`] });
      await expect(attempt).rejects.toThrow(`${file}: exists and is not a socket`);
      expect(existsSync(lab.socket)).toBe(false);
      await lab.start();
      await expect(lab.start()).rejects.toThrow("another process is listening on it");
      await (await lab.boot(1)).ping(GATEWAY);
    }));

  it("fails when the control API's socket is in use, and takes no VM then", () =>
    inLab(async (lab) => {
      const api = join(lab.folder, "api.sock");
      await lab.start({ api: `unix://${api}` });
      const other = join(lab.folder, "other.sock");
      await expect(lab.start({ qemu: [`unix://${other}`], api: `unix://${api}` })).rejects.toThrow(
        `${api}: another process is listening on it`,
      );
      expect(existsSync(other)).toBe(false);
      expect((await requestOver(api, "/healthz")).status).toBe(200);
    }));
});

describe("the control API", () => {
  it("tells how many VMs are attached, on a socket for this user alone", () =>
    inLab(async (lab) => {
      const api = join(lab.folder, "api", "api.sock");
      await lab.start({ api: `unix://${api}` });
      const status = await stat(api);
      expect(status.isSocket()).toBe(true);
      expect(status.mode & 0o777).toBe(0o600);
      const health = async () => JSON.parse((await requestOver(api, "/healthz")).body);
      expect(await health()).toEqual({ status: "ok", vms: 0 });
      const guest = await lab.boot(1);
      await lab.boot(2);
      expect(await health()).toEqual({ status: "ok", vms: 2 });
      await guest.kill();
      await vi.waitUntil(async () => (await health()).vms === 1);
    }));

  it("answers nonsense with a problem and lives on", () =>
    inLab(async (lab) => {
      const api = join(lab.folder, "api.sock");
      await lab.start({ api: `unix://${api}` });
      for (const target of ["//", "http://[/", "/healthz%zz", "*"]) {
        expect(await sendRaw(api, `GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`)).toMatch(
          /^HTTP\/1\.1 4\d\d /,
        );
      }
      expect(await sendRaw(api, "nonsense\r\n\r\n")).toMatch(/^HTTP\/1\.1 400 /);
      expect((await requestOver(api, "/version")).status).toBe(200);
    }));
});
