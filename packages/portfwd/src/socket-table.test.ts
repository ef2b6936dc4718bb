import { createSocket } from "node:dgram";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  findInternetSockets,
  parseInternetSockets,
  parseUnixSockets,
  readInternetSockets,
  readUnixSockets,
} from "./socket-table.ts";
import { cleanUp, makeFolder } from "./testing/harness.ts";

/** As Linux 6.12 writes them. */
const TCP = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1524 1 0000000015107a8a 100 0 0 10 0
   1: 0100007F:8E47 0100007F:9C40 01 00000000:00000000 02:000003E8 00000000  1000        0 28472059 2 00000000e4285946 20 4 30 10 -1
   2: 0241A8C0:0016 FEFEA8C0:C001 06 00000000:00000000 03:00001770 00000000     0        0 0 3 0000000000000000
`;
const TCP6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000001000000:87B7 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 58 1 0000000015b3e813 100 0 0 10 0
   1: 0000000000000000FFFF00000300007F:B505 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 61 1 000000001bca4ce7 100 0 0 10 0
   2: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000    33        0 62 1 0000000000000000 100 0 0 10 0
   3: B80D0120000000000000000078563412:FFFF 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000    33        0 63 1 0000000000000000 100 0 0 10 0
`;
const UDP = `   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  422: 3500007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 1290 2 00000000c0ffee00 0
 1772: 0100007F:C81D 0100007F:0035 01 00000000:00000000 00:00000000 00000000  1000        0 60 2 0000000046209353 0
`;
const UNIX = `Num       RefCount Protocol Flags    Type St Inode Path
0000000024e228a9: 00000002 00000000 00010000 0001 01 56 /tmp/x y.sock
00000000ee07ec8f: 00000003 00000000 00000000 0001 03  1521
00000000c443d314: 00000003 00000000 00000000 0001 03  1520 /tmp/x y.sock
000000005dd7c460: 00000002 00000000 00010000 0001 01 57 @abstract@@
0000000000000000: 00000002 00000000 00000000 0002 01 58 /run/log.sock
0000000000000000: 00000002 00000000 00010000 0005 01 59 /run/udev/control
`;

describe("the kernel's table of", () => {
  test("TCP is read from a machine with little-endian words", () => {
    expect(parseInternetSockets("tcp", TCP, "LE")).toEqual([
      { protocol: "tcp", host: "0.0.0.0", port: 80, uid: 0, inode: 1524, isListening: true },
      { protocol: "tcp", host: "127.0.0.1", port: 36_423, uid: 1000, inode: 28_472_059, isListening: false },
      { protocol: "tcp", host: "192.168.65.2", port: 22, uid: 0, inode: 0, isListening: false },
    ]);
  });

  test("TCP is read from a machine with big-endian words", () => {
    const lines = TCP.replace("0100007F:8E47", "7F000001:8E47").replace("0241A8C0:0016", "C0A84102:0016");
    expect(parseInternetSockets("tcp", lines, "BE")).toEqual(parseInternetSockets("tcp", TCP, "LE"));
  });

  test("TCP over IPv6 is read word by word, and mapped addresses are those of IPv4", () => {
    const sockets = parseInternetSockets("tcp", TCP6, "LE");
    expect(sockets.map(({ host, port }) => [host, port])).toEqual([
      ["::1", 34_743],
      ["127.0.0.3", 46_341],
      ["::", 80],
      ["2001:db8::1234:5678", 65_535],
    ]);
    const swap = (words: string) =>
      words.replace(/[\dA-F]{8}/g, (word) => (word.match(/../g) ?? []).reverse().join(""));
    const bigEndian = TCP6.replace(/[\dA-F]{32}/g, swap);
    expect(bigEndian).not.toBe(TCP6);
    expect(parseInternetSockets("tcp", bigEndian, "BE")).toEqual(sockets);
  });

  test("UDP has those without a peer take from anybody", () => {
    expect(parseInternetSockets("udp", UDP, "LE")).toEqual([
      { protocol: "udp", host: "127.0.0.53", port: 53, uid: 101, inode: 1290, isListening: true },
      { protocol: "udp", host: "127.0.0.1", port: 51_229, uid: 1000, inode: 60, isListening: false },
    ]);
  });

  test("Unix sockets has those with a path, and of those that accept only streams listen", () => {
    expect(parseUnixSockets(UNIX)).toEqual([
      { protocol: "unix", path: "/tmp/x y.sock", inode: 56, isListening: true },
      { protocol: "unix", path: "/tmp/x y.sock", inode: 1520, isListening: false },
      { protocol: "unix", path: "@abstract@@", inode: 57, isListening: true },
      { protocol: "unix", path: "/run/log.sock", inode: 58, isListening: false },
      { protocol: "unix", path: "/run/udev/control", inode: 59, isListening: false },
    ]);
  });

  test("anything that is something else is passed over", () => {
    const lines = ["", "nonsense", "   0: 0100007F:0050", TCP.split("\n")[1].replace("00000000:0050", "0000000:0050")];
    expect(parseInternetSockets("tcp", lines.join("\n"), "LE")).toEqual([]);
    expect(parseUnixSockets(lines.join("\n"))).toEqual([]);
  });

  test("both families is read, and a family that the kernel has not is none", async () => {
    const proc = await makeFolder();
    await mkdir(join(proc, "net"));
    await writeFile(join(proc, "net", "tcp"), TCP);
    expect(readInternetSockets("tcp", { proc, byteOrder: "LE" })).toHaveLength(3);
    await writeFile(join(proc, "net", "tcp6"), TCP6);
    expect(readInternetSockets("tcp", { proc, byteOrder: "LE" })).toHaveLength(7);
    expect(readInternetSockets("udp", { proc, byteOrder: "LE" })).toEqual([]);
    const withPort = await findInternetSockets("tcp", 80, { proc, byteOrder: "LE" });
    expect(withPort.map(({ host, inode }) => [host, inode])).toEqual([
      ["0.0.0.0", 1524],
      ["::", 62],
    ]);
    // That of a peer is another.
    expect(await findInternetSockets("tcp", 40_000, { proc, byteOrder: "LE" })).toEqual([]);
    expect(await findInternetSockets("udp", 53, { proc, byteOrder: "LE" })).toEqual([]);
    expect(readUnixSockets({ proc })).toEqual([]);
  });

  test.runIf(process.platform === "linux")("this machine has the sockets that this process opens", async () => {
    const path = join(await makeFolder(), "a.sock");
    const servers = [
      createServer().listen(0, "127.0.0.2"),
      createServer().listen(0, "::1"),
      createServer().listen(path),
    ];
    for (const server of servers) cleanUp(() => server.close());
    await Promise.all(servers.map((server) => once(server, "listening")));
    const datagrams = createSocket("udp6").bind(0, "::1");
    cleanUp(() => datagrams.close());
    await once(datagrams, "listening");
    const [first, second] = servers.map((server) => (server.address() as AddressInfo).port);
    const uid = process.getuid?.();
    const tcp = readInternetSockets("tcp");
    expect(tcp).toContainEqual(expect.objectContaining({ host: "127.0.0.2", port: first, uid, isListening: true }));
    expect(tcp).toContainEqual(expect.objectContaining({ host: "::1", port: second, uid, isListening: true }));
    const { port } = datagrams.address();
    expect(readInternetSockets("udp")).toContainEqual(
      expect.objectContaining({ host: "::1", port, isListening: true }),
    );
    expect(readUnixSockets()).toContainEqual(expect.objectContaining({ path, isListening: true }));
  });
});
