/** What can be seen and changed of a running daemon: the one thing that every API and command is made of. */
import type { FramePort } from "@hostd/frontends";
import type { PortForwarder } from "@hostd/portfwd";
import type { LeaseTable } from "@hostd/stack";
import type { HostdConfig } from "../config/resolve.ts";
import type { DnsService } from "../dns/service.ts";
import type { ContainerNames } from "../docker/container-names.ts";
import type { ForwardBook } from "../forwards/forward-book.ts";
import type { Logger } from "../logging.ts";
import type { ProxyService } from "../proxy/proxy-service.ts";
import type { VmSession } from "../vm-session.ts";
import type { CaptureHub } from "./capture-hub.ts";
import type { EventHub } from "./event-hub.ts";
import type { Traffic } from "./traffic.ts";

/** What a reload has done. */
export interface ReloadReport {
  /** The keys whose new values hold now. */
  readonly changed: readonly string[];
  /** The keys whose new values hold after a restart only. */
  readonly needRestart: readonly string[];
}

export interface Control {
  /** When hostd was started, in Unix-epoch milliseconds. */
  readonly startedAt: number;
  readonly logger: Logger;
  readonly leases: LeaseTable;
  readonly dns: DnsService;
  readonly containers: ContainerNames;
  readonly proxy: ProxyService;
  readonly forwarder: PortForwarder;
  readonly forwards: ForwardBook;
  readonly events: EventHub;
  readonly captures: CaptureHub;
  /** The configuration that holds. */
  config(): HostdConfig;
  /** The VMs that are attached, the one that has been there for longest first. */
  vms(): readonly VmSession[];
  /** Attaches a VM. */
  attach(port: FramePort): void;
  /** A VM by its name. */
  vm(name: string): VmSession | undefined;
  /** What is counted of all VMs since hostd was started, those that are gone included. */
  traffic(): Traffic;
  /**
   * Reads the configuration again, and changes what can be changed while VMs are attached.
   *
   * @throws {ConfigError} when it cannot be used; nothing has changed then.
   */
  reload(): Promise<ReloadReport>;
}
