import { once } from "node:events";
import { chmod, readFile, stat, writeFile } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Server } from "node:net";
import { join } from "node:path";
import type { ForwardRule } from "@hostd/portfwd";
import { afterEach, describe, expect, it, vi } from "vitest";
import { openBook, temporaryFolder } from "../testing/forward-book.ts";

const HOST = "127.0.0.1";
const rule = (port = 0, to = 80): ForwardRule => ({
  protocol: "tcp",
  listen: { host: HOST, port },
  to: { address: null, port: to },
});
const portOf = (id: string) => Number(id.split(":").at(-1));

const servers: Server[] = [];
afterEach(async () => {
  vi.useRealTimers();
  for (const server of servers.splice(0)) await new Promise((resolve) => server.close(resolve));
});

/** A port that somebody else listens on. */
async function taken(): Promise<{ port: number; free(): Promise<void> }> {
  const server = createServer().listen(0, HOST);
  servers.push(server);
  await once(server, "listening");
  const free = () => new Promise<void>((resolve) => server.close(() => resolve()));
  return { port: (server.address() as AddressInfo).port, free };
}

async function isListening(port: number): Promise<boolean> {
  return await new Promise((resolve) => {
    const probe = connect(port, HOST);
    probe.once("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.once("error", (error: NodeJS.ErrnoException) => resolve(error.code !== "ECONNREFUSED"));
  });
}

describe("the book of forwards", () => {
  it("lists what is open under ids that say where it listens", async () => {
    const { book, events } = await openBook();
    const folder = await temporaryFolder();
    const path = join(folder, "a.sock");
    const first = await book.open(rule(), { origin: "config" });
    const second = await book.open({ ...rule(), listen: { path } } as ForwardRule, { origin: "api" });
    expect(first.id).toMatch(/^tcp\/127\.0\.0\.1:[1-9]\d*$/);
    expect(second.id).toBe(`unix/${path}`);
    expect(book.list().map(({ id, origin, persist, error }) => ({ id, origin, persist, error }))).toEqual([
      { id: first.id, origin: "config", persist: false, error: undefined },
      { id: second.id, origin: "api", persist: false, error: undefined },
    ]);
    expect(await book.remove(first.id)).toBe(true);
    expect(await book.remove(first.id)).toBe(false);
    expect(await isListening(portOf(first.id))).toBe(false);
    expect(events).toMatchObject([
      { type: "forward.added", id: first.id, to: "80", origin: "config" },
      { type: "forward.added", id: second.id },
      { type: "forward.removed", id: first.id, origin: "config" },
    ]);
  });

  it("opens several or none", async () => {
    const { book } = await openBook();
    const { port } = await taken();
    const failing = book.openAll([rule(), rule(), rule(port)], { origin: "api" });
    await expect(failing).rejects.toThrow(`listen tcp ${HOST}:${port}: bind: address already in use`);
    expect(book.list()).toEqual([]);
    expect(await book.openAll([rule(), rule()], { origin: "api" })).toHaveLength(2);
  });

  it("opens what the policy allows, by who asks", async () => {
    const { book } = await openBook({ publish: { allow: ["127.0.0.1"] }, guestApi: { allow: ["any:1024-65535"] } });
    await expect(book.open({ ...rule(), listen: { host: "0.0.0.0", port: 0 } }, { origin: "api" })).rejects.toThrow(
      "listening on 0.0.0.0:0 is not allowed; allowed: 127.0.0.1",
    );
    await expect(book.open(rule(80), { origin: "guest" })).rejects.toThrow(
      "listening on 127.0.0.1:80 is not allowed; allowed: any:1024-65535",
    );
  });

  it("has a guest keep to what anybody may listen on", async () => {
    const { book } = await openBook({ publish: { allow: ["127.0.0.1"] }, guestApi: { allow: ["any"] } });
    const wide = { ...rule(2000), listen: { host: "0.0.0.0", port: 2000 } };
    await expect(book.open(wide, { origin: "guest" })).rejects.toThrow("not allowed");
  });
});

describe("forwards that persist", () => {
  it("are there again after a restart, and those that do not are not", async () => {
    const state = await temporaryFolder();
    const first = await openBook({ state });
    const kept = await first.book.open(rule(), { origin: "api", persist: true });
    await first.book.open(rule(), { origin: "api" });
    const removed = await first.book.open(rule(), { origin: "api", persist: true });
    await first.book.remove(removed.id);
    await first.close();
    const file = join(state, "forwards.json");
    // Where the system chose a port, it is the rule that persists.
    expect(JSON.parse(await readFile(file, "utf8"))).toEqual([{ listen: `${HOST}:0`, to: "80", protocol: "tcp" }]);
    expect((await stat(file)).mode & 0o777).toBe(0o600);

    const second = await openBook({ state });
    await second.book.restore();
    expect(second.book.list()).toMatchObject([{ persist: true, origin: "api", rule: kept.rule }]);
  });

  it("that cannot be opened are listed with the reason, and tried again until they can", async () => {
    const state = await temporaryFolder();
    const { port, free } = await taken();
    await writeFile(join(state, "forwards.json"), JSON.stringify([{ listen: `${HOST}:${port}`, to: 80 }]));
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const { book, log, events } = await openBook({ state });
    await book.restore();
    const id = `tcp/${HOST}:${port}`;
    expect(book.list()).toMatchObject([
      { id, forward: null, error: expect.stringContaining("address already in use") },
    ]);
    expect(log.filter(({ level }) => level === "warn")).toHaveLength(1);
    expect(events).toMatchObject([{ type: "forward.failed", id }]);

    await free();
    const added = new Promise<void>((resolve) => {
      const poll = setInterval(() => {
        if (book.get(id)?.forward == null) return;
        clearInterval(poll);
        resolve();
      }, 5);
    });
    await vi.advanceTimersByTimeAsync(5000);
    await added;
    expect(await isListening(port)).toBe(true);
  });

  it("that cannot be opened stay on disk, and go when they are removed", async () => {
    const state = await temporaryFolder();
    const file = join(state, "forwards.json");
    const { port } = await taken();
    await writeFile(file, JSON.stringify([{ listen: `${HOST}:${port}`, to: 80 }]));
    const first = await openBook({ state });
    await first.book.restore();
    await first.book.open(rule(), { origin: "api", persist: true });
    await first.close();
    expect(JSON.parse(await readFile(file, "utf8"))).toHaveLength(2);

    const second = await openBook({ state });
    await second.book.restore();
    expect(await second.book.remove(`tcp/${HOST}:${port}`)).toBe(true);
    await second.close();
    expect(JSON.parse(await readFile(file, "utf8"))).toHaveLength(1);
  });

  it("are left out one by one when an entry cannot be read, and said so", async () => {
    const state = await temporaryFolder();
    const entries = [{ listen: 0, to: 80 }, { listen: "x", to: 80 }, "y"];
    await writeFile(join(state, "forwards.json"), JSON.stringify(entries));
    const { book, log } = await openBook({ state });
    await book.restore();
    expect(book.list()).toHaveLength(1);
    expect(log.filter(({ level }) => level === "warn").map(({ msg }) => msg)).toEqual([
      expect.stringContaining("entry 1 left out: forward.listen: "),
      expect.stringContaining("entry 2 left out: forward: "),
    ]);
  });

  it("are kept aside when their file cannot be understood", async () => {
    const state = await temporaryFolder();
    const file = join(state, "forwards.json");
    await writeFile(file, "{");
    await chmod(file, 0o600);
    const { log } = await openBook({ state });
    expect(log).toMatchObject([{ level: "error", msg: expect.stringContaining("starting without forwards") }]);
    expect(await readFile(`${file}.broken`, "utf8")).toBe("{");
  });
});
