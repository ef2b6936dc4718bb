import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { formatIpv4 } from "@hostd/stack";
import { FlowStream } from "@hostd/streams";
import { describe, expect, it, vi } from "vitest";
import { serveGuestApi } from "../../apps/hostd/src/gvproxy/guest-api.ts";
import { GuestClient } from "./support/guest-request.ts";
import {
  addressOf,
  client,
  DONE,
  echo,
  expose,
  freePort,
  GUEST_API,
  PORT,
  refusal,
  serveEcho,
  shown,
  withApi,
} from "./support/gvproxy-client.ts";
import { closed } from "./support/host-servers.ts";
import { GATEWAY, HOST, inLab } from "./support/lab.ts";

describe("gvproxy's API inside of a VM", () => {
  it("is not there unless it is asked for", () =>
    inLab(async (lab) => {
      await lab.start();
      const guest = await lab.boot();
      await expect(guest.connect(GATEWAY, 80)).rejects.toMatchObject({ code: "ECONNREFUSED" });
    }));

  it("publishes a port of the VM that asks, and removes it", () =>
    inLab(async (lab) => {
      const { control } = await lab.start({ ...GUEST_API, ...withApi(lab) });
      const guest = await lab.boot();
      serveEcho(guest);
      const http = await GuestClient.connect(guest);
      const port = await freePort();
      expect(await http.expose(`:${port}`, `:${PORT}`)).toEqual(DONE);
      expect(await echo(client(lab, port), "hello")).toBe("hello");
      const forward = { local: `:${port}`, remote: `${addressOf(guest)}:${PORT}`, protocol: "tcp" };
      expect(await http.ask("GET", "/services/forwarder/all")).toEqual({
        status: 200,
        body: `${JSON.stringify([forward])}\n`,
      });
      expect(await shown(lab)).toEqual([forward]);
      expect(control.forwards.list()[0].origin).toBe("guest");
      expect(await http.unexpose(`:${port}`)).toEqual(DONE);
      expect(await refusal(lab, port)).toBe("ECONNREFUSED");
      http.close();
    }));

  it("has nothing else", () =>
    inLab(async (lab) => {
      await lab.start(GUEST_API);
      const http = await GuestClient.connect(await lab.boot());
      for (const path of ["/leases", "/stats", "/cam", "/services/dns/all", "/v1/vms", "/tunnel", "/connect", "/"]) {
        expect(await http.ask("GET", path)).toEqual({ status: 404, body: "404 page not found\n" });
      }
      http.close();
    }));

  it("keeps a guest from what is not its own", () =>
    inLab(async (lab) => {
      const port = await freePort();
      await lab.start({
        ...withApi(lab),
        guestApi: { enabled: true, allow: ["127.0.0.1:1024-65535"] },
        forwards: [{ listen: port, to: PORT }],
      });
      const [guest, other] = [await lab.boot(1), await lab.boot(2)];
      const [http, otherHttp] = [await GuestClient.connect(guest), await GuestClient.connect(other)];
      const own = addressOf(guest);
      const file = join(lab.folder, "file");
      writeFileSync(file, "a file");
      expect(await http.expose(file, `tcp://${own}:80`, "unix")).toEqual({
        status: 403,
        body: "protocol unix: a guest may not have sockets of this host's files\n",
      });
      expect(readFileSync(file, "utf8")).toBe("a file");
      const refused = [
        await http.expose("npipe:////./pipe/x", `tcp://${own}:80`, "npipe"),
        await http.expose("127.0.0.1:0", `${addressOf(other)}:80`),
        await http.expose("127.0.0.1:0", "192.168.65.77:80"),
        await http.expose(":0", ":80"),
        await http.expose("127.0.0.1:80", ":80"),
        await http.expose("0.0.0.0:8080", ":80"),
      ];
      expect(refused.map(({ status }) => status)).toEqual([403, 403, 403, 403, 403, 403]);
      const wrong = [await http.expose("127.0.0.1:0", `${GATEWAY}:53`), await http.expose("127.0.0.1:0", `${HOST}:22`)];
      expect(wrong.map(({ status }) => status)).toEqual([400, 400]);
      expect(await http.expose("www.test:8080", ":80")).toEqual({
        status: 500,
        body: "listen tcp: lookup www.test: no such host\n",
      });
      // Of the configuration, and of another guest.
      expect(await http.unexpose(`127.0.0.1:${port}`)).toEqual({ status: 500, body: "proxy not found\n" });
      const local = `localhost:${await freePort()}`;
      expect(await otherHttp.expose(local, ":80")).toEqual(DONE);
      expect(await http.unexpose(local)).toEqual({ status: 500, body: "proxy not found\n" });
      expect((await http.ask("GET", "/services/forwarder/all")).body).toBe("[]\n");
      expect(await shown(lab)).toHaveLength(2);
      http.close();
      otherHttp.close();
    }));

  it("takes an address behind the VM that it has shown", () =>
    inLab(async (lab) => {
      const { control } = await lab.start(GUEST_API);
      const guest = await lab.boot();
      const [vm] = control.vms();
      const has = vi.spyOn(vm, "has");
      has.mockImplementation((address) => formatIpv4(address) === "172.17.0.2");
      const http = await GuestClient.connect(guest);
      expect(await http.expose("127.0.0.1:0", "172.17.0.2:80")).toEqual(DONE);
      expect((await http.expose("127.0.0.1:0", "172.17.0.3:80", "udp")).status).toBe(403);
      http.close();
    }));

  it("closes what a VM has published when the VM goes, so that it may publish it again", () =>
    inLab(async (lab) => {
      const { control } = await lab.start({ ...GUEST_API, ...withApi(lab) });
      const port = await freePort();
      const kept = await freePort();
      const first = await lab.boot();
      expect(await expose(lab, { local: `127.0.0.1:${kept}`, remote: `${addressOf(first)}:${PORT}` })).toEqual(DONE);
      const http = await GuestClient.connect(first);
      for (const local of [`127.0.0.1:${port}`, "127.0.0.1:0"]) expect(await http.expose(local, ":80")).toEqual(DONE);
      expect(await shown(lab)).toHaveLength(3);
      http.close();
      await first.kill();
      await vi.waitFor(() => expect(control.forwards.list()).toHaveLength(1));
      expect(await refusal(lab, port)).toBe("ECONNREFUSED");
      const second = await lab.boot();
      serveEcho(second);
      const again = await GuestClient.connect(second);
      expect(await again.expose(`127.0.0.1:${port}`, `:${PORT}`)).toEqual(DONE);
      expect(await echo(client(lab, port), "again")).toBe("again");
      again.close();
    }));

  it("opens 1000 ports for guests, and then asks for patience", () =>
    inLab(async (lab) => {
      const { control } = await lab.start({ ...GUEST_API, log: { level: "warn", format: "json" } });
      const http = await GuestClient.connect(await lab.boot());
      const statuses = new Map<number | undefined, number>();
      for (let number = 0; number < 1500; number++) {
        const { status } = await http.expose(`127.0.0.1:${"0".repeat(number)}`, ":80");
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
        if (status === 429) break;
      }
      expect(statuses.get(200)).toBe(1000);
      expect(statuses.get(403)).toBeGreaterThan(0);
      expect(statuses.get(429)).toBe(1);
      expect(control.forwards.list()).toHaveLength(1000);
      http.close();
    }));

  it("serves 64 connections of a VM, and ends those that ask for nothing", () =>
    inLab(async (lab) => {
      const { control } = await lab.start(GUEST_API);
      const guest = await lab.boot();
      const [vm] = control.vms();
      // The same on a port of the gateway that is in more of a hurry.
      vm.stack.tcpListen(vm.stack.address, 81, (request) => {
        const stream = FlowStream.accept(request);
        if (stream !== null) serveGuestApi(stream, vm, control, 300);
      });
      const open = await Promise.all(Array.from({ length: 64 }, () => guest.connect(GATEWAY, 81)));
      const ends = open.map(async (stream) => await closed(stream.on("error", () => {}).resume()));
      await expect(guest.connect(GATEWAY, 81)).rejects.toMatchObject({ code: "ECONNREFUSED" });
      await Promise.all(ends);
      // One that goes on asking stays.
      const busy = await guest.connect(GATEWAY, 81);
      let answers = "";
      let hasEnded = false;
      busy.on("data", (chunk: Buffer) => (answers += chunk.toString()));
      busy.on("error", () => {}).on("close", () => (hasEnded = true));
      for (let turn = 0; turn < 5; turn++) {
        busy.write("GET /services/forwarder/all HTTP/1.1\r\nHost: x\r\n\r\n");
        await sleep(150);
        expect(hasEnded).toBe(false);
      }
      expect(answers.match(/200 OK/g)).toHaveLength(5);
      // One that takes too long over a request is ended.
      busy.write("POST /services/forwarder/expose HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{");
      await vi.waitFor(() => expect(hasEnded).toBe(true));
    }));

  it("lives through what is no HTTP", () =>
    inLab(async (lab) => {
      await lab.start(GUEST_API);
      const guest = await lab.boot();
      for (const bytes of ["\0\0\0\0", "GET / HTTP/9.9\r\n\r\n", "GET /\r\n\r\n", `GET /${"x".repeat(100_000)}`]) {
        const stream = await guest.connect(GATEWAY, 80);
        stream.on("error", () => {}).on("end", () => stream.end());
        stream.write(bytes);
        await closed(stream.resume());
      }
      const http = await GuestClient.connect(guest);
      expect(await http.ask("GET", "/services/forwarder/all")).toEqual({ status: 200, body: "[]\n" });
      http.close();
    }));
});
