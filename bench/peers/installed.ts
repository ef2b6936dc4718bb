import { spawnSync } from "node:child_process";
import { readFileSync, realpathSync } from "node:fs";
import { findCommand } from "../../test/vm/host-packages.ts";
import { fetchedCommand, fetchedReleases } from "./cache.ts";
import type { Installation } from "./peer.ts";

/** A program of a Debian package. */
export interface PackagedProgram {
  readonly package: string;
  /** Its name in the folders of the search path. */
  readonly program: string;
  /** Its name in a fetched release, if another. */
  readonly fetchedProgram?: string;
  /** The arguments that make it print its version, and where in what it prints the version stands. */
  readonly versionArguments: readonly string[];
  readonly versionPattern: RegExp;
}

/** Where a program is installed: on the search path, and in the releases that `npm run bench:peers` has fetched. */
export function installationsOf(packaged: PackagedProgram): Installation[] {
  const installations: Installation[] = [];
  const path = findCommand(packaged.program);
  if (path !== undefined) installations.push({ version: installedVersion(path, packaged), command: [path] });
  for (const release of fetchedReleases()) {
    const version = release.packages[packaged.package];
    const command = fetchedCommand(release, packaged.fetchedProgram ?? packaged.program);
    if (version === undefined || command === undefined) continue;
    if (!installations.some((other) => other.version === version)) installations.push({ version, command });
  }
  return installations;
}

/** What the package manager says, else the program itself: some programs of Debian do not know their version. */
function installedVersion(path: string, { versionArguments, versionPattern }: PackagedProgram): string {
  const owner = spawnSync("dpkg-query", ["--search", realpathSync(path)], { encoding: "utf8" }).stdout ?? "";
  const name = /^([^:\s]+): /.exec(owner)?.[1];
  if (name !== undefined) {
    const status = spawnSync("dpkg-query", ["--status", name], { encoding: "utf8" }).stdout;
    const version = /^Version: (.+)$/m.exec(status)?.[1];
    if (version !== undefined) return version;
  }
  const { stdout, stderr } = spawnSync(path, versionArguments, { encoding: "utf8" });
  return versionPattern.exec(`${stdout}${stderr}`)?.[1] ?? "unknown";
}

/** Whether a Unix stream socket is listened on at a path; nobody needs to connect for that. */
export function isListening(path: string): boolean {
  // unix(7): the flag 00010000 (__SO_ACCEPTCON) is set for a socket that listens.
  for (const line of readFileSync("/proc/net/unix", "utf8").split("\n")) {
    if (line.endsWith(` ${path}`) && / 00010000 /.test(line)) return true;
  }
  return false;
}

/** Whether a file is there and has something in it. */
export function isWritten(path: string): boolean {
  try {
    return readFileSync(path).length > 0;
  } catch {
    return false;
  }
}
