import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RunCommand } from "@hostd/host";
import { beforeEach, expect, onTestFinished, test, vi } from "vitest";
import { formatServerAddress } from "../server-address.ts";
import { isStub, type ResolvedState, SystemdResolved } from "./systemd-resolved.ts";

const MANAGER_PATH = "/org/freedesktop/resolve1";
const logger = { debug: vi.fn(), info: vi.fn(), warn: vi.fn() };
const answers = vi.fn();

let folder: string;
let time: number;
let addresses: string[];
let isRunning: boolean;
/** The answers of busctl by the object; an error is thrown. */
let objects: Map<string, unknown>;
const run = vi.fn<RunCommand>(async ({ args }) => {
  const object = args[args.indexOf("call") + 2];
  if (args.includes("NameHasOwner")) return JSON.stringify({ type: "b", data: [isRunning] });
  const properties = objects.get(object);
  if (properties instanceof Error) throw properties;
  return JSON.stringify({ type: "a{sv}", data: [properties] });
});

beforeEach(() => {
  const root = mkdtempSync(join(tmpdir(), "hostd-dns-"));
  onTestFinished(() => rmSync(root, { recursive: true }));
  folder = join(root, "resolve");
  mkdirSync(join(folder, "netif"), { recursive: true });
  time = 0;
  addresses = ["eth0 192.0.2.10/24"];
  isRunning = true;
  objects = new Map([[MANAGER_PATH, managerWith("192.0.2.2")]]);
  objects.set(`${MANAGER_PATH}/link/_312`, { ScopesMask: { data: 1 }, DefaultRoute: { data: false } });
  vi.clearAllMocks();
  answers.mockResolvedValue(true);
});

/** The properties of a host with a server, and the link 12, which has a domain. */
function managerWith(server: string) {
  const servers = [
    [0, 2, server.split(".").map(Number), 0, ""],
    [12, 2, [192, 0, 2, 12], 0, ""],
  ];
  return { DNSEx: { data: servers }, Domains: { data: [[12, "corp.example", false]] } };
}

function writeStubFile(text = "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch corp.example\n") {
  writeFileSync(join(folder, "new"), text);
  renameSync(join(folder, "new"), join(folder, "stub-resolv.conf"));
}

function open() {
  const resolved = new SystemdResolved({
    folder,
    logger,
    now: () => time,
    run,
    answers,
    interfaces: () => addresses,
    linkNames: async () => new Map([[12, "tun0"]]),
  });
  onTestFinished(() => resolved.close());
  return resolved;
}

async function askAt(resolved: SystemdResolved, at: number): Promise<ResolvedState> {
  time = at;
  resolved.current();
  await resolved.settled();
  return resolved.current();
}

const routesOf = (state: ResolvedState) =>
  "policy" in state
    ? state.policy.routes.routes.map(({ domain, set }) => [domain, ...set.servers.map(formatServerAddress)])
    : null;

test("knows nothing before it has been found out", () => {
  expect(open().current()).toEqual({ kind: "unknown" });
});

test("uses the stub when it answers, and runs nothing", async () => {
  writeStubFile();
  const state = await askAt(open(), 0);
  expect(state).toMatchObject({ kind: "stub", policy: { search: ["corp.example"] } });
  expect(routesOf(state)).toEqual([["", "127.0.0.53"]]);
  expect(answers).toHaveBeenCalledExactlyOnceWith(
    { address: "127.0.0.53", family: 4, port: 53 },
    expect.any(AbortSignal),
  );
  expect(run).not.toHaveBeenCalled();
});

test("gives another policy when the routing behind the stub has changed", async () => {
  writeStubFile();
  const resolved = open();
  const first = await askAt(resolved, 0);
  expect(await askAt(resolved, 5000)).toEqual(first);
  writeStubFile();
  const second = await askAt(resolved, 6000);
  if (first.kind !== "stub" || second.kind !== "stub") throw new Error("there is no stub");
  expect(second.policy).not.toBe(first.policy);
});

test("asks busctl for the links when nobody listens at the stub", async () => {
  writeStubFile();
  answers.mockResolvedValue(false);
  const state = await askAt(open(), 0);
  expect(routesOf(state)).toEqual([
    ["corp.example", "192.0.2.12"],
    ["", "192.0.2.2"],
  ]);
  expect(state).toMatchObject({ kind: "links", policy: { search: ["corp.example"] } });
  const start = ["--system", "--json=short", "--auto-start=no", "call", "org.freedesktop.resolve1"];
  const get = ["org.freedesktop.DBus.Properties", "GetAll", "s"];
  expect(run.mock.calls.map(([{ program, args }]) => [program, ...args])).toEqual([
    ["busctl", ...start, MANAGER_PATH, ...get, "org.freedesktop.resolve1.Manager"],
    ["busctl", ...start, `${MANAGER_PATH}/link/_312`, ...get, "org.freedesktop.resolve1.Link"],
  ]);
});

test("asks busctl when the stub is switched off, which leaves the servers behind in its file", async () => {
  writeStubFile("nameserver 192.0.2.2\n");
  expect((await askAt(open(), 0)).kind).toBe("links");
  expect(answers).not.toHaveBeenCalled();
});

test("runs busctl no more while nothing has changed for half a minute", async () => {
  const resolved = open();
  const first = await askAt(resolved, 0);
  expect(run).toHaveBeenCalledTimes(2);
  for (let at = 1000; at < 30_000; at += 1000) expect(await askAt(resolved, at)).toBe(first);
  expect(run).toHaveBeenCalledTimes(2);
  const later = await askAt(resolved, 31_000);
  expect(run).toHaveBeenCalledTimes(4);
  if (first.kind !== "links" || later.kind !== "links") throw new Error("there are no links");
  expect(later.policy).toBe(first.policy);
});

test.each([
  ["resolv.conf is replaced", () => writeFileSync(join(folder, "resolv.conf"), "")],
  ["a link is configured by hand", () => writeFileSync(join(folder, "netif", "12"), "")],
  [
    "systemd-networkd has configured a link",
    () => mkdirSync(join(folder, "..", "netif", "links"), { recursive: true }),
  ],
  ["a link goes up", () => addresses.push("tun0 192.0.2.11/32")],
])("sees within a second that %s", async (_name, change) => {
  const resolved = open();
  await askAt(resolved, 0);
  objects.set(MANAGER_PATH, managerWith("192.0.2.3"));
  change();
  expect(routesOf(await askAt(resolved, 999))).toContainEqual(["", "192.0.2.2"]);
  expect(routesOf(await askAt(resolved, 1000))).toContainEqual(["", "192.0.2.3"]);
});

test("keeps the last policy when busctl fails, and says why", async () => {
  const resolved = open();
  const first = await askAt(resolved, 0);
  objects.set(MANAGER_PATH, new Error("busctl: killed after 5000 ms"));
  addresses = [];
  expect(await askAt(resolved, 1000)).toBe(first);
  expect(logger.warn).toHaveBeenCalledExactlyOnceWith(
    { reason: "busctl: killed after 5000 ms" },
    "cannot read the servers of systemd-resolved",
  );
});

test("says that it does not run when the bus has no such name, though its files stay", async () => {
  const resolved = open();
  await askAt(resolved, 0);
  objects.set(MANAGER_PATH, new Error('busctl: Call failed: Name "org.freedesktop.resolve1" does not exist'));
  isRunning = false;
  expect(await askAt(resolved, 30_000)).toEqual({ kind: "absent" });
  expect(logger.warn).not.toHaveBeenCalled();
});

test("says that it does not run where its folder is missing, and runs nothing", async () => {
  rmSync(folder, { recursive: true });
  const resolved = open();
  expect(await askAt(resolved, 0)).toEqual({ kind: "absent" });
  expect(run).not.toHaveBeenCalled();
  mkdirSync(folder);
  expect((await askAt(resolved, 1000)).kind).toBe("links");
});

test("does not take a stub that is silent for one that is off", async () => {
  writeStubFile();
  answers.mockRejectedValue(new Error("127.0.0.53 does not answer"));
  expect(await askAt(open(), 0)).toEqual({ kind: "unknown" });
  expect(run).not.toHaveBeenCalled();
  expect(logger.warn).toHaveBeenCalledExactlyOnceWith(
    { reason: "127.0.0.53 does not answer" },
    "cannot read the servers of systemd-resolved",
  );
});

test("knows the two addresses of the stub", () => {
  const stubs = ["127.0.0.53", "127.0.0.54", "127.0.0.1", "192.0.2.1"].map((address) =>
    isStub({ address, family: 4, port: 53 }),
  );
  expect(stubs).toEqual([true, true, false, false]);
  expect(isStub({ address: "127.0.0.53", family: 4, port: 5353 })).toBe(false);
});
