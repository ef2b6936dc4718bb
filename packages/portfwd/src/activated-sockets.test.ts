import { type ChildProcess, spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { lstat, rename } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Server } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { datagramDescriptor } from "@hostd/native";
import { describe, expect, test } from "vitest";
import { ActivatedSockets } from "./activated-sockets.ts";
import type { ForwardRule, ListenAddress, SocketPath } from "./forward-rule.ts";
import { cleanUp, failure, makeFolder } from "./testing/harness.ts";

const TO = { address: null, port: 80 };

function stream(listen: ListenAddress | SocketPath): ForwardRule {
  return { protocol: "tcp", listen, to: TO };
}

/** What Node's servers have and its types leave out. */
function descriptorOf(server: Server): number {
  const { _handle } = server as unknown as { readonly _handle: { readonly fd: number } };
  return _handle.fd;
}

async function listening(server: Server): Promise<Server> {
  await once(server, "listening");
  cleanUp(() => server.close());
  return server;
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}

/** A process that has descriptors from 3 on, as systemd starts one. */
class Activated {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(rules: readonly ForwardRule[], descriptors: readonly (number | "ignore")[], names: string) {
    const script = join(import.meta.dirname, "testing", "activated-child.ts");
    const command = `LISTEN_PID=$$ exec "$@"`;
    const args = [process.execPath, script, JSON.stringify(rules)];
    const child = spawn("sh", ["-c", command, "sh", ...args], {
      env: { ...process.env, LISTEN_FDS: String(descriptors.length), LISTEN_FDNAMES: names },
      stdio: ["pipe", "pipe", "inherit", ...descriptors],
    });
    cleanUp(() => child.kill());
    this.#child = child;
    this.#lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  }

  async line(): Promise<string> {
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error("the process has ended");
    return value;
  }

  async report(): Promise<{ listening: (ListenAddress | SocketPath)[]; unused: string[] }> {
    return JSON.parse(await this.line());
  }

  reopen(index: number): void {
    this.#child.stdin?.write(String(index));
  }

  async end(): Promise<void> {
    const exited = once(this.#child, "exit");
    this.#child.stdin?.end();
    expect(await exited).toEqual([0, null]);
  }
}

/** What comes back from a forward whose guest echoes. */
async function echo(to: { readonly path: string } | { readonly host: string; readonly port: number }): Promise<string> {
  const socket = connect(to);
  socket.end("hello");
  return await text(socket);
}

// The kernel of Linux alone tells what a descriptor listens on.
describe.runIf(process.platform === "linux")("sockets that were handed to the process", () => {
  test("serve the forwards that listen where they do; the others are told", async () => {
    const path = join(await makeFolder(), "web.sock");
    const ipv4 = await listening(createServer().listen(0, "127.0.0.1"));
    const ipv6 = await listening(createServer().listen({ port: 0, host: "::1" }));
    const both = await listening(createServer().listen(0));
    const spare = await listening(createServer().listen(0, "127.0.0.1"));
    const unix = await listening(createServer().listen(path));
    const udp = createSocket("udp4").bind(0, "127.0.0.1");
    await once(udp, "listening");
    const udpPort = udp.address().port;
    const rules: ForwardRule[] = [
      stream({ host: "", port: portOf(both) }),
      stream({ path }),
      stream({ host: "127.0.0.1", port: portOf(ipv4) }),
      { protocol: "udp", listen: { host: "127.0.0.1", port: udpPort }, to: TO },
      stream({ host: "0:0:0:0:0:0:0:1", port: portOf(ipv6) }),
    ];
    const servers = [ipv4, ipv6, both, unix, spare];
    const descriptors = [...servers.map(descriptorOf), datagramDescriptor(udp), "ignore" as const];
    const child = new Activated(rules, descriptors, "v4:v6:both:unix:spare.socket:udp");
    expect(await child.report()).toEqual({
      listening: rules.map(({ listen }) => listen),
      unused: [
        `descriptor 7 (spare.socket), tcp 127.0.0.1:${portOf(spare)}`,
        "descriptor 9, not a socket that listens",
      ],
    });
    // From now on only the child has them. Node removes the socket's file with the server that made it.
    const ports = [portOf(ipv4), portOf(ipv6), portOf(both)];
    await rename(path, `${path}.kept`);
    for (const server of servers) server.close();
    udp.close();
    await rename(`${path}.kept`, path);
    expect(await echo({ host: "127.0.0.1", port: ports[0] })).toBe("hello");
    expect(await echo({ host: "::1", port: ports[1] })).toBe("hello");
    expect(await echo({ host: "127.0.0.1", port: ports[2] })).toBe("hello");
    expect(await echo({ host: "::1", port: ports[2] })).toBe("hello");
    expect(await echo({ path })).toBe("hello");
    const client = createSocket("udp4");
    cleanUp(() => client.close());
    client.send("hello", udpPort, "127.0.0.1");
    const [answer] = await once(client, "message");
    expect(answer.toString()).toBe("hello");
    await child.end();
    // They ended with their forwards, and the file is the one's who made it.
    const refused = await failure(connect({ host: "127.0.0.1", port: ports[0] }));
    expect(refused).toBe("ECONNREFUSED");
    expect((await lstat(path)).isSocket()).toBe(true);
  });

  test("are closed with their forward, and the next one listens for itself", async () => {
    const server = await listening(createServer().listen(0, "127.0.0.1"));
    const listen = { host: "127.0.0.1", port: portOf(server) };
    const child = new Activated([stream(listen)], [descriptorOf(server)], "web");
    expect(await child.report()).toEqual({ listening: [listen], unused: [] });
    server.close();
    child.reopen(0);
    expect(await child.line()).toBe("closed");
    expect(await child.report()).toEqual({ listening: [listen], unused: [] });
    expect(await echo(listen)).toBe("hello");
    await child.end();
  });

  test("are each given out once", async () => {
    const server = await listening(createServer().listen(0, "127.0.0.1"));
    const listen = { host: "127.0.0.1", port: portOf(server) };
    const child = new Activated([stream(listen), stream(listen)], [descriptorOf(server)], "");
    // The second one binds for itself.
    expect(JSON.parse(await child.line()).error).toContain(
      `BindError: listen tcp 127.0.0.1:${listen.port}: bind: address already in use (held by node (process `,
    );
  });
});

describe("an environment without sockets for this process", () => {
  const pid = process.pid;

  test.each([
    ["says nothing", {}],
    ["is that of another process", { LISTEN_PID: String(pid + 1), LISTEN_FDS: "1" }],
    ["has no process", { LISTEN_FDS: "1" }],
    ["has no number", { LISTEN_PID: String(pid) }],
    ["has none", { LISTEN_PID: String(pid), LISTEN_FDS: "0" }],
    ["has a senseless number", { LISTEN_PID: String(pid), LISTEN_FDS: "-1" }],
    ["has a number beyond all descriptors", { LISTEN_PID: String(pid), LISTEN_FDS: "1000000000" }],
    ["has a text", { LISTEN_PID: String(pid), LISTEN_FDS: "1 " }],
  ])("gives none when it %s", (_name, env) => {
    const activated = ActivatedSockets.fromEnvironment(env, pid);
    expect(activated.unused()).toEqual([]);
    expect(activated.take(stream({ host: "127.0.0.1", port: 80 }))).toBeUndefined();
  });

  test("gives none for descriptors that are not open, and says so", () => {
    const env = { LISTEN_PID: String(pid), LISTEN_FDS: "9999" };
    const unused = ActivatedSockets.fromEnvironment(env, pid).unused();
    expect(unused).toHaveLength(9999);
    expect(unused.at(-1)).toBe("descriptor 10001, not a socket that listens");
  });
});
