/** What the command line asks of the daemon and of the demonstration. */
import type { Framing, TcpAddress, UnixAddress } from "@hostd/frontends";
import type { ActivatedSockets } from "@hostd/portfwd";
import type { HostdConfig } from "./config/resolve.ts";
import type { Control } from "./control/control.ts";
import type { EventHub } from "./control/event-hub.ts";
import type { Logger } from "./logging.ts";

/** A running hostd. */
export interface Daemon {
  /** Where VMs attach, as URLs in the form of the `qemu` key; a port the system chose stands in place of 0. */
  readonly endpoints: readonly string[];
  /** Where the published ports listen, in the order of the `forwards` key; a port the system chose stands for 0. */
  readonly forwards: readonly string[];
  /** What can be seen and changed of it. */
  readonly control: Control;
  /** Ends every flow and closes every socket; resolves when all is closed. */
  close(): Promise<void>;
}

export interface DaemonOptions {
  /** Reads the configuration again, for a reload; there is none without. */
  readonly readConfig?: () => Promise<HostdConfig>;
  /** Sockets that were handed to the process. */
  readonly activated?: ActivatedSockets;
  /** Whom to tell what happens; for who listens from the start. */
  readonly events?: EventHub;
  /** Whether leases and forwards outlive a restart, as they do unless this is false. */
  readonly keepsState?: boolean;
  /** Sockets on which gvproxy's API is served alone. */
  readonly gvproxyApis?: readonly GvproxyApiSocket[];
}

/** A socket on which gvproxy's API is served alone. */
export interface GvproxyApiSocket {
  readonly address: UnixAddress | TcpAddress;
  /** Whether VMs may attach by `/connect` there. */
  readonly canConnect: boolean;
  /** In which framing they do; hyperkit's unless given. */
  readonly framing?: Framing;
}

/** Starts hostd; resolves once VMs can attach, rejects when it cannot start. */
export type StartDaemon = (config: HostdConfig, logger: Logger, options?: DaemonOptions) => Promise<Daemon>;

/** How the demonstration is run. */
export interface DemoOptions {
  /** Whether to boot a real virtual machine; undefined boots one where QEMU and an image are there. */
  readonly vm: boolean | undefined;
}

/** Runs the demonstration; resolves when it has succeeded, rejects when something in it has failed. */
export type RunDemo = (options: DemoOptions) => Promise<void>;
