import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { userInfo } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import type { EmbeddedGuest } from "@hostd/guest";
import type { FlowStream } from "@hostd/streams";
import { onTestFinished } from "vitest";
import { findCommand, isRoot } from "../../vm/host-packages.ts";
import type { Lab } from "./lab.ts";

const LOOPBACK = "127.0.0.1";
const START_TIME = 10_000;

/** OpenSSH's server on a port of the loopback address, as the one that runs in a guest. It ends with the test. */
export class SshServer {
  /** The user that it lets in. */
  readonly user = userInfo().username;
  /** The file of the private key that it lets that user in with. */
  readonly identity: string;
  /** Its own key, as it is in a file of known hosts. */
  readonly hostKey: string;
  /** All that it logged. */
  log = "";
  /** Connections of guests that were led to it. */
  connections = 0;
  readonly #port: number;
  readonly #configuration: string;
  readonly #sockets = new Set<Socket>();
  #child: ChildProcess | null = null;

  private constructor(port: number, folder: string, options: readonly string[]) {
    this.#port = port;
    this.identity = makeSshKey(join(folder, "identity"));
    const hostKey = makeSshKey(join(folder, "host_key"));
    this.hostKey = publicKey(hostKey);
    const authorized = join(folder, "authorized_keys");
    writeFileSync(authorized, `${publicKey(this.identity)}\n`);
    this.#configuration = join(folder, "sshd_config");
    // Of two lines with the same name the first one counts.
    const lines = [
      ...options,
      `ListenAddress ${LOOPBACK}:${port}`,
      `HostKey ${hostKey}`,
      `AuthorizedKeysFile ${authorized}`,
      "PidFile none",
      "StrictModes no",
      "PermitRootLogin prohibit-password",
      "PasswordAuthentication no",
      "UsePAM no",
      "LogLevel VERBOSE",
    ];
    writeFileSync(this.#configuration, lines.map((line) => `${line}\n`).join(""));
  }

  /** @param options - lines of its configuration, which go before others. */
  static async start(lab: Lab, options: readonly string[] = []): Promise<SshServer> {
    const port = await freePort();
    const folder = join(lab.folder, "ssh-server");
    mkdirSync(folder);
    const server = new SshServer(port, folder, options);
    onTestFinished(() => server.kill());
    await server.start();
    return server;
  }

  /** Starts it again. Returns when it takes connections. */
  async start(): Promise<void> {
    // Where it locks up the part that is not trusted; it has to be there for root.
    if (isRoot()) mkdirSync("/run/sshd", { recursive: true });
    const command = findCommand("sshd") ?? "sshd";
    const child = spawn(command, ["-D", "-e", "-f", this.#configuration], { stdio: ["ignore", "ignore", "pipe"] });
    this.#child = child;
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.log += text;
    });
    for (const end = performance.now() + START_TIME; performance.now() < end && child.exitCode === null; ) {
      if (this.log.includes(`Server listening on ${LOOPBACK} port ${this.#port}`) && (await isOpen(this.#port))) return;
      await setTimeout(20);
    }
    throw new Error(`sshd does not start: ${this.log}`);
  }

  /** Kills it with all its connections. */
  async kill(): Promise<void> {
    const child = this.#child;
    this.#child = null;
    for (const socket of this.#sockets) socket.destroy();
    if (child === null || child.exitCode !== null || child.pid === undefined) return;
    const isGone = once(child, "exit");
    for (const pid of processTree(child.pid)) process.kill(pid, "SIGKILL");
    await isGone;
    this.log = "";
  }

  /** Has it serve a port of a guest, until the returned function is called. */
  serve(guest: EmbeddedGuest, port = 22): () => void {
    return guest.listen(port, (stream) => this.#join(stream));
  }

  #join(stream: FlowStream): void {
    this.connections++;
    const socket = connect({ port: this.#port, host: LOOPBACK, allowHalfOpen: true, noDelay: true });
    this.#sockets.add(socket);
    socket.on("error", (error) => stream.destroy(error));
    socket.on("close", () => {
      this.#sockets.delete(socket);
      if (!stream.readableEnded || !stream.writableEnded) stream.destroy(new Error("killed"));
    });
    stream.on("error", () => socket.destroy());
    stream.on("close", () => socket.destroySoon());
    socket.pipe(stream).pipe(socket);
  }
}

/** Makes a key pair, and returns the path of its private half. */
export function makeSshKey(path: string, options: readonly string[] = ["-t", "ed25519", "-N", ""]): string {
  execFileSync(findCommand("ssh-keygen") ?? "ssh-keygen", ["-q", "-C", "test", "-f", path, ...options]);
  return path;
}

/** The public half of a key, as it is in a file of known hosts or authorized keys. */
export function publicKey(path: string): string {
  return readFileSync(`${path}.pub`, "utf8").trim();
}

/** A process and all below it. */
function processTree(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean);
  return [pid, ...children.flatMap((child) => processTree(Number(child)))];
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, LOOPBACK);
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  server.close();
  await once(server, "close");
  return address.port;
}

async function isOpen(port: number): Promise<boolean> {
  const socket = connect(port, LOOPBACK);
  return once(socket, "connect")
    .then(
      () => true,
      () => false,
    )
    .finally(() => socket.destroy());
}
