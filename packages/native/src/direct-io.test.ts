import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { datagramDescriptor, receiveNow, sendNow } from "./direct-io.ts";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

async function bound(): Promise<Socket> {
  const socket = createSocket("udp4");
  cleanups.push(() => socket.close());
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  return socket;
}

async function connected(to: number): Promise<Socket> {
  const socket = await bound();
  socket.connect(to, "127.0.0.1");
  await once(socket, "connect");
  return socket;
}

/** Two sockets of which the first is connected to the second; nothing is read while a test does not wait. */
async function pair(): Promise<{ sender: number; receiver: number }> {
  const receiver = await bound();
  const sender = await connected(receiver.address().port);
  return { sender: datagramDescriptor(sender), receiver: datagramDescriptor(receiver) };
}

const memory = new Uint8Array(70_000);

function receive(descriptor: number): string | null {
  const length = receiveNow(descriptor, memory, 100, 65_536);
  return length < 0 ? null : Buffer.from(memory.subarray(100, 100 + length)).toString();
}

describe.skipIf(process.platform === "win32")("the descriptor of a datagram socket", () => {
  test("is there from bind to close", () => {
    const socket = createSocket("udp4");
    expect(datagramDescriptor(socket)).toBe(-1);
    // Bound at once, as an address needs no looking up.
    const lookup = (_name: string, _options: unknown, found: (error: null, address: string, family: 4) => void) =>
      found(null, "127.0.0.1", 4);
    const other = createSocket({ type: "udp4", lookup });
    other.bind(0, "127.0.0.1");
    expect(datagramDescriptor(other)).toBeGreaterThan(2);
    other.close();
    expect(datagramDescriptor(other)).toBe(-1);
    socket.close();
    expect(datagramDescriptor(socket)).toBe(-1);
  });

  test("is missing where Node keeps none", () => {
    expect(datagramDescriptor(Object.create(null))).toBe(-1);
    expect(datagramDescriptor(Object.assign(Object.create(null), { [Symbol("state symbol")]: {} }))).toBe(-1);
  });
});

describe.skipIf(process.platform === "win32")("datagrams that are sent and received directly", () => {
  test("are one for each call and in order, and then there are none", async () => {
    const { sender, receiver } = await pair();
    expect(receive(receiver)).toBe(null);
    const bytes = Buffer.from("..one.three");
    expect(sendNow(sender, bytes, 2, 3)).toBe(true);
    expect(sendNow(sender, bytes, 6, 5)).toBe(true);
    bytes.fill("x");
    expect([receive(receiver), receive(receiver), receive(receiver)]).toEqual(["one", "three", null]);
  });

  test("may be empty, which is not the end", async () => {
    const receiver = await bound();
    const sender = await connected(receiver.address().port);
    // Node hands both to the kernel before `send` returns.
    sender.send("");
    sender.send("next");
    const descriptor = datagramDescriptor(receiver);
    expect([receive(descriptor), receive(descriptor), receive(descriptor)]).toEqual(["", "next", null]);
  });

  test("of the largest size arrive whole", async () => {
    const { sender, receiver } = await pair();
    const bytes = Buffer.alloc(65_507, "0123456789abc");
    expect(sendNow(sender, bytes, 0, bytes.length)).toBe(true);
    expect(receiveNow(receiver, memory, 0, memory.length)).toBe(bytes.length);
    expect(bytes.equals(memory.subarray(0, bytes.length))).toBe(true);
  });

  test("that the kernel does not send are an error", async () => {
    const { sender } = await pair();
    expect(() => sendNow(sender, memory, 0, 65_508)).toThrow(expect.objectContaining({ code: "EMSGSIZE" }));
  });

  test("to a closed port are an error of whichever call comes next, once", async () => {
    const closed = createSocket("udp4");
    closed.bind(0, "127.0.0.1");
    await once(closed, "listening");
    const { port } = closed.address();
    closed.close();
    const descriptor = datagramDescriptor(await connected(port));
    const refused = expect.objectContaining({ code: "ECONNREFUSED" });
    expect(sendNow(descriptor, memory, 0, 1)).toBe(true);
    expect(() => receive(descriptor)).toThrow(refused);
    expect(receive(descriptor)).toBe(null);
    expect(sendNow(descriptor, memory, 0, 1)).toBe(true);
    expect(() => sendNow(descriptor, memory, 0, 1)).toThrow(refused);
    expect(receive(descriptor)).toBe(null);
  });

  test("that the kernel takes only later are refused", async () => {
    // Datagrams on the loopback are never held back, but a stream whose reader does not read is.
    const server = createServer({ pauseOnConnect: true }).listen(0, "127.0.0.1");
    cleanups.push(() => server.close());
    await once(server, "listening");
    const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
    cleanups.push(() => socket.destroy());
    const [[accepted]] = await Promise.all([once(server, "connection"), once(socket, "connect")]);
    cleanups.push(() => accepted.destroy());
    const { fd } = (socket as unknown as { _handle: { fd: number } })._handle;
    let taken = 0;
    while (taken < 10_000 && sendNow(fd, memory, 0, memory.length)) taken++;
    expect(taken).toBeLessThan(10_000);
    expect(sendNow(fd, memory, 0, memory.length)).toBe(false);
  });
});
