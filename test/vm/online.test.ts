import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DHCP_CLIENTS, RESET_ETH0 } from "./guest-commands.ts";
import { HostServers, sha256 } from "./host-servers.ts";
import { ARTIFACTS, HostdProcess, makeFolder } from "./hostd-process.ts";
import { ensureVm, imageOf } from "./image.ts";
import { createOutside, type Outside } from "./netns.ts";
import { Vm } from "./vm.ts";

const availability = await ensureVm();
const HOST = "192.168.65.254";
const GATEWAY = "192.168.65.1";
const SIZE = 200 * 1024 * 1024;
/** Which groups may open ping sockets; the kernel's own default is none, that of systemd's distributions is all. */
const PING_GROUPS = "/proc/sys/net/ipv4/ping_group_range";

describe.skipIf(!availability.available)("a VM that attached by a socket path", () => {
  const folder = makeFolder("online");
  const socket = join(folder, "run", "vm.sock");
  const servers = new HostServers(SIZE);
  let pingGroups = "";
  let hostd: HostdProcess;
  let outside: Outside;
  let vm: Vm;

  beforeAll(async () => {
    pingGroups = readFileSync(PING_GROUPS, "utf8");
    writeFileSync(PING_GROUPS, "0 2147483647");
    await servers.start();
    outside = await createOutside({ name: "online" });
    hostd = await HostdProcess.start("online", ["--qemu", `unix://${socket}`, "--state", join(folder, "state")]);
    const netdev = `stream,id=n0,addr.type=unix,addr.path=${socket}`;
    vm = await Vm.boot({ image: imageOf(availability), netdev, name: "online", artifacts: ARTIFACTS });
    await vm.check(DHCP_CLIENTS.udhcpc);
  });

  afterAll(async () => {
    await vm?.kill();
    await hostd?.stop();
    await outside?.destroy();
    await servers.close();
    writeFileSync(PING_GROUPS, pingGroups);
    rmSync(folder, { recursive: true, force: true });
  });

  it.each(["udhcpc", "dhclient", "dhcpcd", "networkd"] as const)("gets a lease with %s", async (client) => {
    await vm.check(RESET_ETH0);
    await vm.check(DHCP_CLIENTS[client], { timeoutMs: 60_000 });
    const { stdout } = await vm.check("ip -4 addr show eth0; ip route; cat /sys/class/net/eth0/mtu");
    expect(stdout).toContain("inet 192.168.65.3/24");
    expect(stdout).toContain(`default via ${GATEWAY}`);
    expect(stdout).toMatch(/\n1500\n/);
    await vm.check(`${RESET_ETH0}; ${DHCP_CLIENTS.udhcpc}`);
    expect((await vm.check("cat /etc/resolv.conf")).stdout).toContain(`nameserver ${GATEWAY}`);
  });

  it("pings the gateway and the host's address", async () => {
    expect((await vm.check(`ping -c3 -i0.2 ${GATEWAY}`)).stdout).toContain("3 received");
    expect((await vm.check(`ping -c1 -s 60000 ${GATEWAY}`)).stdout).toContain("1 received");
    expect((await vm.check(`ping -c1 ${HOST}`)).stdout).toContain("1 received");
  });

  it("resolves the names of the host, the gateway and itself, over UDP and TCP", async () => {
    expect((await vm.check("getent hosts host.docker.internal")).stdout).toMatch(/^192\.168\.65\.254\s/);
    expect((await vm.check("dig +short gateway.docker.internal")).stdout).toBe(`${GATEWAY}\n`);
    expect((await vm.check("dig +short +tcp vm.docker.internal")).stdout).toBe("192.168.65.3\n");
    expect((await vm.check("dig nothing.docker.internal")).stdout).toContain("status: NXDOMAIN");
  });

  it("downloads 200 MB over HTTP with the right hash", async () => {
    const url = `http://host.docker.internal:${servers.httpPort}/download`;
    const { stdout } = await vm.check(`curl -sS ${url} | sha256sum`, { timeoutMs: 120_000 });
    expect(stdout).toBe(`${servers.contentHash}  -\n`);
  });

  it("uploads 200 MB over HTTP with the right hash", async () => {
    await vm.check(`head -c ${SIZE} /dev/urandom >/tmp/up; sha256sum </tmp/up >/tmp/up.sum`, { timeoutMs: 120_000 });
    const url = `http://host.docker.internal:${servers.httpPort}/upload`;
    const { stdout } = await vm.check(`curl -sS -T /tmp/up ${url}; cut -d' ' -f1 /tmp/up.sum`, { timeoutMs: 120_000 });
    const [received, sent] = stdout.trim().split("\n");
    expect(received).toBe(sent);
  });

  it("carries 200 MB down and up over raw TCP with the right hash", async () => {
    const down = await vm.check(`ncat --recv-only ${HOST} ${servers.rawDownloadPort} | sha256sum`, {
      timeoutMs: 120_000,
    });
    expect(down.stdout).toBe(`${servers.contentHash}  -\n`);
    // The server answers with the hash only after the guest's end of stream: half-close with 200 MB in front of it.
    const up = await vm.check(
      `nc -N ${HOST} ${servers.rawUploadPort} </tmp/up; cut -d' ' -f1 /tmp/up.sum; rm /tmp/up`,
      {
        timeoutMs: 120_000,
      },
    );
    const [received, sent] = up.stdout.trim().split("\n");
    expect(received).toBe(sent);
  });

  it("carries 100 parallel downloads", async () => {
    const url = `http://${HOST}:${servers.httpPort}/small`;
    const command = `for i in $(seq 100); do curl -sS ${url} | sha256sum & done; wait`;
    const { stdout } = await vm.check(command, { timeoutMs: 120_000 });
    const expected = `${sha256(servers.content.subarray(0, 100_000))}  -`;
    expect(stdout.trim().split("\n")).toEqual(new Array(100).fill(expected));
  });

  it("keeps a half-closed connection open for the answer", async () => {
    const { stdout } = await vm.check(`printf 'twelve bytes' | nc -N ${HOST} ${servers.countPort}`);
    expect(stdout).toBe("received 12\n");
  });

  /** How the guest's kernel ends a connect: the name of the error, and how long it took by the guest's clock. */
  async function connectError(
    address: string,
    port: number,
    timeoutSeconds = 20,
  ): Promise<{ error: string; ms: number }> {
    const script = `
import errno, socket, time
s = socket.socket()
s.settimeout(${timeoutSeconds})
began = time.monotonic()
try:
    s.connect(("${address}", ${port}))
    error = "none"
except TimeoutError as e:
    error = errno.errorcode.get(e.errno, "no answer")
except OSError as e:
    error = errno.errorcode[e.errno]
print(error, round((time.monotonic() - began) * 1000))
`;
    const { stdout } = await vm.check("python3 -", { stdin: script });
    const [error = "", ms] = stdout.trim().split(/ (?=\d+$)/);
    return { error, ms: Number(ms) };
  }

  it("is refused by a closed port of the host in under a second", async () => {
    const { error, ms } = await connectError(HOST, servers.closedPort);
    expect(error).toBe("ECONNREFUSED");
    expect(ms).toBeLessThan(1000);
  });

  it("sees an outside host that refuses, and ones that are unreachable, without a route and prohibited", async () => {
    await outside.blockRoute("10.99.1.1", "throw");
    await outside.blockRoute("10.99.1.2", "prohibit");
    const cases = [
      { address: outside.address, error: "ECONNREFUSED" },
      { address: outside.unusedAddress, error: "EHOSTUNREACH" },
      { address: "10.99.1.1", error: "ENETUNREACH" },
      // Linux tells "communication administratively prohibited" as EHOSTUNREACH.
      { address: "10.99.1.2", error: "EHOSTUNREACH" },
    ];
    for (const { address, error } of cases) {
      const result = await connectError(address, 81);
      expect({ address, error: result.error }).toEqual({ address, error });
      expect(result.ms).toBeLessThan(5000);
    }
  });

  it("waits on a black hole as on a real network, while other flows go on", async () => {
    await outside.dropPort("tcp", 82);
    const blackHole = connectError(outside.address, 82, 5);
    const url = `http://${HOST}:${servers.httpPort}/small`;
    for (let index = 0; index < 5; index++) {
      const other = await vm.check(`curl -sS -o /dev/null -w '%{time_total}' ${url}`);
      expect(Number(other.stdout)).toBeLessThan(1);
    }
    expect((await blackHole).error).toBe("no answer");
  });

  it("echoes UDP datagrams of 1 to 60000 bytes", async () => {
    const script = `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(10)
for n in (1, 100, 1400, 1472, 1473, 4000, 9000, 30000, 60000):
    data = bytes(i * 7 % 256 for i in range(n))
    s.sendto(data, ("${HOST}", ${servers.udpEchoPort}))
    echo, peer = s.recvfrom(65536)
    print(n, echo == data, peer == ("${HOST}", ${servers.udpEchoPort}))
`;
    const { stdout } = await vm.check("python3 -", { stdin: script });
    const sizes = [1, 100, 1400, 1472, 1473, 4000, 9000, 30000, 60000];
    expect(stdout).toBe(sizes.map((size) => `${size} True True\n`).join(""));
  });

  it("hears of a closed UDP port of the host", async () => {
    const script = `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
s.connect(("${HOST}", ${servers.closedPort}))
s.send(b"anyone?")
try:
    s.recv(100)
except ConnectionRefusedError:
    print("refused")
`;
    expect((await vm.check("python3 -", { stdin: script })).stdout).toBe("refused\n");
  });

  it("pings an outside host for real, and gets no answer from one that is not there", async () => {
    expect((await vm.check(`ping -c3 -i0.2 ${outside.address}`)).stdout).toContain("3 received");
    const absent = await vm.run(`ping -c1 -W2 ${outside.unusedAddress}`);
    expect(absent.status).not.toBe(0);
    expect(absent.stdout).not.toContain("1 received");
  });

  it("traces the route to an outside host, with the gateway as the first hop", async () => {
    for (const method of ["", "-I"]) {
      const { stdout } = await vm.check(`traceroute -n -q1 -w2 -m4 ${method} ${outside.address}`);
      const hops = stdout.trim().split("\n").slice(1);
      expect(hops[0]).toMatch(new RegExp(`^\\s*1\\s+${GATEWAY.replaceAll(".", "\\.")}\\s`));
      expect(hops[1]).toMatch(new RegExp(`^\\s*2\\s+${outside.address.replaceAll(".", "\\.")}\\s`));
    }
  });

  it("serves an address behind the VM that is not its lease, as of a container without masquerade", async () => {
    await vm.check("ip addr add 172.20.0.9/32 dev lo");
    const url = `http://${HOST}:${servers.httpPort}/small`;
    const { stdout } = await vm.check(
      `curl -sS --interface 172.20.0.9 ${url} | sha256sum; ping -c1 -I 172.20.0.9 ${GATEWAY}`,
    );
    expect(stdout).toContain(sha256(servers.content.subarray(0, 100_000)));
    expect(stdout).toContain("1 received");
    await vm.check("ip addr del 172.20.0.9/32 dev lo");
  });

  it("does not reach the host's loopback by sending to 127.0.0.1", async () => {
    // No socket of the guest's kernel sends such a packet, so it is built by hand: a SYN for the host's HTTP server.
    const script = `
import socket, struct
def checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
source, destination = socket.inet_aton("192.168.65.3"), socket.inet_aton("127.0.0.1")
gateway = None
for line in open("/proc/net/arp"):
    fields = line.split()
    if fields[0] == "${GATEWAY}":
        gateway = bytes.fromhex(fields[3].replace(":", ""))
mine = bytes.fromhex(open("/sys/class/net/eth0/address").read().strip().replace(":", ""))
tcp = struct.pack("!HHIIBBHHH", 40000, ${servers.httpPort}, 1, 0, 0x50, 2, 65535, 0, 0)
pseudo = source + destination + struct.pack("!BBH", 0, 6, len(tcp))
tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]
ip = struct.pack("!BBHHHBBH", 0x45, 0, 40, 1, 0, 64, 6, 0) + source + destination
ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
s.bind(("eth0", 0))
s.settimeout(3)
s.send(gateway + mine + b"\\x08\\x00" + ip + tcp)
while True:
    frame = s.recv(2000)
    protocol, sender = frame[23], socket.inet_ntoa(frame[26:30])
    if sender == "127.0.0.1" or protocol == 1:
        print(protocol, sender, frame[34], frame[35])
        break
`;
    await vm.check(`ping -c1 ${GATEWAY}`);
    // ICMP from the gateway: destination unreachable (3), communication administratively prohibited (13).
    expect((await vm.check("python3 -", { stdin: script })).stdout).toBe(`1 ${GATEWAY} 3 13\n`);
  });

  it("left nothing in hostd's log that needs attention", () => {
    const lines = hostd.log.trim().split("\n");
    const attention = lines.filter((line) => /"level":"(warn|error|fatal)"/.test(line));
    expect(attention).toEqual([]);
  });
});
