import { PolledFile } from "@hostd/host";
import type { Clock } from "@hostd/streams";
import { NOTHING, type SourceReading } from "./proxy-settings.ts";
import {
  DEFAULT_TRANSPARENT_PORTS,
  parseVpnkitProxies,
  type TransparentPorts,
  type VpnkitProxies,
} from "./vpnkit-json.ts";

const MISSING: VpnkitProxies = { ...NOTHING, transparentPorts: DEFAULT_TRANSPARENT_PORTS };

/**
 * vpnkit's proxy file, followed within a second of being asked.
 *
 * A file that is not there says nothing. One that cannot be read or understood is a problem, and what it said before
 * stays in force: it may be half written, and no proxy is rarely what was meant.
 */
export class VpnkitProxyFile {
  readonly #file: PolledFile;
  #reading = MISSING;

  constructor(path: string, clock: Clock) {
    this.#file = new PolledFile(path, () => clock.now());
  }

  get path(): string {
    return this.#file.path;
  }

  /** What it says now; the same object until something has changed. */
  current(): SourceReading {
    this.#follow();
    return this.#reading;
  }

  /** The ports of flows that are to be looked into, as the file has them now. */
  get transparentPorts(): TransparentPorts {
    this.#follow();
    return this.#reading.transparentPorts;
  }

  #follow(): void {
    const state = this.#file.changed();
    if (state === null) return;
    if (state.kind === "unreadable") {
      this.#isBroken(
        state.isMissing ? MISSING : this.#reading,
        state.isMissing ? "there is no such file" : state.reason,
      );
      return;
    }
    try {
      this.#reading = parseVpnkitProxies(state.text, this.path);
    } catch (error) {
      this.#isBroken(this.#reading, error instanceof Error ? error.message : String(error));
    }
  }

  #isBroken(inForce: VpnkitProxies, reason: string): void {
    this.#reading = { ...inForce, problems: [`${this.path}: ${reason}`] };
  }
}
