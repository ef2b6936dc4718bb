import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { Duplex, type Readable } from "node:stream";
import { AgentChannel } from "./agent-channel.ts";
import type { CommandResult, GuestProcess } from "./guest-process.ts";
import { findCommand } from "./host-packages.ts";
import type { VmImage } from "./image.ts";

export type { CommandResult, GuestProcess } from "./guest-process.ts";

/** A network card of the guest; they are eth0, eth1 and so on in the order given. */
export interface NetworkDevice {
  /** Value of QEMU's -netdev, such as `stream,id=n0,addr.type=unix,addr.path=/x`. It must name its id. */
  readonly netdev: string;
  /** Hardware address; unique within the VM if left out. */
  readonly mac?: string;
  /** Value of QEMU's -device without netdev and mac: virtio-net-pci (default), or vmxnet3 after `modprobe vmxnet3`. */
  readonly device?: string;
}

export interface BootOptions extends Partial<NetworkDevice> {
  readonly image: VmImage;
  /** Network cards, instead of the one that `netdev`, `mac` and `device` describe. None if neither is given. */
  readonly netdevs?: readonly NetworkDevice[];
  /** Shell text that /bin/bash runs in the guest after the agent is ready. It writes to the console. */
  readonly script?: string;
  /** MiB, 2048 if left out. */
  readonly memory?: number;
  /**
   * Processors, 2 if left out. Under emulation a guest that starts containers should have {@link CONTAINER_PROCESSORS}.
   */
  readonly processors?: number;
  /** Names the files in `artifacts`. */
  readonly name?: string;
  /** More arguments for QEMU. */
  readonly extraArgs?: readonly string[];
  /** Folder for NAME.console.log and NAME.commands.log; `test/output` if left out. */
  readonly artifacts?: string;
  /** How long the boot may take, 120 s if left out. Under emulation it takes about 4 s on an idle machine. */
  readonly bootTimeoutMs?: number;
}

export interface RunOptions {
  /** After this the command and its children are killed and the call fails. 60 s if left out. */
  readonly timeoutMs?: number;
  /** Its standard input, which is empty if left out. */
  readonly stdin?: string | Uint8Array;
}

/**
 * Processors of a guest that starts containers. With two emulated ones its kernel once stood still for minutes while runc
 * started a program, each processor waiting for the other ("watchdog: BUG: soft lockup" on both).
 */
export const CONTAINER_PROCESSORS = 1;

const KERNEL_ARGUMENTS = [
  "console=ttyS0",
  "quiet",
  "net.ifnames=0",
  "panic=-1",
  "random.trust_cpu=on",
  "tsc=reliable",
  // What an emulated machine that lives for one test can do without.
  "mitigations=off",
  "cryptomgr.notests",
  "audit=0",
  "apparmor=0",
];

const defaultArtifacts = join(import.meta.dirname, "..", "output");
let booted = 0;

/** A QEMU virtual machine with an agent in it that runs commands. It ends with this process, however that ends. */
export class Vm {
  /** Every line of the console so far, and of QEMU's own messages. */
  readonly lines: string[] = [];
  /** QEMU's exit status, or null if a signal ended it. */
  readonly exited: Promise<number | null>;
  /** Milliseconds from the start of QEMU to the agent's first word. */
  bootMs = 0;
  readonly #qemu: ChildProcess;
  readonly #agent: AgentChannel;
  readonly #consolePath: string;
  readonly #commandsLog: number;
  readonly #watchers = new Set<() => void>();
  readonly #started = performance.now();
  #hasExited = false;

  /**
   * Starts a VM and waits until its agent is ready.
   *
   * @throws Error if QEMU ends or the time is over before that; the message shows the end of the console
   */
  static async boot(options: BootOptions): Promise<Vm> {
    const vm = new Vm(options);
    const limit = options.bootTimeoutMs ?? 120_000;
    let timer: NodeJS.Timeout | undefined;
    try {
      await Promise.race([
        vm.#agent.ready,
        vm.exited.then((status) => {
          throw new Error(vm.describe(`QEMU ended with status ${status} before the guest was ready`));
        }),
        new Promise((_, reject) => {
          timer = setTimeout(() => reject(new Error(vm.describe(`the guest was not ready within ${limit} ms`))), limit);
        }),
      ]);
    } catch (error) {
      await vm.kill();
      throw error;
    } finally {
      clearTimeout(timer);
    }
    vm.bootMs = Math.round(performance.now() - vm.#started);
    vm.#record(`ready after ${vm.bootMs} ms`);
    return vm;
  }

  private constructor(options: BootOptions) {
    const network = networkArguments(options);
    const artifacts = options.artifacts ?? defaultArtifacts;
    mkdirSync(artifacts, { recursive: true });
    booted += 1;
    const name = (options.name ?? `vm-${booted}`).replaceAll(/[^\w.-]+/g, "-");
    this.#consolePath = join(artifacts, `${name}.console.log`);
    const consoleLog = openSync(this.#consolePath, "w");
    this.#commandsLog = openSync(join(artifacts, `${name}.commands.log`), "w");

    const drives = ["-drive", `if=none,id=root,format=raw,snapshot=on,file=${options.image.disk}`];
    drives.push("-device", "virtio-blk-pci,drive=root");
    if (options.script !== undefined) {
      const path = join(artifacts, `${name}.script`);
      writeScriptDisk(path, options.script);
      drives.push("-drive", `if=none,id=script,format=raw,readonly=on,file=${path}`);
      drives.push("-device", "virtio-blk-pci,drive=script");
    }
    const args = [
      ...["-name", name, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
      ...[
        "-M",
        "q35",
        "-m",
        String(options.memory ?? 2048),
        "-smp",
        String(options.processors ?? 2),
        "-cpu",
        "max,la57=off",
      ],
      ...["-accel", options.image.accelerator === "tcg" ? "tcg,thread=multi" : options.image.accelerator],
      ...["-kernel", options.image.kernel, "-initrd", options.image.initrd],
      ...["-append", KERNEL_ARGUMENTS.join(" ")],
      ...drives,
      // The agent's channel is a socket pair that QEMU inherits: no path, nothing to clean up.
      ...["-serial", "stdio", "-chardev", "socket,id=agent,fd=3"],
      ...["-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name=hostd.agent"],
      ...network,
      ...(options.extraArgs ?? []),
    ];
    // The kernel kills QEMU when this process ends, even if that is by SIGKILL.
    const [setpriv, qemu] = [findCommand("setpriv") ?? "setpriv", findCommand("qemu-system-x86_64")];
    this.#qemu = spawn(setpriv, ["--pdeathsig", "KILL", qemu ?? "qemu-system-x86_64", ...args], {
      stdio: ["ignore", "pipe", "pipe", "pipe"],
    });
    const [, stdout, stderr, channel] = this.#qemu.stdio;
    if (!(channel instanceof Duplex)) throw new Error("the agent's channel is no socket");
    this.#agent = new AgentChannel(channel);

    const log = (line: string) => {
      this.lines.push(line);
      if (!this.#hasExited) writeSync(consoleLog, `${line}\n`);
      for (const look of [...this.#watchers]) look();
    };
    readLines(stdout, log);
    readLines(stderr, (line) => log(`qemu: ${line}`));
    this.exited = new Promise((resolve) => {
      const finish = (status: number | null) => {
        if (this.#hasExited) return;
        this.#record(`QEMU ended with status ${status}`);
        this.#hasExited = true;
        closeSync(consoleLog);
        closeSync(this.#commandsLog);
        this.#agent.close(new Error(this.describe(`the VM has ended (status ${status})`)));
        for (const look of [...this.#watchers]) look();
        resolve(status);
      };
      this.#qemu.once("error", (error) => {
        log(`qemu: ${error.message}`);
        finish(null);
      });
      this.#qemu.once("close", finish);
    });
  }

  /** QEMU's process id. */
  get pid(): number | undefined {
    return this.#qemu.pid;
  }

  /**
   * Runs a shell command in the guest to its end. Several may run at once.
   *
   * @throws Error if it runs into its time limit or the VM ends; a status other than 0 is a result
   */
  async run(command: string, options: RunOptions = {}): Promise<CommandResult> {
    return await this.#start(command, options).result;
  }

  /**
   * Runs a shell command that is expected to succeed.
   *
   * @throws Error also for a status other than 0, with what the command wrote and the end of the console
   */
  async check(command: string, options: RunOptions = {}): Promise<CommandResult> {
    const process = this.#start(command, options);
    const result = await process.result;
    if (result.status === 0) return result;
    throw new Error(this.describe(`status ${result.status} in the guest: ${command}\n${process.transcript()}`));
  }

  /** Starts a shell command in the guest; its standard input stays open until `end`. Killed after 10 minutes. */
  spawn(command: string, timeoutMs = 600_000): GuestProcess {
    const process = this.#agent.start(command, timeoutMs);
    this.#record(`$ ${command}`);
    const record = (end: string) => this.#record(`${end}: ${command}\n${process.transcript()}`);
    process.result.then(
      ({ status, durationMs }) => record(`status ${status} after ${durationMs} ms`),
      (error: Error) => record(error.message.split("\n")[0] ?? ""),
    );
    return process;
  }

  /**
   * Waits for a line of the console, counting those from `fromLine` (0: all since the start) that are already there.
   *
   * @throws Error if the VM ends without one or the time is over
   */
  async waitFor(pattern: RegExp, timeoutMs = 60_000, fromLine = 0): Promise<RegExpMatchArray> {
    return await new Promise((resolve, reject) => {
      let next = fromLine;
      const settle = (action: () => void) => {
        clearTimeout(timer);
        this.#watchers.delete(look);
        action();
      };
      const look = () => {
        for (; next < this.lines.length; next += 1) {
          const match = this.lines[next]?.match(pattern);
          if (match) return settle(() => resolve(match));
        }
        if (this.#hasExited) {
          settle(() => reject(new Error(this.describe(`the VM ended without a line like ${pattern}`))));
        }
      };
      const timer = setTimeout(() => {
        settle(() => reject(new Error(this.describe(`no line like ${pattern} within ${timeoutMs} ms`))));
      }, timeoutMs);
      this.#watchers.add(look);
      look();
    });
  }

  /** Sends QEMU a signal that does not end it, such as SIGSTOP or SIGCONT. */
  signal(signal: NodeJS.Signals): void {
    this.#qemu.kill(signal);
  }

  /** Ends QEMU, by default as a power cut would (SIGKILL), and waits until it is gone. */
  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<number | null> {
    this.#qemu.kill(signal);
    return await this.exited;
  }

  /** A message with the end of the console. */
  describe(message: string): string {
    return `${message}\n--- end of the console (${this.#consolePath})\n${this.lines.slice(-25).join("\n")}`;
  }

  #start(command: string, options: RunOptions): GuestProcess {
    const process = this.spawn(command, options.timeoutMs ?? 60_000);
    process.end(options.stdin);
    return process;
  }

  #record(text: string): void {
    if (this.#hasExited) return;
    const seconds = ((performance.now() - this.#started) / 1000).toFixed(3);
    writeSync(this.#commandsLog, `[${seconds}] ${text}\n`);
  }
}

function networkArguments({ netdev, mac, device, netdevs }: BootOptions): string[] {
  const single = netdev === undefined ? [] : [{ netdev, ...(mac && { mac }), ...(device && { device }) }];
  return (netdevs ?? single).flatMap((card, index) => {
    const id = /(?:^|,)id=([^,]+)/.exec(card.netdev)?.[1];
    if (id === undefined) throw new Error(`netdev "${card.netdev}" has no id=`);
    const address = card.mac ?? `52:54:00:12:34:${(0x56 + index).toString(16)}`;
    // Without a boot ROM: nothing boots from the network.
    const model = `${card.device ?? "virtio-net-pci"},romfile=`;
    return ["-netdev", card.netdev, "-device", `${model},netdev=${id},mac=${address}`];
  });
}

/** The script as a raw disk: whole sectors, filled up with empty lines. */
function writeScriptDisk(path: string, script: string): void {
  const bytes = Buffer.from(`${script}\n`);
  const disk = Buffer.alloc(Math.ceil(bytes.length / 512) * 512, "\n");
  bytes.copy(disk);
  writeFileSync(path, disk);
}

function readLines(stream: Readable | Duplex | NodeJS.WritableStream | null | undefined, log: (line: string) => void) {
  if (!(stream instanceof Duplex)) return;
  let partial = "";
  stream.setEncoding("utf8");
  stream.on("data", (chunk: string) => {
    const lines = (partial + chunk).split(/\r?\n/);
    partial = lines.pop() ?? "";
    for (const line of lines) log(line);
  });
  stream.on("end", () => {
    if (partial !== "") log(partial);
  });
}
