#!/usr/bin/env node
// The `hostd` command. It parses on any Node of the last years, so that an old one gets a clear message.
import { existsSync } from "node:fs";
import { basename } from "node:path";
import { bundleFolder, isBundleCurrent } from "./bundle.mjs";

const major = Number(process.versions.node.split(".")[0]);
if (major < 24) {
  console.error(
    `hostd: needs Node 24 or newer, and this is ${process.version}.\n` +
      "In a checkout, `npm run hostd` uses the Node that is pinned in the workspace.",
  );
  process.exit(1);
}
// A checkout whose sources have changed runs from them; a published package has only what was built.
const source = new URL("../src/main.ts", import.meta.url);
const fromSource = existsSync(source) && !isBundleCurrent();
const { main } = await import((fromSource ? source : new URL("main.js", bundleFolder)).href);
const args = process.argv.slice(2);
// Whoever starts gvproxy finds it by its name.
await main(basename(process.argv[1]) === "gvproxy" ? ["gvproxy", ...args] : args);
