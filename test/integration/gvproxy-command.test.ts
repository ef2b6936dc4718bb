import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { describe, expect, it, onTestFinished } from "vitest";
import { appeared, DEVICE_MAC, freePort, GvproxyBench, isAlive } from "./support/gvproxy-process.ts";

const NONE = ["-ssh-port", "-1"];

/** Runs the program to its end. */
async function run(...args: string[]) {
  const running = new GvproxyBench().start(args);
  const [{ code }, stdout, stderr] = await Promise.all([running.ended, running.stdout, running.stderr]);
  return { code, stdout, stderr };
}

/** A log without the times. */
const lines = (log: string) =>
  log
    .trimEnd()
    .split("\n")
    .map((line) => line.replace(/^time="\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:Z|[+-]\d\d:\d\d)" /, ""));

/** Where notifications go, and what each connection to it brought. */
async function listenForNotifications(path: string) {
  const received: Promise<string>[] = [];
  const server = createServer((socket: Socket) => received.push(text(socket)));
  await once(server.listen(path), "listening");
  onTestFinished(() => void server.close());
  return async (count: number): Promise<unknown[]> => {
    while (received.length < count) await once(server, "connection");
    return (await Promise.all(received)).map((line) => JSON.parse(line));
  };
}

describe("the program gvproxy", () => {
  it("prints the version that it stands in for", async () => {
    expect(await run("-version")).toEqual({ code: 0, stdout: "gvproxy version v0.8.9\n", stderr: "" });
  });

  it("prints its usage to standard error", async () => {
    const { code, stdout, stderr } = await run("-h");
    expect({ code, stdout }).toEqual({ code: 0, stdout: "" });
    expect(stderr).toMatch(/^Usage of gvproxy:\n {2}-config string\n {4}\t/);
  });

  it("ends with 2 for a wrong command line", async () => {
    const { code, stdout, stderr } = await run("-listen-quemu", "x");
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(/^flag provided but not defined: -listen-quemu\nUsage of gvproxy:\n/);
  });

  it("ends with 2 for what hostd cannot do, and with 1 for what does not fit", async () => {
    const unsupported = await run("-listen-vfkit", "unixgram:///tmp/a");
    expect(unsupported).toMatchObject({ code: 2, stdout: "" });
    expect(lines(unsupported.stderr).at(-1)).toMatch(/^level=fatal msg="-listen-vfkit .* is not supported yet: /);
    const wrong = await run("-ssh-port", "80");
    expect(wrong).toMatchObject({ code: 1, stdout: "" });
    expect(lines(wrong.stderr).at(-1)).toBe('level=fatal msg="ssh-port value must be between 1024 and 65535"');
  });

  it("says what is wrong in its log and to whoever started it", async () => {
    const bench = new GvproxyBench();
    const log = bench.path("log");
    const config = bench.path("config.yaml");
    writeFileSync(config, "stack:\n  mtu: 5\n  subnett: 10.0.0.0/8\n");
    const running = bench.start(["-log-file", log, "-config", config]);
    expect(await running.ended).toMatchObject({ code: 1 });
    expect(await running.stderr).toMatch(`gvproxy: ${config}:3:3: stack.subnett: unknown key; allowed here: debug, `);
    expect(lines(readFileSync(log, "utf8")).at(-1)).toMatch(
      `level=fatal msg="${config}:3:3: stack.subnett: unknown key`,
    );
  });

  it("says that its log cannot be opened", async () => {
    expect(await run("-log-file", "/nowhere/log")).toEqual({
      code: 1,
      stdout: "",
      stderr: "unable to open log file: ENOENT: no such file or directory, open '/nowhere/log'\n",
    });
  });
});

describe("a running gvproxy", () => {
  it("has everything listening when the socket for QEMU is there", async () => {
    const bench = new GvproxyBench();
    const [vm, api, services, guestSocket] = ["vm", "api", "services", "podman"].map((name) =>
      bench.path(`${name}.sock`),
    );
    const key = bench.path("key");
    writeFileSync(key, "");
    const sshPort = await freePort();
    const watched = appeared(vm);
    bench.start([
      ...["-ssh-port", String(sshPort), "-listen", `unix://${api}`, "-services", `unix://${services}`],
      ...["-listen-qemu", `unix://${vm}`, "-pid-file", bench.path("pid"), "-log-file", bench.path("log")],
      ...["-forward-sock", guestSocket, "-forward-dest", "/a", "-forward-user", "core", "-forward-identity", key],
    ]);
    await watched;
    expect(existsSync(bench.path("pid"))).toBe(true);
    for (const address of [{ path: api }, { path: services }, { path: guestSocket }, { port: sshPort }]) {
      const socket = connect({ host: "127.0.0.1", ...address });
      await once(socket, "connect");
      socket.destroy();
    }
    await (await bench.attach(vm)).configure();
    for (const path of [api, services, guestSocket]) expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it.each(["SIGTERM", "SIGINT"] as const)("ends at %s with 0, and leaves nothing behind", async (signal) => {
    const bench = new GvproxyBench();
    const [vm, api, pid, log] = ["vm.sock", "api.sock", "pid", "log"].map((name) => bench.path(name));
    writeFileSync(log, "of the last run\n");
    const running = await bench.serve(vm, [...NONE, "-listen", `unix://${api}`, "-pid-file", pid, "-log-file", log]);
    expect(readFileSync(pid, "utf8")).toBe(String(running.pid));
    const guest = await bench.attach(vm);
    await guest.configure();
    running.kill(signal);
    expect(await running.ended).toEqual({ code: 0, signal: null });
    expect(await running.stderr).toBe("");
    expect([vm, api, pid].filter(existsSync)).toEqual([]);
    const written = lines(readFileSync(log, "utf8"));
    expect(written[0]).toMatch(/^level=info msg="gvproxy version v0\.8\.9, by hostd /);
    expect(written).toContain('level=info msg="waiting for clients..."');
    expect(written).toContain(`level=info msg=lease address=192.168.127.2 mac="${DEVICE_MAC}"`);
    expect(written).toContain('level=info msg="gvproxy exiting: signal caught"');
    // Nothing of the user's own hostd.
    expect(readdirSync(bench.home)).toEqual([]);
  });

  it.runIf(process.platform === "linux")("is found by its name", async () => {
    const bench = new GvproxyBench();
    const running = await bench.serve(bench.path("vm.sock"), NONE);
    expect(readFileSync(`/proc/${running.pid}/comm`, "utf8")).toBe("gvproxy\n");
  });

  it("serves with its input and output closed", async () => {
    const bench = new GvproxyBench();
    const vm = bench.path("vm.sock");
    const watched = appeared(vm);
    const running = bench.start([...NONE, "-listen-qemu", `unix://${vm}`], { stdio: "closed" });
    await watched;
    const guest = await bench.attach(vm);
    await guest.configure();
    await guest.ping("192.168.127.1");
    running.kill("SIGTERM");
    expect(await running.ended).toEqual({ code: 0, signal: null });
  });

  it("gives the first VM its own address and others those above, with gvproxy's names", async () => {
    const bench = new GvproxyBench();
    const vm = bench.path("vm.sock");
    await bench.serve(vm, ["-mtu", "1400", ...NONE]);
    const other = await bench.attach(vm, "52:54:00:12:34:56");
    const guest = await bench.attach(vm);
    const address = (text: string) => text.split(".").reduce((sum, part) => (sum << 8) | Number(part), 0);
    expect(await other.configure()).toMatchObject({ address: address("192.168.127.3"), mtu: 1400 });
    expect(await guest.configure()).toMatchObject({ address: address("192.168.127.2"), mtu: 1400 });
    for (const domain of ["containers.internal", "docker.internal"]) {
      expect(await guest.resolve(`gateway.${domain}`)).toEqual(["192.168.127.1"]);
      expect(await guest.resolve(`host.${domain}`)).toEqual(["192.168.127.254"]);
    }
    const server = createServer((socket) => socket.on("error", () => {}).end("hello"));
    await once(server.listen(0, "127.0.0.1"), "listening");
    onTestFinished(() => void server.close());
    const { port } = server.address() as AddressInfo;
    const stream = await guest.connect("192.168.127.254", port);
    stream.on("error", () => {});
    expect(await text(stream)).toBe("hello");
  });

  it("goes on when QEMU is gone", async () => {
    const bench = new GvproxyBench();
    const vm = bench.path("vm.sock");
    const running = await bench.serve(vm, NONE);
    const first = await bench.attach(vm);
    await first.configure();
    await first.kill();
    const second = await bench.attach(vm);
    await second.configure();
    await second.ping("192.168.127.1");
    expect(isAlive(running.pid)).toBe(true);
  });

  it("tells a socket what happens", async () => {
    const bench = new GvproxyBench();
    const [vm, events] = ["vm.sock", "events.sock"].map((name) => bench.path(name));
    const notifications = await listenForNotifications(events);
    await bench.serve(vm, [...NONE, "-notification", `unix://${events}`]);
    expect(await notifications(1)).toEqual([{ notification_type: "ready" }]);
    const guest = await bench.attach(vm);
    await guest.configure();
    const established = { notification_type: "connection_established", mac_address: DEVICE_MAC };
    expect((await notifications(2)).at(-1)).toEqual(established);
    await guest.kill();
    expect((await notifications(3)).at(-1)).toEqual({ ...established, notification_type: "connection_closed" });
  });

  it("ends with 1 when it cannot listen, and says so everywhere", async () => {
    const bench = new GvproxyBench();
    const [vm, pid, events] = ["vm.sock", "pid", "events.sock"].map((name) => bench.path(name));
    const notifications = await listenForNotifications(events);
    const taken = createServer();
    await once(taken.listen(0, "127.0.0.1"), "listening");
    onTestFinished(() => void taken.close());
    const { port } = taken.address() as AddressInfo;
    const running = bench.start([
      ...["-ssh-port", String(port), "-listen-qemu", `unix://${vm}`, "-pid-file", pid],
      ...["-notification", `unix://${events}`],
    ]);
    expect(await running.ended).toEqual({ code: 1, signal: null });
    expect(lines(await running.stderr).at(-1)).toMatch(
      `level=fatal msg="gvproxy exiting: listen tcp 127.0.0.1:${port}: bind: address already in use`,
    );
    expect(await notifications(1)).toEqual([{ notification_type: "hypervisor_error" }]);
    expect([vm, pid].filter(existsSync)).toEqual([]);
  });

  it("captures frames of Ethernet", async () => {
    const bench = new GvproxyBench();
    const [vm, pcap] = ["vm.sock", "a.pcap"].map((name) => bench.path(name));
    const running = await bench.serve(vm, [...NONE, "-pcap", pcap]);
    const guest = await bench.attach(vm);
    await guest.configure();
    running.kill("SIGTERM");
    await running.ended;
    const bytes = readFileSync(pcap);
    expect(bytes.readUInt32LE(20)).toBe(1);
    expect(bytes.length).toBeGreaterThan(24);
  });

  it("does what its configuration file says", async () => {
    const bench = new GvproxyBench();
    const [vm, config, pid] = ["vm.sock", "config.yaml", "pid"].map((name) => bench.path(name));
    const port = await freePort();
    writeFileSync(
      config,
      `
log-level: debug
pid-file: ${pid}
interfaces: { qemu: "unix://${vm}" }
stack:
  subnet: 10.9.0.0/24
  dhcpStaticLeases: { 10.9.0.7: "${DEVICE_MAC}" }
  forwards: { "127.0.0.1:${port}": 10.9.0.7:80 }
  dns: [{ name: crc.testing., records: [{ regexp: "^api", ip: 10.9.0.7 }] }]
`,
    );
    const watched = appeared(vm);
    const running = bench.start(["-config", config]);
    await watched;
    expect(readFileSync(pid, "utf8")).toBe(String(running.pid));
    const guest = await bench.attach(vm);
    await guest.configure();
    expect(await guest.resolve("api-int.crc.testing")).toEqual(["10.9.0.7"]);
    guest.listen(80, (stream) => stream.on("error", () => {}).end("hello"));
    expect(await text(connect(port, "127.0.0.1"))).toBe("hello");
    running.kill("SIGTERM");
    expect(lines(await running.stderr)).toContainEqual(expect.stringMatching(/^level=debug msg="command line" /));
  });
});
