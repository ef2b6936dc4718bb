import { once } from "node:events";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import type { EmbeddedGuest } from "@hostd/guest";
import { describe, expect, it } from "vitest";
import { inLab, type Lab } from "./support/lab.ts";

const PORT = 8080;
const DONE = { status: 200, body: "" };

interface Port {
  readonly proto?: string;
  readonly out_ip?: string;
  readonly out_port?: number;
  readonly out_path?: string;
  readonly in_ip?: string;
  readonly in_port?: number;
  readonly in_path?: string;
  readonly annotation?: string;
}

const socketOf = (lab: Lab) => join(lab.folder, "vpnkit.sock");
const withApi = (lab: Lab) => ({ vpnkitApi: `unix://${socketOf(lab)}` });

async function ask(lab: Lab, method: string, path: string, body?: unknown, type = "application/json") {
  const sent = body === undefined ? "" : typeof body === "string" ? body : JSON.stringify(body);
  const headers = { "content-length": Buffer.byteLength(sent), ...(sent === "" ? {} : { "content-type": type }) };
  const outgoing = httpRequest({ socketPath: socketOf(lab), method, path: `/forwards/${path}`, headers, agent: false });
  outgoing.end(sent);
  const [response] = (await once(outgoing, "response")) as [IncomingMessage];
  return { status: response.statusCode, type: response.headers["content-type"], body: await text(response) };
}

async function answer(lab: Lab, method: string, path: string, body?: unknown) {
  const { status, body: answered } = await ask(lab, method, path, body);
  return { status, body: answered };
}

const message = (status: number, words: string) => ({ status, body: `${JSON.stringify({ message: words })}\n` });

async function list(lab: Lab): Promise<Port[] | null> {
  return JSON.parse((await ask(lab, "GET", "list")).body) as Port[] | null;
}

function client(lab: Lab, port: number): Socket {
  const socket = connect({ port, host: "127.0.0.1" });
  lab.defer(() => socket.destroy());
  return socket.on("error", () => {});
}

function serve(guest: EmbeddedGuest, words: string): void {
  guest.listen(PORT, (stream) => stream.on("error", () => {}).write(words));
}

/** A port of the loopback address that stays taken. */
async function takePort(lab: Lab): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  lab.defer(() => server.close());
  return (server.address() as AddressInfo).port;
}

describe("vpnkit's API", () => {
  it("exposes a port of the VM, lists it with its number, and ends its connections with it", () =>
    inLab(async (lab) => {
      const { control } = await lab.start(withApi(lab));
      serve(await lab.boot(), "hello");
      expect(await ask(lab, "GET", "list")).toEqual({
        status: 200,
        type: "application/json; charset=UTF-8",
        body: "null\n",
      });
      const port = { proto: "tcp", out_ip: "127.0.0.1", in_ip: "127.0.0.1", in_port: PORT, annotation: "web" };
      expect(await answer(lab, "PUT", "expose/port", port)).toEqual(DONE);
      const [listed] = (await list(lab)) ?? [];
      expect(listed).toEqual({ ...port, out_port: expect.any(Number) });
      const { out_port: number = 0 } = listed;
      expect(control.forwards.list().map(({ id, origin }) => [id, origin])).toEqual([
        [`tcp/127.0.0.1:${number}`, "vpnkit"],
      ]);
      const socket = client(lab, number);
      const [words] = (await once(socket, "data")) as [Buffer];
      expect(words.toString()).toBe("hello");
      // Without its number it is not what is listed.
      expect(await answer(lab, "DELETE", "unexpose/port", port)).toEqual(DONE);
      expect(await list(lab)).toHaveLength(1);
      const gone = new Promise((resolve) => socket.once("close", resolve));
      expect(await answer(lab, "DELETE", "unexpose/port", listed)).toEqual(DONE);
      await gone;
      expect(await list(lab)).toBeNull();
      expect(await answer(lab, "DELETE", "unexpose/port", listed)).toEqual(DONE);
    }));

  it("takes a port twice, and what POST is for", () =>
    inLab(async (lab) => {
      const { control } = await lab.start(withApi(lab));
      const port = { proto: "udp", out_ip: "127.0.0.1", in_ip: "172.17.0.2", in_port: 53 };
      expect(await answer(lab, "POST", "expose/port", port)).toEqual(DONE);
      const [listed] = (await list(lab)) ?? [];
      const again = await Promise.all([1, 2, 3].map(() => answer(lab, "PUT", "expose/port", listed)));
      expect(again).toEqual([DONE, DONE, DONE]);
      expect(control.forwards.list()).toHaveLength(1);
      expect(await answer(lab, "POST", "unexpose/port", listed)).toEqual(DONE);
      const twice = await Promise.all([1, 2].map(() => answer(lab, "PUT", "expose/port", listed)));
      expect(twice).toEqual([DONE, DONE]);
      expect(control.forwards.list()).toHaveLength(1);
    }));

  it("dumps what it has, for people", () =>
    inLab(async (lab) => {
      await lab.start(withApi(lab));
      serve(await lab.boot(), "hello");
      expect(await ask(lab, "GET", "dump")).toEqual({ status: 200, type: "text/plain", body: "" });
      await answer(lab, "PUT", "expose/port", { proto: "tcp", out_ip: "127.0.0.1", in_port: PORT });
      const [{ out_port: number = 0 }] = (await list(lab)) ?? [{}];
      await once(client(lab, number), "data");
      const { body } = await ask(lab, "GET", "dump");
      const [name, counters] = /^(.*): ({.*})\n$/.exec(body)?.slice(1) ?? [];
      expect(name).toBe(`tcp forward from 127.0.0.1:${number} to <nil>:${PORT}`);
      expect(JSON.parse(counters)).toMatchObject({ connected: 1 });
    }));

  it("lists its own alone, as long as nobody else removes them", () =>
    inLab(async (lab) => {
      const { control } = await lab.start({ ...withApi(lab), forwards: [{ listen: 0, to: 80 }] });
      await answer(lab, "PUT", "expose/port", { proto: "tcp", out_ip: "127.0.0.1", in_port: PORT });
      expect(await list(lab)).toHaveLength(1);
      const [, own] = control.forwards.list();
      await control.forwards.remove(own.id);
      expect(await list(lab)).toBeNull();
    }));

  it("says why a port cannot be exposed", () =>
    inLab(async (lab) => {
      const taken = await takePort(lab);
      await lab.start({ ...withApi(lab), publish: { allow: ["127.0.0.1"] } });
      const port = { proto: "tcp", out_ip: "127.0.0.1", out_port: taken, in_port: 80 };
      expect(await answer(lab, "PUT", "expose/port", port)).toEqual(
        message(400, `listen tcp 127.0.0.1:${taken}: bind: address already in use`),
      );
      expect(await answer(lab, "PUT", "expose/port", { ...port, out_ip: "127.0.0.2" })).toMatchObject({ status: 400 });
      expect((await answer(lab, "PUT", "expose/port", { ...port, out_ip: "" })).body).toContain("is not allowed");
      expect(await answer(lab, "PUT", "expose/port", { ...port, in_port: 0 })).toMatchObject({ status: 400 });
      expect(await list(lab)).toBeNull();
    }));

  it("says that a socket of the VM needs a key", () =>
    inLab(async (lab) => {
      await lab.start(withApi(lab));
      const pipe = { proto: "unix", out_path: join(lab.folder, "out.sock"), in_path: "/run/in.sock" };
      const { status, body } = await answer(lab, "PUT", "expose/pipe", pipe);
      expect(status).toBe(400);
      expect(JSON.parse(body)).toEqual({ message: expect.stringContaining("this API carries no key") });
      expect(await answer(lab, "DELETE", "unexpose/pipe", pipe)).toEqual(DONE);
    }));

  it("tells wrong requests apart", () =>
    inLab(async (lab) => {
      await lab.start(withApi(lab));
      const wrongPort = { status: 400, body: '"exposed ports can only be TCP or UDP"\n' };
      const wrongPipe = { status: 400, body: '"exposed pipes can only have proto=Unix"\n' };
      expect(await answer(lab, "PUT", "expose/port", { proto: "unix" })).toEqual(wrongPort);
      expect(await answer(lab, "PUT", "expose/port")).toEqual(wrongPort);
      expect(await answer(lab, "POST", "unexpose/port", { proto: "sctp" })).toEqual(wrongPort);
      expect(await answer(lab, "PUT", "expose/pipe", { proto: "tcp" })).toEqual(wrongPipe);
      expect(await answer(lab, "DELETE", "unexpose/pipe", {})).toEqual(wrongPipe);
      expect(await answer(lab, "PUT", "expose/port", "{")).toEqual(message(400, "unexpected EOF"));
      expect(await answer(lab, "PUT", "expose/port", { out_port: 65_536 })).toEqual(
        message(400, "json: cannot unmarshal number 65536 into Go struct field Port.out_port of type uint16"),
      );
      expect(await answer(lab, "PUT", "expose/port", { in_ip: "x" })).toEqual(message(400, "invalid IP address: x"));
      expect(await ask(lab, "PUT", "expose/port", "{}", "text/plain")).toMatchObject(
        message(415, "Unsupported Media Type"),
      );
      expect(await answer(lab, "GET", "expose/port")).toEqual(message(405, "Method Not Allowed"));
      expect(await answer(lab, "POST", "list")).toEqual(message(405, "Method Not Allowed"));
      expect(await answer(lab, "GET", "nothing")).toEqual(message(404, "Not Found"));
      expect(await answer(lab, "PUT", "expose/port", `"${"x".repeat(1024 * 1024)}"`)).toMatchObject({ status: 413 });
    }));
});
