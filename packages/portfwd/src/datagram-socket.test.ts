import { createSocket, Socket, type SocketType } from "node:dgram";
import { once } from "node:events";
import { datagramDescriptor, loadSystemCalls } from "@hostd/native";
import { afterEach, describe, expect, test, vi } from "vitest";
import { bindDatagramSocket } from "./datagram-socket.ts";
import { DatagramClient } from "./testing/datagram-client.ts";

/** fcntl(2), the same on every system. */
const F_DUPFD = 0;

const open: Socket[] = [];
afterEach(() => {
  vi.restoreAllMocks();
  for (const socket of open.splice(0)) socket.close();
});

async function bind(...given: Parameters<typeof bindDatagramSocket>): Promise<Socket> {
  const socket = await bindDatagramSocket(...given);
  open.push(socket);
  return socket;
}

/** A descriptor of a socket that is bound to a port of a loopback address. */
async function boundDescriptor(type: SocketType, address: string): Promise<{ descriptor: number; port: number }> {
  const calls = loadSystemCalls();
  if ("reason" in calls) throw new Error(calls.reason);
  const socket = createSocket(type);
  socket.bind(0, address);
  await once(socket, "listening");
  const { port } = socket.address();
  // An event loop takes a descriptor once.
  const descriptor = calls.fcntl(datagramDescriptor(socket), F_DUPFD, 0);
  socket.close();
  return { descriptor, port };
}

/** Sends a datagram from a client to a socket, and an answer back. */
async function exchange(socket: Socket, address: string): Promise<string> {
  const client = await DatagramClient.open(address);
  const message = once(socket, "message");
  await client.send("question", socket.address().port);
  const [question, from] = await message;
  socket.send(`answer to the ${question}`, from.port, from.address);
  return String(await client.payload());
}

describe("a socket", () => {
  test.for(["127.0.0.1", "::1"])("of %s is bound there", async (host) => {
    const socket = await bind({ host, port: 0 });
    expect(socket.address().address).toBe(host);
    expect(await exchange(socket, host)).toBe("answer to the question");
  });

  test("of every address takes both families", async () => {
    const socket = await bind({ host: "", port: 0 });
    expect(await exchange(socket, "127.0.0.1")).toBe("answer to the question");
    expect(await exchange(socket, "::1")).toBe("answer to the question");
  });

  test("of every address is one of IPv4 where there is no IPv6", async () => {
    vi.spyOn(Socket.prototype, "bind").mockImplementationOnce(function (this: Socket) {
      this.emit("error", Object.assign(new Error("no IPv6"), { code: "EAFNOSUPPORT" }));
      return this;
    });
    const socket = await bind({ host: "", port: 0 });
    expect(socket.address()).toMatchObject({ address: "0.0.0.0", family: "IPv4" });
  });

  test("of `::` leaves the port to one of `0.0.0.0`", async () => {
    const first = await bind({ host: "0.0.0.0", port: 0 });
    const { port } = first.address();
    const second = await bind({ host: "::", port });
    expect(await exchange(first, "127.0.0.1")).toBe("answer to the question");
    expect(await exchange(second, "::1")).toBe("answer to the question");
  });

  test("has sent when `send` returns", async () => {
    const socket = await bind({ host: "127.0.0.1", port: 0 });
    const client = await DatagramClient.open();
    const memory = Buffer.from("text");
    socket.send(memory, client.port, client.address);
    memory.fill("x");
    expect(String(await client.payload())).toBe("text");
  });

  test("has room for a burst of the largest datagrams", async () => {
    const socket = await bind({ host: "127.0.0.1", port: 0 });
    const plain = createSocket("udp4");
    open.push(plain);
    plain.bind(0, "127.0.0.1");
    await once(plain, "listening");
    expect(socket.getRecvBufferSize()).toBeGreaterThan(plain.getRecvBufferSize());
    expect(socket.getSendBufferSize()).toBeGreaterThanOrEqual(128 * 1024);
  });

  test("that cannot be bound is an error of the system", async () => {
    const { port } = (await bind({ host: "127.0.0.1", port: 0 })).address();
    await expect(bind({ host: "127.0.0.1", port })).rejects.toMatchObject({ code: "EADDRINUSE" });
    await expect(bind({ host: "", port })).rejects.toMatchObject({ code: "EADDRINUSE" });
    await expect(bind({ host: "192.0.2.1", port: 0 })).rejects.toMatchObject({ code: "EADDRNOTAVAIL" });
  });
});

describe("a descriptor", () => {
  test.for([
    ["udp4", "127.0.0.1"],
    ["udp6", "::1"],
  ] as const)("of %s is taken over", async ([type, host]) => {
    const { descriptor, port } = await boundDescriptor(type, host);
    const socket = await bind({ host, port }, descriptor);
    expect(socket.address()).toMatchObject({ address: host, port });
    expect(await exchange(socket, host)).toBe("answer to the question");
  });

  test("of another family than the address is refused", async () => {
    const { descriptor, port } = await boundDescriptor("udp4", "127.0.0.1");
    await expect(bind({ host: "::1", port }, descriptor)).rejects.toThrow(
      `the socket that was passed for [::1]:${port} is of IPv4: it takes one of IPv6`,
    );
  });

  test("of no UDP socket is refused", async () => {
    await expect(bind({ host: "127.0.0.1", port: 9 }, 0x7fff)).rejects.toThrow("fd");
  });
});
