/**
 * A stand-in for what `podman machine` does with gvproxy: how it starts it, waits for it, uses it while the machine
 * runs, and ends it. What it asks for is what Podman 5 and 6 do (pkg/machine/shim/networking.go, pkg/machine/gvproxy.go).
 */
import { once } from "node:events";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, request } from "node:http";
import { connect } from "node:net";
import type { Duplex } from "node:stream";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import type { EmbeddedGuest } from "@hostd/guest";
import { formatIpv4 } from "@hostd/stack";
import { describe, expect, it } from "vitest";
import { makeKey } from "../../packages/portfwd/src/testing/ssh-guest.ts";
import { runBySsh, SshServer } from "../../packages/portfwd/src/testing/ssh-server.ts";
import { appeared, freePort, GvproxyBench, type GvproxyProcess, isAlive } from "./support/gvproxy-process.ts";

const USER = "core";
const PODMAN_SOCKET = "/run/user/1000/podman/podman.sock";
/** Six tries, half a second at first and twice as long after each. */
const BACKOFF = [500, 1000, 2000, 4000, 8000, 16_000];

/** A machine's files, and gvproxy as Podman starts it for them. */
class Machine {
  readonly bench = new GvproxyBench();
  readonly key = makeKey();
  readonly #runtime = this.bench.path("podman");
  readonly vmSocket = `${this.#runtime}/default-gvproxy.sock`;
  readonly apiSocket = `${this.#runtime}/default-api.sock`;
  readonly pidFile = `${this.#runtime}/gvproxy.pid`;
  readonly logFile = `${this.#runtime}/gvproxy.log`;
  readonly sshPort: number;

  private constructor(sshPort: number) {
    this.sshPort = sshPort;
    mkdirSync(this.#runtime);
    writeFileSync(this.bench.path("machine"), this.key.privateText, { mode: 0o600 });
  }

  static async create(): Promise<Machine> {
    return new Machine(await freePort());
  }

  /** Starts gvproxy, waits for the socket and boots the machine. */
  async start(): Promise<{ gvproxy: GvproxyProcess; guest: EmbeddedGuest; waited: number }> {
    rmSync(this.vmSocket, { force: true });
    const started = performance.now();
    const listening = appeared(this.vmSocket);
    const gvproxy = this.bench.start(
      [
        ...["-mtu", "1500", "-ssh-port", String(this.sshPort), "-listen-qemu", `unix://${this.vmSocket}`],
        ...["-forward-sock", this.apiSocket, "-forward-dest", PODMAN_SOCKET, "-forward-user", USER],
        ...["-forward-identity", this.bench.path("machine"), "-pid-file", this.pidFile, "-log-file", this.logFile],
      ],
      { stdio: "ignore" },
    );
    await listening;
    const waited = performance.now() - started;
    // QEMU connects at once, and once only.
    return { gvproxy, guest: await this.bench.attach(this.vmSocket), waited };
  }

  /** Boots the system in the machine: an address, an SSH server, and Podman's service behind it. */
  async boot(guest: EmbeddedGuest): Promise<void> {
    const { address } = await guest.configure();
    expect(formatIpv4(address)).toBe("192.168.127.2");
    const service = createServer((asked, answer) => {
      answer.end(asked.url === "/_ping" ? "OK" : `${asked.method} ${asked.url}`);
    });
    const sshd = new SshServer(USER, this.key.publicText);
    sshd.sockets.set(PODMAN_SOCKET, (channel) => void service.emit("connection", channel));
    guest.listen(22, (stream) => sshd.accept(stream));
  }

  /** Waits until the machine takes SSH, as Podman does before it says that the machine is up. */
  async waitForSsh(): Promise<void> {
    for (const delay of BACKOFF) {
      if (await connects(this.sshPort)) break;
      await sleep(delay);
    }
    expect(await runBySsh(this.sshPort, USER, this.key.privateText, "true")).toBe(0);
  }

  /** Asks Podman's service at the socket of this host. */
  async ask(path: string): Promise<string> {
    const asking = request({ socketPath: this.apiSocket, path, agent: false }).end();
    const [answer] = (await once(asking, "response")) as [IncomingMessage];
    expect(answer.statusCode).toBe(200);
    return await text(answer);
  }

  /** Ends gvproxy as Podman does, once the machine is down. */
  async stop(gvproxy: GvproxyProcess): Promise<void> {
    const written = readFileSync(this.pidFile, "utf8");
    // Go's strconv.Atoi takes no space around it.
    expect(written).toMatch(/^[1-9][0-9]*$/);
    const pid = Number(written);
    expect(pid).toBe(gvproxy.pid);
    process.kill(pid, "SIGKILL");
    for (let delay = 1; isAlive(pid) && delay <= 128; delay *= 2) await sleep(delay);
    expect(isAlive(pid)).toBe(false);
    rmSync(this.pidFile);
  }
}

/** Whether a port of this host takes a connection within 10 ms. */
async function connects(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  socket.setTimeout(10, () => socket.destroy(new Error("timeout")));
  return await once(socket, "connect")
    .then(
      () => true,
      () => false,
    )
    .finally(() => socket.destroy());
}

/** Asks the gateway from inside of the machine, as Podman does for every published port. */
async function askGateway(
  guest: EmbeddedGuest,
  path: string,
  body: object,
): Promise<{ status?: number; body: string }> {
  const [address] = await guest.resolve("gateway.containers.internal");
  const stream: Duplex = await guest.connect(address, 80);
  const asking = request({
    createConnection: () => stream,
    host: "gateway.containers.internal",
    path,
    method: "POST",
    headers: { "Content-Type": "application/json" },
  });
  asking.end(JSON.stringify(body));
  const [answer] = (await once(asking, "response")) as [IncomingMessage];
  return { ...(answer.statusCode === undefined ? {} : { status: answer.statusCode }), body: await text(answer) };
}

/** What a port of this host says. */
const hear = (port: number) => text(connect(port, "127.0.0.1"));

describe("podman machine", () => {
  it("starts, uses and ends gvproxy, and starts it again", async () => {
    const machine = await Machine.create();
    const published = await freePort();
    for (const round of ["first", "second"]) {
      const { gvproxy, guest, waited } = await machine.start();
      // It would wait for half a minute.
      expect(waited).toBeLessThan(5000);
      expect(await connects(machine.sshPort)).toBe(true);
      await machine.boot(guest);
      await machine.waitForSsh();
      expect(await machine.ask("/_ping")).toBe("OK");
      expect(await machine.ask("/v5.0.0/libpod/info")).toBe("GET /v5.0.0/libpod/info");

      // A container with a published port.
      guest.listen(published, (stream) => stream.on("error", () => {}).end(round));
      const forward = { local: `:${published}`, remote: `:${published}`, protocol: "tcp" };
      expect(await askGateway(guest, "/services/forwarder/expose", forward)).toEqual({ status: 200, body: "" });
      expect(await hear(published)).toBe(round);
      const again = await askGateway(guest, "/services/forwarder/expose", forward);
      expect(again).toMatchObject({ status: 500, body: expect.stringContaining("proxy already running") });
      const { remote: _, ...unexposed } = forward;
      expect(await askGateway(guest, "/services/forwarder/unexpose", unexposed)).toEqual({ status: 200, body: "" });
      await expect(hear(published)).rejects.toMatchObject({ code: "ECONNREFUSED" });

      await guest.kill();
      await machine.stop(gvproxy);
      await gvproxy.ended;
      expect(readFileSync(machine.logFile, "utf8").match(/msg="waiting for clients\.\.\."/g)).toHaveLength(1);
    }
  });

  it("may come up long after gvproxy: who connects by then is held", async () => {
    const machine = await Machine.create();
    const { guest } = await machine.start();
    const answer = machine.ask("/_ping");
    const ssh = runBySsh(machine.sshPort, USER, machine.key.privateText, "true");
    await machine.boot(guest);
    expect(await answer).toBe("OK");
    expect(await ssh).toBe(0);
  });
});
