import { describe, expect, it } from "vitest";
import { fakeHost, files, subjectOf, systemError } from "../testing/fake-host.ts";
import type { Host } from "./host.ts";
import { checkNode, checkOpenFiles, checkPing, checkSocketLimits, checkSystemCalls } from "./host-checks.ts";

describe("the check of Node", () => {
  it("is content from version 24 on", () => {
    for (const nodeVersion of ["24.0.0", "26.10.0"]) {
      const [finding] = checkNode(fakeHost({ nodeVersion }));
      expect(finding).toEqual({ name: "node", status: "ok", seen: `Node ${nodeVersion} on linux x64` });
    }
  });

  it("fails below it", () => {
    const [finding] = checkNode(fakeHost({ nodeVersion: "22.20.0" }));
    expect(finding).toMatchObject({ status: "failure", advice: "install Node 24 or newer" });
  });
});

describe("the check of system calls", () => {
  it("is content with koffi", () => {
    expect(checkSystemCalls(fakeHost())).toMatchObject([{ status: "ok" }]);
  });

  it("says what is missing without it", () => {
    const [finding] = checkSystemCalls(fakeHost({ whyNoSystemCalls: () => "koffi cannot be loaded" }));
    expect(finding).toMatchObject({ status: "warning", seen: "koffi cannot be loaded" });
    expect(finding.advice).toMatch(/install koffi .* pings .* send buffer/);
  });
});

describe("the check of open files", () => {
  it("is content when all that the configuration allows has room", () => {
    const host = fakeHost({ openFiles: Number.POSITIVE_INFINITY });
    expect(checkOpenFiles(host, subjectOf(host))).toMatchObject([
      { status: "ok", seen: expect.stringMatching(/^no limit/) },
    ]);
    expect(checkOpenFiles(fakeHost(), subjectOf(host))).toMatchObject([{ status: "ok" }]);
  });

  it("says how many are needed when there is no room", () => {
    const host = fakeHost({ openFiles: 1024 });
    const limits = { egress: { tcp: { maxFlows: 1000 }, udp: { maxFlows: 200 } } };
    const publish = { maxConnections: 30, maxUdpFlows: 4 };
    const [finding] = checkOpenFiles(host, subjectOf(host, { ...limits, publish }));
    expect(finding).toMatchObject({
      status: "warning",
      seen: "1,024 open files are allowed, and one VM may take 1,334: further connections fail then",
    });
    expect(finding.advice).toContain('"ulimit -n 1334", or LimitNOFILE=1334');
  });
});

describe("the check of pings", () => {
  const refused: Host["tryPing"] = () => ({ code: "EACCES", reason: "no ICMP echo socket: socket failed with EACCES" });

  it("is content when the kernel lets a socket be opened", async () => {
    const host = fakeHost();
    expect(await checkPing(host, subjectOf(host))).toMatchObject([{ status: "ok" }]);
  });

  it("says which groups may ping when this one may not", async () => {
    const readFile = files({ "/proc/sys/net/ipv4/ping_group_range": "1\t0\n" });
    const host = fakeHost({ tryPing: refused, readFile });
    const [finding] = await checkPing(host, subjectOf(host));
    expect(finding).toMatchObject({
      status: "warning",
      seen: expect.stringContaining("the kernel refuses it (EACCES): net.ipv4.ping_group_range is 1 to 0"),
      advice: "allow it to all groups: sysctl -w net.ipv4.ping_group_range='0 2147483647'",
    });
  });

  it("says what the system says where there are no groups", async () => {
    const host = fakeHost({ tryPing: refused, readFile: files({}) });
    expect((await checkPing(host, subjectOf(host)))[0].seen).toContain("socket failed with EACCES");
  });

  it("says nothing where there are no system calls, which is said already, or pings are switched off", async () => {
    const host = fakeHost({ tryPing: () => ({ code: null, reason: "no koffi" }) });
    expect(await checkPing(host, subjectOf(host))).toEqual([]);
    expect(await checkPing(host, subjectOf(host, { egress: { icmp: false } }))).toMatchObject([{ status: "ok" }]);
  });
});

describe("the check of the kernel's limits for sockets", () => {
  const limits = (rmem: string, wmem: string, queue: string) =>
    files({
      "/proc/sys/net/core/rmem_max": rmem,
      "/proc/sys/net/core/wmem_max": wmem,
      "/proc/sys/net/core/somaxconn": queue,
    });

  it("is content with what Linux has by default", async () => {
    expect(await checkSocketLimits(fakeHost())).toEqual([
      { name: "socket limits", status: "ok", seen: "rmem_max 212,992, wmem_max 212,992, somaxconn 4,096" },
    ]);
  });

  it("says what is low", async () => {
    const [finding] = await checkSocketLimits(fakeHost({ readFile: limits("65536\n", "212992\n", "128\n") }));
    expect(finding).toMatchObject({
      status: "warning",
      advice: "raise what is low: sysctl -w net.core.rmem_max=212992; sysctl -w net.core.somaxconn=4096",
    });
  });

  it("says that they are not known", async () => {
    const [missing] = await checkSocketLimits(fakeHost({ readFile: files({}) }));
    expect(missing).toMatchObject({ status: "warning", seen: expect.stringContaining("ENOENT") });
    const [odd] = await checkSocketLimits(fakeHost({ readFile: limits("?\n", "1\n", "1\n") }));
    expect(odd).toMatchObject({ status: "warning", seen: 'net.core.rmem_max is "?"' });
  });

  it("asks sysctl on macOS", async () => {
    const asked: string[] = [];
    const run: Host["run"] = async (program, args) => {
      asked.push([program, ...args].join(" "));
      return args[1] === "kern.ipc.somaxconn" ? "128\n" : "8388608\n";
    };
    expect(await checkSocketLimits(fakeHost({ platform: "darwin", run }))).toEqual([
      { name: "socket limits", status: "ok", seen: "maxsockbuf 8,388,608, somaxconn 128" },
    ]);
    expect(asked).toEqual(["/usr/sbin/sysctl -n kern.ipc.maxsockbuf", "/usr/sbin/sysctl -n kern.ipc.somaxconn"]);
    const failing = fakeHost({ platform: "darwin", run: async () => Promise.reject(systemError("ENOENT")) });
    expect(await checkSocketLimits(failing)).toMatchObject([{ status: "warning" }]);
  });
});
