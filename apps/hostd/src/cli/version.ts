/** What this hostd is. */
import { readFileSync } from "node:fs";

/** The version of hostd and of what it runs on. */
export interface VersionInfo {
  readonly version: string;
  readonly node: string;
  readonly platform: string;
  readonly arch: string;
}

/** Reads the version from the package this file is part of. */
export function versionInfo(): VersionInfo {
  // `src/cli` and the built `dist/cli` are equally deep in the package.
  const manifest: unknown = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  const version = typeof manifest === "object" && manifest !== null && "version" in manifest ? manifest.version : "";
  return { version: String(version), node: process.versions.node, platform: process.platform, arch: process.arch };
}

/** The version on one line. */
export function versionLine({ version, node, platform, arch }: VersionInfo = versionInfo()): string {
  return `hostd ${version} (node ${node}, ${platform} ${arch})`;
}
