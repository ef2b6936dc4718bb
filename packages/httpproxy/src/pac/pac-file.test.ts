import { execFile } from "node:child_process";
import { mkdir, rm, truncate, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { makeFolder } from "../../../streams/src/testing/peer.ts";
import { MAX_PAC_BYTES } from "./fetch-pac.ts";
import { PacFile } from "./pac-file.ts";

async function place(): Promise<{ readonly path: string; readonly file: PacFile }> {
  const path = join(await makeFolder(), "proxy.pac");
  return { path, file: new PacFile(pathToFileURL(path)) };
}

describe("PacFile", () => {
  it("is read when it is new, and again once its size or time is another", async () => {
    const { path, file } = await place();
    await writeFile(path, "one");
    await utimes(path, 1000, 1000);
    expect(await file.read()).toBe("one");
    expect(await file.read()).toBeNull();
    await writeFile(path, "three");
    await utimes(path, 1000, 1000);
    expect(await file.read()).toBe("three");
    await writeFile(path, "seven");
    await utimes(path, 1000, 1001);
    expect(await file.read()).toBe("seven");
    expect(await file.read()).toBeNull();
  });

  it("is read again when what is known of it is forgotten", async () => {
    const { path, file } = await place();
    await writeFile(path, "one");
    await file.read();
    file.forget();
    expect(await file.read()).toBe("one");
  });

  it("may be empty", async () => {
    const { path, file } = await place();
    await writeFile(path, "");
    expect(await file.read()).toBe("");
  });

  it("may go and come back", async () => {
    const { path, file } = await place();
    await expect(file.read()).rejects.toThrow("ENOENT");
    await writeFile(path, "one");
    expect(await file.read()).toBe("one");
    await rm(path);
    await expect(file.read()).rejects.toThrow("ENOENT");
  });

  it("has the size limit of a fetched one", async () => {
    const { path, file } = await place();
    await writeFile(path, "");
    await truncate(path, MAX_PAC_BYTES + 1);
    await expect(file.read()).rejects.toThrow("larger");
    await truncate(path, MAX_PAC_BYTES);
    expect(await file.read()).toHaveLength(MAX_PAC_BYTES);
  });

  it("is no folder and no pipe, and the latter is not waited for", async () => {
    const folder = await place();
    await mkdir(folder.path);
    await expect(folder.file.read()).rejects.toThrow("not a regular file");
    const pipe = await place();
    await promisify(execFile)("mkfifo", [pipe.path]);
    await expect(pipe.file.read()).rejects.toThrow("not a regular file");
  });
});
