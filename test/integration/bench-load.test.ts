import { type ChildProcess, execFile, spawn } from "node:child_process";
import { Resolver } from "node:dns/promises";
import { once } from "node:events";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { createServer, type Socket, connect as tcpConnect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer, text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const SOURCES = fileURLToPath(new URL("../../bench/rig/load/", import.meta.url));
/** Below the ports that the kernel gives to connections; each server has an address of its own. */
const BASE = 20_000;
const DNS_PORT = 20_053;
const [HTTP, STATISTICS] = [BASE + 3, BASE + 4];

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

interface Statistics {
  readonly nanoseconds: number;
  readonly discarded: number;
  readonly sent: number;
  readonly datagrams: number;
  readonly datagramBytes: number;
  readonly lastDatagramNanoseconds: number;
  readonly connections: number;
}

let folder: string;
let program: string;
let addresses = 0;
/** Those that have not ended. */
const children = new Set<ChildProcess>();

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "hostd-load-"));
  program = join(folder, "load");
  const files = (await readdir(SOURCES)).filter((name) => name.endsWith(".c")).map((name) => join(SOURCES, name));
  await promisify(execFile)("cc", ["-O2", "-Wall", "-Wextra", "-Werror", "-o", program, ...files]);
});

afterAll(async () => {
  for (const child of children) child.kill("SIGKILL");
  await rm(folder, { recursive: true, force: true });
});

/** A loopback address that no other server uses, of this process or of another. */
function nextAddress(): string {
  const number = process.pid * 64 + addresses++;
  return `127.${64 + ((number >> 16) & 63)}.${(number >> 8) & 255}.${number & 255}`;
}

/** Runs a client until it ends, with a stdin that stays open. */
function start(...args: string[]): { readonly child: ChildProcess; readonly outcome: Promise<Outcome> } {
  const child = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"] });
  children.add(child);
  child.on("close", () => children.delete(child));
  const outcome = Promise.all([once(child, "close"), text(child.stdout), text(child.stderr)]).then(
    ([[code], stdout, stderr]) => ({ code, stdout, stderr }),
  );
  return { child, outcome };
}

/** The one line of JSON that a client prints. */
async function run<Key extends string>(...args: string[]): Promise<Record<Key, number>> {
  const { code, stdout, stderr } = await start(...args).outcome;
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout).toMatch(/^\{.*\}\n$/);
  return JSON.parse(stdout);
}

/** A server on a loopback address of its own. */
class Server {
  readonly address: string;
  readonly to: string;
  readonly #child: ChildProcess;

  private constructor(address: string, child: ChildProcess) {
    this.address = address;
    this.to = `${address}:${BASE}`;
    this.#child = child;
  }

  static async start(): Promise<Server> {
    const address = nextAddress();
    const { child, outcome } = start(
      ...["serve", "--listen", address, "--port", String(BASE), "--dns-port", String(DNS_PORT)],
    );
    const ended = outcome.then(({ stderr }) => Promise.reject(new Error(`the server ended: ${stderr}`)));
    ended.catch(() => {});
    const [line] = await Promise.race([once(child.stdout!, "data"), ended]);
    expect(String(line)).toBe("ready\n");
    return new Server(address, child);
  }

  async statistics(): Promise<Statistics> {
    return JSON.parse(await text(tcpConnect(STATISTICS, this.address)));
  }

  /** Asks for the statistics until they are as wanted. */
  async until(isReached: (statistics: Statistics) => boolean): Promise<void> {
    while (!isReached(await this.statistics()));
  }

  end(): void {
    this.#child.kill("SIGKILL");
  }
}

async function connect(address: string, port: number): Promise<Socket> {
  const socket = tcpConnect({ host: address, port, noDelay: true });
  await once(socket, "connect");
  return socket;
}

/** Lets the server do what it can: it answers so many inquiries in turn with everything else. */
async function exchanges(server: Server, count: number): Promise<void> {
  for (let at = 0; at < count; at++) await server.statistics();
}

describe.concurrent("load", () => {
  it("ends at its deadline and says what is missing", async () => {
    const address = nextAddress();
    const silent = [BASE, STATISTICS].map((port) => createServer().listen(port, address));
    await Promise.all(silent.map((server) => once(server, "listening")));
    const args = ["up", "--to", `${address}:${BASE}`, "--flows", "1", "--seconds", "0.1"];
    const { code, stdout, stderr } = await start(...args).outcome;
    expect(stderr).toBe("load up: not done after 5.1 s, still waiting for the statistics before\n");
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    for (const server of silent) server.close();
  });

  it("measures bulk transfers by the clock of the receiver", async () => {
    const server = await Server.start();
    type Keys = "bytes" | "seconds" | "gbitPerSecond" | "flows" | "slowest" | "fastest";
    for (const command of ["up", "down"]) {
      const args = [command, "--to", server.to, "--flows", "3", "--seconds", "0.2", "--warmup", "0.1"];
      const { bytes, seconds, gbitPerSecond, flows, slowest, fastest } = await run<Keys>(...args);
      expect(seconds).toBeGreaterThanOrEqual(0.2);
      expect(gbitPerSecond).toBeCloseTo((bytes * 8) / seconds / 1e9, 3);
      expect(flows).toBe(3);
      expect(slowest).toBeGreaterThan(0);
      expect(fastest).toBeGreaterThanOrEqual(slowest);
      if (command === "down") {
        expect(bytes).toBeGreaterThanOrEqual(2 * slowest + fastest);
        expect(bytes).toBeLessThanOrEqual(slowest + 2 * fastest);
      }
      const { discarded, sent } = await server.statistics();
      expect(command === "up" ? discarded : sent).toBeGreaterThan(bytes);
    }
    await server.until(({ connections }) => connections === 0);
  });

  it("measures round trips", async () => {
    const server = await Server.start();
    const args = ["rtt", "--to", server.to, "--count", "200", "--warmup", "10"];
    const { p50, p90, p99, max, count } = await run<"p50" | "p90" | "p99" | "max" | "count">(...args);
    expect(count).toBe(200);
    expect(p50).toBeGreaterThan(0);
    expect([p50, p90, p99, max]).toEqual([p50, p90, p99, max].toSorted((a, b) => a - b));
  });

  it("measures HTTP requests on kept and on new connections", async () => {
    const server = await Server.start();
    for (const flags of [[], ["--close"], ["--port", String(HTTP)]]) {
      const args = ["http", "--to", server.to, "--connections", "4", "--seconds", "0.2", "--warmup", "0.1", ...flags];
      const result = await run<"requestsPerSecond" | "p50" | "p99" | "errors">(...args);
      expect(result.requestsPerSecond).toBeGreaterThan(0);
      expect(result.p50).toBeGreaterThan(0);
      expect(result.p99).toBeGreaterThanOrEqual(result.p50);
      expect(result.errors).toBe(0);
    }
  });

  it("serves HTTP requests in pieces, keeps connections, and closes them as asked", async () => {
    const server = await Server.start();
    const socket = await connect(server.address, HTTP);
    const body = "0".repeat(128);
    for (let round = 0; round < 2; round++) {
      socket.write("GET / HTTP/1.1\r\nHost: any");
      // What came after these bytes is read after them.
      await server.statistics();
      socket.write("\r\n\r\n");
      const [response] = await once(socket, "data");
      expect(String(response)).toMatch(/^HTTP\/1\.1 200 OK\r\n(.+\r\n)*Content-Length: 128\r\n(.+\r\n)*\r\n0+$/);
      expect(String(response).endsWith(`\r\n\r\n${body}`)).toBe(true);
    }
    socket.write("GET / HTTP/1.1\r\nHost: any\r\nconnection:  Close\r\n\r\n");
    const last = await text(socket);
    expect(last).toContain("\r\nConnection: close\r\n");
    expect(last.endsWith(`\r\n\r\n${body}`)).toBe(true);

    const other = await connect(server.address, HTTP);
    other.write("POST / HTTP/1.1\r\nHost: any\r\n\r\n");
    expect(await text(other)).toMatch(/^HTTP\/1\.1 400 /);
  });

  it("echoes what a client sends, however late it reads", async () => {
    const server = await Server.start();
    const socket = await connect(server.address, BASE + 2);
    const chunk = Buffer.alloc(1024 * 1024, "0123456789abcdef-");
    const sent: Buffer[] = [];
    // Until the buffers of both ends are full, and the echo waits for its client.
    for (let isFull = false; !isFull; ) {
      sent.push(chunk);
      if (socket.write(chunk)) continue;
      const drained = once(socket, "drain").then(() => false);
      isFull = await Promise.race([drained, exchanges(server, 200).then(() => true)]);
    }
    expect(sent.length).toBeGreaterThan(1);
    socket.end();
    const received = await buffer(socket);
    expect(received.equals(Buffer.concat(sent))).toBe(true);
  });

  it("counts datagrams at both ends", async () => {
    const server = await Server.start();
    type Keys = "sent" | "received" | "sentPerSecond" | "receivedPerSecond" | "loss";
    const common = ["--to", server.to, "--size", "1000", "--seconds", "0.3"];
    for (const rate of ["0", "2000"]) {
      for (const command of ["udp-up", "udp-down"]) {
        const before = await server.statistics();
        const result = await run<Keys>(command, ...common, "--rate", rate);
        const after = await server.statistics();
        expect(result.received).toBeGreaterThan(0);
        expect(result.received).toBeLessThanOrEqual(result.sent);
        expect(result.loss).toBeCloseTo(1 - result.received / result.sent, 5);
        expect(result.receivedPerSecond).toBeGreaterThan(0);
        if (rate === "2000") expect(result.sentPerSecond).toBeLessThan(2100);
        if (command === "udp-down") continue;
        expect(after.datagrams - before.datagrams).toBe(result.received);
        expect(after.datagramBytes - before.datagramBytes).toBe(result.received * 1000);
      }
    }
  });

  it("serves one address for every name and measures queries", async () => {
    const server = await Server.start();
    const resolver = new Resolver({ timeout: 5000 });
    resolver.setServers([`${server.address}:${DNS_PORT}`]);
    expect(await resolver.resolve4("any.example.test", { ttl: true })).toEqual([{ address: "192.0.2.7", ttl: 0 }]);
    await expect(resolver.resolve6("any.example.test")).rejects.toMatchObject({ code: "ENODATA" });

    const to = `${server.address}:${DNS_PORT}`;
    const args = ["dns", "--to", to, "--name", "www.example.test", "--outstanding", "5", "--seconds", "0.2"];
    const result = await run<"queriesPerSecond" | "p50" | "p99" | "lost" | "errors">(...args, "--warmup", "0.1");
    expect(result.queriesPerSecond).toBeGreaterThan(0);
    expect(result.p99).toBeGreaterThanOrEqual(result.p50);
    expect(result.errors).toBe(0);
  });

  it("keeps idle connections until stdin ends", async () => {
    const server = await Server.start();
    const { child, outcome } = start("idle", "--to", server.to, "--flows", "500", "--hold", "60");
    const [line] = await once(child.stdout!, "data");
    expect(JSON.parse(String(line))).toEqual({ open: 500, failed: 0 });
    await server.until(({ connections }) => connections === 500);
    child.stdin?.end();
    expect(await outcome).toMatchObject({ code: 0, stderr: "" });
    await server.until(({ connections }) => connections === 0);
  });

  it("keeps idle connections until the time is over", async () => {
    const server = await Server.start();
    const result = await run<"open" | "failed">("idle", "--to", server.to, "--flows", "3", "--hold", "0.1");
    expect(result).toEqual({ open: 3, failed: 0 });
  });

  it.each<[string[], (statistics: Statistics) => boolean, RegExp]>([
    [
      ["up", "--flows", "2", "--seconds", "60"],
      ({ discarded }) => discarded > 0,
      /: flow [12]: (Broken pipe|Connection reset by peer)/,
    ],
    [["down", "--flows", "2", "--seconds", "60"], ({ sent }) => sent > 0, /: flow [12]/],
    [["rtt", "--count", "10000000"], ({ connections }) => connections === 1, /Connection reset|was ended by the other/],
    [
      ["http", "--connections", "2", "--seconds", "60"],
      ({ connections }) => connections === 2,
      /all of 2 fail for 1 s/,
    ],
    [["udp-up", "--size", "100", "--seconds", "60", "--rate", "100"], ({ datagrams }) => datagrams > 0, /refused/],
    [
      ["idle", "--flows", "5", "--hold", "60"],
      ({ connections }) => connections === 5,
      /connections? .*ended by the oth/,
    ],
  ])("fails when the server ends while it runs: %s", async ([command, ...args], isRunning, message) => {
    const server = await Server.start();
    const { outcome } = start(command!, "--to", server.to, ...args);
    await server.until(isRunning);
    server.end();
    const { code, stderr } = await outcome;
    expect(stderr).toMatch(message);
    expect(stderr.startsWith(`load ${command}: `)).toBe(true);
    expect(code).toBe(1);
  });

  it.each([
    [["up", "--flows", "2", "--seconds", "1"]],
    [["down", "--flows", "2", "--seconds", "1"]],
    [["rtt", "--count", "1"]],
    [["http", "--connections", "2", "--seconds", "1"]],
    [["http", "--connections", "2", "--seconds", "1", "--close"]],
    [["udp-up", "--size", "100", "--seconds", "1"]],
    [["udp-down", "--size", "100", "--seconds", "1"]],
    [["dns", "--name", "a", "--outstanding", "1", "--seconds", "1"]],
    [["idle", "--flows", "2", "--hold", "1"]],
  ])("fails when nothing listens: %s", async ([command, ...args]) => {
    const { code, stdout, stderr } = await start(command!, "--to", "127.63.0.1:20000", ...args!).outcome;
    expect(stderr).toMatch(/^load .*: Connection refused\n$/);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  });

  it.each([
    [[], "load: no command"],
    [["upp"], 'load: there is no command "upp"'],
    [["rtt", "--to", "127.0.0.1:80"], "load rtt: --count is missing"],
    [["rtt", "--count", "5", "--count", "5"], "load rtt: --count is given twice"],
    [["rtt", "--count"], "load rtt: --count takes a value"],
    [["rtt", "--flows", "1"], 'load rtt: there is no option "--flows"'],
    [["rtt", "--count", "0"], 'load rtt: --count takes an integer from 1 to 10000000, not "0"'],
    [["rtt", "--count", "7x"], 'load rtt: --count takes an integer from 1 to 10000000, not "7x"'],
    [["up", "--seconds", "nan"], 'load up: --seconds takes a number from 0.1 to 3600, not "nan"'],
    [["up", "--to", "host:80"], 'load up: --to takes an IPv4 address and a port like 192.0.2.1:7000, not "host:80"'],
    [["up", "--to", "127.0.0.1:65535"], 'load up: --to takes an integer from 1 to 65530, not "65535"'],
    [["serve", "--listen", "::1"], 'load serve: --listen takes an IPv4 address, not "::1"'],
  ])("refuses wrong arguments: %s", async (args, message) => {
    const { code, stdout, stderr } = await start(...args).outcome;
    expect(stderr.split("\n").slice(0, 2)).toEqual([message, "usage:"]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  });
});
