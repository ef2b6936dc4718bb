/** The hostd that runs, if one does, as its control API tells. It is asked once for each thing, by whoever wants to know. */
import type { UnixAddress } from "@hostd/frontends";
import { type HostdConfig, parseConfig } from "../config/resolve.ts";
import type { ProxyReport, ProxyRouteReport } from "../control/reports.ts";
import type { VmReport } from "../control/vm-report.ts";
import type { ForwardReport } from "../forwards/forward-report.ts";
import { codeOf, messageOf } from "./finding.ts";
import type { Host } from "./host.ts";

/** What answers on the socket of the control API. */
export type HostdState =
  | { readonly kind: "running"; readonly version: string }
  /** Nobody: there is no socket, or none that is listened on. */
  | { readonly kind: "absent"; readonly isStale: boolean }
  /** The socket may not be opened. */
  | { readonly kind: "denied" }
  | { readonly kind: "foreign"; readonly reason: string };

export class RunningHostd {
  /** Undefined when the configuration has no control API, and none was named. */
  readonly api: UnixAddress | undefined;
  /** Whether somebody has named the socket, who expects a hostd there. */
  readonly isNamed: boolean;
  readonly #host: Host;
  #state: Promise<HostdState> | null = null;
  #vms: Promise<readonly VmReport[]> | null = null;
  #forwards: Promise<readonly ForwardReport[]> | null = null;
  #config: Promise<HostdConfig | null> | null = null;

  constructor(host: Host, api: UnixAddress | undefined, isNamed: boolean) {
    this.#host = host;
    this.api = api;
    this.isNamed = isNamed;
  }

  async state(): Promise<HostdState> {
    this.#state ??= this.#findState();
    return await this.#state;
  }

  async isRunning(): Promise<boolean> {
    return (await this.state()).kind === "running";
  }

  /** The VMs that are attached; none when no hostd runs. */
  async vms(): Promise<readonly VmReport[]> {
    // Both sides are one program; what another version says differently is said by its version.
    this.#vms ??= this.#list("/v1/vms") as Promise<readonly VmReport[]>;
    return await this.#vms;
  }

  /** The forwards that there are; none when no hostd runs. */
  async forwards(): Promise<readonly ForwardReport[]> {
    this.#forwards ??= this.#list("/v1/forwards") as Promise<readonly ForwardReport[]>;
    return await this.#forwards;
  }

  /** The configuration that holds there; null when no hostd runs. */
  async config(): Promise<HostdConfig | null> {
    this.#config ??= this.#findConfig();
    return await this.#config;
  }

  /** Its proxy settings; null when no hostd runs. */
  async proxy(): Promise<ProxyReport | null> {
    return (await this.#ask("/v1/proxy")) as ProxyReport | null;
  }

  /** Which way a request would take there; null when no hostd runs. */
  async proxyRoute(url: string): Promise<ProxyRouteReport | null> {
    return (await this.#ask(`/v1/proxy/route?${new URLSearchParams({ url })}`)) as ProxyRouteReport | null;
  }

  async #findConfig(): Promise<HostdConfig | null> {
    const data = await this.#ask("/v1/config");
    return data === null ? null : parseConfig(data, "the hostd that runs", this.#host);
  }

  async #findState(): Promise<HostdState> {
    if (this.api === undefined) return { kind: "absent", isStale: false };
    try {
      const { status, body } = await this.#host.get(this.api, "/version");
      const answer: unknown = status === 200 ? JSON.parse(body) : null;
      if (typeof answer === "object" && answer !== null && "version" in answer) {
        return { kind: "running", version: String(answer.version) };
      }
      return { kind: "foreign", reason: `it answers /version with status ${status}` };
    } catch (error) {
      const code = codeOf(error);
      if (code === "ENOENT" || code === "ENOTDIR") return { kind: "absent", isStale: false };
      if (code === "ECONNREFUSED") return { kind: "absent", isStale: true };
      return code === "EACCES" ? { kind: "denied" } : { kind: "foreign", reason: messageOf(error) };
    }
  }

  async #list(path: string): Promise<unknown> {
    const list = (await this.#ask(path)) ?? [];
    if (!Array.isArray(list)) throw new Error(`hostd answers ${path} with no list`);
    return list;
  }

  /** Null when no hostd runs. */
  async #ask(path: string): Promise<unknown> {
    if (this.api === undefined || !(await this.isRunning())) return null;
    const { status, body } = await this.#host.get(this.api, path);
    if (status !== 200) throw new Error(`hostd answers ${path} with status ${status}`);
    return JSON.parse(body);
  }
}
