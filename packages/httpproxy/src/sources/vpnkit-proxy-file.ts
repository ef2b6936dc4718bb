import { readFileSync, statSync } from "node:fs";
import type { Clock } from "@hostd/streams";
import { NOTHING, type SourceReading } from "./proxy-settings.ts";
import {
  DEFAULT_TRANSPARENT_PORTS,
  parseVpnkitProxies,
  type TransparentPorts,
  type VpnkitProxies,
} from "./vpnkit-json.ts";

/** How long the file is taken as unchanged, in milliseconds. */
const CHECK_INTERVAL = 1000;
/** How long it may be, in bytes. */
const MAX_SIZE = 1024 * 1024;

const MISSING: VpnkitProxies = { ...NOTHING, transparentPorts: DEFAULT_TRANSPARENT_PORTS };

/**
 * vpnkit's proxy file. It is looked at when it is needed and at most once per second: that sees every way a file is
 * replaced, renamed and mounted, which a watch of the file or of its folder does not.
 *
 * A file that is not there says nothing. One that cannot be read or understood is a problem, and what it said before
 * stays in force: it may be half written, and no proxy is rarely what was meant.
 */
export class VpnkitProxyFile {
  readonly path: string;
  readonly #clock: Clock;
  #version = "";
  #nextCheck = Number.NEGATIVE_INFINITY;
  #reading = MISSING;

  constructor(path: string, clock: Clock) {
    this.path = path;
    this.#clock = clock;
  }

  /** What it says now; the same object until something has changed. */
  current(): SourceReading {
    const now = this.#clock.now();
    if (now >= this.#nextCheck) {
      this.#nextCheck = now + CHECK_INTERVAL;
      this.#look();
    }
    return this.#reading;
  }

  /** The ports of flows that are to be looked into, as the file has them now. */
  get transparentPorts(): TransparentPorts {
    this.current();
    return this.#reading.transparentPorts;
  }

  #look(): void {
    let version = "";
    try {
      const { dev, ino, size, mtimeNs, ctimeNs } = this.#stat();
      version = [dev, ino, size, mtimeNs, ctimeNs].join(" ");
      if (version !== this.#version) this.#reading = parseVpnkitProxies(readFileSync(this.path, "utf8"), this.path);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (version === "") version = reason;
      if (version !== this.#version) {
        const isMissing = error instanceof Error && "code" in error && error.code === "ENOENT";
        const problems = [`${this.path}: ${isMissing ? "there is no such file" : reason}`];
        this.#reading = { ...(isMissing ? MISSING : this.#reading), problems };
      }
    }
    this.#version = version;
  }

  #stat() {
    const stat = statSync(this.path, { bigint: true });
    // Reading a pipe or a device would wait.
    if (!stat.isFile()) throw new Error("it is no file");
    if (stat.size > MAX_SIZE) throw new Error(`it is longer than ${MAX_SIZE} bytes`);
    return stat;
  }
}
