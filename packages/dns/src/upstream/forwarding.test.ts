import { createSocket } from "node:dgram";
import { once } from "node:events";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { messageId } from "../message.ts";
import type { ServerAddress } from "../server-address.ts";
import { addressIn, answering, forwarderTo, held, query, silent, virtualTime, WAITS } from "../testing/forwarders.ts";
import { answerWith, decoded, errorFor, queryMessage, readValid } from "../testing/messages.ts";
import { type Received, tcpServer, udpServer } from "../testing/servers.ts";

describe("a truncated answer", () => {
  const truncating = ({ message, reply }: Received) => {
    const answer = answerWith(message, "192.0.2.1");
    answer[2] |= 0x02;
    reply(answer);
  };

  /** A server that truncates over UDP, and hands what comes over TCP to `handle`. */
  async function truncatingServer(handle: Parameters<typeof tcpServer>[0]): Promise<ServerAddress> {
    for (;;) {
      const { address } = await tcpServer(handle);
      const udp = createSocket("udp4");
      udp.on("message", (message, { port, address }) => {
        truncating({ message, port, reply: (answer) => udp.send(answer, port, address) });
      });
      udp.bind(address.port, address.address);
      try {
        await once(udp, "listening");
      } catch {
        // Something else has this port; another is found.
        udp.close();
        continue;
      }
      onTestFinished(() => {
        udp.close();
      });
      return address;
    }
  }

  test("is asked for again over TCP, and the whole one comes back", async () => {
    const address = await truncatingServer(({ message, reply }) => reply(answerWith(message, "192.0.2.2")));
    const second = await answering("192.0.2.3");
    const forwarder = forwarderTo([address, second.address]);
    const answer = await forwarder.forward(query, "udp");
    expect(addressIn(answer)).toBe("192.0.2.2");
    expect(answer && decoded(answer.message).flag_tc).toBe(false);
    expect(second.received).toEqual([]);
    expect(forwarder.report()[0].servers[0]).toMatchObject({ state: "alive", failures: 0 });
  });

  test("comes back as it is when TCP is refused, which is no failure of the server", async () => {
    const server = await udpServer(truncating);
    const forwarder = forwarderTo([server.address]);
    const answer = await forwarder.forward(query, "udp");
    expect(answer && decoded(answer.message)).toMatchObject({ flag_tc: true, answers: [{ data: "192.0.2.1" }] });
    expect(addressIn(answer)).toBe("192.0.2.1");
    expect(server.received).toHaveLength(1);
    expect(forwarder.report()[0].servers[0]).toMatchObject({ state: "alive", failures: 0 });
  });

  test("is preferred to none when TCP stays silent", async () => {
    const address = await truncatingServer(() => {});
    const answer = await forwarderTo([address], { totalTimeout: 100 }).forward(query, "udp");
    expect(answer && decoded(answer.message)).toMatchObject({ id: 0x4242, flag_tc: true });
  });

  test("is preferred to the error of another server, but not to its answer", async () => {
    const cut = await udpServer(truncating);
    const failing = await udpServer(({ message, reply }) => reply(errorFor(message, 2)));
    const whole = await answering("192.0.2.2");
    for (const [servers, expected] of [
      [[cut.address, failing.address], "192.0.2.1"],
      [[failing.address, cut.address], "192.0.2.1"],
      [[cut.address, whole.address], "192.0.2.2"],
    ] as const) {
      expect(addressIn(await forwarderTo(servers).forward(query, "udp"))).toBe(expected);
    }
  });

  test("over TCP comes back as it is", async () => {
    const server = await tcpServer(truncating);
    const answer = await forwarderTo([server.address]).forward(query, "tcp");
    expect(answer && decoded(answer.message).flag_tc).toBe(true);
    expect(server.received).toHaveLength(1);
  });
});

describe("dead servers", () => {
  test("end a query within its time", async () => {
    const servers = [await silent(), await silent()];
    const addresses = servers.map(({ address }) => address);
    const options = { totalTimeout: 200, waitBounds: { shortest: 20, longest: 20 } };
    const start = performance.now();
    expect(await forwarderTo(addresses, options).forward(query, "udp")).toBeNull();
    expect(performance.now() - start).toBeGreaterThanOrEqual(200);
    expect(performance.now() - start).toBeLessThan(2000);
    expect(servers.map(({ received }) => received.length)).toEqual([2, 2]);
  });

  test("that answer after all was sent still count", async () => {
    const server = await held();
    const forwarder = virtualTime(() => forwarderTo([server.address], { waitBounds: { shortest: 20, longest: 20 } }));
    const answer = forwarder.forward(query, "udp");
    const { message, reply } = await server.next();
    vi.advanceTimersByTime(5000);
    await server.next();
    reply(answerWith(message, "192.0.2.1"));
    expect(addressIn(await answer)).toBe("192.0.2.1");
  });

  test("are last, are tried again beside the first, and are first again once they have answered", async () => {
    const [first, second] = [await held(), await answering("192.0.2.2")];
    const forwarder = virtualTime(() => forwarderTo([first.address, second.address], { waitBounds: WAITS }));
    const ask = () => forwarder.forward(query, "udp");
    const stateOfFirst = () => forwarder.report()[0].servers[0].state;
    for (const state of ["failing", "dead"]) {
      const answer = ask();
      await first.next();
      vi.advanceTimersByTime(1000);
      expect(addressIn(await answer)).toBe("192.0.2.2");
      expect(stateOfFirst()).toBe(state);
    }
    expect(addressIn(await ask())).toBe("192.0.2.2");
    await first.settled();
    expect(first.received).toHaveLength(2);

    // It stays silent: that is noted, though the query has been answered.
    vi.advanceTimersByTime(5000);
    expect(addressIn(await ask())).toBe("192.0.2.2");
    await first.next();
    vi.advanceTimersByTime(1000);
    expect(forwarder.report()[0].servers[0]).toMatchObject({ state: "dead", failures: 3 });
    expect(addressIn(await ask())).toBe("192.0.2.2");
    await first.settled();
    expect(first.received).toHaveLength(3);

    // It answers, later than the other.
    vi.advanceTimersByTime(9000);
    expect(addressIn(await ask())).toBe("192.0.2.2");
    const { message, reply } = await first.next();
    reply(answerWith(message, "192.0.2.1"));
    await vi.waitFor(() => expect(stateOfFirst()).toBe("alive"));
    const answer = ask();
    const received = await first.next();
    received.reply(answerWith(received.message, "192.0.2.1"));
    expect(addressIn(await answer)).toBe("192.0.2.1");
    vi.advanceTimersByTime(2000);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("that are tried again do not hold up the next when the first cannot help", async () => {
    const [first, second] = [await held(), await held()];
    const third = await answering("192.0.2.3");
    const servers = [first.address, second.address, third.address];
    const forwarder = virtualTime(() => forwarderTo(servers, { waitBounds: WAITS }));
    for (let count = 0; count < 2; count++) forwarder.health.failed(first.address, performance.now());
    vi.advanceTimersByTime(5000);
    const answer = forwarder.forward(query, "udp");
    await first.next();
    const { message, reply } = await second.next();
    reply(errorFor(message, 2));
    expect(addressIn(await answer)).toBe("192.0.2.3");
  });
});

test("a query that was sent twice is not measured", async () => {
  const server = await held();
  const forwarder = virtualTime(() => forwarderTo([server.address], { waitBounds: WAITS }));
  const answer = forwarder.forward(query, "udp");
  await server.next();
  vi.advanceTimersByTime(1000);
  const { message, reply } = await server.next();
  reply(answerWith(message, "192.0.2.1"));
  await answer;
  expect(forwarder.report()[0].servers).toMatchObject([{ state: "alive", roundTrip: null, answers: 1, failures: 1 }]);
});

describe("with random case", () => {
  const own = queryMessage("The-Quick-Brown-Fox.jumps-over.example", "A", { id: 0x4242 });
  const asked = readValid(own);
  const nameOf = (message: Uint8Array) => decoded(message).questions?.[0].name;

  test("a server sees mixed case, and the client gets its own back", async () => {
    const server = await answering("192.0.2.1");
    const forwarder = forwarderTo([server.address], { randomizeCase: true });
    for (let round = 0; round < 3; round++) {
      const answer = await forwarder.forward(asked, "udp");
      expect(addressIn(answer)).toBe("192.0.2.1");
      expect(answer && nameOf(answer.message)).toBe("The-Quick-Brown-Fox.jumps-over.example");
    }
    const names = server.received.map(nameOf);
    expect(new Set(names).size).toBe(3);
    expect(new Set(names.map((name) => name?.toLowerCase()))).toEqual(
      new Set(["the-quick-brown-fox.jumps-over.example"]),
    );
    expect(own).toEqual(queryMessage("The-Quick-Brown-Fox.jumps-over.example", "A", { id: 0x4242 }));
  });

  test("an answer in another case is ignored", async () => {
    const server = await udpServer(({ message, reply }) => {
      const id = messageId(message);
      const name = nameOf(message) ?? "";
      for (const other of [name.toLowerCase(), name.toUpperCase(), "The-Quick-Brown-Fox.jumps-over.example"]) {
        reply(answerWith(queryMessage(other, "A", { id }), "192.0.2.66"));
      }
      reply(answerWith(message, "192.0.2.1"));
    });
    const answer = await forwarderTo([server.address], { randomizeCase: true }).forward(asked, "udp");
    expect(addressIn(answer)).toBe("192.0.2.1");
  });

  test("without it names are sent as they came", async () => {
    const server = await answering("192.0.2.1");
    await forwarderTo([server.address]).forward(asked, "udp");
    expect(nameOf(server.received[0])).toBe("The-Quick-Brown-Fox.jumps-over.example");
  });
});
