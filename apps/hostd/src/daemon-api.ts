/** What the command line asks of the daemon and of the demonstration. */
import type { HostdConfig } from "./config/resolve.ts";
import type { Logger } from "./logging.ts";

/** A running hostd. */
export interface Daemon {
  /** Where VMs attach, as URLs in the form of the `qemu` key; a port the system chose stands in place of 0. */
  readonly endpoints: readonly string[];
  /** Where the published ports listen, in the order of the `forwards` key; a port the system chose stands for 0. */
  readonly forwards: readonly string[];
  /** Ends every flow and closes every socket; resolves when all is closed. */
  close(): Promise<void>;
}

/** Starts hostd; resolves once VMs can attach, rejects when it cannot start. */
export type StartDaemon = (config: HostdConfig, logger: Logger) => Promise<Daemon>;

/** How the demonstration is run. */
export interface DemoOptions {
  /** Whether to boot a real virtual machine; undefined boots one where QEMU and an image are there. */
  readonly vm: boolean | undefined;
}

/** Runs the demonstration; resolves when it has succeeded, rejects when something in it has failed. */
export type RunDemo = (options: DemoOptions) => Promise<void>;
