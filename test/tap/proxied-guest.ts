import { chmodSync, chownSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { askDaemon } from "../integration/support/control.ts";
import { HostdProcess, makeFolder } from "../vm/hostd-process.ts";
import { Company, ZONE } from "./company.ts";
import { TapGuest } from "./tap-guest.ts";

/** Keys of `proxy` in the configuration. */
export interface ProxySettings {
  readonly upstream?: string;
  readonly noProxy?: string;
  readonly credentials?: string;
  readonly vpnkitFile?: string;
}

/** What hostd is to know of names: those of the company, and nobody to ask for others. */
export const DNS = { servers: ["127.0.0.1:9"], zones: [ZONE] };

/** A guest of a hostd in a process of its own, on a machine that has a company's network beside it. Takes root. */
export class ProxiedGuest {
  readonly company: Company;
  readonly hostd: HostdProcess;
  readonly guest: TapGuest;
  /** The socket of hostd's control API. */
  readonly api: string;
  /** A folder of hostd's user. */
  readonly folder: string;
  readonly #config: string;
  readonly #parts: AsyncDisposableStack;

  private constructor(
    company: Company,
    hostd: HostdProcess,
    guest: TapGuest,
    folder: string,
    parts: AsyncDisposableStack,
  ) {
    this.company = company;
    this.hostd = hostd;
    this.guest = guest;
    this.folder = folder;
    this.api = join(folder, "api.sock");
    this.#config = join(folder, "hostd.yaml");
    this.#parts = parts;
  }

  /** @param name - of hostd's log; letters and digits, and hyphens. */
  static async open(name: string, proxy: ProxySettings = {}): Promise<ProxiedGuest> {
    await using parts = new AsyncDisposableStack();
    const folders = [makeFolder(name), mkdtempSync(join(tmpdir(), "hostd-company-"))];
    parts.defer(() => {
      for (const folder of folders) rmSync(folder, { recursive: true, force: true });
    });
    const [folder = "", files = ""] = folders;
    // Proxies run as users of their own.
    chmodSync(files, 0o755);
    const company = await Company.open("company", files);
    parts.defer(() => company.close());
    const socket = join(folder, "vm.sock");
    const config = join(folder, "hostd.yaml");
    writeConfiguration(config, company, proxy);
    const args = ["--config", config, "--qemu", `unix://${socket}`, "--state", join(folder, "state")];
    const hostd = await HostdProcess.start(name, [...args, "--api", join(folder, "api.sock")]);
    parts.defer(async () => {
      await hostd.stop();
    });
    const guest = await TapGuest.create({ socket, name: "guest" });
    parts.defer(() => guest.destroy());
    return new ProxiedGuest(company, hostd, guest, folder, parts.move());
  }

  /** Has hostd take other proxies, by its configuration. */
  async use(proxy: ProxySettings): Promise<void> {
    writeConfiguration(this.#config, this.company, proxy);
    const { status, body } = await askDaemon(this.api, "POST", "/v1/config/reload");
    if (status !== 200) throw new Error(`the configuration is not read: ${status} ${body}`);
  }

  /** Has hostd take other proxies at run time, before those of its configuration; null takes that back. */
  async set(upstream: string | null): Promise<void> {
    const [method, choice] = upstream === null ? ["DELETE", undefined] : ["PUT", { upstream }];
    const { status, body } = await askDaemon(this.api, method, "/v1/proxy", choice);
    if (status !== 200) throw new Error(`the proxy is not set: ${status} ${body}`);
  }

  /** Makes a file of hostd's user. */
  write(name: string, text: string, mode = 0o600): string {
    const path = join(this.folder, name);
    writeForOwner(path, text, mode);
    return path;
  }

  async close(): Promise<void> {
    await this.#parts.disposeAsync();
  }
}

function writeConfiguration(path: string, company: Company, proxy: ProxySettings): void {
  const settings = { dns: DNS, proxy: { upstream: "direct", ca: company.caPath, ...proxy } };
  writeForOwner(path, JSON.stringify(settings), 0o600);
}

/** Writes a file for the user of its folder. */
function writeForOwner(path: string, text: string, mode: number): void {
  const { uid, gid } = statSync(join(path, ".."));
  writeFileSync(path, text, { mode });
  chmodSync(path, mode);
  chownSync(path, uid, gid);
}
