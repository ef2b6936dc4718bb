import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { qemuNetdev } from "./config/endpoint.ts";
import { defaultSocket, processEnvironment } from "./config/environment.ts";
import type { DemoOptions } from "./daemon-api.ts";
import { HostSide } from "./demo/host-side.ts";
import { type Plan, type Report, readReport, STEPS, type StepId } from "./demo/plan.ts";
import { bootVm, type DemoImage, findImage, hasQemu } from "./demo/vm-guest.ts";

const HOST_NAME = "host.docker.internal";
/** What `hostd up` uses without a configuration. */
const GATEWAY = "192.168.65.1";
const HOST = "192.168.65.254";
/** A guest that says nothing for so long is stuck; an emulated VM boots in a fraction of it. */
const SILENCE_MS = 90_000;

/**
 * Runs the demonstration: hostd on a temporary socket, a guest attached to it, and a line for each thing the guest did.
 *
 * @throws when a step did not give what it must, or when a VM was asked for and there is none.
 */
export async function runDemo(options: DemoOptions): Promise<void> {
  const image = chooseImage(options.vm);
  const folder = await mkdtemp(join(tmpdir(), "hostd-demo-"));
  const socket = join(folder, "vm.sock");
  const host = new HostSide();
  const children: ChildProcess[] = [];
  try {
    await host.start();
    say(`Starting hostd on ${socket}`);
    const hostd = startHostd(socket, folder, host.dnsPort);
    children.push(hostd);
    await announced(hostd);
    const seconds = image === null ? 2 : 4;
    const { outsideName, httpPort, udpPort, closedPort, udpLength } = host;
    const plan: Plan = {
      ...{ hostName: HOST_NAME, gateway: GATEWAY, outsideName, httpPort, udpPort, closedPort, udpLength, seconds },
    };
    const guest = image === null ? startEmbeddedGuest(socket, plan) : startVm(image, socket, folder, plan);
    children.push(guest);
    await follow(guest, host);
    hostd.kill("SIGTERM");
  } finally {
    for (const child of children) if (child.exitCode === null) child.kill("SIGKILL");
    host.close();
    await rm(folder, { recursive: true, force: true });
  }
  say("");
  say("Everything worked. To attach a virtual machine of your own, with its network as hostd's:");
  say("");
  say(`  ${command()} up`);
  say("  qemu-system-x86_64 -m 2G -drive file=DISK.qcow2 -device virtio-net-pci,netdev=net0 \\");
  const endpoint = { mode: "listen", transport: "unix", path: defaultSocket(processEnvironment()) } as const;
  say(`    -netdev ${qemuNetdev(endpoint)}`);
}

/** How hostd is called from here: installed, or in a checkout that is not on the path. */
function command(): string {
  const local = join("node_modules", ".bin", "hostd");
  return existsSync(local) ? local : "hostd";
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** The image to boot, or null for the embedded guest. */
function chooseImage(vm: boolean | undefined): DemoImage | null {
  if (vm === false) return null;
  const image = hasQemu() ? findImage() : null;
  if (image === null && vm === true) {
    throw new Error(
      hasQemu()
        ? "--vm needs an image and there is none: `sudo npm run vm-image` builds it from Debian's packages"
        : "--vm needs QEMU: apt-get install qemu-system-x86 (or your system's package), then `sudo npm run vm-image`",
    );
  }
  return image;
}

function startHostd(socket: string, folder: string, dnsPort: number): ChildProcess {
  const args = ["--qemu", `unix://${socket}`, "--state", join(folder, "state"), "--log-level", "warn"];
  const bin = join(import.meta.dirname, "..", "bin", "hostd.mjs");
  return spawn(process.execPath, [bin, "up", ...args, "--dns-server", `127.0.0.1:${dnsPort}`], {
    stdio: ["ignore", "pipe", "inherit"],
  });
}

async function announced(hostd: ChildProcess): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    hostd.stdout?.once("data", () => resolve());
    hostd.once("exit", (status) => reject(new Error(`hostd ended with status ${status}; its messages are above`)));
    hostd.once("error", reject);
  });
}

function startEmbeddedGuest(socket: string, plan: Plan): ChildProcess {
  say("Attaching an embedded guest, a small machine in TypeScript in a process of its own");
  const main = join(import.meta.dirname, "demo", `embedded-guest-main${extname(import.meta.filename)}`);
  return spawn(process.execPath, [main, socket, JSON.stringify(plan)], { stdio: ["ignore", "pipe", "inherit"] });
}

function startVm(image: DemoImage, socket: string, folder: string, plan: Plan): ChildProcess {
  say("Booting a Debian virtual machine with QEMU, attached to it (emulated, so it is slower than yours will be)");
  const netdev = qemuNetdev({ mode: "listen", transport: "unix", path: socket });
  return bootVm(image, netdev, folder, plan);
}

/** Shows each report as it comes, and checks it. */
async function follow(guest: ChildProcess, host: HostSide): Promise<void> {
  const lines = createInterface({ input: guest.stdout as Readable });
  const silence = { timer: setTimeout(() => {}, 0) };
  const watch = () => {
    clearTimeout(silence.timer);
    silence.timer = setTimeout(() => guest.kill("SIGKILL"), SILENCE_MS);
  };
  const done = new Set<StepId>();
  const last: string[] = [];
  watch();
  try {
    for await (const line of lines) {
      last.push(line);
      if (last.length > 10) last.shift();
      const report = readReport(line);
      if (report === null) continue;
      watch();
      const { title } = STEPS.find(({ id }) => id === report.id) ?? { title: report.id };
      say(`  ✓ ${title.padEnd(22)} ${describe(report, host)}`);
      done.add(report.id);
    }
  } finally {
    clearTimeout(silence.timer);
  }
  const missing = STEPS.find(({ id }) => !done.has(id));
  if (missing !== undefined) {
    throw new Error(`the guest ended before "${missing.title}"; its last words were:\n${last.join("\n")}`);
  }
}

/**
 * What to show of a report.
 *
 * @throws when it is not what it must be.
 */
function describe({ id, text }: Report, host: HostSide): string {
  const expect = (good: boolean, wanted: string) => {
    if (!good) throw new Error(`${STEPS.find((step) => step.id === id)?.title}: got "${text}", expected ${wanted}`);
  };
  switch (id) {
    case "lease":
      expect(/^192\.168\.65\.\d+\/24$/.test(text), "an address of 192.168.65.0/24");
      return `${text} from ${GATEWAY}`;
    case "ping":
      expect(/ms$/.test(text), "a round trip");
      return `${GATEWAY} answered in ${text}`;
    case "host":
      expect(text === HOST, HOST);
      return `${text}, which is the host's loopback`;
    case "download":
      expect(text === host.downloadHash, host.downloadHash);
      return `${host.download.length / 2 ** 20} MiB from 127.0.0.1:${host.httpPort}, SHA-256 ${text.slice(0, 16)}... matches`;
    case "lookup":
      expect(text.trim() === host.outsideAddress, host.outsideAddress);
      return `${host.outsideName} is ${text.trim()}, says the host's name server`;
    case "udp":
      expect(text.startsWith(`${host.udpLength} bytes`), `${host.udpLength} bytes`);
      return text;
    case "refused": {
      const [outcome, ms] = text.split(" ");
      expect(outcome === "ECONNREFUSED", "ECONNREFUSED");
      return `connection refused, as on the host, after ${ms} ms`;
    }
    case "down":
    case "up": {
      const bytesPerSecond = Number(text);
      expect(bytesPerSecond > 0, "a rate above zero");
      return `${((bytesPerSecond * 8) / 1e9).toFixed(2)} Gbit/s over one TCP connection at MTU 1500`;
    }
  }
}
