/**
 * Fetches the peers of the benchmark that Debian packages, in a newer version than the machine may have, and unpacks
 * them into a folder of the user's cache. Nothing is installed: apt works with lists, state and sources of its own.
 */
import { spawnSync } from "node:child_process";
import { existsSync, globSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { findCommand } from "../../test/vm/host-packages.ts";
import { cacheFolder, MANIFEST } from "./cache.ts";

const PACKAGES = ["gvproxy", "passt", "slirp4netns"];
const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";

const USAGE = `usage: npm run bench:peers -- [--suite NAME] [--mirror URL]

Fetches ${PACKAGES.join(", ")} of a Debian release, with the libraries they need, by this machine's apt, and unpacks
them into ${cacheFolder()}/SUITE, where npm run bench finds them. Nothing is installed.

  --suite NAME   the release (trixie)
  --mirror URL   where to fetch it (http://deb.debian.org/debian)`;

interface Arguments {
  readonly suite: string;
  readonly mirror: string;
}

function readArguments(): Arguments {
  const { values } = parseArgs({
    options: {
      suite: { type: "string", default: "trixie" },
      mirror: { type: "string", default: "http://deb.debian.org/debian" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    console.log(USAGE);
    process.exit(0);
  }
  if (!/^[a-z][a-z0-9-]*$/.test(values.suite)) throw new Error(`--suite "${values.suite}" is no name of a release`);
  if (!URL.canParse(values.mirror)) throw new Error(`--mirror "${values.mirror}" is no URL`);
  return values;
}

function parse(): Arguments {
  try {
    return readArguments();
  } catch (error) {
    console.error(`bench:peers: ${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`);
    process.exit(2);
  }
}

/** What the machine lacks for fetching, if anything. */
function missing(): string | undefined {
  for (const command of ["apt-get", "dpkg-deb"]) {
    if (findCommand(command) === undefined) return `there is no ${command} here: fetching takes Debian or Ubuntu`;
  }
  return existsSync(KEYRING) ? undefined : `there is no ${KEYRING}; run: apt-get install debian-archive-keyring`;
}

/** Runs a program whose own messages are shown, and returns what it writes. */
function run(program: string, args: readonly string[]): string {
  const { status, stdout, error } = spawnSync(program, args, {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`${program} failed with status ${status}`);
  return stdout;
}

/** Makes a folder for apt alone, and returns the options that keep it there. */
function aptOptions(folder: string, { suite, mirror }: Arguments): string[] {
  for (const path of ["state/lists/partial", "cache/archives/partial"]) {
    mkdirSync(join(folder, path), { recursive: true });
  }
  const sources = join(folder, "sources.list");
  writeFileSync(sources, `deb [signed-by=${KEYRING}] ${mirror} ${suite} main\n`);
  // With an empty list of what is installed, apt takes every library along.
  const status = join(folder, "state", "status");
  writeFileSync(status, "");
  return [
    ["Dir::Etc::sourcelist", sources],
    ["Dir::Etc::sourceparts", "-"],
    ["Dir::State", join(folder, "state")],
    ["Dir::State::status", status],
    ["Dir::Cache", join(folder, "cache")],
    ["Acquire::Languages", "none"],
    // The cache may lie where apt's own user cannot go.
    ["APT::Sandbox::User", ""],
    ["Debug::NoLocking", "1"],
  ].flatMap(([name, value]) => ["-o", `${name}=${value}`]);
}

function fetch(args: Arguments): void {
  const cache = cacheFolder();
  mkdirSync(cache, { recursive: true });
  const folder = mkdtempSync(join(cache, ".fetch-"));
  try {
    const options = aptOptions(folder, args);
    console.log(`fetching ${PACKAGES.join(", ")} of ${args.suite} from ${args.mirror}`);
    run("apt-get", [...options, "-qq", "update"]);
    run("apt-get", [...options, "-qq", "--yes", "--no-install-recommends", "--download-only", "install", ...PACKAGES]);
    const release = join(folder, "release");
    const root = join(release, "root");
    mkdirSync(root, { recursive: true });
    const packages: Record<string, string> = {};
    for (const archive of globSync(join(folder, "cache", "archives", "*.deb"))) {
      run("dpkg-deb", ["--extract", archive, root]);
      const field = (name: string) => run("dpkg-deb", ["--field", archive, name]).trim();
      packages[field("Package")] = field("Version");
    }
    writeFileSync(join(release, MANIFEST), `${JSON.stringify({ suite: args.suite, packages }, null, 2)}\n`);
    const target = join(cache, args.suite);
    rmSync(target, { recursive: true, force: true });
    renameSync(release, target);
    for (const name of PACKAGES) console.log(`${name} ${packages[name] ?? "is missing"}`);
    console.log(`unpacked into ${target}`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const args = parse();
const reason = missing();
if (reason !== undefined) {
  console.error(`bench:peers: ${reason}`);
  process.exit(1);
}
try {
  fetch(args);
} catch (error) {
  console.error(`bench:peers: ${error instanceof Error ? error.message : String(error)}`);
  process.exit(1);
}
