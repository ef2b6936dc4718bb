import type { Socket } from "node:net";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { fixedPolicy, type Policy, type PolicySource, RouteTable } from "../policy/policy.ts";
import type { UpstreamAnswer } from "../resolver.ts";
import type { ServerAddress } from "../server-address.ts";
import { answerWith, dataOf, decoded, errorFor, queryMessage, readValid } from "../testing/messages.ts";
import { closedPort, heldServer, isPortFree, type Received, tcpServer, udpServer } from "../testing/servers.ts";
import { Forwarder, type ForwarderOptions } from "./forwarder.ts";

/** Long enough never to be waited for. */
const NEVER = 60_000;

const query = readValid(queryMessage("a.example", "A", { id: 0x4242 }));

/** Servers by their domain. */
type Domains = Record<string, readonly ServerAddress[]>;

function policyOf(domains: Domains): Policy {
  const routes = Object.entries(domains).map(([domain, servers]) => {
    return { domain, set: { servers, serverTimeout: null, attempts: null }, from: "a test" };
  });
  return { routes: new RouteTable(routes), search: [] };
}

/** A policy that the test changes. */
class ChangingPolicy implements PolicySource {
  #policy: Policy;

  constructor(domains: Domains) {
    this.#policy = policyOf(domains);
  }

  change(domains: Domains): void {
    this.#policy = policyOf(domains);
  }

  current(): Policy {
    return this.#policy;
  }
}

function forwarderBy(source: PolicySource, options: Partial<ForwarderOptions> = {}): Forwarder {
  const waitBounds = { shortest: NEVER, longest: NEVER };
  const forwarder = new Forwarder({ source, waitBounds, totalTimeout: NEVER, ...options });
  onTestFinished(() => forwarder.close());
  return forwarder;
}

function addressIn(answer: UpstreamAnswer | null): unknown {
  return answer === null ? null : dataOf(decoded(answer.message).answers, "A")[0];
}

const answering = (address: string) => udpServer(({ message, reply }) => reply(answerWith(message, address)));
const closed = (port: number) => vi.waitFor(async () => expect(await isPortFree(port)).toBe(true));

describe("routes", () => {
  test("a name is asked of the servers of its domain and of no other", async () => {
    const [corp, lab, rest] = [
      await answering("192.0.2.1"),
      await answering("192.0.2.2"),
      await answering("192.0.2.3"),
    ];
    const domains = { "corp.example": [corp.address], "lab.corp.example": [lab.address], "": [rest.address] };
    const forwarder = forwarderBy(fixedPolicy(policyOf(domains)));
    for (const [name, address] of [
      ["a.corp.example", "192.0.2.1"],
      ["A.LAB.Corp.Example", "192.0.2.2"],
      ["notcorp.example", "192.0.2.3"],
    ]) {
      expect(addressIn(await forwarder.forward(readValid(queryMessage(name, "A")), "udp"))).toBe(address);
    }
    expect([corp, lab, rest].map(({ received }) => received.length)).toEqual([1, 1, 1]);
  });

  test("a domain whose servers are dead does not fall to those of another", async () => {
    const rest = await answering("192.0.2.3");
    const domains = { example: [await closedPort()], "": [rest.address] };
    expect(await forwarderBy(fixedPolicy(policyOf(domains))).forward(query, "udp")).toBeNull();
    expect(rest.received).toEqual([]);
  });

  test("a name without a route has no answer", async () => {
    const corp = await answering("192.0.2.1");
    const forwarder = forwarderBy(fixedPolicy(policyOf({ "corp.example": [corp.address] })));
    expect(await forwarder.forward(query, "udp")).toBeNull();
    expect(corp.received).toEqual([]);
  });

  test("the report lists routes with their servers", async () => {
    const [corp, rest] = [await answering("192.0.2.1"), await closedPort()];
    const forwarder = forwarderBy(fixedPolicy(policyOf({ "corp.example": [corp.address], "": [rest] })));
    await forwarder.forward(readValid(queryMessage("a.corp.example", "A")), "udp");
    await forwarder.forward(query, "udp");
    const server = ({ port }: ServerAddress) => `127.0.0.1:${port}`;
    expect(forwarder.report()).toMatchObject([
      {
        domain: "corp.example",
        from: "a test",
        servers: [{ server: server(corp.address), state: "alive", answers: 1 }],
      },
      { domain: "", from: "a test", servers: [{ server: server(rest), state: "failing", failures: 1 }] },
    ]);
  });
});

describe("when the policy changes", () => {
  test("queries on their way are asked of the new servers, and the old sockets close", async () => {
    const before = await heldServer();
    const after = await answering("192.0.2.2");
    const source = new ChangingPolicy({ "": [before.address] });
    const forwarder = forwarderBy(source);
    const answer = forwarder.forward(query, "udp");
    const { port } = await before.next();
    source.change({ "": [after.address] });
    expect(addressIn(await answer)).toBe("192.0.2.2");
    await closed(port);
  });

  test("the same server is asked again from another port", async () => {
    const server = await heldServer();
    const source = new ChangingPolicy({ "": [server.address] });
    const answer = forwarderBy(source).forward(query, "udp");
    const first = await server.next();
    source.change({ "": [server.address] });
    const second = await server.next();
    expect(second.port).not.toBe(first.port);
    first.reply(answerWith(first.message, "192.0.2.66"));
    second.reply(answerWith(second.message, "192.0.2.1"));
    expect(addressIn(await answer)).toBe("192.0.2.1");
  });

  test("no query is lost under load, whether old servers are silent, refuse or are not there", async () => {
    const waiting: Received[] = [];
    const silent = await udpServer((received) => waiting.push(received));
    const source = new ChangingPolicy({ "": [silent.address] });
    const forwarder = forwarderBy(source, { waitBounds: { shortest: 50, longest: 50 } });
    const answers: Promise<UpstreamAnswer | null>[] = [];
    const ask = (count: number) => {
      for (let index = 0; index < count; index++) {
        const name = `n${answers.length}.example`;
        answers.push(forwarder.forward(readValid(queryMessage(name, "A")), "udp"));
      }
    };
    ask(100);
    await vi.waitFor(() => expect(waiting).toHaveLength(100), { interval: 1 });
    source.change({ "": [await closedPort(), silent.address] });
    ask(100);
    source.change({});
    ask(100);
    const after = await answering("192.0.2.7");
    source.change({ "": [after.address] });
    ask(100);
    const addresses = (await Promise.all(answers)).map(addressIn);
    expect(addresses).toEqual(new Array(400).fill("192.0.2.7"));
  });

  test("a query goes to the servers that its own name has now", async () => {
    const before = await heldServer();
    const [corp, rest] = [await answering("192.0.2.2"), await answering("192.0.2.3")];
    const source = new ChangingPolicy({ "": [before.address] });
    const forwarder = forwarderBy(source);
    const answers = [query, readValid(queryMessage("a.corp.example", "A"))].map((one) => forwarder.forward(one, "udp"));
    await before.next();
    await before.next();
    source.change({ "": [rest.address], "corp.example": [corp.address] });
    expect((await Promise.all(answers)).map(addressIn)).toEqual(["192.0.2.3", "192.0.2.2"]);
  });

  test("the time for a query is not more than without", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    onTestFinished(() => {
      vi.useRealTimers();
    });
    const server = await heldServer();
    const source = new ChangingPolicy({ "": [server.address] });
    const done = vi.fn();
    const answer = forwarderBy(source, { totalTimeout: 4500 }).forward(query, "udp").then(done);
    await server.next();
    vi.advanceTimersByTime(4000);
    source.change({ "": [server.address] });
    vi.advanceTimersByTime(20);
    await server.next();
    expect(done).not.toHaveBeenCalled();
    vi.advanceTimersByTime(480);
    await answer;
    expect(done).toHaveBeenCalledExactlyOnceWith(null);
  });

  test("an error of the old servers is not the answer of the new", async () => {
    const old = await udpServer(({ message, reply }) => reply(errorFor(message, 5)));
    const [silent, next] = [await heldServer(), await heldServer()];
    const source = new ChangingPolicy({ "": [old.address, silent.address] });
    const forwarder = forwarderBy(source);
    const answer = forwarder.forward(query, "udp");
    await silent.next();
    source.change({ "": [next.address] });
    await next.next();
    forwarder.close();
    expect(await answer).toBeNull();
  });

  test("what was known of servers is forgotten", async () => {
    const server = await closedPort();
    const source = new ChangingPolicy({ "": [server] });
    const forwarder = forwarderBy(source);
    await forwarder.forward(query, "udp");
    expect(forwarder.report()[0].servers).toMatchObject([{ failures: 1 }]);
    source.change({ "": [server] });
    expect(forwarder.report()[0].servers).toMatchObject([{ state: "untried", failures: 0 }]);
  });
});

describe("while the new policy has no server", () => {
  test("a query whose old server fails waits for the next policy", async () => {
    const { promise: connected, resolve } = Promise.withResolvers<Socket>();
    const dying = await tcpServer((_, socket) => resolve(socket));
    const refusing = await heldServer();
    const after = await tcpServer(({ message, reply }) => reply(answerWith(message, "192.0.2.2")));
    const source = new ChangingPolicy({ "": [dying.address], example: [refusing.address] });
    const logger = { debug: vi.fn(), info: vi.fn(), warn: vi.fn() };
    const forwarder = forwarderBy(source, { logger });
    const answer = forwarder.forward(readValid(queryMessage("a.test", "A")), "tcp");
    (await connected).resetAndDestroy();
    source.change({});
    expect(forwarder.routeOf(["a", "test"])).toBeNull();
    await vi.waitFor(() => expect(logger.debug).toHaveBeenCalledOnce());
    source.change({ "": [after.address] });
    expect(addressIn(await answer)).toBe("192.0.2.2");
  });

  test("an old server that still answers is heard, but one that cannot help is no answer", async () => {
    const server = await heldServer();
    const after = await answering("192.0.2.3");
    const source = new ChangingPolicy({ "": [server.address] });
    const forwarder = forwarderBy(source);
    const answers = [forwarder.forward(query, "udp"), forwarder.forward(query, "udp")];
    const [first, second] = [await server.next(), await server.next()];
    source.change({});
    expect(forwarder.report()).toEqual([]);
    first.reply(errorFor(first.message, 2));
    second.reply(answerWith(second.message, "192.0.2.2"));
    expect(addressIn(await Promise.race(answers))).toBe("192.0.2.2");
    source.change({ "": [after.address] });
    expect((await Promise.all(answers)).map(addressIn).sort()).toEqual(["192.0.2.2", "192.0.2.3"]);
  });

  test("a query that comes then waits too, and has no answer when its time is over", async () => {
    const server = await answering("192.0.2.1");
    const source = new ChangingPolicy({ "": [server.address] });
    const forwarder = forwarderBy(source, { totalTimeout: 300 });
    expect(addressIn(await forwarder.forward(query, "udp"))).toBe("192.0.2.1");
    source.change({});
    expect(await forwarder.forward(query, "udp")).toBeNull();
    // The policy has been without a server for so long that there is none to wait for.
    const late = forwarder.forward(query, "udp");
    source.change({ "": [server.address] });
    expect(await late).toBeNull();
    source.change({});
    const held = forwarder.forward(query, "udp");
    source.change({ "": [server.address] });
    expect(addressIn(await held)).toBe("192.0.2.1");
  });
});

test("without servers there is no answer, and the log says so once until there are some", async () => {
  const logger = { debug: vi.fn(), info: vi.fn(), warn: vi.fn() };
  const server = await answering("192.0.2.1");
  const source = new ChangingPolicy({ "": [] });
  const forwarder = forwarderBy(source, { logger, totalTimeout: 100 });
  expect(await forwarder.forward(query, "udp")).toBeNull();
  expect(await forwarder.forward(query, "udp")).toBeNull();
  expect(logger.warn).toHaveBeenCalledOnce();
  source.change({ "": [server.address] });
  expect(addressIn(await forwarder.forward(query, "udp"))).toBe("192.0.2.1");
  source.change({ "": [] });
  expect(await forwarder.forward(query, "udp")).toBeNull();
  expect(logger.warn).toHaveBeenCalledTimes(2);
});
