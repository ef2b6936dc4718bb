import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { chmodSync, chownSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { Agent, get, type IncomingMessage, request } from "node:http";
import { type AddressInfo, connect, createServer } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { askDaemon } from "../integration/support/control.ts";
import { DHCP_CLIENTS, START_DOCKER, START_SERVERS, START_SSHD } from "./guest-commands.ts";
import { patternBytes } from "./host-servers.ts";
import { ARTIFACTS, HostdProcess, makeFolder } from "./hostd-process.ts";
import { ensureVm, imageOf } from "./image.ts";
import { createOutside, type Outside } from "./netns.ts";
import { Vm } from "./vm.ts";

const availability = await ensureVm();
const LOOPBACK = "127.0.0.1";
const GATEWAY = "192.168.65.1";
const HOST = "192.168.65.254";
const VM_ADDRESS = "192.168.65.3";
const GIGABYTE = 1_000_000_000;
/** A block of guest/servers.py: SHA-256 of 0, 1, 2 and so on. */
const BLOCK = Buffer.concat(
  Array.from({ length: 32_768 }, (_, index) => createHash("sha256").update(String(index)).digest()),
);

interface ForwardReport {
  readonly id: string;
  readonly listen: string;
  readonly to: string;
}

/** What answers on port 8080 of the guest: the address that it sees the client at. */
async function askGuest(port: number, options: { agent?: Agent; host?: string } = {}): Promise<string> {
  return await new Promise((resolve, reject) => {
    const { agent, host = LOOPBACK } = options;
    get({ host, port, agent: agent ?? false }, (response) => {
      text(response).then((body) => resolve(body.trim()), reject);
    }).on("error", reject);
  });
}

const descriptorsOf = (pid: number) => readdirSync(`/proc/${pid}/fd`).length;

describe.skipIf(!availability.available)("published ports of a VM", () => {
  const folder = makeFolder("portfwd");
  const socket = join(folder, "run", "vm.sock");
  const api = join(folder, "api.sock");
  const key = join(folder, "key");
  const dockerSocket = join(folder, "docker.sock");
  const boot = { image: imageOf, mac: "52:54:00:00:00:09", artifacts: ARTIFACTS } as const;
  let outside: Outside;
  let hostd: HostdProcess;
  let vm: Vm;
  /** The ports of the host by those of the guest that they lead to. */
  let ports: ReadonlyMap<string, number>;

  const portTo = (to: string) => ports.get(to) ?? 0;
  const forwards = async () => (await askDaemon(api, "GET", "/v1/forwards")).json as ForwardReport[];
  const publish = async (body: object) => await askDaemon(api, "POST", "/v1/forwards", body);
  const bootVm = async (name: string) => {
    const netdev = `stream,id=n0,addr.type=unix,addr.path=${socket}`;
    const { mac, artifacts } = boot;
    return await Vm.boot({ image: imageOf(availability), mac, artifacts, netdev, name });
  };

  beforeAll(async () => {
    outside = await createOutside({ name: "portfwd" });
    spawnSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", key]);
    // hostd may run as another user.
    const { uid, gid } = statSync(folder);
    chownSync(key, uid, gid);
    const config = join(folder, "hostd.yaml");
    writeFileSync(
      config,
      `forwards:
  - {listen: 0, to: 8080}
  - {listen: 0, to: 9000}
  - {listen: 0, to: 9001}
  - {listen: 0, to: 5353, protocol: udp}
  - {listen: 0, to: 22}
  - {listen: "${dockerSocket}", to: "ssh://root@vm/run/docker.sock", identity: "${key}"}
publish: {waitSeconds: 120}
guestApi: {enabled: true}
`,
    );
    chmodSync(config, 0o644);
    const args = ["--config", config, "--qemu", `unix://${socket}`, "--api", api, "--state", join(folder, "state")];
    hostd = await HostdProcess.start("portfwd", args);
    ports = new Map((await forwards()).map(({ to, listen }) => [to, Number(listen.split(":").at(-1))]));
    vm = await bootVm("portfwd");
    await vm.check(DHCP_CLIENTS.udhcpc);
    await vm.check(START_SERVERS);
  });

  afterAll(async () => {
    await vm?.kill();
    await hostd?.stop();
    await outside?.destroy();
    rmSync(folder, { recursive: true, force: true });
  });

  it("serve 1,000 connections at once, none of which is lost", async () => {
    const answers = await Promise.all(Array.from({ length: 1000 }, () => askGuest(portTo("8080"))));
    expect(new Set(answers)).toEqual(new Set([GATEWAY]));
  });

  it("serve 10,000 connections one after the other, none of which is lost, and keep nothing of them", async () => {
    const rounds = async (count: number) => {
      for (let round = 0; round < count; round++) expect(await askGuest(portTo("8080"))).toBe(GATEWAY);
    };
    await rounds(1000);
    const [descriptors, memory] = [descriptorsOf(hostd.pid), hostd.residentBytes];
    await rounds(10_000);
    expect(descriptorsOf(hostd.pid)).toBeLessThanOrEqual(descriptors + 2);
    expect(hostd.residentBytes - memory).toBeLessThan(16 * 1024 * 1024);
  }, 600_000);

  it("carry a gigabyte each way at once, unchanged", async () => {
    const up = connect({ host: LOOPBACK, port: portTo("9000"), allowHalfOpen: true });
    const down = connect({ host: LOOPBACK, port: portTo("9001"), allowHalfOpen: true });
    const pattern = patternBytes(50_000_000);
    const sent = createHash("blake2b512");
    const send = async () => {
      for (let left = GIGABYTE; left > 0; left -= pattern.length) {
        sent.update(pattern);
        if (!up.write(pattern)) await once(up, "drain");
      }
      up.end();
      return await text(up);
    };
    const receive = async () => {
      down.end(`${GIGABYTE}\n`);
      const hash = createHash("blake2b512");
      for await (const chunk of down) hash.update(chunk);
      return hash.digest("hex");
    };
    const expected = createHash("blake2b512");
    for (let left = GIGABYTE; left > 0; left -= BLOCK.length)
      expected.update(BLOCK.subarray(0, Math.min(left, BLOCK.length)));
    const [guestHash, hostHash] = await Promise.all([send(), receive()]);
    expect(guestHash).toBe(sent.digest("hex"));
    expect(hostHash).toBe(expected.digest("hex"));
  }, 600_000);

  it("carry datagrams of every size, from several clients at once", async () => {
    const clients = await Promise.all(
      Array.from({ length: 3 }, async () => {
        const client = createSocket("udp4");
        client.connect(portTo("5353"), LOOPBACK);
        await once(client, "connect");
        return client;
      }),
    );
    for (const size of [1, 1472, 1473, 8000, 65_507]) {
      const answers = clients.map(async (client, index) => {
        const message = Buffer.alloc(size, index + 1);
        const answer = once(client, "message");
        client.send(message);
        expect(((await answer) as [Buffer])[0].equals(message), `${size} bytes, client ${index}`).toBe(true);
      });
      await Promise.all(answers);
    }
    for (const client of clients) client.close();
  });

  it("that are taken are refused with the words of Docker and who holds them, and a range as a whole", async () => {
    const holder = createServer().listen(0, LOOPBACK);
    await once(holder, "listening");
    const { port } = holder.address() as AddressInfo;
    const taken = await publish({ listen: port, to: 8080 });
    expect(taken.status).toBe(409);
    expect(taken.json).toMatchObject({
      detail: expect.stringContaining(`listen tcp ${LOOPBACK}:${port}: bind: address already in use`),
    });
    const before = await forwards();
    expect((await publish({ listen: `${port - 1}-${port}`, to: "8080-8081" })).status).toBe(409);
    expect((await forwards()).map(({ id }) => id)).toEqual(before.map(({ id }) => id));
    await new Promise((resolve) => holder.close(resolve));
  });

  it("may be a range, each port of which leads to the one in its place", async () => {
    const { json } = await publish({ listen: "27001-27003", to: "7001-7003" });
    const opened = json as ForwardReport[];
    expect(opened.map(({ to }) => to)).toEqual(["7001", "7002", "7003"]);
    for (const { listen, to } of opened) {
      const port = Number(listen.split(":").at(-1));
      expect(await text(connect({ host: LOOPBACK, port, allowHalfOpen: true }).end())).toBe(`port ${to}\n`);
    }
    for (const { id } of opened) {
      expect((await askDaemon(api, "DELETE", `/v1/forwards?id=${encodeURIComponent(id)}`)).status).toBe(200);
    }
  });

  it("come and go under load without harm to others", async () => {
    let isOver = false;
    let served = 0;
    const agent = new Agent({ keepAlive: true, maxSockets: 20 });
    const load = Array.from({ length: 20 }, async () => {
      while (!isOver) {
        expect(await askGuest(portTo("8080"), { agent })).toBe(GATEWAY);
        served++;
      }
    });
    for (let round = 0; round < 100; round++) {
      const [{ id, listen }] = (await publish({ listen: 0, to: 8080 })).json as ForwardReport[];
      expect(await askGuest(Number(listen.split(":").at(-1)))).toBe(GATEWAY);
      await askDaemon(api, "DELETE", `/v1/forwards?id=${encodeURIComponent(id)}`);
    }
    isOver = true;
    await Promise.all(load);
    agent.destroy();
    expect(served).toBeGreaterThan(100);
    expect(await forwards()).toHaveLength(6);
  }, 120_000);

  it("can be asked for by the VM itself, as Podman's machines do, but not sockets", async () => {
    const post = (route: string, body: object) =>
      `curl -sS -w '%{http_code}' -d '${JSON.stringify(body)}' http://${GATEWAY}/services/forwarder/${route}`;
    const local = `${LOOPBACK}:27010`;
    expect((await vm.check(post("expose", { local, remote: ":8080", protocol: "tcp" }))).stdout).toBe("200");
    expect(await askGuest(27_010)).toBe(GATEWAY);
    const path = join(folder, "guest.sock");
    const refused = await vm.check(
      post("expose", { local: path, remote: `tcp://${VM_ADDRESS}:8080`, protocol: "unix" }),
    );
    expect(refused.stdout).not.toMatch(/200$/);
    expect((await vm.check(post("unexpose", { local, protocol: "tcp" }))).stdout).toBe("200");
    await expect(askGuest(27_010)).rejects.toThrow("ECONNREFUSED");
  });

  it("lead to the Docker engine's socket in the VM over SSH", async () => {
    await vm.check(START_DOCKER, { timeoutMs: 120_000 });
    await vm.check(START_SSHD, { stdin: readFileSync(`${key}.pub`), timeoutMs: 60_000 });
    const ping = async () => {
      const outgoing = request({ socketPath: dockerSocket, path: "/_ping", agent: false }).end();
      const [response] = (await once(outgoing, "response")) as [IncomingMessage];
      return await text(response);
    };
    expect(await ping()).toBe("OK");
    expect(await Promise.all(Array.from({ length: 20 }, ping))).toEqual(Array(20).fill("OK"));
  }, 180_000);

  it("show the guest the clients' own addresses when it is to see them", async () => {
    const own = { socket: join(folder, "own.sock"), api: join(folder, "own-api.sock") };
    const config = join(folder, "own.yaml");
    writeFileSync(config, `forwards: [{listen: "*:27020", to: 8080}]\npublish: {source: client, waitSeconds: 60}\n`);
    chmodSync(config, 0o644);
    const args = [
      "--config",
      config,
      "--qemu",
      `unix://${own.socket}`,
      "--api",
      own.api,
      "--state",
      join(folder, "own"),
    ];
    const other = await HostdProcess.start("portfwd-client", args);
    const netdev = `stream,id=n0,addr.type=unix,addr.path=${own.socket}`;
    const second = await Vm.boot({
      image: imageOf(availability),
      netdev,
      name: "portfwd-client",
      artifacts: ARTIFACTS,
    });
    try {
      await second.check(DHCP_CLIENTS.udhcpc);
      await second.check(START_SERVERS);
      expect(await askGuest(27_020)).toBe(HOST);
      const python = `import urllib.request; print(urllib.request.urlopen("http://${outside.hostAddress}:27020").read().decode())`;
      expect((await outside.check(`python3 -c '${python}'`)).stdout.trim()).toBe(outside.address);
    } finally {
      await second.kill();
      await other.stop();
    }
  }, 120_000);

  it("are kept while the VM is booted again, and hold those who come meanwhile", async () => {
    const before = await forwards();
    await vm.kill();
    const early = askGuest(portTo("8080"));
    vm = await bootVm("portfwd-again");
    await vm.check(START_SERVERS);
    await vm.check(DHCP_CLIENTS.udhcpc);
    expect(await early).toBe(GATEWAY);
    expect((await forwards()).map(({ id }) => id)).toEqual(before.map(({ id }) => id));
  }, 120_000);
});
