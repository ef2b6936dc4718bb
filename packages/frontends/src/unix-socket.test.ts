import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, lstat, mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { prepareSocketPath, SocketPathError } from "./unix-socket.ts";

const LONGEST = process.platform === "darwin" ? 103 : 107;

describe("prepareSocketPath", () => {
  let folder: string;
  const servers: Server[] = [];

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "hostd-socket-"));
  });

  afterEach(async () => {
    for (const server of servers.splice(0)) server.close();
    await rm(folder, { recursive: true });
  });

  async function listen(path: string): Promise<Server> {
    const server = createServer((socket) => socket.destroy());
    await new Promise<void>((resolve, reject) => server.once("error", reject).listen(path, resolve));
    servers.push(server);
    return server;
  }

  /** Leaves a socket behind as a process does that is killed. */
  async function leaveStale(path: string): Promise<void> {
    const script = `require("net").createServer().listen(${JSON.stringify(path)}, () => console.log("up"))`;
    const child = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "inherit"] });
    const exited = once(child, "exit");
    await once(child.stdout, "data");
    child.kill("SIGKILL");
    await exited;
  }

  it("makes the folders of the socket for this user alone", async () => {
    const path = join(folder, "a", "b", "vm.sock");
    await prepareSocketPath(path);
    for (const made of ["a", "a/b"]) expect((await stat(join(folder, made))).mode & 0o777).toBe(0o700);
    await listen(path);
  });

  it("leaves the rights of a folder alone that exists", async () => {
    await chmod(folder, 0o755);
    await prepareSocketPath(join(folder, "vm.sock"));
    expect((await stat(folder)).mode & 0o777).toBe(0o755);
  });

  it("removes a socket that a killed process left", async () => {
    const path = join(folder, "vm.sock");
    await leaveStale(path);
    expect((await lstat(path)).isSocket()).toBe(true);
    await prepareSocketPath(path);
    await expect(lstat(path)).rejects.toMatchObject({ code: "ENOENT" });
    await listen(path);
  });

  it("says who is in the way when somebody listens, and does not disturb them", async () => {
    const path = join(folder, "vm.sock");
    await listen(path);
    const attempt = prepareSocketPath(path);
    await expect(attempt).rejects.toBeInstanceOf(SocketPathError);
    await expect(attempt).rejects.toThrow(
      `${path}: another process is listening on it (is hostd already running?); stop it or choose another path`,
    );
    await expect(prepareSocketPath(path)).rejects.toBeInstanceOf(SocketPathError);
    expect((await lstat(path)).isSocket()).toBe(true);
  });

  it("leaves a file alone that is no socket", async () => {
    const path = join(folder, "vm.sock");
    await writeFile(path, "precious");
    await expect(prepareSocketPath(path)).rejects.toThrow(
      `${path}: exists and is not a socket; it is left alone, choose another path or remove it`,
    );
    expect(await readFile(path, "utf8")).toBe("precious");
  });

  it("leaves a folder alone, and a link to a socket", async () => {
    const inTheWay = join(folder, "folder");
    await mkdir(inTheWay);
    await expect(prepareSocketPath(inTheWay)).rejects.toBeInstanceOf(SocketPathError);
    const link = join(folder, "link");
    await symlink(join(folder, "elsewhere"), link);
    await expect(prepareSocketPath(link)).rejects.toBeInstanceOf(SocketPathError);
    expect((await lstat(link)).isSymbolicLink()).toBe(true);
  });

  it("counts the bytes of a path and refuses what does not fit", async () => {
    const fitting = join(folder, "x".repeat(LONGEST - Buffer.byteLength(folder) - 1));
    await prepareSocketPath(fitting);
    await listen(fitting);
    const over = `${fitting.slice(0, -1)}ü`;
    expect(over).toHaveLength(LONGEST);
    await expect(prepareSocketPath(over)).rejects.toThrow(
      `${over}: a Unix socket's path may have ${LONGEST} bytes, this has ${LONGEST + 1}; choose a shorter one`,
    );
  });
});
