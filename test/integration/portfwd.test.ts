import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { text } from "node:stream/consumers";
import type { EmbeddedGuest } from "@hostd/guest";
import type { FlowStream } from "@hostd/streams";
import { describe, expect, it, vi } from "vitest";
import { closed } from "./support/host-servers.ts";
import { inLab, type Lab, type LabDaemon } from "./support/lab.ts";

const PORT = 8080;
/** One port of the host, of the system's choice, that leads to {@link PORT} of the VM. */
const FORWARD = { forwards: [{ listen: 0, to: PORT }] };

/** The port that the system chose for a forward. */
const portOf = (daemon: LabDaemon, index = 0) => Number(daemon.forwards[index].split(":").at(-1));

/** Connects to a port of the host; what becomes of it is for the test to see. */
function client(lab: Lab, port: number): Socket {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  lab.defer(() => socket.destroy());
  return socket;
}

/** Serves TCP on a port of the guest; a stream that is open when its guest goes makes no noise. */
function serve(guest: EmbeddedGuest, port: number, connected: (stream: FlowStream) => void): () => void {
  return guest.listen(port, (stream) => {
    stream.on("error", () => {});
    connected(stream);
  });
}

/** The code of the error that a socket ends with. */
async function failure(socket: Socket | FlowStream): Promise<string | undefined> {
  const [error] = (await once(socket.resume(), "error")) as [NodeJS.ErrnoException];
  return error.code;
}

const sha256 = (data: Uint8Array) => createHash("sha256").update(data).digest("hex");

/** The SHA-256 of what comes until the end; the other direction goes on. */
async function hashOf(stream: Duplex): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) hash.update(chunk);
  return hash.digest("hex");
}

describe("a published port", () => {
  it("carries many megabytes both ways at once, unchanged", () =>
    inLab(async (lab) => {
      const daemon = await lab.start(FORWARD);
      const guest = await lab.boot();
      const [up, down] = [randomBytes(20_000_000), randomBytes(20_000_000)];
      const received = Promise.withResolvers<string>();
      serve(guest, PORT, (stream) => {
        stream.end(down);
        received.resolve(hashOf(stream));
      });
      const socket = client(lab, portOf(daemon));
      socket.end(up);
      expect(await hashOf(socket)).toBe(sha256(down));
      expect(await received.promise).toBe(sha256(up));
      await closed(socket);
    }));

  it("leads to a VM that has an address and has not sent a packet yet", () =>
    inLab(async (lab) => {
      const daemon = await lab.start(FORWARD);
      const guest = await lab.boot();
      serve(guest, PORT, (stream) => stream.end("hello"));
      expect(await text(client(lab, portOf(daemon)))).toBe("hello");
    }));

  it("shows the guest the gateway as the client", () =>
    inLab(async (lab) => {
      const daemon = await lab.start(FORWARD);
      const guest = await lab.boot();
      serve(guest, PORT, (stream) => stream.end(stream.remoteAddress));
      expect(await text(client(lab, portOf(daemon)))).toBe("192.168.65.1");
    }));

  it("goes on in one direction when the other has ended, whoever ends first", () =>
    inLab(async (lab) => {
      const daemon = await lab.start({
        forwards: [
          { listen: 0, to: PORT },
          { listen: 0, to: PORT + 1 },
        ],
      });
      const data = randomBytes(2_000_000);
      const guest = await lab.boot();
      serve(guest, PORT, (stream) => stream.resume().once("end", () => stream.end(data)));
      const first = client(lab, portOf(daemon, 0));
      first.end("that is all");
      expect(await hashOf(first)).toBe(sha256(data));

      const received = Promise.withResolvers<string>();
      serve(guest, PORT + 1, (stream) => {
        stream.end("that is all");
        received.resolve(hashOf(stream));
      });
      const second = client(lab, portOf(daemon, 1));
      await once(second.resume(), "end");
      second.end(data);
      expect(await received.promise).toBe(sha256(data));
      await closed(second);
    }));

  it("holds the client back while the guest does not read, and the guest while the client does not", () =>
    inLab(async (lab) => {
      const daemon = await lab.start(FORWARD);
      const guest = await lab.boot();
      const streams: FlowStream[] = [];
      serve(guest, PORT, (stream) => streams.push(stream));
      const socket = client(lab, portOf(daemon));
      await vi.waitUntil(() => streams.length === 1);
      const [stream] = streams;
      const block = randomBytes(1_000_000);
      let written = { client: 0, guest: 0 };
      const pump = (writer: Socket | FlowStream, name: "client" | "guest") => {
        const write = () => {
          while (written[name] < 60) {
            written = { ...written, [name]: written[name] + 1 };
            if (!writer.write(block)) {
              writer.once("drain", write);
              return;
            }
          }
          writer.end();
        };
        write();
      };
      pump(socket, "client");
      pump(stream, "guest");
      for (let before: object = {}; before !== written; ) {
        before = written;
        for (let count = 0; count < 30; count++) await guest.ping("192.168.65.1");
      }
      expect(written.client).toBeLessThan(40);
      expect(written.guest).toBeLessThan(40);
      const whole = Buffer.concat(Array(60).fill(block));
      expect(await Promise.all([hashOf(stream), hashOf(socket)])).toEqual([sha256(whole), sha256(whole)]);
    }));

  it("resets the client when nobody listens in the guest", () =>
    inLab(async (lab) => {
      const daemon = await lab.start(FORWARD);
      await lab.boot();
      const start = performance.now();
      expect(await failure(client(lab, portOf(daemon)))).toBe("ECONNRESET");
      expect(performance.now() - start).toBeLessThan(1000);
    }));

  it("resets the client when no machine has the guest's address", () =>
    inLab(async (lab) => {
      const daemon = await lab.start({
        forwards: [{ listen: 0, to: "192.168.65.77:80" }],
        publish: { waitSeconds: 0 },
      });
      await lab.boot();
      expect(await failure(client(lab, portOf(daemon)))).toBe("ECONNRESET");
      expect(daemon.log.find(({ msg }) => msg === "the guest did not take a connection")).toMatchObject({
        guest: "192.168.65.77:80",
        reason: "unreachable",
      });
    }));

  it("passes on a reset of the guest, and one of the client", () =>
    inLab(async (lab) => {
      const daemon = await lab.start(FORWARD);
      const guest = await lab.boot();
      const stop = serve(guest, PORT, (stream) => stream.once("data", () => stream.destroy()));
      const first = client(lab, portOf(daemon));
      first.write("x");
      expect(await failure(first)).toBe("ECONNRESET");
      stop();

      const failed = Promise.withResolvers<string | undefined>();
      serve(guest, PORT, (stream) => {
        stream.write("x");
        failed.resolve(failure(stream));
      });
      const second = client(lab, portOf(daemon));
      await once(second, "data");
      second.resetAndDestroy();
      expect(await failed.promise).toBe("ECONNRESET");
    }));

  it("resets the client at once when no VM is attached and it is not to wait, and says so", () =>
    inLab(async (lab) => {
      const daemon = await lab.start({ ...FORWARD, publish: { waitSeconds: 0 } });
      expect(await failure(client(lab, portOf(daemon)))).toBe("ECONNRESET");
      expect(daemon.log.find(({ level }) => level === "warn")).toMatchObject({
        listen: daemon.forwards[0],
        msg: "a connection to a published port was reset: no VM with a known address is attached",
      });
    }));

  it("holds the client while no VM is there, and while it boots, and serves it then", () =>
    inLab(async (lab) => {
      const daemon = await lab.start(FORWARD);
      const before = client(lab, portOf(daemon));
      before.end("before");
      const guest = await lab.attach();
      const during = client(lab, portOf(daemon));
      during.end("during");
      serve(guest, PORT, (stream) => stream.pipe(stream));
      await guest.configure();
      expect(await Promise.all([text(before), text(during)])).toEqual(["before", "during"]);
      expect(daemon.log.filter(({ level }) => level === "warn")).toEqual([]);
    }));

  it("resets its connections when the VM goes, and leads to the next one", () =>
    inLab(async (lab) => {
      const daemon = await lab.start(FORWARD);
      const guest = await lab.boot(1);
      serve(guest, PORT, (stream) => stream.write("first"));
      const socket = client(lab, portOf(daemon));
      await once(socket, "data");
      const reset = failure(socket);
      await guest.kill();
      expect(await reset).toBe("ECONNRESET");
      const next = await lab.boot(2);
      serve(next, PORT, (stream) => stream.end("second"));
      expect(await text(client(lab, portOf(daemon)))).toBe("second");
    }));

  it("leads to the first VM, or to the one that has the address that it names", () =>
    inLab(async (lab) => {
      const static_ = { "02:00:00:00:01:01": "192.168.65.21", "02:00:00:00:01:02": "192.168.65.22" };
      const daemon = await lab.start({
        dhcp: { static: static_ },
        forwards: [
          { listen: 0, to: PORT },
          { listen: 0, to: `192.168.65.21:${PORT}` },
          { listen: 0, to: `192.168.65.22:${PORT}` },
        ],
      });
      for (const number of [1, 2]) {
        const guest = await lab.boot(number);
        serve(guest, PORT, (stream) => stream.end(String(number)));
      }
      const answers = await Promise.all([0, 1, 2].map((index) => text(client(lab, portOf(daemon, index)))));
      expect(answers).toEqual(["1", "1", "2"]);
    }));

  it("serves 200 connections at once, and as many again one after the other", () =>
    inLab(async (lab) => {
      const daemon = await lab.start(FORWARD);
      const guest = await lab.boot();
      serve(guest, PORT, (stream) => void stream.pipe(stream));
      const exchange = async (number: number) => {
        const data = Buffer.alloc(20_000, `connection ${number} `);
        const socket = client(lab, portOf(daemon));
        socket.end(data);
        expect(Buffer.concat(await socket.toArray()).equals(data)).toBe(true);
      };
      await Promise.all(Array.from({ length: 200 }, (_, number) => exchange(number)));
      for (let number = 0; number < 200; number++) await exchange(number);
      expect(daemon.log.filter(({ level }) => level === "warn" || level === "error")).toEqual([]);
    }));

  it("ends with hostd, its connections by a reset", () =>
    inLab(async (lab) => {
      const daemon = await lab.start(FORWARD);
      const guest = await lab.boot();
      const streams: FlowStream[] = [];
      serve(guest, PORT, (stream) => {
        streams.push(stream);
        stream.write("x");
      });
      const socket = client(lab, portOf(daemon));
      await once(socket, "data");
      const resets = Promise.all([failure(socket), failure(streams[0])]);
      await daemon.close();
      expect(await resets).toEqual(["ECONNRESET", "ECONNRESET"]);
      expect(await failure(client(lab, portOf(daemon)))).toBe("ECONNREFUSED");
    }));
});

describe("a port that is taken", () => {
  it("ends the start in Docker's words, and leaves nothing behind", () =>
    inLab(async (lab) => {
      const { forwards } = await lab.start(FORWARD);
      const other = { qemu: [`unix://${lab.folder}/other.sock`], forwards: [{ listen: forwards[0], to: PORT }] };
      await expect(lab.start(other)).rejects.toThrow(`listen tcp ${forwards[0]}: bind: address already in use`);
      await expect(lab.start({ ...other, forwards: [{ listen: "192.0.2.1:0", to: 1 }] })).rejects.toThrow(
        "listen tcp 192.0.2.1:0: bind: cannot assign requested address",
      );
      await lab.start({ ...other, forwards: [] });
    }));
});
