import { execFileSync } from "node:child_process";
import { rename, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { FakeClock } from "../../../streams/src/testing/fake-clock.ts";
import { makeFolder } from "../../../streams/src/testing/peer.ts";
import { VpnkitProxyFile } from "./vpnkit-proxy-file.ts";

describe("vpnkit's proxy file", () => {
  let path: string;
  let clock: FakeClock;
  let file: VpnkitProxyFile;

  beforeEach(async () => {
    path = join(await makeFolder(), "proxy.json");
    clock = new FakeClock();
    file = new VpnkitProxyFile(path, clock);
  });

  const write = (host: string) => writeFile(path, JSON.stringify({ http: `http://${host}:3128` }));
  const host = () => file.current().settings?.http[0]?.host;

  test("says nothing while it is not there, and is found when it is", async () => {
    expect(file.current()).toMatchObject({ settings: null, problems: [`${path}: there is no such file`] });
    await write("one.example");
    clock.advance(1000);
    expect(host()).toBe("one.example");
    expect(file.current().problems).toEqual([]);
    await rm(path);
    clock.advance(1000);
    expect(file.current().settings).toBeNull();
  });

  test("is looked at once per second at most, and gives the same object until it changes", async () => {
    await write("one.example");
    const reading = file.current();
    await write("two.example");
    clock.advance(999);
    expect(file.current()).toBe(reading);
    clock.advance(1);
    expect(host()).toBe("two.example");
    const second = file.current();
    clock.advance(10_000);
    expect(file.current()).toBe(second);
  });

  test("is followed when another file is renamed over it", async () => {
    await write("one.example");
    expect(host()).toBe("one.example");
    await writeFile(`${path}.new`, '{"http": "http://two.example:3128", "transparent_http_ports": [8080]}');
    await rename(`${path}.new`, path);
    clock.advance(1000);
    expect(host()).toBe("two.example");
    expect(file.transparentPorts).toEqual({ http: [8080], https: [443] });
  });

  test("keeps what it said while it is half written", async () => {
    await write("one.example");
    expect(host()).toBe("one.example");
    await writeFile(path, '{"http": "http://two.ex');
    clock.advance(1000);
    expect(host()).toBe("one.example");
    expect(file.current().problems).toEqual([`${path}: it is no JSON`]);
    const broken = file.current();
    clock.advance(1000);
    expect(file.current()).toBe(broken);
    await write("two.example");
    clock.advance(1000);
    expect(host()).toBe("two.example");
    expect(file.current().problems).toEqual([]);
  });

  test("is not read when it is no file or too long", async () => {
    execFileSync("mkfifo", [path]);
    expect(file.current()).toMatchObject({ settings: null, problems: [`${path}: it is no file`] });
    await rm(path);
    await writeFile(path, "{}");
    await truncate(path, 2 * 1024 * 1024);
    clock.advance(1000);
    expect(file.current()).toMatchObject({
      settings: null,
      problems: [`${path}: it is longer than 1048576 bytes`],
    });
  });
});
