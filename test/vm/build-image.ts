import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { closeSync, openSync, readFileSync } from "node:fs";
import { chmod, copyFile, cp, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { delimiter, dirname, join } from "node:path";
import { findCommand, searchPath } from "./host-packages.ts";

const SUITE = "bookworm";
const FALLBACK_MIRROR = "http://deb.debian.org/debian";
/** The kernel for virtual machines: small, boots fast under emulation, and has netem, bridge, veth and overlay. */
const KERNEL_PACKAGE = "linux-image-cloud-amd64";
/** Size of the root file system in bytes; the image file is sparse. */
const DISK_SIZE = "4G";

const PACKAGES = [
  "bind9-dnsutils",
  "busybox-static",
  "ca-certificates",
  "curl",
  "dhcpcd-base",
  "docker.io",
  "ethtool",
  "iperf3",
  "iproute2",
  "iptables",
  "iputils-ping",
  "isc-dhcp-client",
  "kmod",
  "lz4",
  "ncat",
  "netcat-openbsd",
  "openssh-server",
  "procps",
  "python3",
  "systemd",
  "tcpdump",
  "traceroute",
];

/** Drivers the initrd loads; their dependencies come from the kernel's own list. */
const DRIVERS = ["virtio_pci", "virtio_blk", "virtio_net", "virtio_console"];

/** What nothing in a test reads. */
const PRUNED = ["boot", "usr/share/doc", "usr/share/info", "usr/share/locale", "usr/share/man", "var/cache/apt"];

/** Our own files in the image: name in `guest/`, path in the image, mode. */
const GUEST_FILES: readonly [source: string, target: string, mode: number][] = [
  ["init", "usr/local/lib/hostd/init", 0o755],
  ["agent.py", "usr/local/lib/hostd/agent.py", 0o644],
  ["poweroff", "usr/local/sbin/poweroff", 0o755],
  ["networkd", "usr/local/sbin/networkd", 0o755],
  ["servers.py", "usr/local/lib/hostd/servers.py", 0o644],
  ["udhcpc.script", "etc/udhcpc/default.script", 0o755],
];
const INITRD_INIT = "initrd-init";

const guestFolder = join(import.meta.dirname, "guest");

/** A digest of everything that decides what the image contains, except the versions that the mirror has today. */
export function recipeDigest(): string {
  const hash = createHash("sha256").update(readFileSync(import.meta.filename));
  for (const [source] of GUEST_FILES) hash.update(readFileSync(join(guestFolder, source)));
  return hash
    .update(readFileSync(join(guestFolder, INITRD_INIT)))
    .digest("hex")
    .slice(0, 16);
}

/**
 * Builds `kernel`, `initrd`, `disk.ext4` and `packages.txt` from Debian's packages. Takes root, about a minute, and
 * about 1.5 GB beside the result while it works.
 *
 * @param target - folder to make, in one that exists; it appears complete or not at all
 * @param logPath - where the output of debootstrap and the others goes
 * @throws Error naming the step that failed and the end of its output
 */
export async function buildImage(target: string, logPath: string): Promise<void> {
  const started = performance.now();
  const progress = (message: string) =>
    process.stderr.write(`vm image: ${((performance.now() - started) / 1000).toFixed(0).padStart(3)} s: ${message}\n`);
  const cache = dirname(target);
  // The caller holds the lock, so what an interrupted build left behind belongs to nobody.
  for (const name of await readdir(cache)) {
    if (name.endsWith(".building")) await rm(join(cache, name), { recursive: true, force: true });
  }
  const work = `${target}.building`;
  const root = join(work, "root");
  const result = join(work, "result");
  await mkdir(root, { recursive: true });
  await mkdir(result);
  const steps = new Steps(logPath);
  try {
    await bootstrap(steps, root, progress);
    progress(`fetching the kernel (${KERNEL_PACKAGE})`);
    const release = await installKernel(steps, root, join(result, "kernel"));
    progress("making the initrd and the disk image");
    await makeInitrd(steps, root, release, work, join(result, "initrd"));
    await finishRoot(steps, root, result);
    const makeDisk = ["-q", "-t", "ext4", "-O", "^has_journal", "-d", root, join(result, "disk.ext4"), DISK_SIZE];
    await steps.run("mke2fs", makeDisk);
    await rename(result, target);
    progress(`ready: ${target}`);
  } finally {
    steps.close();
    await rm(work, { recursive: true, force: true });
  }
}

/** Runs commands one after the other, with their output in a log. */
class Steps {
  readonly #env: NodeJS.ProcessEnv;
  readonly #logPath: string;
  readonly #log: number;

  constructor(logPath: string) {
    this.#logPath = logPath;
    this.#log = openSync(logPath, "w");
    const fixed = { DEBIAN_FRONTEND: "noninteractive", LC_ALL: "C.UTF-8", PATH: searchPath().join(delimiter) };
    this.#env = { ...proxyEnvironment(), ...process.env, ...fixed };
  }

  /** Runs a command to its end; throws with the end of its output if it fails. */
  async run(command: string, args: readonly string[], options: { output?: number; input?: Buffer } = {}) {
    const path = findCommand(command);
    if (path === undefined) throw new Error(`cannot build the VM image: no command ${command} on this host`);
    const child = spawn(path, args, { env: this.#env, stdio: ["pipe", options.output ?? this.#log, this.#log] });
    child.stdin?.on("error", () => {}); // A command that fails early says why itself.
    child.stdin?.end(options.input ?? "");
    const status = await new Promise<number | null>((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", resolve);
    });
    if (status === 0) return;
    const tail = readFileSync(this.#logPath, "utf8").trimEnd().split("\n").slice(-10).join("\n");
    throw new Error(`cannot build the VM image: ${command} failed (${status}); log: ${this.#logPath}\n${tail}`);
  }

  close(): void {
    closeSync(this.#log);
  }
}

async function bootstrap(steps: Steps, root: string, progress: (message: string) => void): Promise<void> {
  const mirrors = [...new Set([...configuredMirrors(), FALLBACK_MIRROR])];
  for (const [index, mirror] of mirrors.entries()) {
    progress(`installing Debian ${SUITE} from ${mirror}`);
    const options = ["--variant=minbase", "--arch=amd64", `--include=${PACKAGES.join(",")}`];
    // debootstrap mounts /proc in the new root and starts many processes. In namespaces of its own all of that ends with
    // it, and it ends with this process, so that the next build does not meet an unfinished one at work.
    const args = ["--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
    try {
      await steps.run("setpriv", [...args, "debootstrap", ...options, SUITE, root, mirror]);
      return;
    } catch (error) {
      if (index === mirrors.length - 1) throw error;
      progress(`that failed: ${error instanceof Error ? error.message : String(error)}`);
      await rm(root, { recursive: true, force: true });
      await mkdir(root);
    }
  }
}

/** Debian mirrors in this machine's apt sources, as apt itself reads them. */
function configuredMirrors(): string[] {
  const osRelease = readFileSync("/etc/os-release", "utf8");
  const apt = findCommand("apt-get");
  if (!/^ID=debian$/m.test(osRelease) || apt === undefined) return [];
  const args = ["indextargets", "--no-release-info", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)"];
  const { stdout } = spawnSync(apt, [...args, "Created-By: Packages"], { encoding: "utf8" });
  return (stdout ?? "").split("\n").flatMap((line) => {
    const [uri = "", release = "", component = ""] = line.split(" ");
    // A suite such as bookworm-security is no whole distribution. Another vendor's repository may pass for Debian's
    // here; debootstrap then fails at once, and the next mirror is tried.
    return component === "main" && /^\w+$/.test(release) && /^https?:/.test(uri) ? [uri.replace(/\/$/, "")] : [];
  });
}

/** The proxies of apt's configuration, in the environment variables that debootstrap and apt read. */
function proxyEnvironment(): Record<string, string> {
  const aptConfig = findCommand("apt-config");
  if (aptConfig === undefined) return {};
  const environment: Record<string, string> = {};
  for (const scheme of ["http", "https"]) {
    const { stdout } = spawnSync(aptConfig, ["shell", "PROXY", `Acquire::${scheme}::Proxy`], { encoding: "utf8" });
    const proxy = /^PROXY='(.+)'$/m.exec(stdout ?? "")?.[1];
    if (proxy !== undefined && proxy !== "DIRECT") environment[`${scheme}_proxy`] = proxy;
  }
  return environment;
}

/**
 * Puts the kernel's modules into the root and the kernel itself beside it. The package is unpacked, not installed,
 * because its installation would build an initrd of Debian's own.
 *
 * @returns the kernel's release, such as 6.1.0-50-cloud-amd64
 */
async function installKernel(steps: Steps, root: string, kernel: string): Promise<string> {
  const fetch = [
    "apt-get -o Acquire::Check-Valid-Until=false update",
    `package=$(apt-cache depends ${KERNEL_PACKAGE} | sed -n 's/^ *Depends: \\(linux-image-\\)/\\1/p')`,
    'mkdir /kernel && chmod 777 /kernel && cd /kernel && apt-get download "$package" && dpkg-deb -x *.deb .',
    "mv lib/modules /usr/lib/ && mv boot/vmlinuz-* vmlinuz && depmod $(ls /usr/lib/modules)",
  ];
  await steps.run("chroot", [root, "sh", "-ec", fetch.join("\n")]);
  const [release] = await readdir(join(root, "usr/lib/modules"));
  if (release === undefined) throw new Error(`cannot build the VM image: ${KERNEL_PACKAGE} has no modules`);
  const image = await readFile(join(root, "kernel/vmlinuz"));
  const payload = lz4Payload(image);
  if (payload === undefined) {
    await writeFile(kernel, image);
  } else {
    const output = openSync(kernel, "w");
    await steps.run("chroot", [root, "lz4", "-dc"], { input: payload, output }).finally(() => closeSync(output));
  }
  await rm(join(root, "kernel"), { recursive: true });
  return release;
}

/**
 * The compressed kernel inside a bzImage, if it is LZ4. QEMU starts the unpacked one through its PVH entry, which saves
 * the emulated machine a second of unpacking. Offsets: Linux Documentation/x86/boot.rst, "The real-mode kernel header".
 */
function lz4Payload(image: Buffer): Buffer | undefined {
  if (image.length < 0x250 || image.toString("latin1", 0x202, 0x206) !== "HdrS") return undefined;
  const setupSectors = image.readUInt8(0x1f1) || 4;
  const start = (setupSectors + 1) * 512 + image.readUInt32LE(0x248);
  // The last four bytes are the unpacked size, not part of the LZ4 stream.
  const payload = image.subarray(start, start + image.readUInt32LE(0x24c) - 4);
  return payload.length > 4 && payload.readUInt32LE(0) === 0x184c2102 ? payload : undefined;
}

/** The initrd stays uncompressed: unpacking costs the emulated machine more than reading. */
async function makeInitrd(steps: Steps, root: string, release: string, work: string, initrd: string): Promise<void> {
  const tree = join(work, "initrd");
  for (const folder of ["bin", "modules", "dev", "proc", "root"]) await mkdir(join(tree, folder), { recursive: true });
  await copyFile(join(root, "bin/busybox"), join(tree, "bin/busybox"));
  await copyFile(join(guestFolder, INITRD_INIT), join(tree, "init"));
  await chmod(join(tree, "init"), 0o755);
  const modules = join(root, "usr/lib/modules", release);
  const order = modulesInOrder(await readFile(join(modules, "modules.dep"), "utf8"), DRIVERS);
  const names = order.map((path) => path.slice(path.lastIndexOf("/") + 1));
  for (const [index, path] of order.entries())
    await copyFile(join(modules, path), join(tree, "modules", names[index]!));
  await writeFile(join(tree, "modules/order"), names.map((name) => `${name}\n`).join(""));
  await steps.run("sh", ["-ec", 'cd "$1" && find . | sort | cpio -o -H newc --quiet >"$2"', "sh", tree, initrd]);
}

/**
 * Paths of the drivers' modules, each after those it needs.
 *
 * @param dependencies - text of modules.dep: `path: needed...`, the needed ones listed from the nearest to the farthest
 */
function modulesInOrder(dependencies: string, drivers: readonly string[]): string[] {
  const order = new Set<string>();
  for (const driver of drivers) {
    const line = dependencies.split("\n").find((each) => each.includes(`/${driver}.ko:`));
    if (line === undefined) throw new Error(`cannot build the VM image: the kernel has no module ${driver}`);
    const [path = "", needed = ""] = line.split(":");
    for (const each of needed.trim().split(" ").reverse()) if (each !== "") order.add(each);
    order.add(path);
  }
  return [...order];
}

/** Adds our own files, records what is installed and removes what a test never reads. */
async function finishRoot(steps: Steps, root: string, result: string): Promise<void> {
  for (const [source, target, mode] of GUEST_FILES) {
    await mkdir(dirname(join(root, target)), { recursive: true });
    await cp(join(guestFolder, source), join(root, target));
    await chmod(join(root, target), mode);
  }
  const packages = openSync(join(result, "packages.txt"), "w");
  await steps.run("chroot", [root, "dpkg-query", "-W"], { output: packages }).finally(() => closeSync(packages));
  for (const path of PRUNED) await rm(join(root, path), { recursive: true, force: true });
  await rm(join(root, "var/lib/apt/lists"), { recursive: true, force: true });
  await writeFile(join(root, "etc/hostname"), "guest\n");
  await writeFile(join(root, "etc/hosts"), "127.0.0.1 localhost\n127.0.1.1 guest\n::1 localhost\n");
  // debootstrap copies the host's; a DHCP client writes the guest's.
  await rm(join(root, "etc/resolv.conf"), { force: true });
  await writeFile(join(root, "etc/resolv.conf"), "");
}
