import { mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseIpv4, parseMac } from "@hostd/stack";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { LeaseStore } from "./leases.ts";
import { createLogger } from "./logging.ts";

let folder: string;
let state: string;
let file: string;
let log: { level: string; msg: string }[];

const logger = () =>
  createLogger(
    { level: "debug", format: "json" },
    { isTerminal: false, hasColors: false, write: (line) => log.push(JSON.parse(line)) },
  );
const open = () => LeaseStore.open(state, logger());
const leaseOf = (number: number) => ({
  mac: parseMac(`02:00:00:00:00:${number.toString(16).padStart(2, "0")}`),
  address: parseIpv4(`192.168.65.${number}`),
  expires: 1_800_000_000_000,
});

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hostd-state-"));
  state = join(folder, "a", "state");
  file = join(state, "leases.json");
  log = [];
});

afterEach(async () => {
  vi.useRealTimers();
  await rm(folder, { recursive: true });
});

describe("LeaseStore", () => {
  it("makes its folder for this user alone, and starts without leases", async () => {
    const store = await open();
    expect(store.leases.size).toBe(0);
    expect((await stat(state)).mode & 0o777).toBe(0o700);
    await store.close();
    expect(await readdir(state)).toEqual([]);
  });

  it("gives back what it was given before", async () => {
    const first = await open();
    first.leases.set(leaseOf(3));
    first.leases.set({ ...leaseOf(4), hostName: "box" });
    first.leases.set(leaseOf(5));
    first.leases.delete(leaseOf(5).address);
    await first.close();
    const second = await open();
    expect(second.leases.list()).toEqual([leaseOf(3), { ...leaseOf(4), hostName: "box" }]);
    await second.close();
    expect(log).toEqual([]);
  });

  it("writes a while after a change, once for many of them", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const store = await open();
    for (let number = 1; number < 50; number++) store.leases.set(leaseOf(number));
    expect(vi.getTimerCount()).toBe(1);
    vi.advanceTimersByTime(1000);
    vi.useRealTimers();
    await vi.waitUntil(async () => (await readdir(state)).includes("leases.json"));
    expect(JSON.parse(await readFile(file, "utf8"))).toHaveLength(49);
    await store.close();
  });

  it("is a file for this user alone, and leaves no other behind", async () => {
    const store = await open();
    store.leases.set(leaseOf(3));
    await store.close();
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(await readdir(state)).toEqual(["leases.json"]);
  });

  it.each(["", "{", "[{]", "\u0000"])("keeps a file aside that is not JSON: %j", async (text) => {
    await (await open()).close();
    await writeFile(file, text);
    const store = await open();
    expect(store.leases.size).toBe(0);
    expect(await readFile(`${file}.broken`, "utf8")).toBe(text);
    expect(log).toMatchObject([{ level: "error", msg: expect.stringMatching(/ is not JSON .*: kept as .*\.broken/) }]);
    store.leases.set(leaseOf(3));
    await store.close();
    expect(JSON.parse(await readFile(file, "utf8"))).toHaveLength(1);
  });

  it.each(["{}", "null", "7", '"text"'])("keeps a file aside that is no list: %s", async (text) => {
    await (await open()).close();
    await writeFile(file, text);
    const store = await open();
    expect(store.leases.size).toBe(0);
    expect(await readFile(`${file}.broken`, "utf8")).toBe(text);
    expect(log).toMatchObject([{ level: "error", msg: expect.stringContaining("not a list of leases") }]);
    await store.close();
  });

  it("leaves out an entry that is no lease, and says which", async () => {
    await (await open()).close();
    const good = { mac: "02:00:00:00:00:03", address: "192.168.65.3", expires: 1_800_000_000_000 };
    await writeFile(file, JSON.stringify([7, good, { ...good, address: "192.168.65.300" }]));
    const store = await open();
    expect(store.leases.list()).toEqual([leaseOf(3)]);
    expect(log.map(({ level, msg }) => [level, msg.replace(`${file}: `, "").slice(0, 16)])).toEqual([
      ["warn", "entry 0 left out"],
      ["warn", "entry 2 left out"],
    ]);
    await store.close();
  });

  it("fails where the folder cannot be made", async () => {
    await writeFile(join(folder, "a"), "");
    await expect(open()).rejects.toMatchObject({ code: expect.stringMatching(/ENOTDIR|EEXIST/) });
  });

  it("says once that it cannot save", async () => {
    const store = await open();
    await rename(state, `${state}.away`);
    store.leases.set(leaseOf(3));
    await vi.waitUntil(() => log.length > 0);
    store.leases.set(leaseOf(4));
    await store.close();
    expect(log).toMatchObject([{ level: "error", msg: expect.stringMatching(/^cannot save leases: ENOENT/) }]);
  });

  it("saves everything when it can again", async () => {
    const store = await open();
    await rename(state, `${state}.away`);
    store.leases.set(leaseOf(3));
    await vi.waitUntil(() => log.length > 0);
    await rename(`${state}.away`, state);
    store.leases.set(leaseOf(4));
    await store.close();
    expect(JSON.parse(await readFile(file, "utf8"))).toHaveLength(2);
    expect(log).toHaveLength(1);
  });
});
