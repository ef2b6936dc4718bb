import { existsSync, globSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

/** A Debian release's programs, unpacked by `npm run bench:peers` into a folder of their own. */
export interface FetchedRelease {
  /** The root of the unpacked packages: holds usr/bin and so on. */
  readonly root: string;
  /** Such as "trixie". */
  readonly suite: string;
  /** From a package's name to its version. */
  readonly packages: Readonly<Record<string, string>>;
}

/** Name of the file that says what was fetched, in the release's folder. */
export const MANIFEST = "manifest.json";

/** The folder of fetched releases: `$XDG_CACHE_HOME/hostd-bench`, without that variable `~/.cache/hostd-bench`. */
export function cacheFolder(): string {
  const cache = process.env.XDG_CACHE_HOME;
  // A relative path is invalid (XDG Base Directory Specification) and counts as not set.
  return join(cache?.startsWith("/") === true ? cache : join(homedir(), ".cache"), "hostd-bench");
}

/**
 * The releases that have been fetched.
 *
 * @throws Error if a manifest is not what `npm run bench:peers` writes
 */
export function fetchedReleases(folder: string = cacheFolder()): FetchedRelease[] {
  return globSync(join(folder, "*", MANIFEST)).map((path) => {
    const manifest: unknown = JSON.parse(readFileSync(path, "utf8"));
    if (!isManifest(manifest)) throw new Error(`${path} is damaged; run: npm run bench:peers`);
    return { root: join(path, "..", "root"), suite: manifest.suite, packages: manifest.packages };
  });
}

function isManifest(value: unknown): value is Pick<FetchedRelease, "suite" | "packages"> {
  if (typeof value !== "object" || value === null || !("suite" in value) || !("packages" in value)) return false;
  const { suite, packages } = value;
  if (typeof suite !== "string" || typeof packages !== "object" || packages === null) return false;
  return Object.values(packages).every((version) => typeof version === "string");
}

/**
 * The command that runs a program of a fetched release. It goes through that release's own loader, because the program
 * may need a newer C library than this machine's.
 *
 * @returns undefined if the release has no such program
 */
export function fetchedCommand({ root }: FetchedRelease, program: string): string[] | undefined {
  const path = join(root, "usr", "bin", program);
  if (!existsSync(path)) return undefined;
  const [loader] = globSync(join(root, "usr", "lib", "*-linux-gnu*", "ld-linux-*.so.*"));
  return loader === undefined ? undefined : [loader, "--library-path", join(loader, ".."), path];
}
