import { spawn } from "node:child_process";
import { once } from "node:events";
import { lstatSync } from "node:fs";
import { chmod, lstat, mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { connect, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { listenOnPrivateSocket, prepareSocketPath, SocketPathError } from "./unix-socket.ts";

const LONGEST = process.platform === "darwin" ? 103 : 107;

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

describe("prepareSocketPath", () => {
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

describe("listenOnPrivateSocket", () => {
  /** A server that is closed after the test. */
  function makeServer(): Server {
    const server = createServer((socket) => socket.on("error", () => {}).end("hello"));
    servers.push(server);
    return server;
  }

  it("listens on a socket of this user alone, whatever rights new files have, and leaves those alone", async () => {
    const before = process.umask(0o002);
    try {
      const path = join(folder, "vm.sock");
      await listenOnPrivateSocket(makeServer(), path, 16);
      expect((await lstat(path)).mode & 0o777).toBe(0o600);
      expect(process.umask()).toBe(0o002);
      expect(await text(connect(path))).toBe("hello");
    } finally {
      process.umask(before);
    }
  });

  it("has the socket never open to others, not even while it is made", async () => {
    const before = process.umask(0o000);
    const server = makeServer();
    try {
      const path = join(folder, "vm.sock");
      const modes: number[] = [];
      const { listen } = server;
      server.listen = ((...args: Parameters<typeof listen>) => {
        listen.apply(server, args);
        modes.push(lstatSync(path).mode & 0o777);
        return server;
      }) as typeof listen;
      await listenOnPrivateSocket(server, path);
      expect(modes).toEqual([0o600]);
    } finally {
      process.umask(before);
    }
  });

  it("makes the folders, and has the socket removed with its server", async () => {
    const path = join(folder, "a", "vm.sock");
    const server = makeServer();
    await listenOnPrivateSocket(server, path);
    expect((await stat(join(folder, "a"))).mode & 0o777).toBe(0o700);
    server.close();
    await once(server, "close");
    await expect(lstat(path)).rejects.toMatchObject({ code: "ENOENT" });
  });

  it("takes the place of a socket that a killed process left", async () => {
    const path = join(folder, "vm.sock");
    await leaveStale(path);
    await listenOnPrivateSocket(makeServer(), path);
    expect(await text(connect(path))).toBe("hello");
  });

  it("takes the place of nothing else", async () => {
    const [file, used] = [join(folder, "file"), join(folder, "used.sock")];
    await writeFile(file, "precious");
    await listenOnPrivateSocket(makeServer(), used);
    for (const path of [file, used]) {
      const server = makeServer();
      await expect(listenOnPrivateSocket(server, path)).rejects.toBeInstanceOf(SocketPathError);
      expect(server.listening).toBe(false);
    }
    expect(await readFile(file, "utf8")).toBe("precious");
    expect(await text(connect(used))).toBe("hello");
  });

  it.each([
    ["the system has it not", (server: Server) => listenOnPrivateSocket(server, "/dev/fd/vm.sock"), undefined],
    [
      "the server listens already",
      (server: Server) => listenOnPrivateSocket(server.listen(0), join(folder, "a.sock")),
      "ERR_SERVER_ALREADY_LISTEN",
    ],
  ])("fails once when %s, and leaves the rights of new files alone", async (_name, attempt, code) => {
    const before = process.umask();
    const error = (await attempt(makeServer()).catch((reason: unknown) => reason)) as NodeJS.ErrnoException;
    expect(error).toBeInstanceOf(Error);
    if (code === undefined) expect(error.syscall).toBe("listen");
    else expect(error.code).toBe(code);
    expect(process.umask()).toBe(before);
  });
});
