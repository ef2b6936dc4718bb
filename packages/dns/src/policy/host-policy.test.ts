import { mkdirSync, mkdtempSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RunCommand } from "@hostd/host";
import { beforeEach, expect, onTestFinished, test, vi } from "vitest";
import { formatServerAddress } from "../server-address.ts";
import { type HostPolicyOptions, hostPolicy } from "./host-policy.ts";
import type { PolicySource } from "./policy.ts";

const logger = { debug: vi.fn(), info: vi.fn(), warn: vi.fn() };
const answers = vi.fn();
const run = vi.fn<RunCommand>();
let root: string;
let time: number;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "hostd-dns-"));
  onTestFinished(() => rmSync(root, { recursive: true }));
  mkdirSync(join(root, "etc"));
  time = 0;
  vi.resetAllMocks();
  answers.mockResolvedValue(true);
  run.mockRejectedValue(new Error("not to be run"));
});

const write = (path: string, text: string) => writeFileSync(join(root, path), text);

/** The files of systemd-resolved, with its stub on. */
function addResolved() {
  mkdirSync(join(root, "run/systemd/resolve"), { recursive: true });
  write("run/systemd/resolve/stub-resolv.conf", "nameserver 127.0.0.53\nsearch corp.example\n");
  write("run/systemd/resolve/resolv.conf", "nameserver 192.0.2.1\nsearch corp.example\n");
}

/** An answer of busctl: a server for every name, and one of a link with a domain. */
const busctl: RunCommand = async ({ args }) => {
  const servers = [
    [0, 2, [192, 0, 2, 1], 0, ""],
    [7, 2, [192, 0, 2, 7], 0, ""],
  ];
  const manager = { DNSEx: { data: servers }, Domains: { data: [[7, "corp.example", true]] } };
  const link = { ScopesMask: { data: 1 }, DefaultRoute: { data: false } };
  const properties = args.includes("org.freedesktop.resolve1.Manager") ? manager : link;
  return JSON.stringify({ type: "a{sv}", data: [properties] });
};

function open(options: HostPolicyOptions) {
  const policy = hostPolicy({
    root,
    logger,
    now: () => time,
    run,
    answers,
    interfaces: () => [],
    linkNames: async () => new Map([[7, "tun0"]]),
    ...options,
  });
  onTestFinished(() => policy.close());
  return policy;
}

/** Routes in short: from the domain to its servers. */
const routesOf = (source: PolicySource) =>
  Object.fromEntries(
    source.current().routes.routes.map(({ domain, set }) => [domain, set.servers.map(formatServerAddress)]),
  );

const choices = () =>
  logger.info.mock.calls
    .filter(([, message]) => message === "source of the host's name servers")
    .map(([{ source, reason }]) => [source.replace(root, ""), reason]);

test("uses a file that the user named alone, on every platform", async () => {
  addResolved();
  write("etc/resolv.conf", "nameserver 127.0.0.53\n");
  write("named", "nameserver 192.0.2.9\n");
  for (const platform of ["linux", "darwin", "freebsd"] as const) {
    const policy = open({ platform, resolvConf: join(root, "named") });
    await policy.ready();
    expect(routesOf(policy)).toEqual({ "": ["192.0.2.9"] });
  }
  expect(choices()[0]).toEqual(["/named", "the configuration names it"]);
  expect(run).not.toHaveBeenCalled();
  expect(answers).not.toHaveBeenCalled();
});

test("takes the usual file, though it is named, as not named", async () => {
  run.mockResolvedValue("DNS configuration\n\nresolver #1\n  nameserver[0] : 192.0.2.1\n");
  const policy = open({ platform: "darwin", resolvConf: "/etc/resolv.conf" });
  await policy.ready();
  expect(routesOf(policy)).toEqual({ "": ["192.0.2.1"] });
});

test("uses scutil on macOS, and resolv.conf until it has answered", async () => {
  write("etc/resolv.conf", "nameserver 192.0.2.9\n");
  run.mockResolvedValue("DNS configuration\n\nresolver #1\n  nameserver[0] : 192.0.2.1\n");
  const policy = open({ platform: "darwin" });
  expect(routesOf(policy)).toEqual({ "": ["192.0.2.9"] });
  await policy.ready();
  expect(routesOf(policy)).toEqual({ "": ["192.0.2.1"] });
  expect(policy.current()).toBe(policy.current());
  expect(choices()).toEqual([
    ["/etc/resolv.conf", "scutil has not answered yet"],
    ["scutil --dns", "the host runs macOS"],
  ]);
});

test("uses resolv.conf on macOS while scutil fails", async () => {
  write("etc/resolv.conf", "nameserver 192.0.2.9\n");
  const policy = open({ platform: "darwin" });
  await policy.ready();
  expect(routesOf(policy)).toEqual({ "": ["192.0.2.9"] });
  expect(logger.warn).toHaveBeenCalledExactlyOnceWith(
    { reason: "not to be run" },
    "cannot read the name servers of macOS",
  );
});

test("uses resolv.conf on Linux when it names the stub, and asks nothing else", async () => {
  addResolved();
  symlinkSync("../run/systemd/resolve/stub-resolv.conf", join(root, "etc/resolv.conf"));
  write("etc/nsswitch.conf", "hosts: files resolve [!UNAVAIL=return] dns\n");
  const policy = open({ platform: "linux" });
  await policy.ready();
  expect(routesOf(policy)).toEqual({ "": ["127.0.0.53"] });
  expect(policy.current().search).toEqual(["corp.example"]);
  expect(choices()).toEqual([["/etc/resolv.conf", "it names the stub of systemd-resolved, which keeps its routing"]]);
  expect(answers).not.toHaveBeenCalled();
  expect(run).not.toHaveBeenCalled();
});

test("asks the stub when resolv.conf is the file of the servers behind it", async () => {
  addResolved();
  symlinkSync("../run/systemd/resolve/resolv.conf", join(root, "etc/resolv.conf"));
  const policy = open({ platform: "linux" });
  expect(routesOf(policy)).toEqual({ "": ["192.0.2.1"] });
  await policy.ready();
  expect(routesOf(policy)).toEqual({ "": ["127.0.0.53"] });
  expect(choices()).toEqual([
    ["/etc/resolv.conf", "systemd-resolved has not answered yet"],
    ["systemd-resolved, its stub", "resolv.conf is the file of its servers"],
  ]);
});

test("asks the servers of the links when there is no stub", async () => {
  addResolved();
  answers.mockResolvedValue(false);
  run.mockImplementation(busctl);
  write("etc/resolv.conf", "nameserver 192.0.2.9\n");
  write("etc/nsswitch.conf", "passwd: files\nhosts: mymachines resolve [!UNAVAIL=return] files dns # by hand\n");
  const policy = open({ platform: "linux" });
  await policy.ready();
  expect(routesOf(policy)).toEqual({ "": ["192.0.2.1"], "corp.example": ["192.0.2.7"] });
  expect(policy.current()).toBe(policy.current());
  expect(choices().at(-1)).toEqual(["systemd-resolved, its links", "nsswitch.conf has resolve for hosts"]);
});

test.each([
  ["hosts: files dns", "no resolve"],
  ["hosts: files dns resolve", "dns before resolve"],
  ["hosts: files [NOTFOUND=resolve] dns", "resolve in an action"],
  ["hosts: files dns # resolve", "resolve in a comment"],
  ["# hosts: resolve", "a comment"],
  ["passwd: resolve", "another line"],
])("uses resolv.conf with %j: %s", async (line) => {
  addResolved();
  write("etc/resolv.conf", "nameserver 192.0.2.9\n");
  write("etc/nsswitch.conf", `${line}\n`);
  const policy = open({ platform: "linux" });
  await policy.ready();
  expect(routesOf(policy)).toEqual({ "": ["192.0.2.9"] });
  expect(choices()).toEqual([["/etc/resolv.conf", "look-ups of the host do not go through systemd-resolved"]]);
  expect(answers).not.toHaveBeenCalled();
});

test("uses resolv.conf when systemd-resolved does not run", async () => {
  write("etc/resolv.conf", "nameserver 192.0.2.9\n");
  write("etc/nsswitch.conf", "hosts: files resolve [!UNAVAIL=return] dns\n");
  const policy = open({ platform: "linux" });
  await policy.ready();
  expect(routesOf(policy)).toEqual({ "": ["192.0.2.9"] });
  expect(choices().at(-1)).toEqual(["/etc/resolv.conf", "systemd-resolved does not run"]);
  expect(run).not.toHaveBeenCalled();
});

test("follows the host when it comes to use systemd-resolved, and no more", async () => {
  write("etc/resolv.conf", "nameserver 192.0.2.9\n");
  const policy = open({ platform: "linux" });
  expect(routesOf(policy)).toEqual({ "": ["192.0.2.9"] });
  addResolved();
  unlinkSync(join(root, "etc/resolv.conf"));
  symlinkSync("../run/systemd/resolve/resolv.conf", join(root, "etc/resolv.conf"));
  time = 1000;
  await policy.ready();
  expect(routesOf(policy)).toEqual({ "": ["127.0.0.53"] });
  unlinkSync(join(root, "etc/resolv.conf"));
  write("etc/resolv.conf", "nameserver 192.0.2.8\n");
  time = 2000;
  expect(routesOf(policy)).toEqual({ "": ["192.0.2.8"] });
});

test("uses resolv.conf on another platform", () => {
  write("etc/resolv.conf", "nameserver 192.0.2.9\n");
  expect(routesOf(open({ platform: "freebsd" }))).toEqual({ "": ["192.0.2.9"] });
  expect(choices()).toEqual([["/etc/resolv.conf", "there is no other source on freebsd"]]);
});

test("leaves out servers that are ourselves, with a warning, and keeps the same object", () => {
  write("etc/resolv.conf", "nameserver 192.0.2.1\nnameserver 2001:db8::1\nnameserver 192.0.2.9\n");
  const policy = open({ platform: "freebsd", ownAddresses: ["192.0.2.1", "2001:0DB8:0:0::1"] });
  expect(routesOf(policy)).toEqual({ "": ["192.0.2.9"] });
  const first = policy.current();
  time = 5000;
  expect(policy.current()).toBe(first);
  expect(logger.warn).toHaveBeenCalledExactlyOnceWith(
    { servers: ["192.0.2.1", "2001:db8::1"] },
    "the host's name servers include this one, which is left out",
  );
  write("etc/resolv.conf", "nameserver 192.0.2.8\n");
  time = 6000;
  expect(routesOf(policy)).toEqual({ "": ["192.0.2.8"] });
});

test("keeps a route of which nothing is left, so that its names are asked of no other server", async () => {
  const text = `DNS configuration

resolver #1
  nameserver[0] : 192.0.2.9

resolver #2
  domain   : corp.example
  nameserver[0] : 192.0.2.1
  port     : 5353
`;
  run.mockResolvedValue(text);
  const policy = open({ platform: "darwin", ownAddresses: ["192.0.2.1"] });
  await policy.ready();
  expect(routesOf(policy)).toEqual({ "": ["192.0.2.9"], "corp.example": [] });
});

test("leaves everything as it is where none of the servers is ours", () => {
  write("etc/resolv.conf", "nameserver 192.0.2.9\nnameserver fe80::1%eth0\n");
  const policy = open({ platform: "freebsd", ownAddresses: ["192.0.2.1"] });
  expect(routesOf(policy)).toEqual({ "": ["192.0.2.9", "fe80::1%eth0"] });
  expect(logger.warn).not.toHaveBeenCalled();
});

test("ends what is under way when it is closed, and keeps the last policy", async () => {
  write("etc/resolv.conf", "nameserver 192.0.2.9\n");
  let ended: AbortSignal | undefined;
  run.mockImplementation((_command, signal) => {
    ended = signal;
    return new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(new Error("stopped"))));
  });
  const policy = open({ platform: "darwin" });
  policy.current();
  policy.close();
  await policy.ready();
  expect(ended?.aborted).toBe(true);
  expect(routesOf(policy)).toEqual({ "": ["192.0.2.9"] });
  expect(logger.warn).not.toHaveBeenCalled();
});
