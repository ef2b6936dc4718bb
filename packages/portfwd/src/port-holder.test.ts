import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { findPortHolder, parseLsof } from "./port-holder.ts";
import { cleanUp, makeFolder } from "./testing/harness.ts";

/** Another process that listens, and the port it has. */
async function listenElsewhere(protocol: "tcp" | "udp", host: string): Promise<{ pid?: number; port: number }> {
  const options = JSON.stringify({ port: 0, ...(host === "" ? {} : { host, ipv6Only: true }) });
  const report = "function () { console.log(this.address().port) }";
  const script =
    protocol === "tcp"
      ? `require("node:net").createServer().listen(${options}, ${report})`
      : `require("node:dgram").createSocket("udp4").bind(0, ${JSON.stringify(host)}, ${report})`;
  const child = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "inherit"] });
  cleanUp(async () => {
    const exited = once(child, "exit");
    child.kill();
    await exited;
  });
  const [port] = await once(child.stdout, "data");
  return { ...(child.pid === undefined ? {} : { pid: child.pid }), port: Number(port) };
}

describe.runIf(process.platform === "linux")("the holder of a port of this machine", () => {
  test.each([
    ["127.0.0.1", ["127.0.0.1", "0.0.0.0", ""], ["127.0.0.2", "::1", "::"]],
    ["0.0.0.0", ["127.0.0.1", "127.0.0.2", "0.0.0.0", ""], ["::1", "::"]],
    ["::1", ["::1", "0:0:0:0:0:0:0:1", "::", ""], ["127.0.0.1", "0.0.0.0"]],
    ["", ["127.0.0.1", "0.0.0.0", "::1", "::", ""], []],
  ])("at %j is found for the addresses that it takes away", async (held, taken, free) => {
    const { pid, port } = await listenElsewhere("tcp", held);
    for (const host of taken) {
      expect([host, await findPortHolder("tcp", { host, port })]).toEqual([host, `node (process ${pid})`]);
    }
    for (const host of free) expect([host, await findPortHolder("tcp", { host, port })]).toEqual([host, null]);
    expect(await findPortHolder("udp", { host: "127.0.0.1", port })).toBeNull();
  });

  test("of UDP is found", async () => {
    const { pid, port } = await listenElsewhere("udp", "127.0.0.1");
    expect(await findPortHolder("udp", { host: "0.0.0.0", port })).toBe(`node (process ${pid})`);
    expect(await findPortHolder("tcp", { host: "0.0.0.0", port })).toBeNull();
  });

  test("is hostd where that is so, be it for TCP or UDP", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    cleanUp(() => server.close());
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const itself = `hostd itself (process ${process.pid})`;
    expect(await findPortHolder("tcp", { host: "127.0.0.1", port })).toBe(itself);
    const socket = createSocket("udp4").bind(0, "127.0.0.1");
    cleanUp(() => socket.close());
    await once(socket, "listening");
    expect(await findPortHolder("udp", { host: "127.0.0.1", port: socket.address().port })).toBe(itself);
  });
});

describe("a composed /proc", () => {
  /** A line of `/proc/net/tcp`. */
  function line(address: string, state: string, uid: number, inode: number): string {
    return `   0: ${address} 00000000:0000 ${state} 00000000:00000000 00:00000000 00000000 ${uid}        0 ${inode} 1 0 100\n`;
  }

  interface FakeProcess {
    readonly comm: string;
    readonly exe?: string;
    /** What its descriptors link to; none are given for another user's process. */
    readonly links?: readonly string[];
  }

  /** Composes the folder, and asks for who holds port 80 of an address. */
  async function find(table: string, processes: Record<number, FakeProcess>, host = "127.0.0.1", timeout?: number) {
    const proc = await makeFolder();
    await mkdir(join(proc, "net"));
    await writeFile(join(proc, "net", "tcp"), table);
    for (const [pid, { comm, exe, links }] of Object.entries(processes)) {
      await mkdir(join(proc, pid));
      await writeFile(join(proc, pid, "comm"), `${comm}\n`);
      if (exe !== undefined) await symlink(exe, join(proc, pid, "exe"));
      if (links === undefined) continue;
      await mkdir(join(proc, pid, "fd"));
      for (const [fd, link] of links.entries()) await symlink(link, join(proc, pid, "fd", String(fd)));
    }
    await writeFile(join(proc, "passwd"), "root:x:0:0:root:/root:/bin/sh\nhttp:x:33:33::/srv/http:/bin/false\n");
    return await findPortHolder(
      "tcp",
      { host, port: 80 },
      {
        platform: "linux",
        proc,
        passwd: join(proc, "passwd"),
        byteOrder: "LE",
        ...(timeout === undefined ? {} : { timeout }),
      },
    );
  }

  const LISTENING = line("00000000:0050", "0A", 33, 77);

  test("tells the process by its program, and the first of those that share the socket", async () => {
    const nginx = { comm: "nginx", exe: "/usr/sbin/nginx", links: ["/dev/null", "socket:[76]", "socket:[77]"] };
    const other = { comm: "sh", exe: "/bin/sh", links: ["/dev/null", "socket:[7]", "socket:[777]"] };
    expect(await find(LISTENING, { 1235: nginx, 1234: nginx, 99: other })).toBe("nginx (process 1234)");
  });

  test("tells a program that was replaced, and one that is hidden by what it calls itself", async () => {
    const links = ["socket:[77]"];
    const replaced = { comm: "x", exe: "/usr/bin/caddy (deleted)", links };
    expect(await find(LISTENING, { 5: replaced })).toBe("caddy (process 5)");
    expect(await find(LISTENING, { 5: { comm: "caddy", links } })).toBe("caddy (process 5)");
    const nasty = { comm: "x", exe: "/tmp/\u001b[31mred\n", links };
    expect(await find(LISTENING, { 5: nasty })).toBe("?[31mred? (process 5)");
  });

  test("tells the user when the process may not be looked at", async () => {
    expect(await find(LISTENING, { 5: { comm: "apache2" } })).toBe("a process of user http");
    expect(await find(line("00000000:0050", "0A", 0, 77), {})).toBe("a process of user root");
    expect(await find(line("00000000:0050", "0A", 4242, 77), {})).toBe("a process of user 4242");
  });

  test("tells the user when looking takes too long", async () => {
    const links = Array.from({ length: 300 }, (_, index) => `socket:[${index + 1000}]`);
    const nginx = { comm: "nginx", exe: "/usr/sbin/nginx", links: ["socket:[77]"] };
    expect(await find(LISTENING, { 1: { comm: "busy", links }, 2: nginx }, "127.0.0.1", 0)).toBe(
      "a process of user http",
    );
  });

  test("tells who listens, rather than who has a connection from the port", async () => {
    const table = [
      line("0100007F:0050", "01", 0, 70),
      line("0200007F:0050", "0A", 0, 71),
      line("00000000:0051", "0A", 0, 72),
      LISTENING,
      line("0100007F:0050", "06", 0, 0),
    ].join("");
    const processes = Object.fromEntries(
      [70, 71, 72, 77].map((inode) => [inode, { comm: `of-${inode}`, links: [`socket:[${inode}]`] }]),
    );
    expect(await find(table, processes)).toBe("of-77 (process 77)");
    expect(await find(table, processes, "127.0.0.2")).toBe("of-71 (process 71)");
    expect(await find(line("0100007F:0050", "01", 0, 70), processes)).toBe("of-70 (process 70)");
    expect(await find(line("0100007F:0050", "06", 0, 0), processes)).toBeNull();
    expect(await find("nonsense\n", processes)).toBeNull();
  });

  test("that is not there tells nobody", async () => {
    const proc = join(await makeFolder(), "missing");
    expect(await findPortHolder("tcp", { host: "", port: 80 }, { platform: "linux", proc })).toBeNull();
    expect(await findPortHolder("tcp", { host: "", port: 80 }, { platform: "win32" })).toBeNull();
  });
});

describe("lsof", () => {
  /** As macOS and Linux write it. */
  const OUTPUT = "p412\ncnginx\nf6\nn127.0.0.1:80\nf7\nn[::1]:80\np977\ncmy server\nf3\nn*:80\nf4\nn10.0.0.1:8080\n";

  /** Asks with a program in the place of lsof that keeps its arguments. */
  async function find(script: string, host: string, protocol: "tcp" | "udp" = "tcp") {
    const folder = await makeFolder();
    const lsof = join(folder, "lsof");
    await writeFile(lsof, `#!/bin/sh\necho "$@" > '${folder}/arguments'\n${script}\n`, { mode: 0o755 });
    const holder = await findPortHolder(protocol, { host, port: 80 }, { platform: "darwin", lsof, timeout: 20_000 });
    return { holder, args: (await readFile(join(folder, "arguments"), "utf8")).trim() };
  }

  const prints = (output: string) => `cat <<'END'\n${output}END`;

  test("is read field by field", () => {
    expect(parseLsof(OUTPUT)).toEqual([
      { pid: 412, command: "nginx", name: "127.0.0.1:80" },
      { pid: 412, command: "nginx", name: "[::1]:80" },
      { pid: 977, command: "my server", name: "*:80" },
      { pid: 977, command: "my server", name: "10.0.0.1:8080" },
    ]);
    expect(parseLsof("")).toEqual([]);
  });

  test("is asked for the sockets of the port, and tells the process", async () => {
    const { holder, args } = await find(prints(OUTPUT), "127.0.0.1");
    expect(args).toBe("-nP -iTCP:80 -sTCP:LISTEN -Fpcn");
    expect(holder).toBe("nginx (process 412)");
    expect((await find(prints(OUTPUT), "::1")).holder).toBe("nginx (process 412)");
    expect((await find(prints(OUTPUT), "127.0.0.2")).holder).toBe("my server (process 977)");
    expect((await find(prints("p1\ncx\nn[::1]:80\n"), "127.0.0.1")).holder).toBeNull();
    expect((await find(prints(`p${process.pid}\ncnode\nn*:80\n`), "")).holder).toBe(
      `hostd itself (process ${process.pid})`,
    );
  });

  test("is asked for UDP without a state, and a connection counts by its own end", async () => {
    const { holder, args } = await find(prints("p9\ncdnsd\nn10.0.0.1:5000->10.0.0.2:80\nn*:80\n"), "::", "udp");
    expect(args).toBe("-nP -iUDP:80 -Fpcn");
    expect(holder).toBe("dnsd (process 9)");
    const { holder: none } = await find(prints("p9\ncdnsd\nn10.0.0.1:5000->10.0.0.2:80\n"), "", "udp");
    expect(none).toBeNull();
  });

  test("that finds nothing, is missing or does not end tells nobody", async () => {
    expect((await find("exit 1", "127.0.0.1")).holder).toBeNull();
    const folder = await makeFolder();
    const [missing, endless] = [join(folder, "missing"), join(folder, "endless")];
    await writeFile(endless, "#!/bin/sh\nexec sleep 60\n", { mode: 0o755 });
    for (const lsof of [missing, endless]) {
      const options = { platform: "darwin", lsof, timeout: 100 } as const;
      expect(await findPortHolder("tcp", { host: "", port: 80 }, options)).toBeNull();
    }
  });
});
