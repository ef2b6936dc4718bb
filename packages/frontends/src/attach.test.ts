import dns, { type LookupAddress, type LookupAllOptions } from "node:dns";
import { existsSync } from "node:fs";
import { lstat, mkdtemp, rm, writeFile } from "node:fs/promises";
import type { Server, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type AttachHandlers, type Attachment, attachQemu } from "./attach.ts";
import { type Endpoint, formatEndpoint } from "./endpoint.ts";
import type { FramePort } from "./port.ts";
import { connectPeer, listenAsQemu, QEMU_FRAMING } from "./testing/qemu-frontend.ts";
import { patternFrame } from "./testing/random.ts";
import { RecordingConsumer } from "./testing/recording-consumer.ts";
import { StreamPeer } from "./testing/stream-peer.ts";

/** Keeps what an endpoint reports, each port started on a consumer of its own. */
class RecordingHandlers implements AttachHandlers {
  readonly links: { readonly port: FramePort; readonly consumer: RecordingConsumer }[] = [];
  readonly faults: string[] = [];
  readonly #waiting = new Set<() => void>();

  attached(port: FramePort): void {
    const consumer = new RecordingConsumer();
    port.start(consumer);
    this.links.push({ port, consumer });
    this.#changed();
  }

  fault(message: string): void {
    this.faults.push(message);
    this.#changed();
  }

  async until(holds: () => boolean): Promise<void> {
    while (!holds()) await new Promise<void>((resolve) => this.#waiting.add(resolve));
  }

  #changed(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }
}

/** Resolves once `holds` does, which is asked in each turn of the event loop: for what nothing else tells of. */
async function eventually(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setImmediate(resolve));
}

let folder: string;
let handlers: RecordingHandlers;
let attachment: Attachment | null;
const peers: StreamPeer[] = [];
const servers: Server[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hostd-attach-"));
  handlers = new RecordingHandlers();
  attachment = null;
});

afterEach(async () => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  await attachment?.close();
  for (const server of servers.splice(0)) server.close();
  for (const peer of peers.splice(0)) {
    peer.socket.destroy();
    await peer.closed;
  }
  await rm(folder, { recursive: true });
});

const unix = (mode: Endpoint["mode"]): Endpoint => ({ transport: "unix", path: join(folder, "vm.sock"), mode });
const tcp = (mode: Endpoint["mode"], port = 0): Endpoint => ({ transport: "tcp", host: "127.0.0.1", port, mode });

async function attach(endpoint: Endpoint): Promise<Attachment> {
  attachment = await attachQemu(endpoint, handlers);
  return attachment;
}

async function connectTo({ endpoint }: Attachment): Promise<StreamPeer> {
  const peer = await connectPeer(endpoint);
  peers.push(peer);
  return peer;
}

describe("an endpoint that is listened on", () => {
  it.each([unix, tcp])("lets several VMs attach, each with a link of its own", async (endpoint) => {
    const at = await attach(endpoint("listen"));
    const vms = [await connectTo(at), await connectTo(at), await connectTo(at)];
    for (const [index, vm] of vms.entries()) vm.send(patternFrame(60, index));
    await handlers.until(() => handlers.links.length === 3);
    for (const { consumer } of handlers.links) await consumer.until(() => consumer.frames.length === 1);
    const tags = handlers.links.map(({ consumer }) => consumer.frames[0].at(3));
    expect(tags.sort()).toEqual([0, 1, 2]);
    vms[1].socket.end();
    const gone = handlers.links.find(({ consumer }) => consumer.frames[0].at(3) === 1);
    expect(await gone?.consumer.closing()).toBeNull();
    expect(handlers.links.filter(({ consumer }) => consumer.faults.length > 0)).toHaveLength(1);
    expect(handlers.faults).toEqual([]);
  });

  it("names the port that the system chose", async () => {
    const { endpoint } = await attach(tcp("listen"));
    expect(endpoint).toEqual({ ...tcp("listen"), port: expect.any(Number) });
    expect(endpoint).not.toMatchObject({ port: 0 });
    await connectPeer(endpoint).then((peer) => peers.push(peer));
    await handlers.until(() => handlers.links.length === 1);
  });

  it("names each link as the endpoint is written", async () => {
    const at = await attach(unix("listen"));
    await connectTo(at);
    await handlers.until(() => handlers.links.length === 1);
    expect(handlers.links[0].port.name).toBe(`unix://${join(folder, "vm.sock")}`);
  });

  it("removes the socket on closing, and leaves links that are up", async () => {
    const at = await attach(unix("listen"));
    const vm = await connectTo(at);
    await handlers.until(() => handlers.links.length === 1);
    await at.close();
    expect(existsSync(join(folder, "vm.sock"))).toBe(false);
    await expect(connectPeer(at.endpoint)).rejects.toMatchObject({ code: "ENOENT" });
    vm.send(patternFrame(60, 1));
    const { consumer } = handlers.links[0];
    await consumer.until(() => consumer.frames.length === 1);
  });

  it("fails clearly where somebody else listens, and where a file is in the way", async () => {
    await attach(unix("listen"));
    await expect(attachQemu(unix("listen"), handlers)).rejects.toThrow("another process is listening on it");
    const blocked: Endpoint = { transport: "unix", path: join(folder, "file"), mode: "listen" };
    await writeFile(blocked.path, "");
    await expect(attachQemu(blocked, handlers)).rejects.toThrow("is not a socket");
    expect((await lstat(blocked.path)).isFile()).toBe(true);
  });

  it("fails where the TCP port is taken", async () => {
    const { endpoint } = await attach(tcp("listen"));
    await expect(attachQemu(endpoint, handlers)).rejects.toMatchObject({ code: "EADDRINUSE" });
  });
});

/** A QEMU that listens at an endpoint. */
async function qemu(endpoint: Endpoint): Promise<{ endpoint: Endpoint; vms: StreamPeer[]; stop(): Promise<void> }> {
  const vms: StreamPeer[] = [];
  const connected = (socket: Socket) => {
    const peer = new StreamPeer(socket, QEMU_FRAMING);
    vms.push(peer);
    peers.push(peer);
  };
  const { endpoint: bound, server } = await listenAsQemu(endpoint, connected);
  servers.push(server);
  const stop = async () => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const { socket } of vms) socket.destroy();
    await closed;
  };
  return { endpoint: bound, vms, stop };
}

describe("an endpoint that is dialled", () => {
  it.each([unix, tcp])("reaches a VM that comes, goes away and comes back", async (endpoint) => {
    const first = await qemu(endpoint("dial"));
    await attach(first.endpoint);
    await handlers.until(() => handlers.links.length === 1);
    await first.stop();
    expect(await handlers.links[0].consumer.closing()).toBeNull();
    await handlers.until(() => handlers.faults.length === 1);
    expect(handlers.faults[0]).toMatch(/ECONNREFUSED|ENOENT/);

    const second = await qemu(first.endpoint);
    await handlers.until(() => handlers.links.length === 2);
    handlers.links[1].port.bytes.set(patternFrame(60, 7), handlers.links[1].port.reserve(60));
    handlers.links[1].port.commit(60);
    handlers.links[1].port.flush();
    await second.vms[0].received(1);
    expect(second.vms[0].frames).toEqual([patternFrame(60, 7)]);
    expect(handlers.faults).toHaveLength(1);
  });

  it("is one VM at a time: the next attempt comes after the link has ended", async () => {
    const { endpoint, vms } = await qemu(unix("dial"));
    await attach(endpoint);
    await handlers.until(() => handlers.links.length === 1);
    vms[0].socket.end();
    await handlers.until(() => handlers.links.length === 2);
    expect(handlers.links[0].consumer.faults).toEqual([null]);
    expect(handlers.links[1].consumer.faults).toEqual([]);
  });

  it("tries again after longer and longer times up to two seconds, and says once what is wrong", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const timer = vi.spyOn(globalThis, "setTimeout");
    await attach(unix("dial"));
    const delays: (number | undefined)[] = [];
    for (;;) {
      await eventually(() => timer.mock.calls.length > delays.length);
      delays.push(timer.mock.calls[delays.length][1]);
      if (delays.length === 8) break;
      vi.advanceTimersToNextTimer();
    }
    expect(delays).toEqual([100, 200, 400, 800, 1600, 2000, 2000, 2000]);
    expect(handlers.faults).toEqual([
      `dial+unix://${join(folder, "vm.sock")}: connect ENOENT ${join(folder, "vm.sock")}; trying again until it answers`,
    ]);

    const { vms } = await qemu(unix("dial"));
    vi.advanceTimersByTime(2000);
    await handlers.until(() => handlers.links.length === 1);
    timer.mockClear();
    vms[0].socket.end();
    await eventually(() => timer.mock.calls.length > 0);
    expect(timer.mock.calls[0][1]).toBe(100);
  });

  it("says what is wrong where a name has several addresses and none answers", async () => {
    const { endpoint, stop } = await qemu(tcp("dial"));
    await stop();
    const port = endpoint.transport === "tcp" ? endpoint.port : 0;
    const addresses = [
      { address: "127.0.0.1", family: 4 },
      { address: "::1", family: 6 },
    ];
    const lookup = (_name: string, _options: LookupAllOptions, done: (error: null, all: LookupAddress[]) => void) =>
      done(null, addresses);
    // The overload that `net.connect` calls.
    vi.spyOn(dns, "lookup").mockImplementation(lookup as typeof dns.lookup);
    await attach({ transport: "tcp", host: "vm.example", port, mode: "dial" });
    await handlers.until(() => handlers.faults.length === 1);
    expect(handlers.faults[0]).toMatch(
      /^dial\+tcp:\/\/vm\.example:\d+: connect E[A-Z]+ .*; trying again until it answers$/,
    );
  });

  it("stops trying when it is closed, while it waits and while it connects", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const waiting = await attach(unix("dial"));
    await eventually(() => vi.getTimerCount() === 1);
    await waiting.close();
    expect(vi.getTimerCount()).toBe(0);

    const { endpoint, vms } = await qemu(tcp("dial"));
    const connecting = await attachQemu(endpoint, handlers);
    await connecting.close();
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(vi.getTimerCount()).toBe(0);
    expect(handlers.links).toEqual([]);
    expect(vms.filter(({ ended }) => !ended)).toEqual([]);
  });

  it("does not dial again when a link ends after it was closed", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const { endpoint, vms } = await qemu(unix("dial"));
    const at = await attach(endpoint);
    await handlers.until(() => handlers.links.length === 1);
    await at.close();
    vms[0].send(patternFrame(60, 1));
    const { consumer } = handlers.links[0];
    await consumer.until(() => consumer.frames.length === 1);
    vms[0].socket.end();
    await consumer.closing();
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(vi.getTimerCount()).toBe(0);
    expect(vms).toHaveLength(1);
  });
});

describe("formatEndpoint", () => {
  it("writes an endpoint as people do", () => {
    expect(formatEndpoint({ transport: "unix", path: "/run/vm.sock", mode: "listen" })).toBe("unix:///run/vm.sock");
    expect(formatEndpoint({ transport: "unix", path: "/run/vm.sock", mode: "dial" })).toBe("dial+unix:///run/vm.sock");
    expect(formatEndpoint(tcp("listen", 5555))).toBe("tcp://127.0.0.1:5555");
    expect(formatEndpoint({ transport: "tcp", host: "::1", port: 5555, mode: "dial" })).toBe("dial+tcp://[::1]:5555");
  });
});
