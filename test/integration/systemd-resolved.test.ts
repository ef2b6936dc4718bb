import { afterAll, beforeAll, describe, expect, onTestFailed, onTestFinished, test } from "vitest";
import { CORP, ensureResolved, LAB, ResolvedHost } from "./support/resolved-host.ts";

const missing = ensureResolved();

const UPLINKS = "ln -sf ../run/systemd/resolve/resolv.conf /etc/resolv.conf";
const STUB = "ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf";
/** How long a change of the host may take to be followed, in milliseconds. */
const FOLLOWED = 2000;

/** Names of the domains of corp0, and of none. */
const NAMES = ["www.corp.example", "www.internal.example", "www.other.example"] as const;
const SPLIT = {
  "www.corp.example": [CORP.answer],
  "www.internal.example": [CORP.answer],
  "www.other.example": [LAB.answer],
};

describe.skipIf(missing !== undefined)(`systemd-resolved (${missing ?? "it is there"})`, () => {
  let host: ResolvedHost;

  beforeAll(async () => {
    host = await ResolvedHost.create();
  }, 60_000);

  afterAll(async () => {
    await host?.destroy();
  });

  function startClient() {
    const client = host.client();
    onTestFailed(() => console.error(host.log));
    onTestFinished(() => client.stop());
    return client;
  }

  test("keeps split DNS behind its stub, which resolv.conf names", async () => {
    await host.exec(STUB);
    await host.restart(true);
    expect(await startClient().report(...NAMES)).toEqual({
      routes: { "": ["127.0.0.53"] },
      search: ["corp.example"],
      source: "/etc/resolv.conf",
      answers: SPLIT,
    });
  });

  test("is asked by its stub when resolv.conf has its servers, which alone would lose split DNS", async () => {
    await host.exec(UPLINKS);
    await host.restart(true);
    expect(await startClient().report(...NAMES)).toEqual({
      routes: { "": ["127.0.0.53"] },
      search: ["corp.example"],
      source: "systemd-resolved, its stub",
      answers: SPLIT,
    });
  });

  test("gives the servers and domains of its links when it has no stub", async () => {
    await host.exec(UPLINKS);
    await host.restart(false);
    expect(await startClient().report(...NAMES)).toEqual({
      routes: { "corp.example": [CORP.server], "internal.example": [CORP.server], "": [LAB.server] },
      search: ["corp.example"],
      source: "systemd-resolved, its links",
      answers: SPLIT,
    });
  });

  test("is followed when a domain is added, the default moves, and a link goes down and up", async () => {
    await host.exec(UPLINKS);
    await host.restart(false);
    const client = startClient();
    expect((await client.report()).routes["new.example"]).toBeUndefined();

    await host.exec("resolvectl domain corp0 corp.example '~new.example'");
    await client.until(({ routes }) => routes["new.example"]?.[0] === CORP.server, FOLLOWED);
    const { routes, answers } = await client.report("www.new.example", "www.internal.example");
    expect(routes["internal.example"]).toBeUndefined();
    expect(answers).toEqual({ "www.new.example": [CORP.answer], "www.internal.example": [LAB.answer] });

    await host.exec("resolvectl default-route corp0 yes && resolvectl default-route lab0 no");
    await client.until((report) => report.routes[""]?.join() === CORP.server, FOLLOWED);
    expect((await client.report("www.other.example")).answers).toEqual({ "www.other.example": [CORP.answer] });

    await host.exec("resolvectl domain lab0 '~.'; ip link set corp0 down");
    const without = await client.until((report) => !("new.example" in report.routes), FOLLOWED);
    expect(without).toMatchObject({ routes: { "": [LAB.server] }, search: [] });
    await host.exec("ip link set corp0 up");
    await client.until((report) => report.routes["new.example"]?.[0] === CORP.server, FOLLOWED);
  });

  test("is not asked when it has ended and its files are left", async () => {
    await host.exec(UPLINKS);
    await host.restart(true);
    await host.stop();
    expect(await startClient().report("www.other.example")).toEqual({
      routes: { "": [LAB.server] },
      search: ["corp.example"],
      source: "/etc/resolv.conf",
      answers: { "www.other.example": [LAB.answer] },
    });
    await host.start(true);
  });

  test("is followed from the stub to the links and back", async () => {
    await host.exec(UPLINKS);
    await host.restart(true);
    const client = startClient();
    expect((await client.report()).source).toBe("systemd-resolved, its stub");
    await host.restart(false);
    await client.until(({ source, routes }) => source.endsWith("links") && "corp.example" in routes, FOLLOWED);
    expect((await client.report(...NAMES)).answers).toEqual(SPLIT);
    await host.restart(true);
    await client.until(({ source }) => source.endsWith("stub"), FOLLOWED);
    expect((await client.report(...NAMES)).answers).toEqual(SPLIT);
  });
});
