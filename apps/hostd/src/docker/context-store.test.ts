import { createHash } from "node:crypto";
import {
  chmod,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rm,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ContextStore, dockerConfigFolder, isContextName } from "./context-store.ts";

const HOST = "unix:///run/user/1000/docker.sock";

let root: string;
let folder: string;
let store: ContextStore;

beforeEach(async () => {
  root = await realpath(await mkdtemp(join(tmpdir(), "hostd-contexts-")));
  folder = join(root, "docker");
  store = new ContextStore(folder);
});

afterEach(async () => {
  await rm(root, { recursive: true });
});

function storedIn(kind: "meta" | "tls", name: string): string {
  return join(folder, "contexts", kind, createHash("sha256").update(name).digest("hex"));
}

/** Puts a context there as somebody else would. */
async function putForeign(name: string, meta: string): Promise<void> {
  await mkdir(storedIn("meta", name), { recursive: true });
  await writeFile(join(storedIn("meta", name), "meta.json"), meta);
  await mkdir(join(storedIn("tls", name), "docker"), { recursive: true });
  await writeFile(join(storedIn("tls", name), "docker", "key.pem"), "key");
}

async function putConfig(text: string, mode = 0o600): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "config.json"), text);
  await chmod(join(folder, "config.json"), mode);
}

const readConfig = () => readFile(join(folder, "config.json"), "utf8");
const modeOf = async (path: string) => (await stat(path)).mode & 0o777;

describe("dockerConfigFolder", () => {
  const environment = (variables: Record<string, string>) => ({ variables, homeFolder: "/home/me", userId: 1000 });

  it("is that of the docker command", () => {
    expect(dockerConfigFolder(environment({}))).toBe("/home/me/.docker");
    expect(dockerConfigFolder(environment({ DOCKER_CONFIG: "" }))).toBe("/home/me/.docker");
    expect(dockerConfigFolder(environment({ DOCKER_CONFIG: "/etc/docker-client" }))).toBe("/etc/docker-client");
    expect(dockerConfigFolder(environment({ DOCKER_CONFIG: "here" }))).toBe(resolve("here"));
  });
});

describe("isContextName", () => {
  it("takes what the docker command takes", () => {
    for (const name of ["hostd", "a1", "x_y", "x+y", "x.y-z"]) expect(isContextName(name), name).toBe(true);
    for (const name of ["default", "a", "", "_x", ".xy", "x y", "x/y", "../x", "xé"]) {
      expect(isContextName(name), name).toBe(false);
    }
  });
});

describe("a context", () => {
  it("is stored as the docker command stores it, for everybody to read and in a folder of the user alone", async () => {
    await store.write("hostd", HOST);
    const path = join(storedIn("meta", "hostd"), "meta.json");
    expect(JSON.parse(await readFile(path, "utf8"))).toEqual({
      Name: "hostd",
      Metadata: { Description: "The Docker engine in the VM, served by hostd", CreatedBy: "hostd" },
      Endpoints: { docker: { Host: HOST, SkipTLSVerify: false } },
    });
    expect(await readdir(storedIn("meta", "hostd"))).toEqual(["meta.json"]);
    expect(await modeOf(path)).toBe(0o644);
    expect(await modeOf(folder)).toBe(0o700);
    expect(await store.find("hostd")).toEqual({ name: "hostd", host: HOST, isOurs: true });
  });

  it("is not there before, nor after it was removed", async () => {
    expect(await store.find("hostd")).toBeNull();
    await store.write("hostd", HOST);
    await store.write("other", HOST);
    await store.remove("hostd");
    expect(await store.find("hostd")).toBeNull();
    expect(await readdir(join(folder, "contexts", "meta"))).toHaveLength(1);
    expect(await store.find("other")).not.toBeNull();
    await store.remove("hostd");
  });

  it.each([
    [
      "of the docker command",
      '{"Name":"hostd","Metadata":{},"Endpoints":{"docker":{"Host":"tcp://x:2376"}}}',
      "tcp://x:2376",
    ],
    ["of another program", '{"Metadata":{"CreatedBy":"other"},"Endpoints":{"docker":{"Host":7}}}', ""],
    ["that is broken", "{", ""],
    ["that is no object", "[]", ""],
  ])("%s is not ours", async (_, meta, host) => {
    await putForeign("hostd", meta);
    expect(await store.find("hostd")).toEqual({ name: "hostd", host, isOurs: false });
  });

  it("takes the place of another one with nothing left of that", async () => {
    await putForeign("hostd", "{}");
    await store.write("hostd", HOST);
    expect(await store.find("hostd")).toEqual({ name: "hostd", host: HOST, isOurs: true });
    await expect(stat(storedIn("tls", "hostd"))).rejects.toThrow("ENOENT");
  });

  it("is removed with its keys", async () => {
    await putForeign("hostd", "{}");
    await store.remove("hostd");
    await expect(stat(storedIn("meta", "hostd"))).rejects.toThrow("ENOENT");
    await expect(stat(storedIn("tls", "hostd"))).rejects.toThrow("ENOENT");
  });
});

describe("the context in use", () => {
  it("is the default one without a configuration, and stays that without one being made", async () => {
    expect(await store.current()).toBe("default");
    await store.use("default");
    expect(await store.current()).toBe("default");
    await expect(stat(folder)).rejects.toThrow("ENOENT");
  });

  it("is in a new configuration of the user alone", async () => {
    await store.use("hostd");
    expect(await readConfig()).toBe('{\n\t"currentContext": "hostd"\n}');
    expect(await modeOf(join(folder, "config.json"))).toBe(0o600);
    expect(await modeOf(folder)).toBe(0o700);
    expect(await store.current()).toBe("hostd");
  });

  it("is changed with all else as it was", async () => {
    const text = '{\n    "auths": {"x": {"auth": "eA=="}},\n    "detachKeys": "ctrl-e"\n}\n';
    await putConfig(text, 0o640);
    await store.use("hostd");
    expect(await readConfig()).toBe(text.replace('"\n}', '",\n    "currentContext": "hostd"\n}'));
    expect(await modeOf(join(folder, "config.json"))).toBe(0o640);
    await store.use("default");
    expect(await readConfig()).toBe(text);
    expect(await readdir(folder)).toEqual(["config.json"]);
  });

  it("is not written again when it is in use", async () => {
    await putConfig('{"currentContext":"hostd"}');
    const before = await stat(join(folder, "config.json"));
    await store.use("hostd");
    expect((await stat(join(folder, "config.json"))).ino).toBe(before.ino);
  });

  it("is written to where a symbolic link leads", async () => {
    await mkdir(folder);
    await writeFile(join(root, "dotfile"), "{}");
    await symlink(join(root, "dotfile"), join(folder, "config.json"));
    await store.use("hostd");
    expect((await lstat(join(folder, "config.json"))).isSymbolicLink()).toBe(true);
    expect(JSON.parse(await readFile(join(root, "dotfile"), "utf8"))).toEqual({ currentContext: "hostd" });
  });

  it("is put into an empty file, which the docker command takes for none", async () => {
    await putConfig("");
    await store.use("hostd");
    expect(await store.current()).toBe("hostd");
  });

  it.each(["{", "[]", '{"currentContext": "a", "currentContext": "b"}'])("leaves %j alone", async (text) => {
    await putConfig(text);
    await expect(store.use("hostd")).rejects.toThrow(`${join(folder, "config.json")} cannot be changed: `);
    expect(await readConfig()).toBe(text);
    expect(await readdir(folder)).toEqual(["config.json"]);
  });
});
