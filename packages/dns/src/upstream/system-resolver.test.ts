import type { LookupAddress } from "node:dns";
import { readFileSync } from "node:fs";
import { expect, onTestFinished, test, vi } from "vitest";
import { readQuery } from "../message.ts";
import type { Upstream, UpstreamAnswer } from "../resolver.ts";
import { dataOf, decoded, queryMessage, readValid } from "../testing/messages.ts";
import { type SystemCalls, SystemResolver, type SystemResolverOptions } from "./system-resolver.ts";

const OTHER: UpstreamAnswer = { message: new Uint8Array(12), source: "others" };

function othersOf() {
  return { forward: vi.fn<Upstream["forward"]>(async () => OTHER), version: "a version", close: vi.fn() };
}

function failure(code: string): Error {
  return Object.assign(new Error(`getaddrinfo ${code}`), { code });
}

function resolverWith(calls: Partial<SystemCalls>, options: Partial<SystemResolverOptions> = {}): SystemResolver {
  const none: SystemCalls = {
    lookup: () => Promise.reject(new Error("no name is to be looked up")),
    reverse: () => Promise.reject(new Error("no address is to be looked up")),
  };
  const resolver = new SystemResolver({ others: othersOf(), calls: { ...none, ...calls }, ...options });
  onTestFinished(() => resolver.close());
  return resolver;
}

/** Addresses that are found for every name. */
const finding = (...addresses: string[]) => ({
  lookup: vi.fn(
    async (_name: string): Promise<LookupAddress[]> =>
      addresses.map((address) => ({ address, family: address.includes(":") ? 6 : 4 })),
  ),
});

async function ask(resolver: SystemResolver, name: string, type: "A" | "AAAA" | "PTR") {
  const answer = await resolver.forward(readValid(queryMessage(name, type, { id: 0x4242 })), "udp");
  return answer === null ? null : { ...decoded(answer.message), source: answer.source };
}

/** Look-ups that the test ends. */
function heldCalls() {
  const running: { readonly name: string; readonly end: (address: string) => void }[] = [];
  const lookup = vi.fn((name: string) => {
    const { promise, resolve } = Promise.withResolvers<LookupAddress[]>();
    running.push({ name, end: (address) => resolve([{ address, family: 4 }]) });
    return promise;
  });
  return { calls: { lookup }, running };
}

function virtualTime(): void {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  onTestFinished(() => {
    vi.useRealTimers();
  });
}

test("A and AAAA have the addresses of their family, in the order of the system", async () => {
  const calls = finding("192.0.2.7", "2001:db8::7", "192.0.2.3", "2001:db8::3");
  const resolver = resolverWith(calls);
  const a = await ask(resolver, "Host.Example", "A");
  expect(a).toMatchObject({ id: 0x4242, rcode: 0, flag_ra: true, source: "the system's resolver" });
  expect(a?.answers).toMatchObject([
    { name: "Host.Example", type: "A", ttl: 5, data: "192.0.2.7" },
    { name: "Host.Example", type: "A", ttl: 5, data: "192.0.2.3" },
  ]);
  const aaaa = await ask(resolver, "host.example", "AAAA");
  expect(dataOf(aaaa?.answers, "AAAA")).toEqual(["2001:db8::7", "2001:db8::3"]);
  expect(aaaa?.answers).toHaveLength(2);
  expect(calls.lookup.mock.calls).toEqual([["host.example."], ["host.example."]]);
});

test("addresses with a zone are left out", async () => {
  const resolver = resolverWith(finding("fe80::1%eth0", "2001:db8::7"));
  expect(dataOf((await ask(resolver, "host.local", "AAAA"))?.answers, "AAAA")).toEqual(["2001:db8::7"]);
  expect(await ask(resolverWith(finding("fe80::1%eth0")), "host.local", "AAAA")).toMatchObject({
    rcode: 0,
    answers: [],
  });
});

test("a name without an address of the family is NODATA, and one that is not found NXDOMAIN", async () => {
  expect(await ask(resolverWith(finding("192.0.2.7")), "host.example", "AAAA")).toMatchObject({
    rcode: 0,
    answers: [],
  });
  expect(await ask(resolverWith(finding("2001:db8::7")), "host.example", "A")).toMatchObject({ rcode: 0, answers: [] });
  const missing = resolverWith({ lookup: () => Promise.reject(failure("ENOTFOUND")) });
  expect(await ask(missing, "host.example", "A")).toMatchObject({ rcode: 3, answers: [] });
  const empty = resolverWith({ lookup: () => Promise.reject(failure("ENODATA")) });
  expect(await ask(empty, "host.example", "A")).toMatchObject({ rcode: 0, answers: [] });
});

test.each(["EAI_AGAIN", "EAI_FAIL", "ENOMEM", "EMFILE"])(
  "%s says nothing of the name: there is no answer",
  async (code) => {
    const lookup = vi.fn(() => Promise.reject(failure(code)));
    expect(await ask(resolverWith({ lookup }), "host.example", "A")).toBeNull();
    expect(lookup).toHaveBeenCalledOnce();
    expect(await ask(resolverWith({ reverse: lookup }), "7.2.0.192.in-addr.arpa", "PTR")).toBeNull();
  },
);

test("a name that is not found with a dot at the end is looked up without", async () => {
  const lookup = vi.fn(async (name: string): Promise<LookupAddress[]> => {
    if (name.endsWith(".")) throw failure("ENOTFOUND");
    return [{ address: "192.0.2.7", family: 4 }];
  });
  expect(dataOf((await ask(resolverWith({ lookup }), "printer", "A"))?.answers, "A")).toEqual(["192.0.2.7"]);
  expect(lookup.mock.calls).toEqual([["printer."], ["printer"]]);
});

test("PTR has the name of an address of either family", async () => {
  const reverse = vi.fn(async () => "host.example");
  const resolver = resolverWith({ reverse });
  const nibbles = `7${".0".repeat(23)}.8.b.d.0.1.0.0.2`;
  for (const name of ["7.2.0.192.in-addr.arpa", `${nibbles}.ip6.arpa`]) {
    const answer = await ask(resolver, name, "PTR");
    expect(answer?.answers).toMatchObject([{ name, type: "PTR", ttl: 5, data: "host.example" }]);
  }
  expect(reverse.mock.calls).toEqual([["192.0.2.7"], ["2001:db8::7"]]);
});

test("PTR of an address without a name is NXDOMAIN, and one that no message can hold is no answer", async () => {
  for (const [name, rcode] of [
    ["192.0.2.7", 3],
    ["::ffff:192.0.2.7", 3],
    ["a".repeat(64), null],
    [`${"a".repeat(63)}.`.repeat(4), null],
    ["a..b", null],
    ["a b", null],
    ["b\u00fccher", null],
    ["", null],
  ] as const) {
    const answer = await ask(resolverWith({ reverse: async () => name }), "7.2.0.192.in-addr.arpa", "PTR");
    expect(answer?.rcode ?? null).toBe(rcode);
  }
  const missing = resolverWith({ reverse: () => Promise.reject(failure("ENOTFOUND")) });
  expect(await ask(missing, "7.2.0.192.in-addr.arpa", "PTR")).toMatchObject({ rcode: 3 });
});

test("whatever the call cannot look up goes to the others, with its transport", async () => {
  const others = othersOf();
  const resolver = resolverWith({}, { others });
  const escaped = Uint8Array.of(0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0x2e, 0, 0, 1, 0, 1);
  const messages = [
    ...(["TXT", "MX", "SRV", "SOA", "CAA", "ANY"] as const).map((type) => queryMessage("host.example", type)),
    queryMessage("host.example", "A", { class: "CH" }),
    queryMessage("host.example", "PTR"),
    queryMessage("7.2.0.in-addr.arpa", "PTR"),
    queryMessage(".", "A"),
    escaped,
  ];
  for (const message of messages) {
    expect(readQuery(message).kind).toBe("query");
    expect(await resolver.forward(readValid(message), "tcp")).toBe(OTHER);
  }
  expect(others.forward).toHaveBeenCalledTimes(messages.length);
  expect(others.forward.mock.calls.every(([, transport]) => transport === "tcp")).toBe(true);
  expect(resolver.version).toBe("a version");
});

test("two look-ups run at a time and the others wait their turn", async () => {
  const { calls, running } = heldCalls();
  const resolver = resolverWith(calls);
  const answers = ["a", "b", "c", "d"].map((name) => ask(resolver, name, "A"));
  expect(running.map(({ name }) => name)).toEqual(["a.", "b."]);
  running[1].end("192.0.2.2");
  expect(dataOf((await answers[1])?.answers, "A")).toEqual(["192.0.2.2"]);
  expect(running.map(({ name }) => name)).toEqual(["a.", "b.", "c."]);
  for (const index of [0, 2]) running[index].end("192.0.2.1");
  await Promise.all([answers[0], answers[2]]);
  running[3].end("192.0.2.4");
  expect(dataOf((await answers[3])?.answers, "A")).toEqual(["192.0.2.4"]);
});

test("never more than two run, whatever becomes of them", async () => {
  let running = 0;
  let most = 0;
  const lookup = async (name: string): Promise<LookupAddress[]> => {
    most = Math.max(most, ++running);
    await new Promise(setImmediate);
    running--;
    if (Number.parseInt(name, 10) % 3 === 0) throw failure("ENOTFOUND");
    if (Number.parseInt(name, 10) % 3 === 1) throw failure("EAI_AGAIN");
    return [{ address: "192.0.2.1", family: 4 }];
  };
  const resolver = resolverWith({ lookup });
  const answers = await Promise.all(Array.from({ length: 90 }, (_, index) => ask(resolver, `${index}.example`, "A")));
  expect(most).toBe(2);
  expect(answers.map((answer) => answer?.rcode ?? null)).toEqual(
    Array.from({ length: 90 }, (_, index) => [3, null, 0][index % 3]),
  );
});

test("a time-out frees the client but not the thread", async () => {
  virtualTime();
  const { calls, running } = heldCalls();
  const resolver = resolverWith(calls, { concurrency: 1, timeout: 1000 });
  const stuck = ask(resolver, "stuck", "A");
  const waiting = ask(resolver, "waiting", "A");
  vi.advanceTimersByTime(1000);
  expect(await stuck).toBeNull();
  // It was never looked up, and is not when there is a thread again.
  expect(await waiting).toBeNull();
  const next = ask(resolver, "next", "A");
  expect(running.map(({ name }) => name)).toEqual(["stuck."]);
  running[0].end("192.0.2.1");
  await vi.waitFor(() => expect(running.map(({ name }) => name)).toEqual(["stuck.", "next."]));
  running[1].end("192.0.2.2");
  expect(dataOf((await next)?.answers, "A")).toEqual(["192.0.2.2"]);
  expect(vi.getTimerCount()).toBe(0);
});

test("512 queries wait; one more has no answer, until those that wait have timed out", async () => {
  virtualTime();
  const { calls, running } = heldCalls();
  const resolver = resolverWith(calls, { timeout: 1000 });
  const answers = Array.from({ length: 514 }, (_, index) => ask(resolver, `n${index}`, "A"));
  expect(await ask(resolver, "further", "A")).toBeNull();
  vi.advanceTimersByTime(1000);
  expect(await Promise.all(answers)).toEqual(new Array(514).fill(null));
  const later = ask(resolver, "later", "A");
  running[0].end("192.0.2.1");
  await vi.waitFor(() => expect(running).toHaveLength(3));
  expect(running[2].name).toBe("later.");
  running[2].end("192.0.2.3");
  expect(await later).not.toBeNull();
});

test("close ends every query, and each that comes later", async () => {
  virtualTime();
  const { calls, running } = heldCalls();
  const others = othersOf();
  const resolver = resolverWith(calls, { others });
  const answers = ["a", "b", "c"].map((name) => ask(resolver, name, "A"));
  resolver.close();
  expect(await Promise.all(answers)).toEqual([null, null, null]);
  expect(await ask(resolver, "d", "A")).toBeNull();
  expect(others.close).toHaveBeenCalled();
  expect(vi.getTimerCount()).toBe(0);
  running[0].end("192.0.2.1");
  await Promise.resolve();
  expect(running).toHaveLength(2);
});

test("the system's own calls know the names of this host's file", async () => {
  const resolver = new SystemResolver({ others: othersOf() });
  onTestFinished(() => resolver.close());
  // The file is read by the call before any server is asked, and has at least the name of the loopback address.
  const lines = readFileSync("/etc/hosts", "utf8").split("\n");
  const names = lines
    .map((line) => line.replace(/#.*/, "").trim().split(/\s+/))
    .filter(([address]) => address?.startsWith("127."))
    .flatMap(([, ...own]) => own);
  expect(names).toContain("localhost");
  const name = names.at(-1) ?? "";
  const answer = await ask(resolver, name, "A");
  expect(dataOf(answer?.answers, "A")).toContainEqual(expect.stringMatching(/^127\./));
  const reverse = await ask(resolver, "1.0.0.127.in-addr.arpa", "PTR");
  expect(names).toContain(dataOf(reverse?.answers, "PTR")[0]);
});
