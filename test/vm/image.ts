import { spawn } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { type Accelerator, chooseAccelerator } from "./accelerator.ts";
import { buildImage, recipeDigest } from "./build-image.ts";
import { ensureHostPackages, findCommand, isContinuousIntegration, isRoot } from "./host-packages.ts";

/** A bootable guest: absolute paths of its files, and how QEMU shall run it on this host. */
export interface VmImage {
  readonly kernel: string;
  readonly initrd: string;
  /** ext4 root file system, a sparse raw file. QEMU opens it read-only; a guest's writes go to a throw-away snapshot. */
  readonly disk: string;
  readonly accelerator: Accelerator;
}

export type VmAvailability = { available: true; image: VmImage } | { available: false; reason: string };

/**
 * Makes sure that real VMs can run here: host packages, and an image, built from Debian's packages if the cache has
 * none for this recipe. The cache is `$HOSTD_VM_CACHE` or `~/.cache/hostd/vm`; it may be deleted at any time.
 *
 * Unavailable is an answer on a developer's machine, and is printed as one line. With CI=true it is an error.
 *
 * @throws Error with CI=true if VMs cannot run here; anywhere if the image cannot be built although it should
 */
export async function ensureVm(): Promise<VmAvailability> {
  const result = await findOrBuild();
  if (result.available) return result;
  const message = `real-VM tests are skipped: ${result.reason}`;
  if (isContinuousIntegration()) throw new Error(`with CI=true nothing may be skipped, but ${message}`);
  process.stderr.write(`${message}\n`);
  return { available: false, reason: message };
}

/** The image of an `ensureVm` result, for the inside of a suite that is skipped when there is none. */
export function imageOf(availability: VmAvailability): VmImage {
  if (!availability.available) throw new Error(availability.reason);
  return availability.image;
}

async function findOrBuild(): Promise<VmAvailability> {
  if (process.arch !== "x64") return { available: false, reason: `they need an x64 host, this one is ${process.arch}` };
  const cache = process.env.HOSTD_VM_CACHE ?? join(homedir(), ".cache", "hostd", "vm");
  const folder = join(cache, recipeDigest());
  const missing = ensureHostPackages(!existsSync(folder));
  if (missing !== undefined) return { available: false, reason: missing };
  if (!existsSync(folder)) {
    if (!isRoot()) {
      return { available: false, reason: `no image in ${cache}, and building one takes root; run: sudo npm test` };
    }
    mkdirSync(cache, { recursive: true });
    await withLock(join(cache, "lock"), async () => {
      // Another process may have built it while this one waited.
      if (!existsSync(folder)) await buildImage(folder, join(cache, "build.log"));
    });
  }
  const kernel = join(folder, "kernel");
  const initrd = join(folder, "initrd");
  const accelerator = await chooseAccelerator(folder, kernel, initrd);
  return { available: true, image: { kernel, initrd, disk: join(folder, "disk.ext4"), accelerator } };
}

/** Runs `body` while holding an exclusive lock, which the kernel releases however this process ends. */
async function withLock(path: string, body: () => Promise<void>): Promise<void> {
  // The lock is held as long as `cat` reads, and `cat` reads until this process closes its end or dies.
  const args = ["--exclusive", path, "sh", "-c", "echo locked; exec cat"];
  const holder = spawn(findCommand("flock") ?? "flock", args, { stdio: ["pipe", "pipe", "inherit"] });
  const waiting = setTimeout(() => process.stderr.write(`vm image: waiting for another build (${path})\n`), 1000);
  try {
    await new Promise<void>((resolve, reject) => {
      holder.once("error", reject);
      holder.once("exit", (status) => reject(new Error(`cannot lock ${path}: flock ended with status ${status}`)));
      holder.stdout.once("data", () => resolve());
    });
    clearTimeout(waiting);
    await body();
  } finally {
    clearTimeout(waiting);
    holder.stdin.end();
  }
}
