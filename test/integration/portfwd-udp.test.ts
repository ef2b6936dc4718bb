import { execFileSync } from "node:child_process";
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { isIPv4 } from "node:net";
import { fileURLToPath } from "node:url";
import type { EmbeddedGuest, GuestUdpSocket } from "@hostd/guest";
import { describe, expect, it, test, vi } from "vitest";
import { runInNamespace } from "../../packages/egress/src/testing/network-namespace.ts";
import { GATEWAY, HOST, inLab, type Lab, type LabDaemon } from "./support/lab.ts";

const PORT = 5353;
/** One port of the host, of the system's choice, that leads to {@link PORT} of the VM. */
const FORWARD = { forwards: [{ listen: "127.0.0.1:0", to: PORT, protocol: "udp" as const }] };

/** The port that the system chose for a forward. */
const portOf = (daemon: LabDaemon, index = 0) => Number(daemon.forwards[index].split(":").at(-1));

/** A UDP socket of the host that is connected to a forward: it takes answers from nowhere else. */
async function client(lab: Lab, port: number, address = "127.0.0.1"): Promise<Socket> {
  const socket = createSocket({ type: isIPv4(address) ? "udp4" : "udp6", recvBufferSize: 4 * 1024 * 1024 });
  lab.defer(() => socket.close());
  socket.bind(0, address);
  await once(socket, "listening");
  socket.connect(port, address);
  await once(socket, "connect");
  return socket;
}

/** The next datagram that a client receives. */
async function received(socket: Socket): Promise<Buffer> {
  const [data] = (await once(socket, "message")) as [Buffer];
  return data;
}

/** Sends a datagram and waits for the answer. */
async function ask(socket: Socket, data: Uint8Array | string): Promise<Buffer> {
  const answer = received(socket);
  socket.send(data);
  return await answer;
}

/** Answers every datagram to a port of the guest with what `answer` makes of it. */
function serve(guest: EmbeddedGuest, answer: (data: Uint8Array, from: string) => Uint8Array): GuestUdpSocket {
  const socket = guest.udp(PORT);
  const run = async () => {
    for (;;) {
      const { address, port, data } = await socket.receive(60_000);
      socket.send(address, port, answer(data, `${address}:${port}`));
    }
  };
  // It ends with the guest.
  run().catch(() => {});
  return socket;
}

describe("a published UDP port", () => {
  it.for([0, 1, 1472, 1473, 8000, 65_507])("carries datagrams of %i bytes both ways, unchanged", (size) =>
    inLab(async (lab) => {
      const daemon = await lab.start(FORWARD);
      serve(await lab.boot(), (data) => data.toReversed());
      const socket = await client(lab, portOf(daemon));
      for (let round = 0; round < 5; round++) {
        const data = crypto.getRandomValues(Buffer.alloc(size));
        expect((await ask(socket, data)).equals(Buffer.from(data.toReversed()))).toBe(true);
      }
    }),
  );

  it("keeps clients apart whose datagrams and answers are interleaved", () =>
    inLab(async (lab) => {
      const daemon = await lab.start(FORWARD);
      serve(await lab.boot(), (data) => data);
      const sockets = [await client(lab, portOf(daemon)), await client(lab, portOf(daemon))];
      const rounds = async (socket: Socket, name: string) => {
        for (let round = 0; round < 100; round++) {
          const text = `${name} ${round} `.repeat(1 + (round % 20) * 20);
          expect(String(await ask(socket, text))).toBe(text);
        }
      };
      await Promise.all(sockets.map((socket, index) => rounds(socket, `client ${index}`)));
    }));

  it("takes clients of IPv6 and of both families", () =>
    inLab(async (lab) => {
      const forwards = ["[::1]:0", "*:0"].map((listen) => ({ listen, to: PORT, protocol: "udp" as const }));
      const daemon = await lab.start({ forwards });
      serve(await lab.boot(), (_, from) => Buffer.from(from.split(":")[0]));
      for (const [index, address] of [
        [0, "::1"],
        [1, "::1"],
        [1, "127.0.0.1"],
      ] as const) {
        expect(String(await ask(await client(lab, portOf(daemon, index), address), "who am I?"))).toBe(GATEWAY);
      }
    }));

  it("shows the guest the client's own port in source-address mode", () =>
    inLab(async (lab) => {
      const daemon = await lab.start({ ...FORWARD, publish: { source: "client" } });
      serve(await lab.boot(), (_, from) => Buffer.from(from));
      const socket = await client(lab, portOf(daemon));
      expect(String(await ask(socket, "who am I?"))).toBe(`${HOST}:${socket.address().port}`);
    }));

  it("takes no answer from another port of the guest", () =>
    inLab(async (lab) => {
      const daemon = await lab.start(FORWARD);
      const guest = await lab.boot();
      const [served, other] = [guest.udp(PORT), guest.udp(PORT + 1)];
      const socket = await client(lab, portOf(daemon));
      const answer = received(socket);
      socket.send("question");
      const question = await served.receive();
      other.send(question.address, question.port, Buffer.from("forged"));
      served.send(question.address, question.port, Buffer.from("true"));
      expect(String(await answer)).toBe("true");
    }));

  it("loses what comes before a VM is there, and says so", () =>
    inLab(async (lab) => {
      const daemon = await lab.start(FORWARD);
      const socket = await client(lab, portOf(daemon));
      socket.send("lost");
      await vi.waitUntil(() => daemon.log.some(({ level }) => level === "warn"));
      expect(daemon.log.find(({ level }) => level === "warn")).toMatchObject({
        listen: daemon.forwards[0],
        msg: "datagrams to a published port were dropped: no VM with a known address is attached",
      });
      serve(await lab.boot(), (data) => data);
      expect(String(await ask(socket, "arrives"))).toBe("arrives");
    }));

  it("leads a client to the next VM when its own has gone", () =>
    inLab(async (lab) => {
      const daemon = await lab.start(FORWARD);
      const first = await lab.boot(1);
      serve(first, () => Buffer.from("first"));
      const socket = await client(lab, portOf(daemon));
      expect(String(await ask(socket, "who is there?"))).toBe("first");
      await first.kill();
      serve(await lab.boot(2), () => Buffer.from("second"));
      expect(String(await ask(socket, "who is there?"))).toBe("second");
    }));

  it("forgets the client that was silent for longest when there are too many", () =>
    inLab(async (lab) => {
      const daemon = await lab.start({ ...FORWARD, publish: { maxUdpFlows: 2 } });
      serve(await lab.boot(), (_, from) => Buffer.from(from));
      const sockets = await Promise.all([1, 2, 3].map(() => client(lab, portOf(daemon))));
      const before: string[] = [];
      for (const socket of sockets) before.push(String(await ask(socket, "who am I?")));
      // The first has made way for the third, and now has the second make way for it.
      expect(String(await ask(sockets[2], "who am I?"))).toBe(before[2]);
      expect(String(await ask(sockets[0], "who am I?"))).not.toBe(before[0]);
      expect(String(await ask(sockets[2], "who am I?"))).toBe(before[2]);
    }));

  it("serves a client while another one and the guest flood each other", () =>
    inLab(async (lab) => {
      const daemon = await lab.start(FORWARD);
      const guest = await lab.boot();
      // Each datagram of the flood has ten answers.
      const served = guest.udp(PORT);
      const run = async () => {
        for (;;) {
          const { address, port, data } = await served.receive(60_000);
          for (let count = data.length > 100 ? 10 : 1; count > 0; count--) served.send(address, port, data);
        }
      };
      run().catch(() => {});
      const [flooding, patient] = [await client(lab, portOf(daemon)), await client(lab, portOf(daemon))];
      let flooded = 0;
      const block = Buffer.alloc(8000);
      const flood = setInterval(() => {
        for (let count = 0; count < 200; count++) flooding.send(block, () => flooded++);
      }, 1);
      lab.defer(() => clearInterval(flood));
      let answered = 0;
      patient.on("message", () => answered++);
      // A datagram may be lost in the flood, so it is sent again and again.
      const asking = setInterval(() => patient.send("are you there?"), 5);
      lab.defer(() => clearInterval(asking));
      await vi.waitUntil(() => flooded >= 20_000 && answered >= 50, { timeout: 40_000 });
      expect(daemon.log.filter(({ level }) => level === "error")).toEqual([]);
    }));

  it("ends with hostd, and frees its port", () =>
    inLab(async (lab) => {
      const daemon = await lab.start(FORWARD);
      serve(await lab.boot(), (data) => data);
      const port = portOf(daemon);
      await ask(await client(lab, port), "x");
      await daemon.close();
      const socket = createSocket("udp4");
      lab.defer(() => socket.close());
      socket.bind(port, "127.0.0.1");
      await once(socket, "listening");
    }));

  it("that is taken ends the start in Docker's words", () =>
    inLab(async (lab) => {
      const { forwards } = await lab.start(FORWARD);
      const other = { qemu: [`unix://${lab.folder}/other.sock`], state: `${lab.folder}/other` };
      const taken = [{ listen: forwards[0], to: PORT, protocol: "udp" as const }];
      await expect(lab.start({ ...other, forwards: taken })).rejects.toThrow(
        `listen udp ${forwards[0]}: bind: address already in use`,
      );
      // TCP has ports of its own.
      await lab.start({ ...other, forwards: [{ listen: forwards[0], to: PORT }] });
    }));
});

test("answers that the host cannot send are dropped once 4 MiB of them wait, and what waits is sent later", async () => {
  const setup = "ip link set lo up; tc qdisc add dev lo root tbf rate 1mbit burst 70000 limit 100000000";
  const program = fileURLToPath(new URL("support/slow-loopback.ts", import.meta.url));
  const results = await runInNamespace(setup, program);
  if (results === null) {
    // An interface is made slow in a namespace only; the refusal is all there is to see.
    expect(() => execFileSync("unshare", ["-rn", "true"], { stdio: "ignore" })).toThrow();
    return;
  }
  expect(results).toMatchObject({ failed: 0, log: [] });
  const { answered, droppedUnsent, held } = results as Record<"answered" | "droppedUnsent" | "held", number>;
  expect(answered + droppedUnsent).toBe(200);
  // The kernel takes some into its send buffer before any wait.
  expect(answered * 60_000).toBeGreaterThan(4_000_000);
  expect(answered * 60_000).toBeLessThan(6_000_000);
  expect(held).toBeLessThan(5_000_000);
});
