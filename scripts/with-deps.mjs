// Runs a command with the workspace's own tools and its pinned Node first on the path, installing what is missing and
// bundling hostd when its sources have changed.
//
// Written for whatever Node the machine has (18 or newer), because on a fresh checkout it runs before the pinned
// Node is there. Usage: node scripts/with-deps.mjs COMMAND [ARGUMENT...]
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { isBundleCurrent } from "../apps/hostd/bin/bundle.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const bin = join(root, "node_modules", ".bin");
const stamp = join(root, "node_modules", ".installed-for");

/** A digest of everything that decides what an install puts in place. */
function manifestDigest() {
  const hash = createHash("sha256");
  const files = ["pnpm-lock.yaml", "pnpm-workspace.yaml", "package.json", "test/package.json"];
  for (const folder of ["packages", "apps"]) {
    for (const name of readdirSync(join(root, folder)).sort()) files.push(join(folder, name, "package.json"));
  }
  for (const file of files) {
    const path = join(root, file);
    if (existsSync(path)) hash.update(file).update("\0").update(readFileSync(path));
  }
  return hash.update(`${process.platform}-${process.arch}`).digest("hex");
}

function run(command, args, env) {
  const result = spawnSync(command, args, { cwd: root, stdio: "inherit", env });
  if (result.error) {
    console.error(`with-deps: cannot run ${command}: ${result.error.message}`);
    process.exit(127);
  }
  if (result.signal) process.kill(process.pid, result.signal);
  return result.status ?? 1;
}

const digest = manifestDigest();
if (!existsSync(stamp) || readFileSync(stamp, "utf8") !== digest) {
  console.error("Installing dependencies (pnpm 12)...");
  // The pinned Node of an earlier install must not run the package manager that may replace it.
  const path = (process.env.PATH ?? "").split(delimiter).filter((entry) => entry !== bin);
  const env = { ...process.env, PATH: path.join(delimiter) };
  const status = run("npx", ["--yes", "pnpm@12", "install", "--frozen-lockfile", "--reporter=append-only"], env);
  if (status !== 0) {
    console.error("with-deps: the install failed; the messages above say why.");
    process.exit(status);
  }
  writeFileSync(stamp, digest);
}

const [command, ...args] = process.argv.slice(2);
if (command === undefined) {
  console.error("with-deps: usage: node scripts/with-deps.mjs COMMAND [ARGUMENT...]");
  process.exit(2);
}
const env = { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH ?? ""}` };
if (!isBundleCurrent() && run("node", [join(root, "scripts", "build-bundle.mjs")], env) !== 0) {
  console.error("with-deps: hostd could not be bundled, as said above; it runs from its sources, which starts slower.");
}
const local = join(bin, command);
process.exit(run(existsSync(local) ? local : command, args, env));
