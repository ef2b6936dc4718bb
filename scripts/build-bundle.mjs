// Bundles hostd and the libraries it uses into apps/hostd/bundle, which bin/hostd.mjs runs. Does nothing when what is
// there is current; scripts/with-deps.mjs runs this when it is not.
//
// Usage: node scripts/build-bundle.mjs
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { rolldown } from "rolldown";
import { bundleFolder, fileState, isBundleCurrent } from "../apps/hostd/bin/bundle.mjs";

/** Files of earlier builds stay for so long: a hostd may be starting from them. */
const KEEP_MS = 60_000;

const root = dirname(import.meta.dirname);
const target = fileURLToPath(bundleFolder);

if (!isBundleCurrent()) await buildBundle();

async function buildBundle() {
  const began = Date.now();
  const source = (path) => join(root, "apps/hostd/src", path);
  const pacWorker = join(root, "packages/httpproxy/src/pac/pac-worker.ts");
  const missing = new Set();
  const bundle = await rolldown({
    cwd: root,
    input: {
      main: source("main.ts"),
      // The demonstration runs it in a process of its own.
      "demo/embedded-guest-main": source("demo/embedded-guest-main.ts"),
      // PAC scripts run in it, in a thread of its own.
      "pac-worker": pacWorker,
    },
    platform: "node",
    onLog(level, log, handle) {
      if (log.code === "UNRESOLVED_IMPORT") missing.add(/resolve '([^']+)'/.exec(log.message)?.[1] ?? log.message);
      else handle(level, log);
    },
    // A native module: it is loaded from where it is installed. ssh2 does without those that it looks for.
    external: ["koffi", "cpu-features", /\/sshcrypto\.node$/],
    // ssh2 is CommonJS, and names its folder at its start.
    transform: { define: { __dirname: "import.meta.dirname" } },
    // What pac-resolver translates scripts with, which is not used, and would be 0.5 MB.
    treeshake: {
      moduleSideEffects: [{ test: /[\\/](degenerator|esprima|escodegen|ast-types)[\\/]/, sideEffects: false }],
    },
  });
  const { output } = await bundle.generate({ format: "esm", comments: { jsdoc: false } });
  // What is not found would be asked for at the start of hostd, in vain.
  if (missing.size > 0) {
    console.error(`build-bundle: not installed: ${[...missing].join(", ")}; run: npm run pnpm install`);
    process.exit(1);
  }
  const modules = (await bundle.watchFiles).map((path) => relative(root, path));
  await bundle.close();

  // The list of inputs is written last and the entries before it, while the names of all others tell their content: so
  // whoever starts meanwhile finds one bundle or the other, or runs from source.
  const chunks = output.toSorted((one, other) => Number(one.isEntry) - Number(other.isEntry));
  put("quickjs.wasm", readFileSync(join(dirname(createRequire(pacWorker).resolve("quickjs-wasi")), "../quickjs.wasm")));
  for (const { fileName, code } of chunks) put(fileName, code);
  const inputs = modules.filter((path) => !path.startsWith("node_modules"));
  // The lockfile stands for what is installed.
  inputs.push("pnpm-lock.yaml", "scripts/build-bundle.mjs");
  put("inputs.json", JSON.stringify(Object.fromEntries(inputs.map((path) => [path, stateSince(path, began)]))));
  removeOthers(new Set(["inputs.json", "quickjs.wasm", ...output.map(({ fileName }) => fileName)]), began - KEEP_MS);
}

/** The state of an input, or none when it has changed since the build began. */
function stateSince(path, began) {
  return statSync(join(root, path)).mtimeMs < began ? fileState(path) : "changed";
}

/** Writes a file of the bundle at once. */
function put(name, text) {
  const path = join(target, name);
  mkdirSync(dirname(path), { recursive: true });
  const temporary = `${path}.${process.pid}.tmp`;
  writeFileSync(temporary, text);
  renameSync(temporary, path);
}

function removeOthers(names, before) {
  for (const entry of readdirSync(target, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (!entry.isFile() || names.has(relative(target, path))) continue;
    // Another build may be doing the same.
    const status = statSync(path, { throwIfNoEntry: false });
    if (status !== undefined && status.mtimeMs < before) rmSync(path, { force: true });
  }
}
