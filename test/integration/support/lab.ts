import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { dialPort, EmbeddedGuest, type EmbeddedGuestOptions } from "@hostd/guest";
import { createLogger, type Daemon, type DaemonOptions, parseConfig, type SettingsInput, startDaemon } from "hostd";
import { onTestFailed } from "vitest";
import { type Captures, withCapture } from "./capture.ts";
import { NameServer } from "./dns.ts";

export const GATEWAY = "192.168.65.1";
export const HOST = "192.168.65.254";
export const HOST_NAME = "host.docker.internal";

/** Names that the host's own name server knows. */
const HOST_NAMES = {
  "www.test": ["203.0.113.80"],
  "large.test": Array.from({ length: 100 }, (_, index) => `203.0.113.${index + 1}`),
};

/** One line of hostd's log. */
export interface LogLine {
  readonly level: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

/** A running hostd and its log. */
export interface LabDaemon extends Daemon {
  /** The file that its frames are captured to. */
  readonly capture: string;
  /** Everything it logged, debug included. */
  readonly log: readonly LogLine[];
}

export const macOf = (number: number) => Uint8Array.of(2, 0, 0, 0, 1, number);

/** A hostd in this process with everything around it in a temporary folder, a name server and guests. */
export class Lab {
  readonly folder: string;
  /** Where VMs attach unless a test configures something else. */
  readonly socket: string;
  readonly nameServer: NameServer;
  readonly #captures: Captures;
  readonly #log: LogLine[] = [];
  readonly #guests = new Set<EmbeddedGuest>();
  readonly #cleanup = new AsyncDisposableStack();

  private constructor(folder: string, captures: Captures, nameServer: NameServer) {
    this.folder = folder;
    this.socket = join(folder, "vm.sock");
    this.#captures = captures;
    this.nameServer = nameServer;
  }

  static async open(captures: Captures): Promise<Lab> {
    const folder = await mkdtemp(join(tmpdir(), "hostd-lab-"));
    return new Lab(folder, captures, await NameServer.start(HOST_NAMES));
  }

  /** Starts hostd; `settings` go over the lab's own. */
  async start(settings: SettingsInput = {}, options: DaemonOptions = {}): Promise<LabDaemon> {
    const capture = settings.capture ?? this.nextCapture();
    const config = parseConfig(
      {
        qemu: [`unix://${this.socket}`],
        state: join(this.folder, "state"),
        capture,
        dns: { servers: [this.nameServer.address] },
        // Not what the host of the tests has.
        proxy: { upstream: "direct" },
        log: { level: "debug", format: "json" },
        ...settings,
      },
      "test",
    );
    const log: LogLine[] = [];
    const write = (line: string) => {
      const entry = JSON.parse(line) as LogLine;
      log.push(entry);
      this.#log.push(entry);
    };
    const logger = createLogger(config.log, { isTerminal: false, hasColors: false, write });
    const daemon = await startDaemon(config, logger, options);
    let closing: Promise<void> | null = null;
    const close = () => (closing ??= daemon.close());
    this.defer(close);
    const { endpoints, forwards, control } = daemon;
    return { endpoints, forwards, control, capture, close, log };
  }

  /** A file for the frames of a hostd, which stays when the test fails. */
  nextCapture(): string {
    return this.#captures.next();
  }

  /** Attaches a guest; `number` makes its MAC. */
  async attach(number = 1, options: Partial<EmbeddedGuestOptions> = {}): Promise<EmbeddedGuest> {
    const port = options.port ?? (await dialPort({ transport: "unix", path: this.socket, mode: "dial" }));
    const guest = new EmbeddedGuest({ mac: macOf(number), ...options, port });
    this.#guests.add(guest);
    return guest;
  }

  /** Attaches a guest and gets it an address. */
  async boot(number = 1, options: Partial<EmbeddedGuestOptions> = {}): Promise<EmbeddedGuest> {
    const guest = await this.attach(number, options);
    await guest.configure();
    return guest;
  }

  /** Has something done when the test is over, before what was deferred earlier. */
  defer(cleanup: () => unknown): void {
    this.#cleanup.defer(async () => {
      await cleanup();
    });
  }

  async close(): Promise<void> {
    await Promise.all([...this.#guests].map((guest) => guest.kill()));
    await this.#cleanup.disposeAsync();
    this.nameServer.close();
    await rm(this.folder, { recursive: true });
  }

  /** Writes what every hostd logged to `test/output`. */
  async writeLog(): Promise<void> {
    await writeFile(this.#captures.log(), this.#log.map((line) => `${JSON.stringify(line)}\n`).join(""));
  }
}

/** Runs a test in a lab of its own, with a capture. A test that fails leaves capture and log in `test/output`. */
export async function inLab(body: (lab: Lab) => Promise<void>): Promise<void> {
  await withCapture(async (captures) => {
    const lab = await Lab.open(captures);
    onTestFailed(() => lab.writeLog());
    try {
      await body(lab);
    } finally {
      await lab.close();
    }
  });
}
