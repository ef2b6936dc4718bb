import { once } from "node:events";
import { text } from "node:stream/consumers";
import { FlowStream } from "@hostd/streams";
import type { Connection, ServerChannel } from "ssh2";
import { describe, expect, test, vi } from "vitest";
import { FakeClock } from "../../streams/src/testing/fake-clock.ts";
import { RecordingLogger } from "../../streams/src/testing/recording-logger.ts";
import { AttachedVm } from "./attached-vm.ts";
import { SshTunnels } from "./ssh-tunnels.ts";
import { cleanUp, GATEWAY } from "./testing/harness.ts";
import { message, SOCKET, SshGuest, sendMessage } from "./testing/ssh-guest.ts";

const [GLOBAL_REQUEST, CHANNEL_OPEN_CONFIRMATION, CHANNEL_OPEN_FAILURE] = [80, 91, 92];
const [CHANNEL_WINDOW_ADJUST, CHANNEL_DATA, CHANNEL_EXTENDED_DATA, CHANNEL_EOF, CHANNEL_CLOSE] = [93, 94, 95, 96, 97];
const CHANNEL_REQUEST = 98;

/** What is waited for comes soon, but the machine may be busy. */
const WAIT = { timeout: 10_000, interval: 5 };
const until = (condition: () => boolean) => vi.waitUntil(condition, WAIT);

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

function setUp(maxQueuedBytes = 1 << 30) {
  const guest = new SshGuest();
  const attached = new AttachedVm(guest, {
    maxQueuedBytes: 1 << 20,
    outOfMemory: () => {},
    ready: () => {},
    detached: () => {},
  });
  const logger = new RecordingLogger();
  const clock = new FakeClock();
  const tunnels = new SshTunnels({ logger, gateway: GATEWAY, clock, maxQueuedBytes });
  cleanUp(() => tunnels.close());
  return { guest, attached, logger, clock, tunnels };
}

/** A stream of a fresh guest, and what the guest has of it. The client's first channel is number 0. */
async function open(maxQueuedBytes?: number) {
  const all = setUp(maxQueuedBytes);
  const accepted = Promise.withResolvers<ServerChannel>();
  all.guest.sockets.set(SOCKET, accepted.resolve);
  const stream = await all.tunnels.open(all.attached, all.guest.target());
  const [connection] = all.guest.connections.events;
  return { ...all, stream, connection, channel: await accepted.promise };
}

/** Has the server stop to read what it gets, though its TCP takes it, and so never answer. */
function deafen(guest: SshGuest): void {
  for (const stream of guest.streams.events) stream.removeAllListeners("data").resume();
}

describe("a hostile SSH server", () => {
  test("cannot have data kept in memory by a key exchange that it does not finish", async () => {
    const { connection, guest, stream } = await open();
    // A window of 4 GiB.
    sendMessage(connection, message(CHANNEL_WINDOW_ADJUST, 0, 0xffff_ffff - (2 << 20)));
    connection.rekey();
    deafen(guest);
    const block = Buffer.alloc(64 * 1024);
    let written = 0;
    for (let count = 0; count < 1000; count++) {
      if (!stream.writableNeedDrain) {
        stream.write(block);
        written += block.length;
      }
      if (count % 10 === 0) await turn();
    }
    expect(written).toBeLessThan(1 << 20);
  });

  test("cannot have answers kept in memory that it does not read", async () => {
    const { connection, guest, stream, attached } = await open();
    for (const each of guest.streams.events) each.removeAllListeners("data").pause();
    const isLost = once(stream, "error");
    const request = message(CHANNEL_REQUEST, 0, "x".repeat(100));
    const flood = Buffer.concat([request, Buffer.of(1)]);
    let hasEnded = false;
    stream.once("close", () => {
      hasEnded = true;
    });
    for (let count = 0; count < 1_000_000 && !hasEnded; count++) {
      sendMessage(connection, flood);
      if (count % 100 === 0) await turn();
    }
    expect(await isLost).toMatchObject([{ message: expect.stringContaining("does not read the answers") }]);
    expect(attached.connections.size).toBe(0);
  });

  test("cannot have questions kept in memory that it does not answer", async () => {
    const { connection, guest, stream } = await open();
    deafen(guest);
    const isLost = once(stream, "error");
    // Each announcement of host keys has the library ask for their proof.
    const announcement = Buffer.concat([message(GLOBAL_REQUEST, "hostkeys-00@openssh.com"), Buffer.of(0)]);
    for (let count = 0; count < 100; count++) sendMessage(connection, announcement);
    expect(await isLost).toMatchObject([{ message: expect.stringContaining("does not read the answers") }]);
  });

  test("cannot send more than there is memory for by overrunning the windows", async () => {
    const { connection, logger, stream } = await open(16 << 20);
    const isLost = once(stream, "error");
    const data = message(CHANNEL_DATA, 0, Buffer.alloc(32_000));
    let hasEnded = false;
    stream.once("close", () => {
      hasEnded = true;
    });
    let sent = 0;
    for (; sent < 64 << 20 && !hasEnded; sent += 32_000) {
      sendMessage(connection, data);
      await turn();
    }
    expect(await isLost).toMatchObject([{ message: expect.stringContaining("memory") }]);
    expect(sent).toBeLessThan(32 << 20);
    expect(logger.lines).toMatchObject([{ level: "warn", fields: { limit: 16 << 20 } }]);
  });

  test("has data of another kind read and dropped", async () => {
    const { channel, connection, stream } = await open();
    const UNKNOWN = 9;
    sendMessage(connection, message(CHANNEL_EXTENDED_DATA, 0, UNKNOWN, "?"));
    // More than two windows.
    channel.stderr.write(Buffer.alloc(5 << 20));
    await until(() => channel.stderr.writableLength === 0);
    channel.end("after that");
    expect(await text(stream)).toBe("after that");
  });

  test("cannot have each byte sent in a packet of its own", async () => {
    const { guest, attached, tunnels } = setUp();
    guest.answers = false;
    const opening = tunnels.open(attached, guest.target()).catch((error: unknown) => error);
    await guest.requests.take(1);
    const [WINDOW, LARGEST] = [1 << 20, 0];
    sendMessage(guest.connections.events[0], message(CHANNEL_OPEN_CONFIRMATION, 0, 7, WINDOW, LARGEST));
    expect(await opening).toMatchObject({ reason: "refused", message: expect.stringContaining("takes too little") });
  });

  test("has its reasons shown as printable text of a bounded length", async () => {
    const { guest, attached, logger, tunnels } = setUp();
    guest.answers = false;
    const opening = tunnels.open(attached, guest.target()).catch((error: unknown) => error);
    await guest.requests.take(1);
    const description = `\u001b[2J\n${"x".repeat(10_000)}`;
    sendMessage(guest.connections.events[0], message(CHANNEL_OPEN_FAILURE, 0, 99, description, ""));
    expect(await opening).toMatchObject({ message: expect.stringMatching(/: failure 99: \?\[2J\?x{195}\.\.\.$/) });
    expect(logger.lines[0].message.length).toBeLessThan(500);
  });

  test.each([
    ["data after its end", [message(CHANNEL_EOF, 0), message(CHANNEL_DATA, 0, "late")]],
    ["data of another kind after its end", [message(CHANNEL_EOF, 0), message(CHANNEL_EXTENDED_DATA, 0, 1, "late")]],
    ["data after it closed", [message(CHANNEL_CLOSE, 0), message(CHANNEL_DATA, 0, "late"), message(CHANNEL_CLOSE, 0)]],
    ["messages for channels that are not there", [message(CHANNEL_DATA, 99, "?"), message(CHANNEL_CLOSE, 0xffff_fffe)]],
    ["messages that are cut off", [message(CHANNEL_DATA, 0).subarray(0, 3)]],
    ["a number that no channel has", [message(CHANNEL_DATA, 0xffff_ffff, "?")]],
  ])("does no more than to end its own connection by %s", async (_, messages) => {
    const { attached, connection, guest, stream, tunnels } = await open();
    stream.resume();
    for (const each of messages) sendMessage(connection, each);
    for (let count = 0; count < 20; count++) await turn();
    // Another one is made when it is gone.
    guest.sockets.set(SOCKET, (channel) => channel.pipe(channel));
    const other = await tunnels.open(attached, guest.target());
    other.end("as before");
    expect(await text(other)).toBe("as before");
  });

  test("does no more than to end its own connections by messages of any content", { timeout: 60_000 }, async () => {
    const { attached, clock, guest, tunnels } = setUp();
    const numbers = [
      1, 2, 3, 4, 6, 7, 20, 21, 52, 53, 60, 80, 81, 82, 90, 91, 92, 93, 94, 95, 96, 97, 98, 99, 100, 255,
    ];
    const random = makeRandom(20_250_101);
    /** A message about a channel, of which most may be there. */
    const orderly = () => {
      const fields = [[], [1], [random(3_000_000)], ["some data"], [1, "other data"], ["exit-status", random(9)]];
      return message(91 + random(10), random(6), ...fields[random(fields.length)]);
    };
    /** Most fields look like numbers of channels or lengths that fit. */
    const payload = () =>
      random(2) === 0
        ? orderly()
        : Buffer.concat([
            Buffer.of(numbers[random(numbers.length)]),
            ...Array.from({ length: random(8) }, () => {
              const word = Buffer.alloc(4);
              word.writeUInt32BE(random(4) === 0 ? random(2 ** 32) : random(40));
              return word;
            }),
            Buffer.alloc(random(40), random(256)),
          ]);
    let connected = 0;
    const advancing = setInterval(() => clock.advance(1000), 5);
    cleanUp(() => clearInterval(advancing));
    for (let round = 0; round < 150; round++) {
      const before = guest.connections.events.length;
      const streams = await Promise.all(
        Array.from({ length: 3 }, () => tunnels.open(attached, guest.target()).catch(() => null)),
      );
      connected += guest.connections.events.length - before;
      const connection = guest.connections.events.at(-1) as Connection;
      for (let count = 0; count < 20; count++) {
        sendMessage(connection, payload());
        for (const stream of streams) if (stream?.destroyed === false) stream.write("some data");
        await turn();
      }
      for (const stream of streams) stream?.destroy();
    }
    expect(connected).toBeGreaterThan(10);
    guest.kill();
    guest.start();
    const stream = await vi.waitFor(() => tunnels.open(attached, guest.target()), WAIT);
    stream.end("as before");
    expect(await text(stream)).toBe("as before");
  });
});

describe("what is no SSH server", () => {
  const garbage = Buffer.from(Array.from({ length: 4000 }, (_, index) => (index * 7919) % 251));
  /** A packet of the given content, as they are before there are keys (RFC 4253, 6). */
  const packet = (payload: Uint8Array) => {
    // To a multiple of eight, with four at least.
    const padding = 4 + ((8 - ((payload.length + 5 + 4) % 8)) % 8);
    const start = Buffer.alloc(5);
    start.writeUInt32BE(payload.length + padding + 1);
    start[4] = padding;
    return Buffer.concat([start, payload, Buffer.alloc(padding)]);
  };
  const BANNER = "SSH-2.0-OpenSSH_9.9\r\n";
  const KEXINIT = 20;

  test.each<[string, readonly (string | Uint8Array)[], "refused" | "unreachable"]>([
    ["another protocol", ["HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n"], "unreachable"],
    ["nothing", [], "unreachable"],
    ["nothing but a name", [BANNER], "unreachable"],
    ["a version that is not spoken", ["SSH-1.5-old\r\n"], "refused"],
    ["a name and garbage", [BANNER, garbage], "refused"],
    ["a packet of a length that cannot be", [BANNER, Buffer.alloc(64, 0xff)], "refused"],
    ["a key exchange that is cut off", [BANNER, packet(Buffer.of(KEXINIT, 1, 2, 3))], "refused"],
    [
      "algorithms that nobody has",
      [
        BANNER,
        packet(
          Buffer.concat([Buffer.alloc(17, KEXINIT), ...Array(10).fill(message(0, "x").subarray(1)), Buffer.alloc(5)]),
        ),
      ],
      "refused",
    ],
    ["a disconnect", [BANNER, packet(message(1, 2, "too many\u0007", ""))], "unreachable"],
  ])("is told apart when it says %s", async (_, parts, reason) => {
    const { guest, attached, clock, tunnels } = setUp();
    guest.stop();
    guest.linked.guest.tcpListen(guest.linked.guestAddress, 22, (request) => {
      const stream = FlowStream.accept(request);
      stream?.on("error", () => {}).resume();
      stream?.end(Buffer.concat(parts.map((part) => Buffer.from(part))));
    });
    const advancing = setInterval(() => clock.advance(100), 5);
    cleanUp(() => clearInterval(advancing));
    const error = await tunnels.open(attached, guest.target()).catch((failure: unknown) => failure);
    expect(error).toMatchObject({
      reason,
      message: expect.stringMatching(/^the SSH server at 192\.168\.65\.3:22 is not reachable: [ -~]+$/),
    });
    expect(attached.connections.size).toBe(0);
  });
});

/** Whole numbers below a limit, the same for each seed (a linear congruential generator, Numerical Recipes). */
function makeRandom(seed: number): (limit: number) => number {
  let state = seed >>> 0;
  return (limit) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}
