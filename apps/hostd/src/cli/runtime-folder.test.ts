import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ensurePrivateFolder } from "./runtime-folder.ts";

let base: string;
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "hostd-runtime-"));
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(base, { recursive: true });
});

describe("ensurePrivateFolder", () => {
  it("makes the folder for its owner only, and takes it when it is there", () => {
    const folder = join(base, "run", "hostd");
    ensurePrivateFolder(folder);
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    ensurePrivateFolder(folder);
  });

  it("refuses a folder that others can write to", () => {
    const folder = join(base, "open");
    mkdirSync(folder);
    chmodSync(folder, 0o777);
    expect(() => ensurePrivateFolder(folder)).toThrow(`${folder} can be written to by other users: chmod 700 it`);
  });

  it("refuses a link, which may lead anywhere", () => {
    const folder = join(base, "link");
    symlinkSync(base, folder);
    expect(() => ensurePrivateFolder(folder)).toThrow(
      `${folder} is not a folder: remove it, or name another endpoint with --qemu`,
    );
  });

  it("refuses the folder of another user", () => {
    const { uid } = statSync(base);
    vi.spyOn(process, "getuid").mockReturnValue(uid + 1);
    expect(() => ensurePrivateFolder(base)).toThrow(`${base} belongs to user ${uid}, not to ${uid + 1}: remove it`);
  });

  it("fails when a file is in the way", () => {
    writeFileSync(join(base, "file"), "");
    expect(() => ensurePrivateFolder(join(base, "file"))).toThrow(/EEXIST/);
  });
});
