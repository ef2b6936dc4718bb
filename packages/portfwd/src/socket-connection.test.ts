import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type ListenOptions, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import type { CloseReason } from "@hostd/stack";
import { type Clock, systemClock } from "@hostd/streams";
import type { ServerChannel } from "ssh2";
import { describe, expect, test } from "vitest";
import { EventLog } from "../../streams/src/testing/event-log.ts";
import { FakeClock } from "../../streams/src/testing/fake-clock.ts";
import { pattern, sha256 } from "../../streams/src/testing/pattern.ts";
import { RecordingLogger } from "../../streams/src/testing/recording-logger.ts";
import { AttachedVm } from "./attached-vm.ts";
import { SocketConnection } from "./socket-connection.ts";
import { SshTunnels } from "./ssh-tunnels.ts";
import { cleanUp, GATEWAY } from "./testing/harness.ts";
import { SOCKET, SshGuest } from "./testing/ssh-guest.ts";

/** The two ends of a client's connection to the host, of which one is as it was accepted. */
async function acceptClient(listen: ListenOptions): Promise<{ client: Socket; accepted: Socket }> {
  const server = createServer({ pauseOnConnect: true, allowHalfOpen: true });
  server.listen(listen);
  await once(server, "listening");
  const address = server.address();
  const to = typeof address === "string" ? { path: address } : { host: "127.0.0.1", port: address?.port ?? 0 };
  const client = connect({ ...to, allowHalfOpen: true });
  client.on("error", () => {});
  cleanUp(() => client.destroy());
  const [[accepted]] = (await Promise.all([once(server, "connection"), once(client, "connect")])) as [[Socket], []];
  server.close();
  return { client, accepted };
}

const overTcp = () => acceptClient({ host: "127.0.0.1", port: 0 });

function overUnix() {
  const folder = mkdtempSync(join(tmpdir(), "hostd-client-"));
  cleanUp(() => rmSync(folder, { recursive: true }));
  return acceptClient({ path: join(folder, "client.sock") });
}

interface StartOptions {
  readonly accept?: typeof overTcp;
  readonly path?: string;
  readonly clock?: Clock;
}

/** A client that asks for a socket in the guest, and what its owner is told. */
async function start({ accept = overTcp, path = SOCKET, clock = new FakeClock() }: StartOptions = {}) {
  const guest = new SshGuest();
  const attached = new AttachedVm(guest, {
    maxQueuedBytes: 1 << 20,
    outOfMemory: () => {},
    ready: () => {},
    detached: () => {},
  });
  const tunnels = new SshTunnels({ logger: new RecordingLogger(), gateway: GATEWAY, clock });
  cleanUp(() => tunnels.close());
  const channels = new EventLog<ServerChannel>();
  guest.sockets.set(SOCKET, (channel) => channels.push(channel));
  const { client, accepted } = await accept();
  const told = new EventLog<"opened" | CloseReason>();
  const owner = {
    opened: (opened: unknown) => {
      expect(opened).toBe(connection);
      told.push("opened");
    },
    ended: (ended: unknown, reason: CloseReason) => {
      expect(ended).toBe(connection);
      connection.inVm?.leave();
      told.push(reason);
    },
  };
  const connection = new SocketConnection(owner, attached, accepted, tunnels);
  connection.inVm = attached.connections.add(connection);
  const begin = () => connection.connect(guest.target({ path }));
  return { guest, attached, tunnels, channels, client, accepted, connection, told, begin };
}

/** The same with the stream to the guest open. */
async function opened(options: StartOptions = {}) {
  const all = await start(options);
  all.begin();
  await all.told.take(1);
  const [channel] = await all.channels.take(1);
  return { ...all, channel };
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
const rest = (stream: Socket | ServerChannel) => buffer(stream.iterator({ destroyOnReturn: false }));

describe.each([
  ["TCP", overTcp],
  ["a Unix socket", overUnix],
])("a client over %s", (_, accept) => {
  test("sends a request and gets the answer, and then both end", async () => {
    const { channel, client, told } = await opened({ accept });
    client.end("request");
    expect((await rest(channel)).toString()).toBe("request");
    channel.end("answer");
    expect((await rest(client)).toString()).toBe("answer");
    expect(await told.take(2)).toEqual(["opened", "finished"]);
  });

  test("goes on sending when the guest has ended", async () => {
    const { channel, client, told } = await opened({ accept });
    channel.write("answer", () => channel.eof());
    expect((await rest(client)).toString()).toBe("answer");
    client.write("request");
    const [bytes] = await once(channel, "data");
    expect(bytes.toString()).toBe("request");
    expect(told.events).toEqual(["opened"]);
    client.end();
    await once(channel, "end");
    expect(await told.take(2)).toEqual(["opened", "finished"]);
  });

  test("goes on reading when it has ended", async () => {
    const { channel, client, told } = await opened({ accept });
    client.end();
    await once(channel.resume(), "end");
    channel.write("later");
    const [bytes] = await once(client, "data");
    expect(bytes.toString()).toBe("later");
    expect(told.events).toEqual(["opened"]);
    channel.end();
    await once(client, "end");
    expect(await told.take(2)).toEqual(["opened", "finished"]);
  });

  test("exchanges megabytes with the guest both ways at once, unchanged", async () => {
    const { channel, client, told } = await opened({ accept });
    const [up, down] = [pattern(10_000_000), pattern(11_000_000)];
    const received = rest(channel);
    client.end(up);
    channel.write(down, () => channel.eof());
    expect(sha256(await rest(client))).toBe(sha256(down));
    expect(sha256(await received)).toBe(sha256(up));
    expect(await told.take(2)).toEqual(["opened", "finished"]);
  });

  test("is closed when the guest closes, with all that the guest sent", async () => {
    const { channel, client, told } = await opened({ accept });
    const down = pattern(3_000_000);
    channel.end(down);
    expect(sha256(await rest(client))).toBe(sha256(down));
    expect(await told.take(2)).toEqual(["opened", "finished"]);
  });

  test("ends the guest's side when it goes away", async () => {
    const { channel, client, told } = await opened({ accept });
    const isClosed = once(channel.resume(), "close");
    client.destroy();
    // A client that is gone shows when something is sent to it, if its end looks like one in order.
    const sending = setInterval(() => channel.write("more"), 5);
    await isClosed.finally(() => clearInterval(sending));
    await told.take(2);
  });
});

describe("a client", () => {
  test("that resets its connection ends the guest's side", async () => {
    const { channel, client, told } = await opened();
    const isClosed = once(channel.resume(), "close");
    client.resetAndDestroy();
    await isClosed;
    expect(await told.take(2)).toEqual(["opened", "reset"]);
  });

  test("is not read before the stream is open, and then from its first byte on to its end", async () => {
    const { accepted, channels, client, guest, told, begin } = await start();
    guest.answers = false;
    client.end("early");
    begin();
    await guest.requests.take(1);
    for (let count = 0; count < 10; count++) await turn();
    expect(accepted.bytesRead).toBe(0);
    expect(told.events).toEqual([]);
    guest.answers = true;
    guest.answerPending();
    const [channel] = await channels.take(1);
    expect((await rest(channel)).toString()).toBe("early");
    channel.end();
    expect(await told.take(2)).toEqual(["opened", "finished"]);
  });

  test("that goes away while the stream is opened is noticed once it is open", async () => {
    const { channels, client, guest, told, begin } = await start();
    guest.answers = false;
    begin();
    await guest.requests.take(1);
    client.resetAndDestroy();
    await once(client, "close");
    guest.answerPending();
    const [channel] = await channels.take(1);
    await once(channel.resume(), "close");
    expect(await told.take(2)).toEqual(["opened", "reset"]);
  });

  test("whose socket was closed while the stream was opened ends the stream", async () => {
    const { accepted, channels, guest, told, begin } = await start();
    guest.answers = false;
    begin();
    await guest.requests.take(1);
    accepted.destroy();
    guest.answerPending();
    const [channel] = await channels.take(1);
    await once(channel.resume(), "close");
    expect(await told.take(2)).toEqual(["opened", "aborted"]);
  });

  test("that does not read holds the guest back", async () => {
    const { channel, client } = await opened();
    client.pause();
    const block = Buffer.alloc(64 * 1024);
    let written = 0;
    const write = () => {
      do written += block.length;
      while (channel.write(block));
    };
    channel.on("drain", write);
    write();
    let before = -1;
    // The kernel's socket buffers, two windows and the library's buffers take some megabytes.
    while (before !== written) {
      before = written;
      for (let count = 0; count < 200; count++) await turn();
    }
    expect(written).toBeLessThan(32 << 20);
    channel.off("drain", write);
    channel.end();
    expect((await rest(client)).length).toBe(written);
  });

  test("is held back while the guest does not read", async () => {
    const { channel, client } = await opened();
    channel.pause();
    const block = Buffer.alloc(64 * 1024);
    let written = 0;
    const write = () => {
      do written += block.length;
      while (client.write(block));
    };
    client.on("drain", write);
    write();
    let before = -1;
    while (before !== written) {
      before = written;
      for (let count = 0; count < 200; count++) await turn();
    }
    expect(written).toBeLessThan(32 << 20);
    client.off("drain", write);
    client.end();
    expect((await rest(channel)).length).toBe(written);
  });

  test("is reset when the SSH connection is lost", async () => {
    const { client, guest, told } = await opened();
    const isReset = once(client.resume(), "error");
    guest.kill();
    expect(await isReset).toMatchObject([{ code: "ECONNRESET" }]);
    expect(await told.take(2)).toEqual(["opened", "reset"]);
  });

  test("ends at once with its connection, and once only", async () => {
    const { channel, client, connection, told } = await opened();
    const isReset = once(client.resume(), "error");
    const isClosed = once(channel.resume(), "close");
    connection.reset();
    expect(told.events).toEqual(["opened", "aborted"]);
    connection.reset();
    expect(await isReset).toMatchObject([{ code: "ECONNRESET" }]);
    await isClosed;
    expect(told.events).toEqual(["opened", "aborted"]);
  });

  test("ends when the VM is detached", async () => {
    const { attached, client, told } = await opened();
    const isReset = once(client.resume(), "error");
    attached.detach();
    expect(await isReset).toMatchObject([{ code: "ECONNRESET" }]);
    expect(attached.connections.size).toBe(0);
    expect(told.events[0]).toBe("opened");
    expect(told.events.length).toBe(2);
  });
});

describe("a stream that does not open", () => {
  /** The owner is told of the end alone, and the client's socket is as it was. */
  async function expectEnd({ told, client, accepted }: Awaited<ReturnType<typeof start>>, reason: CloseReason) {
    expect(await told.take(1)).toEqual([reason]);
    expect(accepted).toMatchObject({ destroyed: false, bytesRead: 0 });
    client.write("still");
    const [bytes] = await once(accepted.resume(), "data");
    expect(bytes.toString()).toBe("still");
    accepted.destroy();
  }

  test("because the guest has no such socket is refused", async () => {
    const all = await start({ path: "/run/missing.sock" });
    all.begin();
    await expectEnd(all, "refused");
  });

  test("because the guest takes no connections is unreachable", async () => {
    const all = await start({ clock: systemClock });
    all.guest.stop();
    all.begin();
    await expectEnd(all, "unreachable");
  });

  test("because the VM is detached has its owner decide", async () => {
    const all = await start();
    all.guest.answers = false;
    all.begin();
    await all.guest.requests.take(1);
    all.connection.inVm?.leave();
    all.attached.detach();
    await expectEnd(all, "detached");
  });

  test("because it was reset meanwhile is closed in the guest when it opens after all", async () => {
    const all = await start();
    all.guest.answers = false;
    all.begin();
    await all.guest.requests.take(1);
    all.connection.reset();
    all.guest.answerPending();
    const [channel] = await all.channels.take(1);
    await once(channel.resume(), "close");
    await expectEnd(all, "aborted");
  });

  test("because its connection was lost as it opened is unreachable", async () => {
    const all = await start();
    all.guest.sockets.set(SOCKET, () => all.guest.disconnect());
    all.begin();
    await expectEnd(all, "unreachable");
  });
});
