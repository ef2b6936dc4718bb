import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, rm, stat, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

const BIN = fileURLToPath(new URL("../../bin", import.meta.url));
const SOURCES = ["apps/hostd/src/main.ts", "packages/stack/src/index.ts"];

const SOURCE = "export const main = () => console.log('source');";

let root: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "hostd-bundle-"));
  await cp(BIN, join(root, "apps/hostd/bin"), { recursive: true });
  for (const path of SOURCES) await write(path, SOURCE);
  await write("apps/hostd/package.json", '{ "type": "module" }');
  await write("apps/hostd/bundle/main.js", "export const main = () => console.log('bundle');");
  const states = await Promise.all(SOURCES.map(async (path) => [path, await stateOf(path)]));
  await write("apps/hostd/bundle/inputs.json", JSON.stringify(Object.fromEntries(states)));
});

afterEach(async () => {
  await rm(root, { recursive: true });
});

async function write(path: string, text: string): Promise<void> {
  await mkdir(dirname(join(root, path)), { recursive: true });
  await writeFile(join(root, path), text);
  await utimes(join(root, path), 1000, 1000);
}

async function stateOf(path: string): Promise<string> {
  const { mtimeMs, size } = await stat(join(root, path));
  return `${mtimeMs} ${size}`;
}

/** Which code the command runs: that of `bundle/` or that of `src/`. */
async function runs(): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [join(root, "apps/hostd/bin/hostd.mjs")]);
  return stdout.trim();
}

describe("bin/hostd.mjs", () => {
  it("runs the bundle while every file it was made from is as it was", async () => {
    expect(await runs()).toBe("bundle");
  });

  it.each(SOURCES)("runs from source once %s has another size", async (path) => {
    await write(path, `${SOURCE} `);
    expect(await runs()).toBe("source");
  });

  it("runs from source once a file has another time, be it an earlier one", async () => {
    await utimes(join(root, SOURCES[1]), 999, 999);
    expect(await runs()).toBe("source");
  });

  it("runs from source once a file is gone", async () => {
    await rm(join(root, SOURCES[1]));
    expect(await runs()).toBe("source");
  });

  it.each(["apps/hostd/bundle/inputs.json", "apps/hostd/bundle"])("runs from source without %s", async (path) => {
    await rm(join(root, path), { recursive: true });
    expect(await runs()).toBe("source");
  });

  it("runs the bundle of a package, which has no sources", async () => {
    await rm(join(root, "apps/hostd/src"), { recursive: true });
    expect(await runs()).toBe("bundle");
  });
});
