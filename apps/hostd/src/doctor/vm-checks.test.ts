import { describe, expect, it } from "vitest";
import { answers, fakeHost, subjectOf, systemError } from "../testing/fake-host.ts";
import type { Host } from "./host.ts";
import { checkQemu, checkVms } from "./vm-checks.ts";

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
