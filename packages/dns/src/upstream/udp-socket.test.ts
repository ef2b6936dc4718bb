import { randomInt } from "node:crypto";
import { createSocket, Socket } from "node:dgram";
import { once } from "node:events";
import { afterEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { messageId, setMessageId } from "../message.ts";
import type { ServerAddress } from "../server-address.ts";
import { answerWith, dataOf, decoded, errorFor, queryMessage, readValid } from "../testing/messages.ts";
import { closedPort, heldServer, isPortFree, type Received, udpServer } from "../testing/servers.ts";
import type { Exchange } from "./exchange.ts";
import { QUERIES_PER_SOCKET, STRAYS_PER_SOCKET, UdpSocket } from "./udp-socket.ts";

vi.mock("node:crypto", async (original) => {
  const crypto = await original<typeof import("node:crypto")>();
  return { ...crypto, randomInt: vi.fn(crypto.randomInt) };
});

afterEach(() => {
  vi.mocked(randomInt).mockReset();
});

/** What became of a query, and its exchange. */
interface Asked {
  readonly exchange: Exchange;
  /** The address in the answer, or the error. */
  readonly outcome: Promise<unknown>;
}

/** Asks for the address of `name`. */
function ask(socket: UdpSocket, name = "a.example", id = 0x4242): Asked {
  const { promise, resolve } = Promise.withResolvers<unknown>();
  const exchange = socket.ask(readValid(queryMessage(name, "A", { id })), {
    answered: (message) => {
      expect(messageId(message)).toBe(id);
      resolve(dataOf(decoded(message).answers, "A")[0]);
    },
    failed: resolve,
  });
  onTestFinished(() => exchange.close());
  return { exchange, outcome: promise };
}

function socketTo(server: ServerAddress): UdpSocket {
  const socket = new UdpSocket(server);
  onTestFinished(() => socket.retire());
  return socket;
}

/** Waits until a socket that is to close has closed: its port can be bound again. */
const closed = (port: number) => vi.waitFor(async () => expect(await isPortFree(port)).toBe(true));

test("queries that are outstanding have one port and different ids, also when a random one is taken", async () => {
  const server = await heldServer();
  const socket = socketTo(server.address);
  for (const id of [7, 7, 7, 8, 7, 8, 9]) vi.mocked(randomInt).mockImplementationOnce(() => id);
  const outcomes = ["a.example", "b.example", "c.example"].map((name, index) => ask(socket, name, index).outcome);
  const received = [await server.next(), await server.next(), await server.next()];
  expect(received.map(({ message }) => messageId(message))).toEqual([7, 8, 9]);
  expect(new Set(received.map(({ port }) => port)).size).toBe(1);
  for (const [index, { message, reply }] of [...received.entries()].reverse()) {
    reply(answerWith(message, `192.0.2.${index}`));
  }
  expect(await Promise.all(outcomes)).toEqual(["192.0.2.0", "192.0.2.1", "192.0.2.2"]);
});

test("an id is free again after its answer", async () => {
  const server = await udpServer(({ message, reply }) => reply(answerWith(message, "192.0.2.1")));
  const socket = socketTo(server.address);
  vi.mocked(randomInt).mockImplementation(() => 7);
  for (let round = 0; round < 3; round++) expect(await ask(socket).outcome).toBe("192.0.2.1");
  expect(server.received.map(messageId)).toEqual([7, 7, 7]);
});

test("the query stays as it was", async () => {
  const server = await udpServer(({ message, reply }) => reply(answerWith(message, "192.0.2.1")));
  const message = Buffer.from(queryMessage("a.example", "A", { id: 0x4242 }));
  const { promise, resolve } = Promise.withResolvers<void>();
  const handler = { answered: () => resolve(), failed: () => {} };
  socketTo(server.address).ask(readValid(message), handler);
  await promise;
  expect(message).toEqual(Buffer.from(queryMessage("a.example", "A", { id: 0x4242 })));
});

describe("a socket is retired", () => {
  test("after a number of queries, and closed after the last answer", async () => {
    const waiting: Received[] = [];
    const { promise: complete, resolve } = Promise.withResolvers<void>();
    const server = await udpServer((received) => {
      if (waiting.push(received) === QUERIES_PER_SOCKET) resolve();
    });
    const socket = socketTo(server.address);
    const outcomes: Promise<unknown>[] = [];
    for (let count = 0; count < QUERIES_PER_SOCKET; count++) {
      expect(socket.retired).toBe(false);
      outcomes.push(ask(socket).outcome);
    }
    expect(socket.retired).toBe(true);
    await complete;
    expect(new Set(server.received.map(messageId)).size).toBe(QUERIES_PER_SOCKET);
    const [last, ...others] = waiting;
    for (const { message, reply } of others) reply(answerWith(message, "192.0.2.1"));
    await Promise.all(outcomes.slice(1));
    expect(await isPortFree(last.port)).toBe(false);
    last.reply(answerWith(last.message, "192.0.2.2"));
    expect(await outcomes[0]).toBe("192.0.2.2");
    await closed(last.port);
  });

  test("by its owner, and closed when the last query is given up", async () => {
    const server = await heldServer();
    const socket = socketTo(server.address);
    const [first, second] = [ask(socket), ask(socket)];
    const { port } = await server.next();
    first.exchange.close();
    socket.retire();
    socket.retire();
    first.exchange.close();
    expect(await isPortFree(port)).toBe(false);
    second.exchange.close();
    await closed(port);
    // The exchanges are over, so nothing is sent on a socket that is closed.
    first.exchange.resend();
    second.exchange.close();
  });

  test("by its owner, and closed at once when nothing is outstanding", async () => {
    const server = await heldServer();
    const socket = socketTo(server.address);
    const { exchange } = ask(socket);
    const { port } = await server.next();
    exchange.close();
    expect(await isPortFree(port)).toBe(false);
    socket.retire();
    await closed(port);
  });

  test("and a query on it can still be sent again and answered", async () => {
    const server = await heldServer();
    const socket = socketTo(server.address);
    const { exchange, outcome } = ask(socket);
    socket.retire();
    const first = await server.next();
    exchange.resend();
    const second = await server.next();
    expect(second.message).toEqual(first.message);
    expect(second.port).toBe(first.port);
    second.reply(answerWith(second.message, "192.0.2.1"));
    expect(await outcome).toBe("192.0.2.1");
  });

  test("after a number of datagrams that answer nothing", async () => {
    const server = await heldServer();
    const socket = socketTo(server.address);
    const first = ask(socket);
    const asked = await server.next();
    const wrong = Uint8Array.from(answerWith(asked.message, "192.0.2.66"));
    setMessageId(wrong, messageId(asked.message) ^ 1);
    for (let count = 1; count < STRAYS_PER_SOCKET; count++) asked.reply(wrong);
    const second = ask(socket);
    const next = await server.next();
    next.reply(answerWith(next.message, "192.0.2.2"));
    expect(await second.outcome).toBe("192.0.2.2");
    expect(socket.retired).toBe(false);
    asked.reply(wrong);
    asked.reply(answerWith(asked.message, "192.0.2.1"));
    expect(await first.outcome).toBe("192.0.2.1");
    expect(socket.retired).toBe(true);
  });
});

describe("an answer is ignored", () => {
  test("with the id of another query than its own", async () => {
    const server = await heldServer();
    const socket = socketTo(server.address);
    const outcomes = [ask(socket, "a.example").outcome, ask(socket, "b.example").outcome];
    const [first, second] = [await server.next(), await server.next()];
    const swapped = Uint8Array.from(answerWith(first.message, "192.0.2.66"));
    setMessageId(swapped, messageId(second.message));
    first.reply(swapped);
    second.reply(answerWith(second.message, "192.0.2.2"));
    first.reply(answerWith(first.message, "192.0.2.1"));
    expect(await Promise.all(outcomes)).toEqual(["192.0.2.1", "192.0.2.2"]);
  });

  test("with another question, without a question, as a query, or cut off", async () => {
    const server = await heldServer();
    const { outcome } = ask(socketTo(server.address));
    const { message, reply } = await server.next();
    const id = messageId(message);
    for (const [name, type] of [
      ["b.example", "A"],
      ["a.exampl", "A"],
      ["a.example.example", "A"],
      ["a.example", "AAAA"],
    ] as const) {
      reply(errorFor(queryMessage(name, type, { id }), 3));
    }
    const withoutQuestion = Uint8Array.from([id >>> 8, id & 255, 0x81, 0x80, 0, 0, 0, 0, 0, 0, 0, 0]);
    reply(withoutQuestion);
    reply(message);
    for (const length of [0, 1, 2, 11, 12, message.length - 1]) {
      reply(Uint8Array.from(answerWith(message, "192.0.2.66")).subarray(0, length));
    }
    reply(answerWith(message, "192.0.2.1"));
    expect(await outcome).toBe("192.0.2.1");
  });

  test("from another sender", async () => {
    const server = await heldServer();
    const { outcome } = ask(socketTo(server.address));
    const { message, port, reply } = await server.next();
    const spoofer = createSocket("udp4");
    onTestFinished(() => {
      spoofer.close();
    });
    await new Promise((resolve) => spoofer.send(answerWith(message, "192.0.2.66"), port, "127.0.0.1", resolve));
    reply(answerWith(message, "192.0.2.1"));
    expect(await outcome).toBe("192.0.2.1");
  });

  test("from another sender, when it came before the socket was connected", async () => {
    // The kernel lets that through only in the moment between the two calls.
    const sockets: Socket[] = [];
    const connect = vi.spyOn(Socket.prototype, "connect").mockImplementation(function (this: Socket, ...parameters) {
      sockets.push(this);
      connect.mockRestore();
      this.connect(...parameters);
    });
    const server = await heldServer();
    const { outcome } = ask(socketTo(server.address));
    const { message, reply } = await server.next();
    const { port, address, family } = server.address;
    const wrong = answerWith(message, "192.0.2.66");
    for (const from of [
      { address, port: port ^ 1 },
      { address: "127.0.0.2", port },
    ]) {
      sockets[0].emit("message", Buffer.from(wrong), { ...from, family: `IPv${family}`, size: wrong.length });
    }
    reply(answerWith(message, "192.0.2.1"));
    expect(await outcome).toBe("192.0.2.1");
    expect(sockets).toHaveLength(1);
  });

  test("after its query was given up", async () => {
    const server = await heldServer();
    const socket = socketTo(server.address);
    const [first, second] = [ask(socket), ask(socket)];
    const [one, other] = [await server.next(), await server.next()];
    first.exchange.close();
    one.reply(answerWith(one.message, "192.0.2.66"));
    other.reply(answerWith(other.message, "192.0.2.1"));
    expect(await second.outcome).toBe("192.0.2.1");
    expect(await Promise.race([first.outcome, Promise.resolve("none")])).toBe("none");
  });
});

describe("an error", () => {
  test("of a closed port ends every query that is outstanding on the socket, and no other", async () => {
    const listener = createSocket("udp4");
    listener.bind(0, "127.0.0.1");
    await once(listener, "listening");
    const { port } = listener.address();
    const address: ServerAddress = { address: "127.0.0.1", family: 4, port };
    const [socket, other] = [socketTo(address), socketTo(address)];
    const elsewhere = ask(other);
    const outcomes = [ask(socket).outcome, ask(socket).outcome];
    for (let count = 0; count < 3; count++) await once(listener, "message");
    listener.close();
    await once(listener, "close");
    outcomes.push(ask(socket).outcome);
    const errors = await Promise.all(outcomes);
    expect(errors).toHaveLength(3);
    for (const error of errors) expect(error).toMatchObject({ code: "ECONNREFUSED" });
    expect(socket.retired).toBe(true);
    expect(other.retired).toBe(false);
    expect(await Promise.race([elsewhere.outcome, Promise.resolve("none")])).toBe("none");
  });

  test("of a closed port ends every query also when the kernel tells it with the next one", async () => {
    const socket = socketTo(await closedPort());
    // On the loopback interface the first is refused before the second is sent, which then is not.
    const outcomes = [ask(socket).outcome, ask(socket).outcome];
    for (const error of await Promise.all(outcomes)) expect(error).toMatchObject({ code: "ECONNREFUSED" });
  });

  test("of a host that has no more sockets is told after the call", async () => {
    const error = Object.assign(new Error("bind EMFILE 0.0.0.0"), { code: "EMFILE" });
    const bind = vi.spyOn(Socket.prototype, "bind").mockImplementationOnce(function (this: Socket) {
      this.emit("error", error);
      return this;
    });
    const close = vi.spyOn(Socket.prototype, "close");
    onTestFinished(() => {
      bind.mockRestore();
      close.mockRestore();
    });
    const socket = socketTo({ address: "127.0.0.1", family: 4, port: 53 });
    expect(await ask(socket).outcome).toBe(error);
    expect(socket.retired).toBe(true);
    expect(close).toHaveBeenCalledOnce();
  });

  test("of a port that was closed before is told after the call", async () => {
    const socket = socketTo(await closedPort());
    expect(await ask(socket).outcome).toMatchObject({ code: "ECONNREFUSED" });
    expect(socket.retired).toBe(true);
  });

  test.each([
    ["an address that may not be connected to", { address: "255.255.255.255", family: 4, port: 53 }, "EACCES"],
    ["an interface that is not there", { address: "fe80::1%nowhere", family: 6, port: 53 }, "EINVAL"],
  ] as const)("of %s is told after the call", async (_, address, code) => {
    const socket = socketTo(address);
    let told = false;
    const { exchange, outcome } = ask(socket);
    void outcome.then(() => {
      told = true;
    });
    exchange.resend();
    expect(told).toBe(false);
    expect(await outcome).toMatchObject({ code });
    expect(socket.retired).toBe(true);
  });

  test("of a datagram is its own query's alone, but the socket is retired", async () => {
    const server = await heldServer();
    const socket = socketTo(server.address);
    const healthy = ask(socket);
    const { message, reply } = await server.next();
    const query = readValid(queryMessage("a.example", "A"));
    const { promise, resolve } = Promise.withResolvers<Error>();
    // More than a datagram of IPv4 can hold.
    const oversized = { ...query, message: Buffer.concat([query.message, Buffer.alloc(65_500)]) };
    socket.ask(oversized, { answered: () => resolve(new Error("answered")), failed: resolve });
    expect(await promise).toMatchObject({ code: "EMSGSIZE" });
    expect(socket.retired).toBe(true);
    reply(answerWith(message, "192.0.2.1"));
    expect(await healthy.outcome).toBe("192.0.2.1");
  });

  test("after a query was given up is nobody's", async () => {
    const socket = socketTo(await closedPort());
    const { exchange, outcome } = ask(socket);
    exchange.close();
    expect(await ask(socket).outcome).toMatchObject({ code: "ECONNREFUSED" });
    expect(await Promise.race([outcome, Promise.resolve("none")])).toBe("none");
  });
});
