import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { afterEach } from "vitest";
import { EventLog } from "./event-log.ts";

/** What is undone after each test, last first. */
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Has something undone after the test. */
export function cleanUp(cleanup: () => unknown): void {
  cleanups.push(cleanup);
}

/** A folder that is removed after the test. */
export async function makeFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "hostd-peers-"));
  cleanUp(() => rm(folder, { recursive: true }));
  return folder;
}

/** One end of a connection, which a test plays. */
export class Peer {
  readonly stream: Duplex;
  /** What happened, to be awaited. */
  readonly #events = new EventLog<string>();
  #parts: Buffer[] = [];
  hasEnded = false;
  isClosed = false;
  /** Code of the error it has met. */
  failure: string | null = null;

  constructor(stream: Duplex) {
    this.stream = stream;
    stream.on("data", (bytes: Buffer) => {
      this.#parts.push(bytes);
      this.#events.push("data");
    });
    stream.on("end", () => {
      this.hasEnded = true;
      this.#events.push("end");
    });
    stream.on("error", (error: NodeJS.ErrnoException) => {
      this.failure = error.code ?? error.message;
      this.#events.push("error");
    });
    stream.on("close", () => {
      this.isClosed = true;
      this.#events.push("close");
    });
    cleanUp(() => stream.destroy());
  }

  /** All that was received. */
  get received(): Buffer {
    this.#parts = [Buffer.concat(this.#parts)];
    return this.#parts[0];
  }

  /** Forgets what was received. */
  clear(): void {
    this.#parts = [];
  }

  get text(): string {
    return this.received.toString("latin1");
  }

  write(bytes: string | Uint8Array): void {
    this.stream.write(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes);
  }

  end(bytes: string | Uint8Array = ""): void {
    this.stream.end(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes);
  }

  destroy(): void {
    this.stream.destroy();
  }

  /** Waits for exactly this text in all, and nothing else. */
  async gets(text: string): Promise<void> {
    await this.until(() => this.received.length >= text.length || this.hasEnded || this.isClosed);
    if (this.text !== text) throw new Error(`got ${JSON.stringify(this.text)}, not ${JSON.stringify(text)}`);
  }

  /** Waits until so many bytes were received. */
  async getsBytes(length: number): Promise<void> {
    await this.until(() => this.received.length >= length || this.isClosed);
  }

  /** Waits for the end in order. */
  async ends(): Promise<void> {
    await this.until(() => this.hasEnded);
  }

  /** Waits until nothing is left of the connection. */
  async closes(): Promise<void> {
    await this.until(() => this.isClosed);
  }

  async until(condition: () => boolean): Promise<void> {
    await this.#events.until(condition);
  }
}

/** A server whose connections a test plays. */
export interface PlayedServer {
  readonly path: string;
  /** The next connection that nobody has taken. */
  next(): Promise<Peer>;
  /** All connections. */
  readonly peers: readonly Peer[];
  dial(): Promise<Socket>;
}

/** @param isRead - whether its connections are read as bytes come. */
export async function startServer(isRead = true): Promise<PlayedServer> {
  const path = join(await makeFolder(), "server.sock");
  const peers = new EventLog<Peer>();
  let taken = 0;
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const peer = new Peer(socket);
    if (!isRead) socket.pause();
    peers.push(peer);
  });
  server.listen(path);
  await once(server, "listening");
  cleanUp(() => server.close());
  return {
    path,
    peers: peers.events,
    next: async () => {
      taken++;
      return (await peers.take(taken))[taken - 1];
    },
    dial: () => dialPath(path),
  };
}

/** Connects to a Unix socket. */
export async function dialPath(path: string): Promise<Socket> {
  const socket = connect({ path, allowHalfOpen: true });
  await once(socket, "connect");
  return socket;
}

/** Lets everything happen that is under way on local sockets. */
export async function settle(turns = 20): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
}
