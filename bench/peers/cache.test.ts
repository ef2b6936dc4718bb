import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { cacheFolder, fetchedCommand, fetchedReleases } from "./cache.ts";

let folder = "";

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "hostd-bench-cache-"));
});

afterEach(() => {
  rmSync(folder, { recursive: true });
  vi.unstubAllEnvs();
});

function write(path: string, text = ""): void {
  mkdirSync(join(folder, path, ".."), { recursive: true });
  writeFileSync(join(folder, path), text);
}

describe("cacheFolder", () => {
  it("follows XDG_CACHE_HOME if that is an absolute path", () => {
    vi.stubEnv("HOME", "/home/someone");
    vi.stubEnv("XDG_CACHE_HOME", "/cache");
    expect(cacheFolder()).toBe("/cache/hostd-bench");
    vi.stubEnv("XDG_CACHE_HOME", "relative");
    expect(cacheFolder()).toBe("/home/someone/.cache/hostd-bench");
  });
});

describe("fetchedReleases", () => {
  it("are those with a manifest", () => {
    write("trixie/manifest.json", '{"suite":"trixie","packages":{"passt":"1.0"}}');
    write("unfinished/root/usr/bin/passt");
    expect(fetchedReleases(folder)).toEqual([
      { root: join(folder, "trixie", "root"), suite: "trixie", packages: { passt: "1.0" } },
    ]);
  });

  it("are none without a folder", () => {
    expect(fetchedReleases(join(folder, "nothing"))).toEqual([]);
  });

  it("name a manifest that is damaged", () => {
    write("trixie/manifest.json", '{"suite":"trixie","packages":{"passt":1}}');
    expect(() => fetchedReleases(folder)).toThrow("trixie/manifest.json is damaged; run: npm run bench:peers");
  });
});

describe("fetchedCommand", () => {
  it("runs a program by the release's own loader, with its libraries", () => {
    write("root/usr/bin/passt");
    write("root/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2");
    const root = join(folder, "root");
    const libraries = join(root, "usr/lib/x86_64-linux-gnu");
    expect(fetchedCommand({ root, suite: "trixie", packages: {} }, "passt")).toEqual([
      join(libraries, "ld-linux-x86-64.so.2"),
      "--library-path",
      libraries,
      join(root, "usr/bin/passt"),
    ]);
    expect(fetchedCommand({ root, suite: "trixie", packages: {} }, "pasta")).toBeUndefined();
  });
});
