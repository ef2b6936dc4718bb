import { expect, test } from "vitest";
import { FakeClock } from "../../../streams/src/testing/fake-clock.ts";
import { RecordingLogger } from "../../../streams/src/testing/recording-logger.ts";
import { DIRECT, type HostPort, type ProxyServer, REFUSE, type Route } from "../route.ts";
import { type Finding, RouteError } from "./route-error.ts";
import { UpstreamHealth } from "./upstream-health.ts";

const ORIGIN: HostPort = { host: "origin.test", port: 443 };
const OTHER: HostPort = { host: "other.test", port: 443 };

function makeHealth() {
  const clock = new FakeClock();
  const logger = new RecordingLogger();
  const health = new UpstreamHealth({ logger, clock });
  const log = () => logger.lines.map(({ level, message }) => `${level} ${message}`);
  return { clock, logger, health, log };
}

function proxy(host: string): ProxyServer {
  return { kind: "http", host, port: 3128, credentials: { user: "alice", password: "secret-word" } };
}

function route(host: string): Route {
  return { kind: "proxy", server: proxy(host) };
}

function failure(finding: Finding, text = "it is broken"): RouteError {
  return new RouteError(text, 502, route("a.test"), { finding });
}

const [A, B] = [proxy("a.test"), proxy("b.test")];
const [TO_A, TO_B]: Route[] = [
  { kind: "proxy", server: A },
  { kind: "proxy", server: B },
];

test("a proxy that failed is put behind the others until its next try is due", () => {
  const { clock, health } = makeHealth();
  expect(health.inOrder([TO_A, TO_B, DIRECT])).toEqual([TO_A, TO_B, DIRECT]);
  health.failed(A, ORIGIN, failure("unreachable"));
  expect(health.inOrder([TO_A, TO_B, DIRECT])).toEqual([TO_B, DIRECT, TO_A]);
  health.failed(B, ORIGIN, failure("unreachable"));
  expect(health.inOrder([TO_A, TO_B])).toEqual([TO_A, TO_B]);
  clock.advance(1000);
  expect(health.inOrder([TO_A, TO_B, DIRECT])).toEqual([TO_A, TO_B, DIRECT]);
});

test("a refusal stays behind the proxies that are before it", () => {
  const { health } = makeHealth();
  health.failed(A, ORIGIN, failure("unreachable"));
  expect(health.inOrder([TO_A, TO_B, REFUSE, DIRECT])).toEqual([TO_B, TO_A, REFUSE]);
  expect(health.inOrder([TO_A, REFUSE])).toEqual([TO_A, REFUSE]);
});

test("it is tried after 1 s, 2 s and so on up to 30 s", () => {
  const { clock, health } = makeHealth();
  for (const seconds of [1, 2, 4, 8, 16, 30, 30]) {
    health.failed(A, ORIGIN, failure("unreachable"));
    expect(health.report()[0].nextTry).toBe(seconds * 1000);
    clock.advance(seconds * 1000 - 1);
    expect(health.beginProbe(A)).toBe(false);
    clock.advance(1);
  }
  expect(health.beginProbe(A)).toBe(true);
});

test("many failures at once count as one", () => {
  const { clock, health } = makeHealth();
  for (let count = 0; count < 50; count++) {
    health.failed(A, ORIGIN, failure("unreachable"));
    clock.advance(10);
  }
  expect(health.report()[0].nextTry).toBe(500);
});

test("when the next try is due one makes it, and the others wait for how it ends", () => {
  const { clock, health } = makeHealth();
  health.failed(A, ORIGIN, failure("late", "it is silent"));
  clock.advance(1000);
  expect(health.refusal(A)).toBeNull();
  expect(health.beginProbe(A)).toBe(true);
  expect(health.beginProbe(A)).toBe(false);
  expect(health.inOrder([TO_A, DIRECT])).toEqual([DIRECT, TO_A]);
  expect(health.refusal(A)?.message).toBe("it is silent; it is being tried again");
  health.endProbe(A);
  expect(health.refusal(A)).toBeNull();
});

test("only one that was silent is not tried at all before it is due", () => {
  const { clock, health } = makeHealth();
  for (const finding of ["unreachable", "late"] as const) {
    health.reset();
    health.failed(A, ORIGIN, failure(finding, "it is broken"));
    clock.advance(100);
    const refusal = health.refusal(A);
    expect(refusal?.message).toBe(finding === "late" ? "it is broken; it is tried again in 1 s" : undefined);
    expect(health.refusal(B)).toBeNull();
  }
});

test("a failure and its end are logged once, without credentials", () => {
  const { clock, health, log, logger } = makeHealth();
  for (let count = 0; count < 5; count++) {
    health.failed(A, ORIGIN, failure("unreachable"));
    clock.advance(10_000);
  }
  health.reached(A);
  health.reached(A);
  health.worked(A);
  expect(log()).toEqual([
    "warn an upstream proxy fails; it is tried again until it works",
    "info an upstream proxy works again",
  ]);
  expect(logger.lines.map(({ fields }) => fields)).toEqual([
    { proxy: "http://a.test:3128", reason: "it is broken" },
    { proxy: "http://a.test:3128", failedFor: 50_000 },
  ]);
});

test("one that comes and goes is logged once in a minute, and not forgotten when it stays away", () => {
  const { clock, health, log } = makeHealth();
  for (let count = 0; count < 100; count++) {
    health.failed(A, ORIGIN, failure("unreachable"));
    health.worked(A);
    clock.advance(500);
  }
  expect(log()).toHaveLength(2);
  health.failed(A, ORIGIN, failure("unreachable"));
  clock.advance(10_000);
  health.failed(A, ORIGIN, failure("unreachable"));
  expect(log()).toHaveLength(3);
  health.worked(A);
  expect(log()).toHaveLength(4);
});

test("one origin without an answer tells nothing of the proxy, two in a row do", () => {
  const { health } = makeHealth();
  health.failed(A, ORIGIN, failure("unanswered"));
  health.failed(A, { ...ORIGIN, port: 80 }, failure("unanswered"));
  expect(health.report()[0].state).toBe("working");
  health.failed(A, OTHER, failure("unanswered"));
  expect(health.report()[0].state).toBe("failing");
});

test("an answer between two origins without one shows that the proxy works", () => {
  const { health } = makeHealth();
  for (const answer of [() => health.worked(A), () => health.failed(A, OTHER, failure("alive"))]) {
    health.failed(A, ORIGIN, failure("unanswered"));
    answer();
    health.failed(A, OTHER, failure("unanswered"));
    answer();
  }
  expect(health.report()[0].state).toBe("working");
});

test("one that does not answer is not taken for working when it can be connected to", () => {
  const { health } = makeHealth();
  health.failed(A, ORIGIN, failure("unanswered"));
  health.failed(A, OTHER, failure("unanswered"));
  health.reached(A);
  expect(health.report()[0].state).toBe("failing");
  health.worked(A);
  expect(health.report()[0].state).toBe("working");
});

test("what has nothing to do with the proxy changes nothing", () => {
  const { health } = makeHealth();
  health.failed(A, ORIGIN, failure("nothing"));
  expect(health.report()).toEqual([]);
});

test("the report tells state, time and reason", () => {
  const { clock, health } = makeHealth();
  health.worked(A);
  health.failed(B, ORIGIN, failure("unreachable", "it is broken"));
  clock.advance(300);
  expect(health.report()).toEqual([
    { server: "http://a.test:3128", state: "working", since: 300, reason: null, nextTry: null },
    { server: "http://b.test:3128", state: "failing", since: 300, reason: "it is broken", nextTry: 700 },
  ]);
  clock.advance(5000);
  expect(health.report()[1]).toMatchObject({ since: 5300, nextTry: 0 });
  health.worked(B);
  clock.advance(10);
  expect(health.report()[1]).toMatchObject({ state: "working", since: 10, reason: null });
});

test("proxies differ by kind, host and port, and not by credentials", () => {
  const { health } = makeHealth();
  health.worked(A);
  health.worked({ ...A, credentials: { user: "bob", password: "x" } });
  expect(health.report()).toHaveLength(1);
  health.worked({ ...A, kind: "socks5" });
  health.worked({ ...A, port: 1080 });
  health.worked(B);
  expect(health.report()).toHaveLength(4);
});

test("those that were not used for long are forgotten, and all when the settings change", () => {
  const { health } = makeHealth();
  health.failed(A, ORIGIN, failure("unreachable"));
  health.failed(B, ORIGIN, failure("unreachable"));
  for (let count = 0; count < 98; count++) health.worked(proxy(`${count}.test`));
  health.failed(A, ORIGIN, failure("unreachable"));
  for (let count = 0; count < 50; count++) health.worked(proxy(`more-${count}.test`));
  const known = health.report();
  expect(known).toHaveLength(100);
  expect(known.filter(({ state }) => state === "failing").map(({ server }) => server)).toEqual(["http://a.test:3128"]);
  health.reset();
  expect(health.report()).toEqual([]);
  expect(health.inOrder([TO_A, DIRECT])).toEqual([TO_A, DIRECT]);
});
