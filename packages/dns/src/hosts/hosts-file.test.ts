import {
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseIpv4 } from "@hostd/stack";
import type { RecordType } from "dns-packet";
import { beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { decoded, type QueryOptions, queryMessage, readValid } from "../testing/messages.ts";
import { rawQuery } from "../testing/zones.ts";
import { HOSTS_PATH, HostsFile, parseHosts } from "./hosts-file.ts";

const HOST = "192.168.65.254";

/** What a text says of a name; undefined when it does not know it. */
const parsed = (text: string, name: string) => parseHosts(text, HOST).addresses.get(name);

describe("parsing", () => {
  test("takes each name of a line, between blanks and tabs, and leaves out comments", () => {
    const text = [
      "# 10.0.0.1 no",
      "",
      "   ",
      "10.0.0.2\tdb.lab  DB \t other # 10.0.0.9 comment",
      "  10.0.0.3 indented#joined",
      "10.0.0.4",
      "10.0.0.5 crlf\r",
      "10.0.0.6 last",
    ].join("\n");
    const { addresses, names } = parseHosts(text, HOST);
    expect([...addresses]).toEqual([
      ["db.lab", { ipv4: ["10.0.0.2"], ipv6: [] }],
      ["db", { ipv4: ["10.0.0.2"], ipv6: [] }],
      ["other", { ipv4: ["10.0.0.2"], ipv6: [] }],
      ["indented", { ipv4: ["10.0.0.3"], ipv6: [] }],
      ["crlf", { ipv4: ["10.0.0.5"], ipv6: [] }],
      ["last", { ipv4: ["10.0.0.6"], ipv6: [] }],
    ]);
    expect([...names]).toEqual([
      ["10.0.0.2", "db.lab"],
      ["10.0.0.3", "indented"],
      ["10.0.0.5", "crlf"],
      ["10.0.0.6", "last"],
    ]);
  });

  test("takes several addresses of a name, of both families, each once", () => {
    const text = "10.0.0.1 db\nfd00::1 DB\n10.0.0.2 db db.\nfd00:0::0001 db\n10.0.0.1 db";
    expect(parsed(text, "db")).toEqual({ ipv4: ["10.0.0.1", "10.0.0.2"], ipv6: ["fd00::1"] });
  });

  test("leaves out what is no address, and addresses with a zone identifier", () => {
    for (const address of [
      "fe80::1%eth0",
      "10.0.0",
      "010.0.0.1",
      "10.0.0.256",
      "0x7f000001",
      "name",
      "::g",
      "-",
      "1",
    ]) {
      expect(parseHosts(`${address} db`, HOST).addresses.size).toBe(0);
    }
  });

  test("leaves out what is no name", () => {
    const label = "x".repeat(64);
    const long = `${"x".repeat(62)}.`.repeat(4);
    for (const name of ["a..b", ".a", ".", "..", "a\\046", "bücher", "a\u0000b", label, `${long}yz`]) {
      const { addresses, names } = parseHosts(`10.0.0.1 ${name}`, HOST);
      expect([addresses.size, names.size]).toEqual([0, 0]);
    }
    expect(parsed(`10.0.0.1 ${long}y a_b.c-d.`, `${long}y`)?.ipv4).toEqual(["10.0.0.1"]);
    expect(parsed("10.0.0.1 a_b.c-d.", "a_b.c-d")?.ipv4).toEqual(["10.0.0.1"]);
    expect(parsed("10.0.0.1 __proto__", "__proto__")?.ipv4).toEqual(["10.0.0.1"]);
  });

  test("takes the address of the host for a loopback address, of either family, once", () => {
    const text = "127.0.0.1 app\n127.0.1.1 machine\n::1 app six\n0:0::1 six";
    for (const name of ["app", "machine", "six"]) expect(parsed(text, name)).toEqual({ ipv4: [HOST], ipv6: [] });
    expect(parseHosts(text, HOST).names.size).toBe(0);
  });

  test("takes addresses that block a name as they are", () => {
    expect(parsed("0.0.0.0 ads.example\n:: ads.example", "ads.example")).toEqual({ ipv4: ["0.0.0.0"], ipv6: ["::"] });
  });

  test("leaves out the names of whoever asks", () => {
    // What Debian, Fedora and macOS write.
    const { addresses } = parseHosts(
      [
        "127.0.0.1 localhost localhost.localdomain localhost4 localhost4.localdomain4 app.localhost kept",
        "::1 LocalHost. localhost6.localdomain6 ip6-localhost ip6-loopback loopback",
        "10.0.0.1 localhost mylocalhost localhost.example",
      ].join("\n"),
      HOST,
    );
    expect([...addresses.keys()]).toEqual(["kept", "mylocalhost", "localhost.example"]);
  });

  test("takes no more than 64 addresses of a name, and one name of an address", () => {
    const many = Array.from({ length: 100 }, (_, index) => `10.0.0.${index} db`).join("\n");
    expect(parsed(many, "db")?.ipv4).toHaveLength(64);
    const names = Array.from({ length: 5000 }, (_, index) => `0.0.0.0 n${index}.example`).join("\n");
    expect(parseHosts(names, HOST).names).toEqual(new Map([["0.0.0.0", "n0.example"]]));
  });
});

let folder: string;
let path: string;
let time: number;
const logger = { debug: vi.fn(), info: vi.fn(), warn: vi.fn() };

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "hostd-dns-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  path = join(folder, "hosts");
  time = 0;
  vi.resetAllMocks();
});

const open = () => new HostsFile({ path, host: parseIpv4(HOST), logger, now: () => time });

function ask(file: HostsFile, name: string, type: RecordType | "ANY" = "A", options: QueryOptions = {}) {
  const response = file.answer(readValid(queryMessage(name, type, options)));
  return response && decoded(response);
}

/** The data of the answer; null when the file does not know of the name. */
const data = (file: HostsFile, name: string, type: RecordType = "A") =>
  ask(file, name, type)?.answers?.map((answer) => ("data" in answer ? answer.data : answer.type)) ?? null;

describe("a hosts file", () => {
  test("answers A and AAAA with its addresses, in the case of the query", () => {
    writeFileSync(path, "10.0.0.1 Db.lab\n10.0.0.2 db.lab\nfd00::1 db.lab\n");
    const file = open();
    expect(file.source).toBe(path);
    expect(file.size).toBe(1);
    const response = ask(file, "DB.Lab");
    expect(response).toMatchObject({ rcode: 0, flag_ra: true, flag_aa: false, authorities: [] });
    expect(response?.answers).toMatchObject([
      { type: "A", name: "DB.Lab", ttl: 10, data: "10.0.0.1" },
      { type: "A", name: "DB.Lab", ttl: 10, data: "10.0.0.2" },
    ]);
    expect(data(file, "db.lab", "AAAA")).toEqual(["fd00::1"]);
  });

  test("answers the other family with no data", () => {
    writeFileSync(path, "10.0.0.1 four\nfd00::1 six\n127.0.0.1 me\n");
    const file = open();
    expect(ask(file, "four", "AAAA")).toMatchObject({ rcode: 0, answers: [] });
    expect(ask(file, "six", "A")).toMatchObject({ rcode: 0, answers: [] });
    expect(data(file, "me")).toEqual([HOST]);
    expect(ask(file, "me", "AAAA")).toMatchObject({ rcode: 0, answers: [] });
  });

  test("answers look-ups by address with the first name", () => {
    writeFileSync(path, "10.0.0.1 DB.lab db\n10.0.0.1 again\nfd00::1 six\n127.0.0.1 me\n");
    const file = open();
    expect(data(file, "1.0.0.10.in-addr.arpa", "PTR")).toEqual(["DB.lab"]);
    expect(data(file, `1.${"0.".repeat(29)}D.F.ip6.arpa`, "PTR")).toEqual(["six"]);
    for (const name of ["2.0.0.10.in-addr.arpa", "1.0.0.127.in-addr.arpa", "254.65.168.192.in-addr.arpa", "db"]) {
      expect(ask(file, name, "PTR")).toBeNull();
    }
    expect(ask(file, "1.0.0.10.in-addr.arpa", "A")).toBeNull();
  });

  test("knows nothing of other types, classes and names", () => {
    writeFileSync(path, "10.0.0.1 db.lab\n");
    const file = open();
    for (const type of ["MX", "TXT", "CNAME", "SRV", "ANY"] as const) expect(ask(file, "db.lab", type)).toBeNull();
    expect(ask(file, "db.lab", "A", { class: "CH" })).toBeNull();
    expect(ask(file, "db", "A")).toBeNull();
    expect(ask(file, "x.db.lab", "A")).toBeNull();
    expect(ask(file, ".", "A")).toBeNull();
    expect(file.answer(rawQuery([Buffer.from("db.lab")], 1))).toBeNull();
  });

  test("is that of the system when no path is given", () => {
    expect(new HostsFile({ host: 0 }).source).toBe(HOSTS_PATH);
  });
});

describe("a hosts file is followed", () => {
  /** Replaces the file as programs do that want no reader to see half of it. */
  function replace(text: string) {
    writeFileSync(join(folder, "new"), text);
    renameSync(join(folder, "new"), path);
  }

  test("when it is replaced by rename, written in place, and linked elsewhere, a second later", () => {
    writeFileSync(path, "10.0.0.1 db\n");
    const file = open();
    expect(data(file, "db")).toEqual(["10.0.0.1"]);
    replace("10.0.0.2 db\n");
    time = 999;
    expect(data(file, "db")).toEqual(["10.0.0.1"]);
    time = 1000;
    expect(data(file, "db")).toEqual(["10.0.0.2"]);
    writeFileSync(path, "10.0.0.33 other\n");
    time = 2000;
    expect(data(file, "db")).toBeNull();
    expect(data(file, "other")).toEqual(["10.0.0.33"]);
    unlinkSync(path);
    writeFileSync(join(folder, "elsewhere"), "10.0.0.4 db\n");
    symlinkSync("elsewhere", path);
    time = 3000;
    expect(data(file, "db")).toEqual(["10.0.0.4"]);
    expect(logger.warn).not.toHaveBeenCalled();
    expect(logger.debug).toHaveBeenCalledTimes(4);
    expect(logger.debug).toHaveBeenLastCalledWith({ path, names: 1 }, "hosts file read");
  });

  test("when it is removed and made anew", () => {
    const file = open();
    expect(data(file, "db")).toBeNull();
    writeFileSync(path, "10.0.0.1 db\n");
    time = 1000;
    expect(data(file, "db")).toEqual(["10.0.0.1"]);
    unlinkSync(path);
    time = 2000;
    expect(data(file, "db")).toBeNull();
    expect(file.size).toBe(0);
    writeFileSync(path, "10.0.0.1 db\n");
    time = 3000;
    expect(data(file, "db")).toEqual(["10.0.0.1"]);
    expect(logger.warn).not.toHaveBeenCalled();
  });

  test("for its size as well", () => {
    const file = open();
    expect(file.size).toBe(0);
    writeFileSync(path, "10.0.0.1 a b\n");
    time = 1000;
    expect(file.size).toBe(2);
  });
});

test("what was read of a hosts file holds while it cannot be read, which is said once", () => {
  writeFileSync(path, "10.0.0.1 db\n");
  const file = open();
  expect(data(file, "db")).toEqual(["10.0.0.1"]);
  unlinkSync(path);
  mkdirSync(path);
  for (time = 1000; time <= 3000; time += 1000) expect(data(file, "db")).toEqual(["10.0.0.1"]);
  expect(logger.warn).toHaveBeenCalledExactlyOnceWith({ path, reason: "it is no file" }, "cannot read the hosts file");
  rmdirSync(path);
  writeFileSync(path, "10.0.0.2 db\n");
  time = 4000;
  expect(data(file, "db")).toEqual(["10.0.0.2"]);
});

test("a hosts file that cannot be read from the start is reported, and has no names", () => {
  mkdirSync(path);
  expect(data(open(), "db")).toBeNull();
  expect(logger.warn).toHaveBeenCalledExactlyOnceWith({ path, reason: "it is no file" }, "cannot read the hosts file");
});

test("a hosts file that is too large is not read, which is said once, and what was read before holds", () => {
  writeFileSync(path, "10.0.0.1 db\n");
  const file = open();
  expect(data(file, "db")).toEqual(["10.0.0.1"]);
  truncateSync(path, 32 * 1024 * 1024 + 1);
  time = 1000;
  expect(data(file, "db")).toEqual(["10.0.0.1"]);
  time = 2000;
  expect(data(file, "db")).toEqual(["10.0.0.1"]);
  expect(logger.warn).toHaveBeenCalledExactlyOnceWith(
    { path, reason: "it is longer than 33554432 bytes" },
    "cannot read the hosts file",
  );
  writeFileSync(path, "10.0.0.2 db\n");
  time = 3000;
  expect(data(file, "db")).toEqual(["10.0.0.2"]);
});
