import { createSocket } from "node:dgram";
import { once } from "node:events";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { frameMessage } from "../framing.ts";
import { messageId, setMessageId } from "../message.ts";
import { fixedPolicy, fixedServers, type PolicySource, RouteTable, type ServerSet } from "../policy/policy.ts";
import type { UpstreamAnswer } from "../resolver.ts";
import { formatServerAddress, type ServerAddress } from "../server-address.ts";
import {
  addressIn,
  answering,
  forwarderTo,
  held,
  message,
  NEVER,
  query,
  silent,
  virtualTime,
} from "../testing/forwarders.ts";
import {
  answerWith,
  dataOf,
  decoded,
  errorFor,
  hostileMessage,
  queryMessage,
  readValid,
  seededRandom,
} from "../testing/messages.ts";
import { closedPort, isPortFree, type Received, tcpServer, udpServer } from "../testing/servers.ts";
import { Forwarder } from "./forwarder.ts";

/** One set of servers for every name. */
function setOf(set: ServerSet): PolicySource {
  return fixedPolicy({ routes: new RouteTable([{ domain: "", set, from: "a test" }]), search: [] });
}

/** Forwards with the time-outs that hold when none are given. */
function forwardWithDefaults(servers: readonly ServerAddress[]): Promise<UpstreamAnswer | null> {
  const forwarder = new Forwarder({ source: fixedServers(servers) });
  onTestFinished(() => forwarder.close());
  return forwarder.forward(query, "udp");
}

describe("over UDP", () => {
  test("a query goes to the first server and its answer comes back", async () => {
    const [first, second] = [await answering("192.0.2.1"), await answering("192.0.2.2")];
    const answer = await forwarderTo([first.address, second.address]).forward(query, "udp");
    expect(addressIn(answer)).toBe("192.0.2.1");
    expect(answer?.source).toBe(formatServerAddress(first.address));
    expect(second.received).toEqual([]);
  });

  test("unknown types, classes and options pass byte for byte, but for the id", async () => {
    const random = seededRandom(4);
    const noise = Array.from({ length: 300 }, () => random() & 0xff);
    const options = [0xfd, 0xe8, 0, 3, 1, 2, 3, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];
    const opt = [0, 0, 41, 0x10, 0, 0, 0, 0x80, 0, 0, options.length, ...options];
    const asked = Uint8Array.from([...queryMessage("MiXed.example", "A", { flags: 0x0130 }), ...opt]);
    asked[11] = 1;
    const question = 12 + 15;
    asked.set([0xff, 0x01, 0xfe, 0x00], question);
    const sent = Uint8Array.from([...asked.subarray(0, question + 4), ...noise]);
    sent.set([0x87, 0xff, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 2);
    const server = await udpServer(({ message, reply }) => {
      const answer = sent.slice();
      setMessageId(answer, messageId(message));
      reply(answer);
    });
    const original = asked.slice();

    const answer = await forwarderTo([server.address]).forward(readValid(asked), "udp");
    expect(Buffer.compare(server.received[0].subarray(2), original.subarray(2))).toBe(0);
    expect(asked).toEqual(original);
    setMessageId(sent, messageId(asked));
    expect(answer && Buffer.compare(answer.message, sent)).toBe(0);
  });

  test("a query in a Buffer keeps its id", async () => {
    const server = await answering("192.0.2.1");
    const asked = Buffer.from(message);
    const answer = await forwarderTo([server.address]).forward(readValid(asked), "udp");
    expect(addressIn(answer)).toBe("192.0.2.1");
    expect(asked).toEqual(Buffer.from(message));
  });

  test("simultaneous queries have several ports and random ids", async () => {
    const waiting: Received[] = [];
    const server = await udpServer((received) => {
      if (waiting.push(received) < 20) return;
      for (const { message, reply } of waiting) reply(answerWith(message, "192.0.2.1"));
    });
    const forwarder = forwarderTo([server.address]);
    const answers = await Promise.all(Array.from({ length: 20 }, () => forwarder.forward(query, "udp")));
    expect(answers.map(addressIn)).toEqual(new Array(20).fill("192.0.2.1"));
    expect(new Set(waiting.map(({ port }) => port)).size).toBeGreaterThan(3);
    expect(new Set(server.received.map(messageId)).size).toBeGreaterThan(15);
  });

  test("NXDOMAIN comes back and no other server is asked", async () => {
    const first = await udpServer(({ message, reply }) => reply(errorFor(message, 3)));
    const second = await answering("192.0.2.2");
    const answer = await forwarderTo([first.address, second.address]).forward(query, "udp");
    expect(answer && decoded(answer.message).rcode).toBe(3);
    expect(second.received).toEqual([]);
  });

  test("answers with a wrong id, question or sender, queries and noise are ignored", async () => {
    const random = seededRandom(5);
    const spoofer = createSocket("udp4");
    onTestFinished(() => {
      spoofer.close();
    });
    const server = await udpServer(({ message, port, reply }) => {
      const wrongId = answerWith(message, "192.0.2.66");
      setMessageId(wrongId, messageId(message) ^ 1);
      reply(wrongId);
      reply(answerWith(queryMessage("b.example", "A", { id: messageId(message) }), "192.0.2.66"));
      reply(message);
      for (let round = 0; round < 50; round++) reply(hostileMessage(random));
      spoofer.send(answerWith(message, "192.0.2.66"), port, "127.0.0.1", () => {
        reply(answerWith(message, "192.0.2.1"));
      });
    });
    expect(addressIn(await forwarderTo([server.address]).forward(query, "udp"))).toBe("192.0.2.1");
  });

  test("a closed port is known at once", async () => {
    const second = await answering("192.0.2.2");
    const logger = { debug: vi.fn(), info: vi.fn(), warn: vi.fn() };
    const closed = await closedPort();
    const answer = await forwarderTo([closed, second.address], { logger }).forward(query, "udp");
    expect(addressIn(answer)).toBe("192.0.2.2");
    expect(logger.debug).toHaveBeenCalledExactlyOnceWith(
      { server: `127.0.0.1:${closed.port}`, reason: expect.stringContaining("ECONNREFUSED") },
      "a name server cannot be asked",
    );
  });

  test("with every port closed there is no answer, at once", async () => {
    const servers = [await closedPort(), await closedPort()];
    expect(await forwarderTo(servers).forward(query, "udp")).toBeNull();
  });

  test("a server that says nothing is followed by the next after a second", async () => {
    const [first, second] = [await held(), await held()];
    const answer = virtualTime(() => forwardWithDefaults([first.address, second.address]));
    await first.next();
    vi.advanceTimersByTime(999);
    await first.settled();
    expect(second.received).toEqual([]);
    vi.advanceTimersByTime(1);
    const received = await second.next();
    received.reply(answerWith(received.message, "192.0.2.2"));
    expect(addressIn(await answer)).toBe("192.0.2.2");
    expect(first.received).toHaveLength(1);
  });

  test("a server that answers late still counts while another is being asked", async () => {
    const [first, second] = [await held(), await held()];
    const answer = virtualTime(() => forwardWithDefaults([first.address, second.address]));
    const early = await first.next();
    vi.advanceTimersByTime(1000);
    await second.next();
    early.reply(answerWith(early.message, "192.0.2.1"));
    expect(addressIn(await answer)).toBe("192.0.2.1");
  });

  test("an answer after another server's is ignored", async () => {
    const [first, second] = [await held(), await answering("192.0.2.2")];
    const answer = virtualTime(() => forwardWithDefaults([first.address, second.address]));
    const late = await first.next();
    vi.advanceTimersByTime(1000);
    expect(addressIn(await answer)).toBe("192.0.2.2");
    late.reply(answerWith(late.message, "192.0.2.1"));
    const other = queryMessage("c.example", "A", { id: 9 });
    const next = forwarderTo([first.address]).forward(readValid(other), "udp");
    const received = await first.next();
    received.reply(answerWith(received.message, "192.0.2.3"));
    expect(dataOf(decoded((await next)?.message ?? other).answers, "A")).toEqual(["192.0.2.3"]);
  });

  test("a lost query is sent once more, under the same id and port", async () => {
    const server = await held();
    const answer = virtualTime(() => forwardWithDefaults([server.address]));
    const first = await server.next();
    vi.advanceTimersByTime(1000);
    const second = await server.next();
    expect(second.message).toEqual(first.message);
    expect(second.port).toBe(first.port);
    second.reply(answerWith(second.message, "192.0.2.1"));
    expect(addressIn(await answer)).toBe("192.0.2.1");
  });

  test("servers that say nothing are given up after four and a half seconds", async () => {
    const [first, second] = [await held(), await held()];
    let finished = false;
    const answer = virtualTime(() => forwardWithDefaults([first.address, second.address])).finally(() => {
      finished = true;
    });
    await first.next();
    vi.advanceTimersByTime(1000);
    await second.next();
    vi.advanceTimersByTime(1000);
    await first.next();
    vi.advanceTimersByTime(1000);
    await second.next();
    vi.advanceTimersByTime(1499);
    await first.settled();
    expect(finished).toBe(false);
    vi.advanceTimersByTime(1);
    expect(await answer).toBeNull();
  });

  test("servers that say nothing are asked as often as configured", async () => {
    const servers = [await held(), await held()];
    const source = setOf({ servers: servers.map((server) => server.address), serverTimeout: 100, attempts: 3 });
    const answer = virtualTime(() => forwarderTo([], { source, totalTimeout: 5000 }).forward(query, "udp"));
    for (let attempt = 0; attempt < 3; attempt++) {
      for (const server of servers) {
        await server.next();
        vi.advanceTimersByTime(100);
      }
    }
    vi.advanceTimersByTime(5000);
    expect(await answer).toBeNull();
    for (const server of servers) {
      await server.settled();
      expect(server.received).toHaveLength(3);
    }
  });

  test("the wait of resolv.conf shortens ours but does not lengthen it", async () => {
    const [first, second] = [await silent(), await answering("192.0.2.2")];
    const servers = [first.address, second.address];
    for (const [fromFile, own] of [
      [20, NEVER],
      [NEVER, 20],
    ]) {
      const source = setOf({ servers, serverTimeout: fromFile, attempts: null });
      const forwarder = forwarderTo([], { source, waitBounds: { shortest: own, longest: own } });
      expect(addressIn(await forwarder.forward(query, "udp"))).toBe("192.0.2.2");
    }
  });

  test.each([
    ["SERVFAIL", 2],
    ["NOTIMP", 4],
    ["REFUSED", 5],
  ])("%s of one server leads to the next", async (_, rcode) => {
    const first = await udpServer(({ message, reply }) => reply(errorFor(message, rcode)));
    const second = await answering("192.0.2.2");
    const answer = await forwarderTo([first.address, second.address]).forward(query, "udp");
    expect(addressIn(answer)).toBe("192.0.2.2");
  });

  test("the first error comes back when no server can help", async () => {
    const first = await udpServer(({ message, reply }) => reply(errorFor(message, 5)));
    const second = await udpServer(({ message, reply }) => reply(errorFor(message, 2)));
    const servers = [first.address, second.address, await closedPort()];
    const answer = await forwarderTo(servers).forward(query, "udp");
    expect(answer && decoded(answer.message)).toMatchObject({ id: 0x4242, rcode: 5 });
    expect([first.received.length, second.received.length]).toEqual([1, 1]);
  });

  test("an error without a question comes back", async () => {
    const server = await udpServer(({ message, reply }) => {
      reply(Uint8Array.from([message[0], message[1], 0x81, 0x81, 0, 0, 0, 0, 0, 0, 0, 0]));
    });
    const answer = await forwarderTo([server.address]).forward(query, "udp");
    expect(answer && [...answer.message]).toEqual([0x42, 0x42, 0x81, 0x81, 0, 0, 0, 0, 0, 0, 0, 0]);
  });
});

describe("over TCP", () => {
  test("a query goes to the server over TCP and its answer comes back however it is cut", async () => {
    const server = await tcpServer(async ({ message }, socket) => {
      const framed = frameMessage(answerWith(message, "192.0.2.1"));
      for (const byte of framed) socket.write(Uint8Array.of(byte));
    });
    expect(addressIn(await forwarderTo([server.address]).forward(query, "tcp"))).toBe("192.0.2.1");
    expect(Buffer.compare(server.received[0].subarray(2), message.subarray(2))).toBe(0);
  });

  test("an answer of the largest size comes back whole", async () => {
    const server = await tcpServer(({ message, reply }) => {
      const answer = new Uint8Array(65_535);
      answer.set(answerWith(message, "192.0.2.1"));
      reply(answer);
    });
    const answer = await forwarderTo([server.address]).forward(query, "tcp");
    expect(answer?.message.length).toBe(65_535);
  });

  test("wrong answers before the right one are ignored", async () => {
    const server = await tcpServer(({ message, reply }) => {
      reply(new Uint8Array(0));
      reply(answerWith(queryMessage("b.example", "A", { id: messageId(message) }), "192.0.2.66"));
      reply(answerWith(message, "192.0.2.1"));
    });
    expect(addressIn(await forwarderTo([server.address]).forward(query, "tcp"))).toBe("192.0.2.1");
  });

  test("a server that refuses, closes or resets is followed by the next", async () => {
    const closing = await tcpServer((_, socket) => socket.end());
    const resetting = await tcpServer((_, socket) => socket.resetAndDestroy());
    const last = await tcpServer(({ message, reply }) => reply(answerWith(message, "192.0.2.1")));
    const servers = [await closedPort(), closing.address, resetting.address, last.address];
    expect(addressIn(await forwarderTo(servers).forward(query, "tcp"))).toBe("192.0.2.1");
  });

  test("servers that say nothing are given up in time", async () => {
    let arrived = () => {};
    const arrival = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    const server = await tcpServer(() => arrived());
    const forwarder = forwarderTo([server.address], { totalTimeout: 5000 });
    const answer = virtualTime(() => forwarder.forward(query, "tcp"));
    await arrival;
    vi.advanceTimersByTime(5000);
    expect(await answer).toBeNull();
    expect(server.received).toHaveLength(1);
  });
});

test.each(["udp", "tcp"] as const)("close gives up the queries that wait over %s", async (transport) => {
  const server = transport === "udp" ? await held() : await tcpServer(() => {});
  const forwarder = forwarderTo([server.address]);
  const unsent = forwarder.forward(query, transport);
  forwarder.close();
  expect(await unsent).toBeNull();
  expect(await forwarder.forward(query, transport)).toBeNull();
});

test("close gives up a query that a server has", async () => {
  const server = await held();
  const forwarder = forwarderTo([server.address]);
  const answer = forwarder.forward(query, "udp");
  await server.next();
  forwarder.close();
  expect(await answer).toBeNull();
});

test("close leaves no socket and no timer", async () => {
  const server = await held();
  const forwarder = virtualTime(() => new Forwarder({ source: fixedServers([server.address]) }));
  const answers = [forwarder.forward(query, "udp"), forwarder.forward(query, "udp")];
  const [first, second] = [await server.next(), await server.next()];
  first.reply(answerWith(first.message, "192.0.2.1"));
  await Promise.race(answers);
  forwarder.close();
  await Promise.all(answers);
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
  for (const { port } of [first, second]) {
    await vi.waitFor(async () => expect(await isPortFree(port)).toBe(true));
  }
});

test("a server is asked over IPv6", async () => {
  const socket = createSocket("udp6");
  socket.on("message", (asked, { port, address }) => socket.send(answerWith(asked, "192.0.2.6"), port, address));
  socket.bind(0, "::1");
  await once(socket, "listening");
  onTestFinished(() => {
    socket.close();
  });
  const address: ServerAddress = { address: "0:0:0:0:0:0:0:1", family: 6, port: socket.address().port };
  expect(addressIn(await forwarderTo([address]).forward(query, "udp"))).toBe("192.0.2.6");
});
