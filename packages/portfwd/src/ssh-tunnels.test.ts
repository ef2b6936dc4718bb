import { once } from "node:events";
import { rm, writeFile } from "node:fs/promises";
import type { Duplex } from "node:stream";
import { buffer, text } from "node:stream/consumers";
import { systemClock } from "@hostd/streams";
import type { ServerChannel } from "ssh2";
import { afterEach, describe, expect, test, vi } from "vitest";
import { FakeClock } from "../../streams/src/testing/fake-clock.ts";
import { pattern, sha256 } from "../../streams/src/testing/pattern.ts";
import { RecordingLogger } from "../../streams/src/testing/recording-logger.ts";
import { AttachedVm } from "./attached-vm.ts";
import { SshTunnels, type SshTunnelsOptions } from "./ssh-tunnels.ts";
import { cleanUp, GATEWAY } from "./testing/harness.ts";
import { makeKey, SOCKET, SshGuest, type SshGuestOptions, temporaryFile } from "./testing/ssh-guest.ts";

/** What is waited for comes soon, but the machine may be busy. */
const WAIT = { timeout: 10_000, interval: 5 };
const until = (condition: () => boolean) => vi.waitUntil(condition, WAIT);

afterEach(() => {
  vi.useRealTimers();
});

function setUp({
  tunnels: options = {},
  ...guestOptions
}: SshGuestOptions & { tunnels?: Partial<SshTunnelsOptions> } = {}) {
  const guest = new SshGuest(guestOptions);
  const attached = new AttachedVm(guest, {
    maxQueuedBytes: 1 << 20,
    outOfMemory: () => {},
    ready: () => {},
    detached: () => {},
  });
  const logger = new RecordingLogger();
  const clock = new FakeClock();
  const tunnels = new SshTunnels({ logger, gateway: GATEWAY, clock, ...options });
  cleanUp(() => tunnels.close());
  return { guest, attached, logger, clock, tunnels };
}

/** A stream of a fresh guest, and the guest's end of it. */
async function open(serve: (channel: ServerChannel) => void = () => {}) {
  const all = setUp();
  const accepted = Promise.withResolvers<ServerChannel>();
  all.guest.sockets.set(SOCKET, (channel) => {
    serve(channel);
    accepted.resolve(channel);
  });
  const stream = await all.tunnels.open(all.attached, all.guest.target());
  cleanUp(() => stream.destroy());
  return { ...all, stream, channel: await accepted.promise };
}

/** Reads that many bytes. */
async function read(stream: Duplex, count: number): Promise<Buffer> {
  for (;;) {
    const bytes = stream.read(count) as Buffer | null;
    if (bytes !== null) return bytes;
    await once(stream, "readable");
  }
}

/** All that comes until the end; the other direction goes on. */
const rest = (stream: Duplex) => buffer(stream.iterator({ destroyOnReturn: false }));

const failure = (opening: Promise<unknown>) =>
  opening.then(
    () => {
      throw new Error("it was opened");
    },
    (error: unknown) => error,
  );

describe("a stream to a socket in the guest", () => {
  test("carries a request and its answer", async () => {
    const { guest, attached, tunnels } = setUp();
    const stream = await tunnels.open(attached, guest.target());
    stream.write("ping");
    expect((await read(stream, 4)).toString()).toBe("ping");
    stream.end();
    expect(await text(stream)).toBe("");
    expect(guest.requests.events).toEqual([SOCKET]);
  });

  test("ends in one direction and goes on in the other, when hostd ends first", async () => {
    const { stream, channel } = await open();
    stream.end("request");
    expect((await rest(channel)).toString()).toBe("request");
    channel.end("answer");
    expect(await text(stream)).toBe("answer");
  });

  test("ends in one direction and goes on in the other, when the guest ends first", async () => {
    const { stream, channel } = await open();
    channel.write("answer");
    channel.eof();
    expect((await rest(stream)).toString()).toBe("answer");
    expect(stream.writable).toBe(true);
    stream.end("request");
    expect(await text(channel)).toBe("request");
  });

  test("carries megabytes both ways at once, unchanged", async () => {
    const { stream, channel } = await open();
    const [up, down] = [pattern(8_000_000), pattern(9_000_000)];
    const received = rest(channel);
    stream.end(up);
    channel.write(down, () => channel.eof());
    expect(sha256(await rest(stream))).toBe(sha256(down));
    expect(sha256(await received)).toBe(sha256(up));
  });

  test("carries megabytes unchanged while keys are exchanged anew", async () => {
    const { guest, stream, channel } = await open();
    const up = pattern(4_000_000);
    const received = buffer(channel);
    let rekeys = 0;
    channel.on("data", () => {
      if (rekeys++ % 20 === 0) guest.connections.events[0].rekey();
    });
    stream.end(up);
    expect(sha256(await received)).toBe(sha256(up));
    expect(rekeys).toBeGreaterThan(20);
  });

  test("holds the writer back while the guest does not read", async () => {
    const { stream, channel } = await open((accepted) => accepted.pause());
    const block = Buffer.alloc(64 * 1024);
    let written = 0;
    const write = () => {
      while (stream.write(block)) written += block.length;
      written += block.length;
    };
    stream.on("drain", write);
    write();
    // A window has 2 MiB, and what was taken of it is not asked for again.
    await until(() => channel.readableLength >= 2 << 20);
    for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(written).toBeGreaterThan(2 << 20);
    expect(written).toBeLessThan(5 << 20);
    stream.off("drain", write);
    channel.resume();
    await once(stream, "drain");
  });

  test("closes when the guest has closed it, with all that it sent", async () => {
    const { stream, channel } = await open();
    channel.end("all");
    const isClosed = once(stream, "close");
    expect(await text(stream)).toBe("all");
    await isClosed;
    expect(stream.errored).toBe(null);
  });

  test("is closed in the guest when it is destroyed", async () => {
    const { stream, channel } = await open();
    const isClosed = once(channel.resume(), "close");
    stream.destroy();
    await isClosed;
  });

  test("ends with an error when the SSH connection is lost", async () => {
    const { guest, stream } = await open();
    guest.kill();
    const [error] = await once(stream.resume(), "error");
    expect(error).toMatchObject({ reason: "unreachable", message: expect.stringContaining("192.168.65.3:22") });
  });

  test("goes over a server that is not OpenSSH", async () => {
    const { guest, attached, tunnels } = setUp({ ident: "dropbear_2024.86" });
    const stream = await tunnels.open(attached, guest.target());
    stream.end("ping");
    expect(await text(stream)).toBe("ping");
  });
});

describe("the SSH connection", () => {
  test("comes from the gateway and is shared, also while it is being made", async () => {
    const { guest, attached, tunnels } = setUp();
    const streams = await Promise.all(Array.from({ length: 100 }, () => tunnels.open(attached, guest.target())));
    const answers = await Promise.all(
      streams.map((stream, index) => {
        stream.end(`client ${index}`);
        return text(stream);
      }),
    );
    expect(answers).toEqual(streams.map((_, index) => `client ${index}`));
    expect(guest.dialled).toBe(1);
    expect(guest.streams.events[0].remoteAddress).toBe("192.168.65.1");
    expect(attached.connections.size).toBe(1);
  });

  test("has no more than 1000 streams at once", async () => {
    const { guest, attached, tunnels } = setUp();
    const opened = await Promise.all(Array.from({ length: 1000 }, () => tunnels.open(attached, guest.target())));
    const error = await failure(tunnels.open(attached, guest.target()));
    expect(error).toMatchObject({ reason: "refused", message: expect.stringContaining("1000 streams") });
    opened[7].end("over");
    expect(await text(opened[7])).toBe("over");
    const next = await vi.waitFor(() => tunnels.open(attached, guest.target()), WAIT);
    next.end("in its place");
    expect(await text(next)).toBe("in its place");
    expect(guest.dialled).toBe(1);
  });

  test.each([
    ["another user", { user: "root" }],
    ["another key", { identity: "/other" }],
    ["a file of known hosts", { knownHosts: "/none" }],
    ["a passphrase", { passphrase: "secret" }],
  ])("is another one for %s", async (_, change) => {
    const { guest, attached, tunnels } = setUp();
    await tunnels.open(attached, guest.target());
    await failure(tunnels.open(attached, guest.target(change))).catch(() => {});
    expect(guest.connections.events.length + (guest.dialled - 1)).toBeGreaterThanOrEqual(1);
    expect(guest.requests.events.length).toBe("passphrase" in change ? 2 : 1);
  });

  test("is to port 22 when none is given", async () => {
    const { guest, attached, tunnels } = setUp();
    const server = { address: guest.linked.guestAddress, port: 0 };
    await tunnels.open(attached, guest.target({ server }));
    expect(guest.connections.events.length).toBe(1);
  });

  test("is closed in order after five minutes without a stream, and made anew when one is wanted", async () => {
    const { guest, attached, clock, tunnels } = setUp();
    const first = await tunnels.open(attached, guest.target());
    clock.advance(400_000);
    const second = await tunnels.open(attached, guest.target());
    const isClosed = [first, second].map((stream) => once(stream, "close"));
    first.destroy();
    second.destroy();
    await Promise.all(isClosed);
    clock.advance(299_999);
    expect(attached.connections.size).toBe(1);
    const isDisconnected = once(guest.connections.events[0], "end");
    clock.advance(1);
    await isDisconnected;
    expect(attached.connections.size).toBe(0);
    await until(() => clock.timers === 0);
    await tunnels.open(attached, guest.target());
    expect(guest.dialled).toBe(2);
  });

  test("is replaced when it was lost", async () => {
    const { guest, attached, tunnels } = setUp({ tunnels: { clock: systemClock } });
    const lost = await tunnels.open(attached, guest.target());
    guest.kill();
    await once(lost.resume(), "error");
    guest.start();
    const stream = await tunnels.open(attached, guest.target());
    stream.end("again");
    expect(await text(stream)).toBe("again");
    expect(guest.dialled).toBe(2);
  });

  test("is replaced when it turns out to be lost only as a stream is opened, and the server is back a little later", async () => {
    const { guest, attached, tunnels } = setUp({ tunnels: { clock: systemClock } });
    await tunnels.open(attached, guest.target());
    guest.answers = false;
    const opening = tunnels.open(attached, guest.target());
    await guest.requests.take(2);
    guest.kill();
    setTimeout(() => guest.start(), 100);
    guest.answers = true;
    const stream = await opening;
    stream.end("again");
    expect(await text(stream)).toBe("again");
  });

  test("is tried for three times and given up as unreachable when the guest refuses it", async () => {
    const { guest, attached, logger, tunnels } = setUp({ tunnels: { clock: systemClock } });
    guest.stop();
    const error = await failure(tunnels.open(attached, guest.target()));
    expect(error).toMatchObject({ reason: "unreachable", message: expect.stringContaining("connection refused") });
    expect(guest.dialled).toBe(3);
    expect(attached.connections.size).toBe(0);
    // The guest's server may start late.
    expect(logger.lines.map(({ level }) => level)).toEqual(["debug"]);
  });

  test("is given up as unreachable when the VM's stack has no room", async () => {
    const { guest, attached, tunnels } = setUp({ tunnels: { clock: systemClock } });
    guest.isFull = true;
    const error = await failure(tunnels.open(attached, guest.target()));
    expect(error).toMatchObject({ reason: "unreachable", message: expect.stringContaining("no room") });
  });

  test("is given up after ten seconds without an answer, and after another try", async () => {
    const { guest, attached, clock, tunnels } = setUp();
    guest.stop();
    // Whatever listens there now takes connections and says nothing.
    const stop = guest.linked.guest.tcpListen(guest.linked.guestAddress, 22, (request) => {
      request.accept({ established() {}, data() {}, end() {}, writable() {}, closed() {} });
    });
    const opening = failure(tunnels.open(attached, guest.target()));
    await until(() => guest.dialled === 1);
    clock.advance(9_999);
    expect(clock.timers).toBe(1);
    clock.advance(1);
    await until(() => clock.timers === 1);
    clock.advance(200);
    await until(() => guest.dialled === 2);
    clock.advance(10_000);
    expect(await opening).toMatchObject({ reason: "unreachable", message: expect.stringContaining("does not answer") });
    expect(guest.dialled).toBe(2);
    expect(attached.connections.size).toBe(0);
    stop();
  });

  test("is replaced when it does not answer a request for a socket at all", async () => {
    const { guest, attached, clock, tunnels } = setUp();
    const first = await tunnels.open(attached, guest.target());
    guest.answers = false;
    const opening = tunnels.open(attached, guest.target());
    await guest.requests.take(2);
    clock.advance(10_000);
    await once(first.resume(), "error");
    guest.answers = true;
    const waiting = setInterval(() => clock.advance(200), 10);
    const stream = await opening.finally(() => clearInterval(waiting));
    stream.end("again");
    expect(await text(stream)).toBe("again");
    expect(guest.dialled).toBe(2);
  });

  test("is lost when keepalives are not answered", async () => {
    const { guest, attached, tunnels } = setUp();
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
    const stream = await tunnels.open(attached, guest.target());
    // The guest stands still.
    for (const each of guest.streams.events) each.removeAllListeners("data").pause();
    const isLost = once(stream.resume(), "error");
    vi.advanceTimersByTime(60_000);
    expect(await isLost).toMatchObject([{ reason: "unreachable" }]);
    expect(attached.connections.size).toBe(0);
  });

  test("ends with the VM, with its streams and those being opened, and leaves nothing behind", async () => {
    const { guest, attached, clock, tunnels } = setUp();
    const stream = await tunnels.open(attached, guest.target());
    guest.answers = false;
    const opening = failure(tunnels.open(attached, guest.target()));
    await guest.requests.take(2);
    attached.detach();
    const [error] = await once(stream.resume(), "error");
    expect(error).toMatchObject({ reason: "detached" });
    expect(await opening).toMatchObject({ reason: "detached" });
    expect(attached.connections.size).toBe(0);
    expect(clock.timers).toBe(0);
  });

  test("is not made again for a VM that was detached between two tries", async () => {
    const { guest, attached, clock, tunnels } = setUp();
    guest.stop();
    const opening = failure(tunnels.open(attached, guest.target()));
    await until(() => guest.dialled === 1 && clock.timers === 1);
    await vi.waitFor(() => expect(guest.linked.resets).toBe(1), WAIT);
    attached.detach();
    clock.advance(200);
    expect(await opening).toMatchObject({ reason: "detached" });
    expect(guest.dialled).toBe(1);
  });

  test("ends when all is closed, after which none is made", async () => {
    const { guest, attached, tunnels } = setUp();
    const stream = await tunnels.open(attached, guest.target());
    tunnels.close();
    await once(stream.resume(), "error");
    expect(await failure(tunnels.open(attached, guest.target()))).toMatchObject({ reason: "aborted" });
    expect(attached.connections.size).toBe(0);
  });
});

describe("what stands in the way for good", () => {
  test.each([
    ["a socket that does not exist", { path: "/run/missing.sock" }, "cannot open /run/missing.sock: connect failed"],
    ["a user whom the server does not let in", { user: "nobody" }, "for the user nobody"],
  ])("is %s: it is refused at once and logged", async (_, change, message) => {
    const { guest, attached, logger, tunnels } = setUp();
    const error = await failure(tunnels.open(attached, guest.target(change)));
    expect(error).toMatchObject({ reason: "refused", message: expect.stringContaining(message) });
    expect(guest.dialled).toBe(1);
    expect(logger.lines).toMatchObject([{ level: "warn", message: expect.stringContaining(message) }]);
  });

  test("is logged once a minute for each forward and not for each client", async () => {
    const { guest, attached, clock, logger, tunnels } = setUp();
    const target = guest.target({ path: "/run/missing.sock" });
    for (let count = 0; count < 3; count++) await failure(tunnels.open(attached, target));
    expect(logger.lines.length).toBe(1);
    await failure(tunnels.open(attached, guest.target({ path: "/run/other.sock" })));
    expect(logger.lines.length).toBe(2);
    clock.advance(60_000);
    await failure(tunnels.open(attached, target));
    expect(logger.lines[2].fields).toMatchObject({ suppressed: 2 });
    // The connection is as good as before.
    expect(guest.dialled).toBe(1);
  });

  test("is a key that the server does not know", async () => {
    const { guest, attached, tunnels } = setUp();
    const identity = temporaryFile("wrong", makeKey().privateText);
    const error = await failure(tunnels.open(attached, guest.target({ identity })));
    expect(error).toMatchObject({ reason: "refused", message: expect.stringContaining(`does not take ${identity}`) });
  });

  test("is an identity that cannot be used, for which the guest is not asked", async () => {
    const { guest, attached, tunnels } = setUp();
    const error = await failure(tunnels.open(attached, guest.target({ identity: "/missing" })));
    expect(error).toMatchObject({ reason: "refused", message: expect.stringContaining("/missing does not exist") });
    expect(guest.dialled).toBe(0);
  });

  test("may be put right: the identity is read anew for each connection", async () => {
    const { guest, attached, tunnels } = setUp();
    const identity = temporaryFile("identity", makeKey().privateText);
    await failure(tunnels.open(attached, guest.target({ identity })));
    await writeFile(identity, guest.key.privateText);
    const stream = await tunnels.open(attached, guest.target({ identity }));
    await rm(identity);
    stream.end("in");
    expect(await text(stream)).toBe("in");
  });
});

describe("known hosts", () => {
  const knownHosts = (line: string) => temporaryFile("known_hosts", `${line}\n`);

  test("let the server in that is one of them", async () => {
    const { guest, attached, tunnels } = setUp();
    const target = guest.target({ knownHosts: knownHosts(`192.168.65.3 ${guest.hostKey.publicText}`) });
    const stream = await tunnels.open(attached, target);
    stream.end("in");
    expect(await text(stream)).toBe("in");
  });

  test.each([
    [
      "has another key",
      (key: string) => `192.168.65.3 ${makeKey().publicText}\n192.168.65.4 ${key}`,
      "is none of those",
    ],
    ["is not among them", (key: string) => `192.168.65.4 ${key}`, "has no key of 192.168.65.3"],
    ["has a key that was revoked", (key: string) => `192.168.65.3 ${key}\n@revoked * ${key}`, "is revoked"],
  ])("keep a server out that %s", async (_, lines, message) => {
    const { guest, attached, logger, tunnels } = setUp();
    const target = guest.target({ knownHosts: knownHosts(lines(guest.hostKey.publicText)) });
    const error = await failure(tunnels.open(attached, target));
    expect(error).toMatchObject({ reason: "refused", message: expect.stringContaining(message) });
    expect(guest.connections.events).toEqual([]);
    expect(logger.lines).toMatchObject([{ level: "warn" }]);
  });
});
