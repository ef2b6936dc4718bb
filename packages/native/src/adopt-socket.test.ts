import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, Socket } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { adoptSocket } from "./adopt-socket.ts";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

/** A connection as its two ends: the accepted one of a server with `pauseOnConnect`, and the client's. */
async function connection(): Promise<{ server: Server; accepted: Socket; client: Socket }> {
  const server = createServer({ pauseOnConnect: true }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const client = connect((server.address() as AddressInfo).port, "127.0.0.1");
  cleanups.push(
    () => client.destroy(),
    () => server.close(),
  );
  const [[accepted]] = (await Promise.all([once(server, "connection"), once(client, "connect")])) as [[Socket], []];
  return { server, accepted, client };
}

describe("a socket that takes over an accepted connection", () => {
  test("reads nothing until it is resumed, and then to the given memory", async () => {
    const { accepted, client } = await connection();
    const buffer = new Uint8Array(16);
    const read = Promise.withResolvers<string>();
    const socket = adoptSocket(accepted, {
      onread: {
        buffer,
        callback: (length, bytes) => {
          expect(bytes).toBe(buffer);
          read.resolve(Buffer.from(bytes.subarray(0, length)).toString());
          return true;
        },
      },
    });
    cleanups.push(() => socket.destroy());
    await new Promise<void>((resolve) => client.write("hello", () => resolve()));
    await new Promise(setImmediate);
    expect(buffer[0]).toBe(0);
    socket.resume();
    expect(await read.promise).toBe("hello");
  });

  test("writes, and with allowHalfOpen goes on after the other end has finished", async () => {
    const { accepted, client } = await connection();
    const socket = adoptSocket(accepted, {
      allowHalfOpen: true,
      writableHighWaterMark: 1,
      onread: { buffer: new Uint8Array(16), callback: () => true },
    });
    expect(socket.writableHighWaterMark).toBe(1);
    socket.resume();
    client.end();
    await once(socket, "end");
    socket.end("answer");
    expect(Buffer.concat(await client.toArray()).toString()).toBe("answer");
  });

  test("lets the server close once it is closed itself", async () => {
    const { server, accepted, client } = await connection();
    const socket = adoptSocket(accepted, { onread: { buffer: new Uint8Array(16), callback: () => true } });
    let isServerClosed = false;
    const closed = once(server.close(), "close").then(() => {
      isServerClosed = true;
    });
    client.on("error", () => {});
    await new Promise(setImmediate);
    expect(isServerClosed).toBe(false);
    socket.resetAndDestroy();
    await closed;
  });

  test("goes on with a connection that was read before, behind what was read, and reads an end again", async () => {
    const { accepted, client } = await connection();
    client.write("first");
    accepted.resume();
    const [first] = (await once(accepted, "data")) as [Buffer];
    expect(String(first)).toBe("first");
    accepted.pause();
    client.end("second");
    const buffer = new Uint8Array(16);
    let read = "";
    const socket = adoptSocket(accepted, {
      allowHalfOpen: true,
      onread: {
        buffer,
        callback: (length) => {
          read += Buffer.from(buffer.subarray(0, length)).toString();
          return true;
        },
      },
    });
    cleanups.push(() => socket.destroy());
    const ended = once(socket, "end");
    socket.resume();
    await ended;
    expect(read).toBe("second");
    socket.end("answer");
    expect(Buffer.concat(await client.toArray()).toString()).toBe("answer");
  });

  test("is the accepted one, destroyed, when the connection is already gone", () => {
    const accepted = new Socket();
    const socket = adoptSocket(accepted, { onread: { buffer: new Uint8Array(16), callback: () => true } });
    expect(socket).toBe(accepted);
    expect(socket.destroyed).toBe(true);
  });
});
