/** Checks of the VMs, and of QEMU that runs them. */
import { codeOf, type Finding, messageOf, ok, warning } from "./finding.ts";
import type { Host, Subject } from "./host.ts";

/** The first QEMU with `-netdev stream`. */
const OLDEST_QEMU = [7, 2] as const;

/** Whether VMs are attached and have an address; nothing where no hostd runs. */
export async function checkVms(_: Host, { hostd }: Subject): Promise<Finding[]> {
  if (!(await hostd.isRunning())) return [];
  const vms = await hostd.vms();
  if (vms.length === 0) {
    return [
      warning("VMs", "none is attached", 'attach one as "hostd up" says, and look at what QEMU says if it fails'),
    ];
  }
  return vms.map(({ name, address, link }) => {
    if (address !== null) return ok("VM", `${name} has ${address}`);
    const frames = link.framesFromVm === 0 ? "it has sent nothing at all" : `it has sent ${link.framesFromVm} frames`;
    return warning(
      "VM",
      `${name} is attached and has no address: ${frames}`,
      "see that the VM asks for an address by DHCP; \"hostd capture --filter 'arp or port 67'\" shows what it sends",
    );
  });
}

const ARCHITECTURES: Readonly<Record<string, string>> = { x64: "x86_64", arm64: "aarch64" };

export async function checkQemu(host: Host): Promise<Finding[]> {
  const program = `qemu-system-${ARCHITECTURES[host.arch] ?? host.arch}`;
  let output: string;
  try {
    output = await host.run(program, ["--version"]);
  } catch (error) {
    const seen = codeOf(error) === "ENOENT" ? `${program} is not on the path` : messageOf(error);
    return [
      warning("QEMU", seen, `install QEMU ${OLDEST_QEMU.join(".")} or newer, unless the VM is run by another program`),
    ];
  }
  const [, version, major, minor] = /version ((\d+)\.(\d+)[\d.]*)/.exec(output) ?? [];
  if (version === undefined) {
    return [warning("QEMU", `${program} says no version`, `see that it is QEMU ${OLDEST_QEMU.join(".")} or newer`)];
  }
  const isOld = Number(major) < OLDEST_QEMU[0] || (Number(major) === OLDEST_QEMU[0] && Number(minor) < OLDEST_QEMU[1]);
  if (!isOld) return [ok("QEMU", `${program} ${version}`)];
  const advice = `install QEMU ${OLDEST_QEMU.join(".")} or newer, the first with -netdev stream`;
  return [warning("QEMU", `${program} ${version} cannot attach to hostd`, advice)];
}
