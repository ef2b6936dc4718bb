import { spawn } from "node:child_process";
import { accessSync, constants, existsSync, readFileSync, writeFileSync } from "node:fs";
import { release } from "node:os";
import { join } from "node:path";
import { findCommand } from "./host-packages.ts";

export type Accelerator = "tcg" | "kvm";

/** How long a guest may take to show the first line of its initrd under KVM, in milliseconds. It takes under 1 s. */
const PROBE_LIMIT = 6000;

/**
 * Which accelerator QEMU shall use: `HOSTD_VM_ACCEL` (tcg, kvm or auto, which is the default). With auto, KVM is used
 * where a guest boots with it: a nested /dev/kvm may open and then hang the guest. The answer is kept beside the image.
 *
 * @throws Error if `HOSTD_VM_ACCEL` has another value
 */
export async function chooseAccelerator(folder: string, kernel: string, initrd: string): Promise<Accelerator> {
  const wish = process.env.HOSTD_VM_ACCEL ?? "auto";
  if (wish === "tcg" || wish === "kvm") return wish;
  if (wish !== "auto") throw new Error(`HOSTD_VM_ACCEL is "${wish}"; it may be tcg, kvm or auto`);
  try {
    accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
  } catch {
    return "tcg";
  }
  const answerPath = join(folder, "kvm-works-on");
  // The image may have come from another machine, so the answer is for one kernel of the host.
  const answers = existsSync(answerPath) ? readFileSync(answerPath, "utf8").split("\n") : [];
  if (answers.includes(`${release()} yes`)) return "kvm";
  if (answers.includes(`${release()} no`)) return "tcg";
  const works = await bootsUnderKvm(kernel, initrd);
  process.stderr.write(`vm: /dev/kvm ${works ? "works" : "does not boot a guest here, so QEMU emulates"}\n`);
  writeFileSync(answerPath, `${answers.join("\n")}\n${release()} ${works ? "yes" : "no"}\n`.trimStart());
  return works ? "kvm" : "tcg";
}

async function bootsUnderKvm(kernel: string, initrd: string): Promise<boolean> {
  const machine = ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-M", "q35", "-m", "256"];
  const boot = ["-kernel", kernel, "-initrd", initrd, "-append", "console=ttyS0 quiet panic=-1 hostd.probe"];
  const args = [...machine, "-accel", "kvm", "-cpu", "max", ...boot, "-serial", "stdio"];
  const qemu = spawn(findCommand("qemu-system-x86_64") ?? "qemu-system-x86_64", args, {
    stdio: ["ignore", "pipe", "ignore"],
  });
  let output = "";
  return await new Promise<boolean>((resolve) => {
    const finish = (works: boolean) => {
      clearTimeout(timer);
      qemu.kill("SIGKILL");
      resolve(works);
    };
    const timer = setTimeout(finish, PROBE_LIMIT, false);
    qemu.stdout.on("data", (chunk: Buffer) => {
      output += chunk.toString("latin1");
      if (output.includes("hostd-vm: probe passed")) finish(true);
    });
    qemu.once("error", () => finish(false));
    qemu.once("exit", () => finish(output.includes("hostd-vm: probe passed")));
  });
}
