import { describe, expect, it } from "vitest";
import { answers, fakeHost, found, subjectOf, systemError } from "../testing/fake-host.ts";
import type { Host } from "./host.ts";
import { checkDocker, checkEngineInVm, checkQemu, checkVms } from "./vm-checks.ts";

const rejecting = (code: string) => async () => Promise.reject(systemError(code));

const running = (vms: readonly unknown[]): Pick<Host, "get"> => ({
  get: answers({ "/version": { version: "1" }, "/v1/vms": vms }),
});
const vm = (name: string, address: string | null, framesFromVm = 12) => ({ name, address, link: { framesFromVm } });

describe("the check of VMs", () => {
  const check = (changes: Partial<Host>) => {
    const host = fakeHost(changes);
    return checkVms(host, subjectOf(host));
  };

  it("says nothing when no hostd runs", async () => {
    expect(await check({})).toEqual([]);
  });

  it("is content when each has an address", async () => {
    expect(await check(running([vm("one", "192.168.65.3"), vm("two", "192.168.65.4")]))).toEqual([
      { name: "VM", status: "ok", seen: "one has 192.168.65.3" },
      { name: "VM", status: "ok", seen: "two has 192.168.65.4" },
    ]);
  });

  it("warns when none is attached, or one has no address", async () => {
    expect(await check(running([]))).toMatchObject([{ status: "warning", seen: "none is attached" }]);
    expect(await check(running([vm("one", null), vm("two", null, 0)]))).toMatchObject([
      { status: "warning", seen: "one is attached and has no address: it has sent 12 frames" },
      { status: "warning", seen: "two is attached and has no address: it has sent nothing at all" },
    ]);
  });
});

describe("the check of QEMU", () => {
  const check = async (run: Host["run"], arch = "x64") => (await checkQemu(fakeHost({ run, arch })))[0];

  it.each(["7.2.0", "7.2.22 (Debian 1:7.2+dfsg-7)", "10.0.2", "11.1"])("is content with %s", async (version) => {
    expect(await check(async () => `QEMU emulator version ${version}\nCopyright\n`)).toMatchObject({ status: "ok" });
  });

  it.each(["6.2.0", "7.1.9"])("warns of %s, which is too old", async (version) => {
    const finding = await check(async () => `QEMU emulator version ${version}\n`);
    expect(finding).toMatchObject({
      status: "warning",
      seen: `qemu-system-x86_64 ${version} cannot attach to hostd`,
      advice: "install QEMU 7.2 or newer, the first with -netdev stream",
    });
  });

  it("warns when there is none, or none that says its version", async () => {
    expect(await check(rejecting("ENOENT"), "arm64")).toMatchObject({
      status: "warning",
      seen: "qemu-system-aarch64 is not on the path",
    });
    expect(await check(async () => "hello")).toMatchObject({ status: "warning" });
    expect(await check(rejecting("EACCES"))).toMatchObject({ status: "warning" });
  });
});

describe("the check of Docker", () => {
  const SOCKET = "/var/run/docker.sock";
  const engine = answers({ "/version": { Version: "28.0.4" } });
  const check = (changes: Partial<Host>, dockerHost?: string) =>
    checkDocker(fakeHost({ ...changes, variables: { DOCKER_HOST: dockerHost } }));

  it("says nothing when there is none to be seen", async () => {
    expect(await check({})).toEqual([]);
  });

  it("is content with an engine that answers", async () => {
    const lookAt = found({ [SOCKET]: "socket" });
    expect(await check({ lookAt, get: engine })).toEqual([
      { name: "Docker", status: "ok", seen: `engine 28.0.4 answers at unix://${SOCKET}` },
    ]);
    const desktop = {
      platform: "darwin",
      lookAt: found({ "/home/me/.docker/run/docker.sock": "socket" }),
      get: engine,
    } as const;
    expect(await check(desktop)).toMatchObject([{ seen: expect.stringContaining("/home/me/.docker/run/docker.sock") }]);
    expect(await check({ get: engine }, "unix:///run/engine.sock")).toMatchObject([{ status: "ok" }]);
    expect(await check({ get: engine }, "tcp://192.168.65.3:2376")).toMatchObject([{ status: "ok" }]);
  });

  it("warns of one that does not, and says what to do", async () => {
    const lookAt = found({ [SOCKET]: "socket" });
    expect(await check({ lookAt, get: rejecting("EACCES") })).toMatchObject([
      { status: "warning", advice: expect.stringContaining("group of the socket") },
    ]);
    expect(await check({ get: rejecting("ECONNREFUSED") }, "tcp://[::1]")).toMatchObject([
      { status: "warning", seen: expect.stringContaining("no engine answers at tcp://[::1]:2375: ECONNREFUSED") },
    ]);
    expect(await check({ get: answers({}) }, "unix:///x.sock")).toMatchObject([{ status: "warning" }]);
    expect(await check({ get: async () => ({ status: 200, body: "?" }) }, "unix:///x.sock")).toMatchObject([
      { status: "warning" },
    ]);
  });

  it("warns of one that is open to everybody", async () => {
    expect(await check({ get: engine }, "tcp://192.168.65.3:2375")).toMatchObject([
      { status: "warning", seen: "engine 28.0.4 answers at tcp://192.168.65.3:2375, without a password" },
    ]);
  });

  it("does not try what takes SSH", async () => {
    expect(await check({ get: rejecting("EIO") }, "ssh://me@vm")).toEqual([
      { name: "Docker", status: "ok", seen: "DOCKER_HOST=ssh://me@vm was not tried" },
    ]);
  });
});

describe("the check of the engine in the VM", () => {
  it("says nothing where it cannot be seen", async () => {
    const host = fakeHost();
    expect(await checkEngineInVm(host, subjectOf(host))).toEqual([]);
    const closed = fakeHost({ ...running([vm("one", "192.168.65.3"), vm("two", null)]), exchange: async () => "OK" });
    expect(await checkEngineInVm(closed, subjectOf(closed))).toEqual([]);
    const failing = fakeHost({ ...running([vm("one", "192.168.65.3")]), exchange: rejecting("ECONNRESET") });
    expect(await checkEngineInVm(failing, subjectOf(failing))).toEqual([]);
  });

  it("warns of one that answers through the tunnel", async () => {
    const asked: string[] = [];
    const exchange: Host["exchange"] = async (path, first, second) => {
      asked.push(path, first, second);
      return first.includes("ip=192.168.65.3&") ? "OKHTTP/1.1 200 OK\r\n\r\nOK" : "OK";
    };
    const host = fakeHost({ ...running([vm("one", "192.168.65.3"), vm("two", "192.168.65.4")]), exchange });
    expect(await checkEngineInVm(host, subjectOf(host))).toMatchObject([
      {
        status: "warning",
        seen: "the engine of one answers at 192.168.65.3:2375, and so to every container of the VM",
        advice: expect.stringContaining("ssh://USER@vm/var/run/docker.sock"),
      },
    ]);
    expect(asked.slice(0, 3)).toEqual([
      "/run/user/1000/hostd/api.sock",
      "POST /tunnel?ip=192.168.65.3&port=2375 HTTP/1.1\r\nHost: hostd\r\nContent-Length: 0\r\n\r\n",
      "GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n",
    ]);
  });

  it("warns of its port when the configuration publishes it", async () => {
    const host = fakeHost();
    const subject = subjectOf(host, { forwards: [{ listen: "unix:///run/docker.sock", to: 2375 }] });
    expect(await checkEngineInVm(host, subject)).toMatchObject([
      { status: "warning", seen: expect.stringContaining("port 2375 of the VM is published") },
    ]);
    const other = subjectOf(host, { forwards: [{ listen: 2375, to: 2376 }] });
    expect(await checkEngineInVm(host, other)).toEqual([]);
  });
});
