import { mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { parseServerAddress } from "../server-address.ts";
import { fixedServers } from "./policy.ts";
import { ResolvConfFile } from "./resolv-conf-file.ts";

let folder: string;
let path: string;
let time: number;
const logger = { debug: vi.fn(), info: vi.fn(), warn: vi.fn() };

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "hostd-dns-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  path = join(folder, "resolv.conf");
  time = 0;
  vi.resetAllMocks();
});

const open = () => new ResolvConfFile({ path, logger, now: () => time });
const setOf = (source: ResolvConfFile) => source.current().routes.find(["www", "example"])?.set;
const addresses = (source: ResolvConfFile) => setOf(source)?.servers.map((server) => server.address);

/** Replaces the file as programs do that want no reader to see half of it. */
function replace(text: string) {
  writeFileSync(join(folder, "new"), text);
  renameSync(join(folder, "new"), path);
}

test("configured servers stay as they are", () => {
  const servers = [parseServerAddress("192.0.2.1:5353")];
  const source = fixedServers(servers);
  expect(source.current().routes.find(["www", "example"])?.set).toEqual({
    servers,
    serverTimeout: null,
    attempts: null,
  });
  expect(source.current()).toBe(source.current());
});

describe("ResolvConfFile", () => {
  test("gives what the file says", () => {
    writeFileSync(path, "nameserver 192.0.2.1\nsearch corp.example lab.example\noptions timeout:1 attempts:3\n");
    const policy = open().current();
    expect(policy.routes.routes).toEqual([
      {
        domain: "",
        set: { servers: [{ address: "192.0.2.1", family: 4, port: 53 }], serverTimeout: 1000, attempts: 3 },
        from: path,
      },
    ]);
    expect(policy.search).toEqual(["corp.example", "lab.example"]);
    expect(logger.info).toHaveBeenCalledExactlyOnceWith(
      { path, servers: ["192.0.2.1"], search: ["corp.example", "lab.example"] },
      "name servers read",
    );
  });

  test("sees the file replaced by rename, written in place, and linked elsewhere, a second later", () => {
    writeFileSync(path, "nameserver 192.0.2.1\n");
    const source = open();
    expect(addresses(source)).toEqual(["192.0.2.1"]);
    replace("nameserver 192.0.2.2\n");
    time = 999;
    expect(addresses(source)).toEqual(["192.0.2.1"]);
    time = 1000;
    expect(addresses(source)).toEqual(["192.0.2.2"]);
    writeFileSync(path, "nameserver 192.0.2.3\nnameserver 192.0.2.4\n");
    time = 2000;
    expect(addresses(source)).toEqual(["192.0.2.3", "192.0.2.4"]);
    writeFileSync(join(folder, "other"), "nameserver 192.0.2.5\n");
    unlinkSync(path);
    symlinkSync("other", path);
    time = 3000;
    expect(addresses(source)).toEqual(["192.0.2.5"]);
  });

  test("does not read an unchanged file again", () => {
    writeFileSync(path, "nameserver 192.0.2.1\n");
    const source = open();
    const first = source.current();
    time = 5000;
    expect(source.current()).toBe(first);
    expect(logger.info).toHaveBeenCalledOnce();
  });

  test("keeps the servers while the file is away and says so once", () => {
    writeFileSync(path, "nameserver 192.0.2.1\n");
    const source = open();
    const first = source.current();
    unlinkSync(path);
    for (time = 1000; time < 5000; time += 1000) {
      expect(source.current()).toBe(first);
      expect(addresses(source)).toEqual(["192.0.2.1"]);
    }
    expect(logger.warn).toHaveBeenCalledExactlyOnceWith(
      { path, reason: expect.stringContaining("ENOENT") },
      "cannot read the name servers",
    );
    replace("nameserver 192.0.2.2\n");
    expect(addresses(source)).toEqual(["192.0.2.2"]);
  });

  test("has no servers when the file was never there", () => {
    const source = open();
    expect(setOf(source)).toBeUndefined();
    expect(source.current().routes.routes).toEqual([]);
    expect(source.current().search).toEqual([]);
  });

  test("reports the lines it leaves out", () => {
    writeFileSync(path, "nameserver nonsense\n");
    open().current();
    expect(logger.warn).toHaveBeenCalledExactlyOnceWith(
      { path, line: 1, reason: '"nonsense" is not an IP address' },
      "a line was left out",
    );
  });
});
