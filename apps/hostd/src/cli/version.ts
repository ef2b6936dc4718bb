/** What this hostd is. */
import { readFileSync } from "node:fs";
import { findPackageJSON } from "node:module";

/** The version of hostd and of what it runs on. */
export interface VersionInfo {
  readonly version: string;
  readonly node: string;
  readonly platform: string;
  readonly arch: string;
}

/** Reads the version from the package this file is part of. */
export function versionInfo(): VersionInfo {
  const path = findPackageJSON("..", import.meta.url);
  const manifest: unknown = path === undefined ? null : JSON.parse(readFileSync(path, "utf8"));
  const version = typeof manifest === "object" && manifest !== null && "version" in manifest ? manifest.version : "";
  return { version: String(version), node: process.versions.node, platform: process.platform, arch: process.arch };
}

/** The version on one line. */
export function versionLine({ version, node, platform, arch }: VersionInfo = versionInfo()): string {
  return `hostd ${version} (node ${node}, ${platform} ${arch})`;
}
