import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { describe, expect, it } from "vitest";
import { ensureShells } from "../vm/host-packages.ts";
import { HOSTD_COMMAND, HostdCommand } from "./support/hostd-command.ts";
import { inLab, type Lab } from "./support/lab.ts";
import { askedOf, playUpstream, serveOrigin, ZONES } from "./support/proxy-lab.ts";

async function start(lab: Lab, proxy: object = { upstream: "direct" }) {
  const api = join(lab.folder, "api.sock");
  const daemon = await lab.start({ api, dns: { servers: [lab.nameServer.address], zones: ZONES }, proxy });
  const hostd = async (...args: string[]) => {
    const command = new HostdCommand(lab, ["proxy", ...args, "--api", api]);
    const [stdout, { code, stderr }] = await Promise.all([text(command.child.stdout), command.outcome()]);
    return { code, stdout, stderr };
  };
  return { api, daemon, hostd };
}

describe("hostd proxy", () => {
  it("shows what is in force, sets it, and takes that back", () =>
    inLab(async (lab) => {
      const { hostd, daemon } = await start(lab, {
        upstream: "http://alice:s3cret@file.test:1",
        noProxy: ".corp.test",
      });
      const shown = await hostd();
      expect(shown).toMatchObject({ code: 0, stderr: "" });
      expect(shown.stdout).toContain("  Requests    http://file.test:1\n  From        the configuration\n");
      expect(shown.stdout).toMatch(/^the run-time setting +- +nothing$/m);
      const set = await hostd("set", "socks5h://bob:s3cret@set.test:2", "--no-proxy", "other.test");
      expect(set).toMatchObject({ code: 0, stderr: "" });
      expect(set.stdout).toContain("  Requests    socks5h://set.test:2\n  From        the run-time setting\n");
      expect(set.stdout).toContain("  But direct  other.test (the run-time setting)\n");
      const json = JSON.parse((await hostd("--json")).stdout);
      expect(json).toMatchObject({ isSetAtRunTime: true, settings: { http: ["socks5h://set.test:2"] } });
      const unset = await hostd("unset");
      expect(unset.stdout).toContain("  But direct  .corp.test (the configuration)\n");
      expect(JSON.stringify([shown, set, json, unset, daemon.log])).not.toContain("s3cret");
    }));

  it("shows which way a request takes, and whether it gets there", () =>
    inLab(async (lab) => {
      const upstream = await playUpstream();
      const { hostd } = await start(lab, { upstream: upstream.url, noProxy: "origin.lab.test" });
      const origin = await serveOrigin(lab);
      const direct = await hostd("test", `http://origin.lab.test:${origin.port}/path`);
      expect(direct).toMatchObject({ code: 0, stderr: "" });
      expect(direct.stdout).toMatch(
        new RegExp(
          `^http://origin\\.lab\\.test:${origin.port} goes direct\n` +
            `  by the exclusion "origin\\.lab\\.test" of the configuration\n` +
            `  origin\\.lab\\.test:${origin.port} answers with 200 OK, after \\d+ ms\n$`,
        ),
      );
      const through = hostd("test", "https://www.example.com");
      (await askedOf(upstream.proxy)).peer.write(
        "HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\n",
      );
      const { code, stdout } = await through;
      expect(code).toBe(1);
      expect(stdout).toContain(`https://www.example.com:443 goes through ${upstream.url}\n  by the configuration\n`);
      expect(stdout).toMatch(/ {2}not reached: .*NTLM.*, after \d+ ms\n$/);
      const decided = await hostd("test", "www.example.com:22", "--no-connect");
      expect(decided).toMatchObject({
        code: 0,
        stdout: `https://www.example.com:22 goes through ${upstream.url}\n  by the configuration\n`,
      });
      expect(upstream.proxy.peers).toHaveLength(1);
      expect(await hostd("test", "http://127.0.0.1:1")).toMatchObject({ code: 1 });
    }));

  it.each([
    [["set", "http://alice:s3cret@proxy:x"], "the port is no number from 1 to 65535"],
    [["set", "direct", "--no-proxy", "10.0.0.0/99"], 'noProxy: "10.0.0.0/99"'],
    [["test", "www.example.com"], "allowed: http://HOST[:PORT], https://HOST[:PORT] or HOST:PORT"],
    [["test", "ftp://www.example.com", "--no-connect"], "nothing with ftp:// passes an HTTP proxy"],
  ])("ends with code 2 and says what is allowed: %j", (args, reason) =>
    inLab(async (lab) => {
      const { hostd } = await start(lab);
      const { code, stdout, stderr } = await hostd(...args);
      expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
      expect(stderr).toContain(reason);
      expect(stderr).not.toContain("s3cret");
    }),
  );
});

const missing = ensureShells();

describe.skipIf(missing !== undefined)(`the password of a proxy${missing === undefined ? "" : ` (${missing})`}`, () => {
  /** A command on a terminal, and what is typed once it asks. */
  async function onTerminal(lab: Lab, command: string, typed: string): Promise<{ code: number; output: string }> {
    const env = { PATH: process.env.PATH, HOME: lab.folder, TERM: "dumb" };
    const args = ["--quiet", "--flush", "--return", "--command", command, "/dev/null"];
    const child = spawn("script", args, { cwd: lab.folder, env, stdio: ["pipe", "pipe", "ignore"] });
    lab.defer(() => child.kill("SIGKILL"));
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (piece: string) => {
      output += piece;
      if (!output.includes("Password of ")) return;
      if (typed !== "") child.stdin.write(typed);
      typed = "";
    });
    const [code] = (await once(child, "close")) as [number];
    return { code, output };
  }

  it("is asked for where the URL has a user alone, and is not shown", () =>
    inLab(async (lab) => {
      const upstream = await playUpstream();
      const { api, hostd } = await start(lab);
      const url = upstream.url.replace("//", "//alice@");
      const set = `'${process.execPath}' '${HOSTD_COMMAND}' proxy set ${url} --api '${api}'`;
      const { code, output } = await onTerminal(lab, set, "s3 cr:et/\r");
      expect(code).toBe(0);
      expect(output).toContain(`Password of alice at ${upstream.url.slice("http://".length)}: `);
      expect(output).toContain(`Requests  ${upstream.url}`);
      expect(output).not.toContain("cr:et");
      const asked = hostd("test", "https://www.example.com");
      const { peer, head } = await askedOf(upstream.proxy);
      expect(head).toContain(`Proxy-Authorization: Basic ${btoa("alice:s3 cr:et/")}\r\n`);
      peer.write("HTTP/1.1 200 OK\r\n\r\n");
      expect((await asked).code).toBe(0);
    }));

  it("is not needed by somebody who thinks better of it", () =>
    inLab(async (lab) => {
      const { api, daemon } = await start(lab);
      const set = `'${process.execPath}' '${HOSTD_COMMAND}' proxy set http://alice@proxy.test:1 --api '${api}'`;
      const { code, output } = await onTerminal(lab, set, "s3\u0003");
      expect(code).toBe(1);
      expect(output).toContain("hostd: nothing was entered");
      expect((await daemon.control.proxy.report()).isSetAtRunTime).toBe(false);
    }));
});
