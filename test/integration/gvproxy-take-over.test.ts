import { once } from "node:events";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import type { FlowStream } from "@hostd/streams";
import { describe, expect, it, vi } from "vitest";
import { askDaemon } from "./support/control.ts";
import {
  addressOf,
  apiOf,
  CONNECT,
  echo,
  guestOver,
  lastWords,
  PORT,
  send,
  serveEcho,
  withApi,
} from "./support/gvproxy-client.ts";
import { closed } from "./support/host-servers.ts";
import { GATEWAY, HOST, inLab } from "./support/lab.ts";

describe("a connection that is taken over", () => {
  it("attaches a VM by /connect, and keeps the frames that came with the request", () =>
    inLab(async (lab) => {
      const { control } = await lab.start(withApi(lab));
      // The request leaves together with the first frame of the guest, which goes through a socket in between for that.
      const between = createServer({ allowHalfOpen: true }, (fromGuest) => {
        fromGuest
          .on("error", () => {})
          .once("data", (frame: Buffer) => {
            const socket = connect({ path: apiOf(lab), allowHalfOpen: true });
            socket.on("error", () => {}).write(Buffer.concat([Buffer.from(CONNECT), frame]));
            fromGuest.pipe(socket).pipe(fromGuest);
          });
      });
      lab.defer(() => between.close());
      const path = join(lab.folder, "between.sock");
      between.listen(path);
      await once(between, "listening");
      const guest = guestOver(lab, await send(lab, path));
      await guest.configure();
      expect(await guest.ping(GATEWAY)).toBeGreaterThan(0);
      expect(control.vms().map(({ name }) => name)).toEqual([`unix://${apiOf(lab)}/connect`]);
      await guest.kill();
      await vi.waitFor(() => expect(control.vms()).toEqual([]));
    }));

  it("takes a request that comes byte by byte, while others are answered", () =>
    inLab(async (lab) => {
      const { control } = await lab.start(withApi(lab));
      const half = await send(lab, apiOf(lab), CONNECT.slice(0, 10));
      const nothing = await send(lab, apiOf(lab));
      expect((await askDaemon(apiOf(lab), "GET", "/cam")).body).toBe("{}\n");
      for (const byte of CONNECT.slice(10)) await new Promise<void>((resolve) => half.write(byte, () => resolve()));
      await vi.waitFor(() => expect(control.vms()).toHaveLength(1));
      await guestOver(lab, half).configure();
      nothing.destroy();
    }));

  it("answers any other first request, however it comes", () =>
    inLab(async (lab) => {
      await lab.start(withApi(lab));
      const body = '{"local":"x","remote":"y"}';
      const head = `POST /services/forwarder/expose HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n`;
      for (const parts of [[head + body], [head, body], [head.slice(0, 3), head.slice(3), body], [...(head + body)]]) {
        expect(await text(await send(lab, apiOf(lab), ...parts))).toMatch(/^HTTP\/1\.1 400 .*address y: missing port/s);
      }
      const two = "GET /cam HTTP/1.1\r\nHost: x\r\n\r\nGET /cam HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
      expect((await text(await send(lab, apiOf(lab), two))).match(/200 OK/g)).toHaveLength(2);
    }));

  it("closes a connection that ends before its request does", () =>
    inLab(async (lab) => {
      await lab.start(withApi(lab));
      for (const part of ["", "GET /cam", CONNECT.slice(0, -2)]) {
        const socket = await send(lab, apiOf(lab), part);
        socket.end();
        expect(await text(socket)).toBe("");
      }
      const broken = await send(lab, apiOf(lab), "GET /cam");
      broken.destroy();
      expect((await askDaemon(apiOf(lab), "GET", "/cam")).body).toBe("{}\n");
    }));

  it("leaves requests that cannot be taken over to be answered", () =>
    inLab(async (lab) => {
      const { control } = await lab.start(withApi(lab));
      const first = "GET /cam HTTP/1.1\r\nHost: x\r\n\r\n";
      const last = "Host: x\r\nConnection: close\r\n\r\n";
      const tunnel = `${first}GET /tunnel?ip=192.168.65.3&port=80 HTTP/1.1\r\n${last}`;
      expect(await text(await send(lab, apiOf(lab), tunnel))).toContain(
        "/tunnel has to be the first request of its connection, and without a body\n",
      );
      const withBody = `POST /connect HTTP/1.1\r\nContent-Length: 1\r\n${last}x`;
      expect(await text(await send(lab, apiOf(lab), withBody))).toMatch(/^HTTP\/1\.1 404 /);
      const wrong = `GET /tunnel?ip=192.168.65.3&port=x HTTP/1.1\r\n${last}`;
      expect(await text(await send(lab, apiOf(lab), wrong))).toContain('strconv.Atoi: parsing "x": invalid syntax\n');
      const foreign = `GET /tunnel?ip=192.168.65.3&port=80&from=192.0.2.1 HTTP/1.1\r\n${last}`;
      expect(await text(await send(lab, apiOf(lab), foreign))).toContain("from is not one of gateway, host\n");
      expect(control.vms()).toEqual([]);
    }));

  it("leads a tunnel into the guest, with what came with the request and either end by itself", () =>
    inLab(async (lab) => {
      await lab.start(withApi(lab));
      const guest = await lab.boot();
      serveEcho(guest);
      const request = `POST /tunnel?ip=${addressOf(guest)}&port=${PORT} HTTP/1.1\r\nHost: \r\n\r\n`;
      const socket = await send(lab, apiOf(lab), `${request}early `);
      expect(await lastWords(socket)).toBe("OKearly last words");
      guest.listen(PORT + 1, (stream) => stream.on("error", () => {}).end("bye"));
      const other = await send(lab, apiOf(lab), request.replace(`${PORT}`, `${PORT + 1}`));
      expect(await text(other)).toBe("OKbye");
    }));

  it("has a tunnel come from the gateway, or from the host where that is asked for", () =>
    inLab(async (lab) => {
      await lab.start(withApi(lab));
      const guest = await lab.boot();
      guest.listen(PORT, (stream) => stream.on("error", () => {}).end(` ${stream.remoteAddress}`));
      const open = async (query: string) => {
        const request = `GET /tunnel?ip=${addressOf(guest)}&port=${PORT}${query} HTTP/1.1\r\nHost: \r\n\r\n`;
        return await text(await send(lab, apiOf(lab), request));
      };
      expect(await open("")).toBe(`OK ${GATEWAY}`);
      expect(await open("&from=gateway")).toBe(`OK ${GATEWAY}`);
      expect(await open("&from=host")).toBe(`OK ${HOST}`);
    }));

  it("closes a tunnel to where nobody is", () =>
    inLab(async (lab) => {
      await lab.start(withApi(lab));
      const tunnel = async (query: string) => {
        return await text(await send(lab, apiOf(lab), `GET /tunnel?${query} HTTP/1.1\r\nHost: \r\n\r\n`));
      };
      expect(await tunnel("ip=192.168.65.3&port=80")).toBe("OK");
      const guest = await lab.boot();
      expect(await tunnel(`ip=${addressOf(guest)}&port=81`)).toBe("OK");
      for (const query of [
        "ip=name&port=80",
        `ip=${GATEWAY}&port=53`,
        `ip=${HOST}&port=80`,
        "ip=192.168.65.3&port=0",
      ]) {
        expect(await tunnel(query)).toBe("OK");
      }
    }));

  it("closes a tunnel whose VM goes, and ends the guest's stream when the client goes", () =>
    inLab(async (lab) => {
      await lab.start(withApi(lab));
      const guest = await lab.boot();
      const streams: FlowStream[] = [];
      guest.listen(PORT, (stream) => streams.push(stream.on("error", () => {})));
      const open = async () => {
        const request = `GET /tunnel?ip=${addressOf(guest)}&port=${PORT} HTTP/1.1\r\nHost: \r\n\r\n`;
        const socket = await send(lab, apiOf(lab), request);
        const known = streams.length;
        await vi.waitFor(() => expect(streams.length).toBe(known + 1));
        return socket;
      };
      const abandoned = await open();
      const ended = once(streams[0].resume(), "end");
      const gone = closed(streams[0]);
      abandoned.destroy();
      await ended;
      streams[0].write("is anybody there?");
      await gone;
      const left = await open();
      await guest.kill();
      expect(await text(left)).toBe("OK");
    }));

  it("goes by what the socket is for: its framing, and whether VMs may attach", () =>
    inLab(async (lab) => {
      const [attach, services] = [join(lab.folder, "attach.sock"), join(lab.folder, "services.sock")];
      const { control } = await lab.start(
        { api: "none" },
        {
          gvproxyApis: [
            { address: { transport: "unix", path: attach }, canConnect: true, framing: "qemu" },
            { address: { transport: "unix", path: services }, canConnect: false },
          ],
        },
      );
      const guest = guestOver(lab, await send(lab, attach, CONNECT), "qemu");
      await guest.configure();
      expect(control.vms()).toHaveLength(1);
      const refused = CONNECT.replace("Content-Length: 0", "Connection: close");
      expect(await text(await send(lab, services, refused))).toMatch(/^HTTP\/1\.1 404 .*404 page not found\n$/s);
      serveEcho(guest);
      const tunnel = `GET /tunnel?ip=${addressOf(guest)}&port=${PORT} HTTP/1.1\r\nHost: \r\n\r\n`;
      expect(await lastWords(await send(lab, services, tunnel))).toBe("OKlast words");
      expect((await askDaemon(services, "GET", "/v1/vms")).body).toBe("404 page not found\n");
    }));

  it("ends with hostd", () =>
    inLab(async (lab) => {
      const daemon = await lab.start(withApi(lab));
      const guest = guestOver(lab, await send(lab, apiOf(lab), CONNECT));
      await guest.configure();
      serveEcho(guest);
      const tunnel = await send(
        lab,
        apiOf(lab),
        `GET /tunnel?ip=${addressOf(guest)}&port=${PORT} HTTP/1.1\r\nHost: \r\n\r\n`,
      );
      expect(await echo(tunnel, "")).toBe("");
      const waiting = await send(lab, apiOf(lab), "GET /ca");
      await daemon.close();
      await guest.closed;
      expect(await text(waiting)).toBe("");
      expect(await text(tunnel)).toBe("OK");
    }));
});
