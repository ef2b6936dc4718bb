import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { describe, expect, it } from "vitest";
import { download, fileHash, serveFiles, serveTcp, serveUdpEcho, upload } from "./support/host-servers.ts";
import { GATEWAY, HOST, HOST_NAME, inLab } from "./support/lab.ts";

const MEGABYTE = 1_000_000;

describe("TCP to the host", () => {
  it("downloads 50 MB unchanged by the host's name", () =>
    inLab(async (lab) => {
      await lab.start();
      const { port } = await serveFiles(lab);
      const guest = await lab.boot();
      const [address] = await guest.resolve(HOST_NAME);
      expect(await download(guest, address, port, 50 * MEGABYTE)).toBe(fileHash(50 * MEGABYTE));
    }));

  it("uploads 50 MB unchanged by the host's name", () =>
    inLab(async (lab) => {
      await lab.start();
      const { port } = await serveFiles(lab);
      const guest = await lab.boot();
      const [address] = await guest.resolve(HOST_NAME);
      expect(await upload(guest, address, port, 50 * MEGABYTE)).toBe(fileHash(50 * MEGABYTE));
    }));

  it("runs a hundred downloads and uploads at once", () =>
    inLab(async (lab) => {
      const daemon = await lab.start();
      const { port, sockets } = await serveFiles(lab);
      const guest = await lab.boot();
      const hashes = await Promise.all(
        Array.from({ length: 100 }, (_, index) => (index % 4 === 3 ? upload : download)(guest, HOST, port, 300_000)),
      );
      expect(new Set(hashes)).toEqual(new Set([fileHash(300_000)]));
      expect(sockets).toHaveLength(100);
      expect(daemon.log.filter(({ level }) => level === "warn" || level === "error")).toEqual([]);
    }));

  it("goes on in one direction when the other has ended, whoever ends first", () =>
    inLab(async (lab) => {
      await lab.start();
      const data = randomBytes(2 * MEGABYTE);
      const afterGuest = await serveTcp(lab, (socket) => socket.resume().once("end", () => socket.end(data)));
      const guest = await lab.boot();
      const first = await guest.connect(HOST, afterGuest.port);
      first.end("that is all");
      expect(Buffer.compare(Buffer.concat(await first.toArray()), data)).toBe(0);

      const received: Buffer[] = [];
      const afterHost = await serveTcp(lab, (socket) => {
        socket.end("that is all");
        socket.on("data", (chunk) => received.push(Buffer.from(chunk as Buffer)));
      });
      const second = await guest.connect(HOST, afterHost.port);
      second.resume();
      await once(second, "end");
      second.end(data);
      await once(second, "close");
      const [socket] = afterHost.sockets;
      if (!socket.closed) await once(socket, "close");
      expect(Buffer.compare(Buffer.concat(received), data)).toBe(0);
    }));

  it("resets the guest where the host resets, and the host where the guest resets", () =>
    inLab(async (lab) => {
      await lab.start();
      const resetting = await serveTcp(lab, (socket) => socket.once("data", () => socket.resetAndDestroy()));
      const guest = await lab.boot();
      const stream = await guest.connect(HOST, resetting.port);
      stream.write("x");
      await expect(once(stream, "end")).rejects.toMatchObject({ code: "ECONNRESET" });

      const failed = Promise.withResolvers<NodeJS.ErrnoException>();
      const waiting = await serveTcp(lab, (socket) => socket.resume().once("error", failed.resolve));
      const other = await guest.connect(HOST, waiting.port);
      other.write("x");
      other.destroy();
      expect((await failed.promise).code).toBe("ECONNRESET");
    }));

  it("is refused in less than a second where nobody listens, on the host and on the gateway", () =>
    inLab(async (lab) => {
      await lab.start();
      const guest = await lab.boot();
      for (const address of [HOST, GATEWAY]) {
        const start = performance.now();
        await expect(guest.connect(address, 1)).rejects.toMatchObject({ code: "ECONNREFUSED" });
        expect(performance.now() - start).toBeLessThan(1000);
      }
    }));

  it("holds the host back while the guest does not read, and loses nothing", () =>
    inLab(async (lab) => {
      await lab.start();
      let written = 0;
      const block = randomBytes(MEGABYTE);
      const server = await serveTcp(lab, (socket) => {
        const write = () => {
          while (written < 60) {
            written++;
            if (!socket.write(block)) {
              socket.once("drain", write);
              return;
            }
          }
          socket.end();
        };
        write();
      });
      const guest = await lab.boot();
      const stream = await guest.connect(HOST, server.port);
      await once(stream, "readable");
      // Traffic beside it goes on, until nothing more has been written for a while.
      for (let before = -1; before < written; ) {
        before = written;
        for (let count = 0; count < 30; count++) await guest.ping(GATEWAY);
      }
      expect(written).toBeLessThan(40);
      let received = 0;
      for await (const chunk of stream) {
        if (Buffer.compare(chunk, expectedAt(block, received, chunk.length)) !== 0) throw new Error("other bytes");
        received += chunk.length;
      }
      expect(received).toBe(60 * MEGABYTE);
    }));
});

/** The bytes at `position` of `block` repeated. */
function expectedAt(block: Buffer, position: number, length: number): Buffer {
  const start = position % block.length;
  const head = block.subarray(start, start + length);
  return head.length === length ? head : Buffer.concat([head, block.subarray(0, length - head.length)]);
}

describe("UDP to the host", () => {
  it.each([1, 1400, 9000, 60000])("brings %d bytes there and back", (length) =>
    inLab(async (lab) => {
      await lab.start();
      const port = await serveUdpEcho(lab);
      const guest = await lab.boot();
      const socket = guest.udp();
      const data = randomBytes(length);
      socket.send(HOST, port, data);
      const answer = await socket.receive();
      expect(answer).toMatchObject({ address: HOST, port });
      expect(Buffer.compare(answer.data, data)).toBe(0);
    }),
  );

  it("tells the guest that nobody listens", () =>
    inLab(async (lab) => {
      await lab.start();
      const guest = await lab.boot();
      const socket = guest.udp();
      socket.send(HOST, 9, Buffer.from("x"));
      await expect(socket.receive()).rejects.toMatchObject({ code: "ECONNREFUSED" });
    }));
});

describe("an MTU of", () => {
  it.each([576, 65520])("%d carries every kind of traffic", (mtu) =>
    inLab(async (lab) => {
      await lab.start({ mtu });
      const files = await serveFiles(lab);
      const echo = await serveUdpEcho(lab);
      const guest = await lab.boot(1, { mtu });
      expect(guest.lease?.mtu).toBe(mtu);
      await guest.ping(GATEWAY, 60000);
      expect(await guest.resolve(HOST_NAME)).toEqual([HOST]);
      const length = mtu < 1500 ? 2 * MEGABYTE : 20 * MEGABYTE;
      expect(await download(guest, HOST, files.port, length)).toBe(fileHash(length));
      expect(await upload(guest, HOST, files.port, length)).toBe(fileHash(length));
      const socket = guest.udp();
      const data = randomBytes(60000);
      socket.send(HOST, echo, data);
      expect(Buffer.compare((await socket.receive()).data, data)).toBe(0);
    }),
  );
});
