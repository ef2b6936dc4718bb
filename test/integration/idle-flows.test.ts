import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { Egress } from "@hostd/egress";
import { type FrameSink, parseIpv4, parseMac, Stack, takeRegion } from "@hostd/stack";
import { afterEach, expect, test } from "vitest";
import { heapInUse } from "./support/heap.ts";

const HOST = parseIpv4("10.0.0.254");
const FLOWS = 3000;
/** What a connection may cost beyond the host socket that it is joined to, in bytes of the JavaScript heap. */
const LIMIT = 4096;

const children: ChildProcess[] = [];

afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
});

/** A server in a process of its own, so that its side of the connections costs this one nothing. */
async function startServer(): Promise<number> {
  const program = `
    const server = require("node:net").createServer((socket) => socket.on("error", () => {}));
    server.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }, () => console.log(server.address().port));
  `;
  const child = spawn(process.execPath, ["-e", program], { stdio: ["ignore", "pipe", "inherit"] });
  children.push(child);
  const [line] = await once(child.stdout as NodeJS.ReadableStream, "data");
  return Number(String(line));
}

/** One end of a link in memory. */
class End implements FrameSink {
  readonly #region = takeRegion(1 << 20);
  readonly bytes = this.#region.bytes;
  readonly view = this.#region.view;
  readonly stack: Stack;
  #at = this.#region.offset;
  readonly #frames: number[] = [];

  constructor(number: number, handlers: ConstructorParameters<typeof Stack>[0]["handlers"]) {
    this.stack = new Stack({
      mac: parseMac(`02:00:00:00:00:0${number}`),
      addresses: [parseIpv4(`10.0.0.${number}`)],
      proxiedAddresses: number === 1 ? [HOST] : [],
      network: { address: parseIpv4("10.0.0.0"), prefixLength: 24 },
      mtu: 1500,
      now: () => performance.now(),
      randomBytes: (bytes) => {
        crypto.getRandomValues(bytes as Uint8Array<ArrayBuffer>);
      },
      handlers,
      wake: () => {},
    });
    this.stack.attach(this);
  }

  reserve(length: number): number {
    return this.#at + length > this.#region.offset + this.#region.size ? -1 : this.#at;
  }

  commit(length: number): void {
    this.#frames.push(this.#at, length);
    this.#at += length;
  }

  /** Hands what was sent to the other end; true when there was something. */
  deliverTo(other: End): boolean {
    this.stack.flush();
    const frames = this.#frames.splice(0);
    for (let index = 0; index < frames.length; index += 2) {
      other.stack.receiveFrame(this.bytes, this.view, frames[index], frames[index + 1]);
    }
    this.#at = this.#region.offset;
    return frames.length > 0;
  }
}

test("an idle connection costs at most 4 KiB over the host socket that it is joined to", async () => {
  const nothing = () => {};
  const port = await startServer();

  const bareBefore = await heapInUse();
  const sockets: Socket[] = [];
  for (let count = 0; count < FLOWS; count++) {
    const onread = { buffer: Buffer.alloc(1), callback: () => true };
    const socket = connect({ host: "127.0.0.1", port, allowHalfOpen: true, noDelay: true, keepAlive: true, onread });
    sockets.push(socket);
    await once(socket, "connect");
  }
  const bare = ((await heapInUse()) - bareBefore) / FLOWS;
  for (const socket of sockets.splice(0)) socket.destroy();

  const link: { egress: Egress | null } = { egress: null };
  const gateway = new End(1, {
    tcpRequest: (request) => link.egress?.tcpRequest(request),
    udpDatagram: () => {},
    echoRequest: () => {},
  });
  const guest = new End(2, { tcpRequest: () => {}, udpDatagram: () => {}, echoRequest: () => {} });
  const egress = new Egress({
    stack: gateway.stack,
    hostAddress: HOST,
    ownAddresses: [parseIpv4("10.0.0.1"), HOST],
    network: { address: parseIpv4("10.0.0.0"), prefixLength: 24 },
    logger: { trace: nothing, debug: nothing, info: nothing, warn: nothing, error: nothing },
  });
  link.egress = egress;
  let open = 0;
  const handler = { established: () => open++, data: nothing, end: nothing, writable: nothing, closed: nothing };
  const exchange = async (isDone: () => boolean) => {
    while (!isDone()) {
      while ([guest.deliverTo(gateway), gateway.deliverTo(guest)].includes(true));
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  const dial = async (first: number, flows: number) => {
    const before = open;
    for (let count = 0; count < flows; count++) {
      const tuple = {
        localAddress: parseIpv4("10.0.0.2"),
        localPort: first + count,
        remoteAddress: HOST,
        remotePort: port,
      };
      guest.stack.tcpDial(tuple, handler);
      // A few at a time, as the limit on those that wait wants it.
      if (count % 100 === 99) await exchange(() => open - before > count);
    }
    await exchange(() => open - before === flows);
  };
  // What is made once, and the guest's own connections, are not what is measured.
  await dial(10_000, 100);
  const guestBefore = await heapInUse();
  const lone = new End(3, { tcpRequest: () => {}, udpDatagram: () => {}, echoRequest: () => {} });
  for (let count = 0; count < FLOWS; count++) {
    const tuple = {
      localAddress: parseIpv4("10.0.0.3"),
      localPort: 10_000 + count,
      remoteAddress: HOST,
      remotePort: port,
    };
    lone.stack.tcpDial(tuple, handler);
  }
  const guestSide = ((await heapInUse()) - guestBefore) / FLOWS;
  const before = await heapInUse();
  await dial(20_000, FLOWS);
  const both = ((await heapInUse()) - before) / FLOWS;
  expect(egress.stats().tcp.open).toBe(FLOWS + 100);
  const cost = both - guestSide - bare;
  expect(cost, `${both} in all, ${guestSide} of the guest, ${bare} of the socket`).toBeLessThan(LIMIT);
  // A figure that is far too small would mean that something else was measured.
  expect(cost).toBeGreaterThan(1000);
  gateway.stack.tcp.abortAll();
  await egress.close();
}, 60_000);
