import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, expect, it } from "vitest";
import { cleanUp, settle } from "../../../streams/src/testing/peer.ts";
import { find, PlayedPac } from "../testing/played-pac.ts";
import { Pac } from "./pac.ts";
import { PacError } from "./pac-error.ts";

/** Answers with a proxy whose port is the number of the call. */
const COUNTER = `var calls = 0; ${find("return 'PROXY ' + host + ':' + ++calls;")}`;

describe("Pac", () => {
  it("asks the script with the URL as browsers have it: without path and usual port", async () => {
    const played = new PlayedPac(find("alert(url + ' ' + host); return 'DIRECT';"));
    await played.ask("a.example");
    await played.ask("a.example", { port: 8080 });
    await played.ask("a.example", { scheme: "https", port: 443 });
    await played.ask("a.example", { scheme: "https", port: 80 });
    await played.ask("2001:db8::1", { port: 81 });
    const alerts = played.logger.lines.filter(({ level }) => level === "debug");
    expect(alerts.map(({ fields }) => "text" in fields && fields.text)).toEqual([
      "http://a.example/ a.example",
      "http://a.example:8080/ a.example",
      "https://a.example/ a.example",
      "https://a.example:80/ a.example",
      "http://[2001:db8::1]:81/ 2001:db8::1",
    ]);
  });

  it("looks up what the script wants to know", async () => {
    const played = new PlayedPac(
      find(`if (isInNet(host, "10.0.0.0", "255.0.0.0")) return "DIRECT";
        return "PROXY " + dnsResolve("proxy.example") + ":" + (isResolvable("nowhere.example") ? 1 : 2) + ";SOCKS " + myIpAddress();`),
    );
    played.addresses.set("in.example", "10.1.2.3");
    played.addresses.set("proxy.example", "192.0.2.1");
    expect(await played.ask("in.example")).toBe("direct");
    expect(await played.ask("out.example")).toBe("http://192.0.2.1:2 socks5h://192.0.2.7:1080");
    expect(played.lookups).toEqual(["in.example", "out.example", "proxy.example", "nowhere.example"]);
  });

  it("takes a failed lookup, or an answer that is no IPv4 address, for none", async () => {
    const played = new PlayedPac(find("return isResolvable(host) ? 'PROXY a' : 'DIRECT';"), {
      lookup: async (name) => {
        if (name === "fails.example") throw new Error("SERVFAIL");
        return "2001:db8::1";
      },
    });
    expect(await played.ask("fails.example")).toBe("direct");
    expect(await played.ask("v6.example")).toBe("direct");
  });

  it("fails when a lookup does not end within 2 s, and goes on", async () => {
    const asked = Promise.withResolvers<void>();
    const played = new PlayedPac(find("return host === 'ok' ? 'DIRECT' : dnsResolve(host);"), {
      lookup: () => {
        asked.resolve();
        return new Promise(() => {});
      },
    });
    await played.ask("ok");
    const failure = expect(played.ask("slow.example")).rejects.toThrow("there is no answer within 2000 ms");
    await asked.promise;
    played.clock.advance(1999);
    await settle();
    played.clock.advance(1);
    await failure;
    expect(await played.ask("ok", { port: 81 })).toBe("direct");
    expect(played.workers).toHaveLength(1);
  });

  it("warns of what it cannot use, once", async () => {
    const played = new PlayedPac(find("return 'SOCKS4 a:1; DIRECT';"));
    expect(await played.ask("a")).toBe("direct");
    expect(await played.ask("b")).toBe("direct");
    expect(played.warnings).toHaveLength(1);
    expect(played.warnings[0]).toContain("SOCKS 4 is not supported");
  });

  it("fails with a result that names no way", async () => {
    const played = new PlayedPac(find("return 'SOCKS4 a:1';"));
    await expect(played.ask("a")).rejects.toThrow(PacError);
    await expect(played.ask("a")).rejects.toThrow("names no way that can be taken");
  });

  it("fails for a host that no URL can have", async () => {
    const played = new PlayedPac(find("return 'DIRECT';"));
    await expect(played.ask("a b")).rejects.toThrow(PacError);
    expect(await played.ask("a")).toBe("direct");
  });

  it.each(["", "wpad.example/proxy.pac", "ftp://wpad.example/", "data:,x"])("refuses the URL %j", (url) => {
    expect(() => new PlayedPac("", { url })).toThrow(PacError);
  });

  it("fetches by HTTP unless told otherwise", async () => {
    const server = createServer((_request, response) => response.end(find("return 'PROXY a:1';")));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    cleanUp(() => server.close());
    const { logger } = new PlayedPac("");
    const pac = new Pac({
      url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/proxy.pac`,
      logger,
      lookup: async () => null,
    });
    cleanUp(() => pac.close());
    expect(await pac.routes({ scheme: "http", host: "x", port: 80 })).toHaveLength(1);
  });

  it("tells the address of this host to myIpAddress unless told otherwise", async () => {
    const played = new PlayedPac(find("return 'PROXY ' + myIpAddress();"), {});
    const { logger } = played;
    const pac = new Pac({
      url: "http://wpad.example/",
      logger,
      lookup: async () => null,
      fetch: async () => ({ text: find("return 'PROXY ' + myIpAddress();") }),
    });
    cleanUp(() => pac.close());
    const [route] = await pac.routes({ scheme: "http", host: "x", port: 80 });
    expect(route).toMatchObject({ kind: "proxy", server: { host: expect.stringMatching(/^\d+\.\d+\.\d+\.\d+$/) } });
  });
});

describe("answers of a PAC script", () => {
  it("are kept for 60 s, for each scheme, host and port", async () => {
    const played = new PlayedPac(COUNTER);
    expect(await played.ask("a")).toBe("http://a:1");
    played.clock.advance(59_999);
    expect(await played.ask("a")).toBe("http://a:1");
    expect(await played.ask("b")).toBe("http://b:2");
    expect(await played.ask("a", { port: 81 })).toBe("http://a:3");
    expect(await played.ask("a", { scheme: "https" })).toBe("http://a:4");
    played.clock.advance(1);
    expect(await played.ask("a")).toBe("http://a:5");
    expect(await played.ask("b")).toBe("http://b:2");
  });

  it("are found once for those who ask at once", async () => {
    const played = new PlayedPac(COUNTER);
    const all = await Promise.all(Array.from({ length: 64 }, (_, index) => played.ask(`h${index % 8}`)));
    expect(new Set(all).size).toBe(8);
    expect(await played.ask("next")).toBe("http://next:9");
  });

  it("are found for 64 who ask for different things at once", async () => {
    const played = new PlayedPac(find("return 'PROXY ' + dnsResolve(host) + ':80';"));
    for (let index = 0; index < 64; index++) played.addresses.set(`h${index}`, `192.0.2.${index}`);
    const all = await Promise.all(Array.from({ length: 64 }, (_, index) => played.ask(`h${index}`)));
    expect(all).toEqual(Array.from({ length: 64 }, (_, index) => `http://192.0.2.${index}:80`));
    expect(played.workers).toHaveLength(1);
  });

  it("are kept for the 1000 that were asked for last", async () => {
    const played = new PlayedPac(COUNTER);
    const first = await played.ask("first");
    const second = await played.ask("second");
    for (let index = 0; index < 998; index++) await played.ask(`h${index}`);
    expect(await played.ask("first")).toBe(first);
    await played.ask("one-more");
    expect(await played.ask("first")).toBe(first);
    expect(await played.ask("second")).not.toBe(second);
  });

  it("are asked for again 5 s after a failure", async () => {
    const played = new PlayedPac(`var calls = 0; ${find("throw new Error('call ' + ++calls);")}`);
    await expect(played.ask("a")).rejects.toThrow("call 1");
    played.clock.advance(4999);
    await expect(played.ask("a")).rejects.toThrow("call 1");
    await expect(played.ask("b")).rejects.toThrow("call 2");
    played.clock.advance(1);
    await expect(played.ask("a")).rejects.toThrow("call 3");
    expect(played.warnings).toEqual(["the PAC script fails for a request: Error: call 1"]);
  });

  it("are not waited for by more than 256 at once", async () => {
    const lookup = Promise.withResolvers<null>();
    const played = new PlayedPac(find("return dnsResolve(host) || 'DIRECT';"), { lookup: () => lookup.promise });
    const first = played.ask("h0");
    while (played.workers.length === 0) await settle();
    const others = Array.from({ length: 299 }, (_, index) => played.ask(`h${index + 1}`));
    const outcomes = Promise.allSettled([first, ...others]);
    await settle();
    lookup.resolve(null);
    const statuses = (await outcomes).map(({ status }) => status);
    expect(statuses.filter((status) => status === "fulfilled")).toHaveLength(256);
    await expect(played.ask("h299")).resolves.toBe("direct");
  });
});

describe("the PAC script in force", () => {
  it("is waited for at first", async () => {
    const script = Promise.withResolvers<{ text: string }>();
    const played = new PlayedPac("", { fetch: () => script.promise });
    const asked = played.ask("a");
    await settle();
    expect(played.workers).toHaveLength(0);
    script.resolve({ text: COUNTER });
    expect(await asked).toBe("http://a:1");
  });

  it("is missed while there is none, and why is told without what may be a secret", async () => {
    const played = new PlayedPac(new Error("connect ECONNREFUSED 192.0.2.1:80"));
    const reason = "there is no PAC script from http://wpad.example/proxy.pac: connect ECONNREFUSED 192.0.2.1:80";
    await expect(played.ask("a")).rejects.toThrow(new PacError(reason));
    await expect(played.ask("a")).rejects.toThrow(new PacError(reason));
    expect(played.warnings).toEqual(["there is no PAC script: connect ECONNREFUSED 192.0.2.1:80"]);
    expect(played.workers).toHaveLength(0);
    played.script = COUNTER;
    played.clock.advance(1000);
    await played.fetches.take(2);
    while (!played.logger.lines.some(({ message }) => message === "a PAC script is in force")) await settle();
    expect(await played.ask("a")).toBe("http://a:1");
    expect(JSON.stringify(played.logger.lines)).not.toContain("secret");
  });

  it.each([
    ["is none", "<html>sign in</html>", "SyntaxError"],
    ["throws", "throw new Error('no');", "Error: no"],
    ["has no function", "var x = 1;", "it has no function FindProxyForURL"],
    ["is too large", `// ${"x".repeat(1024 * 1024)}`, "larger than"],
  ])("is not one that %s", async (_name, script, reason) => {
    const played = new PlayedPac(script);
    await expect(played.ask("a")).rejects.toThrow(reason);
    await played.ended();
  });

  it("stays when there is no new one, or none that can be loaded", async () => {
    const played = new PlayedPac(COUNTER);
    await played.ask("a");
    played.script = new Error("ENETDOWN");
    played.clock.advance(300_000);
    await until(() => played.warnings.length === 1);
    await settle();
    played.script = "<html>";
    played.clock.advance(1000);
    await until(() => played.workers.length === 2);
    await once(played.workers[1], "exit");
    expect(await played.ask("b")).toBe("http://b:2");
    expect(played.warnings).toEqual(["there is no new PAC script, the last one stays: ENETDOWN"]);
  });

  it("gives way to a new one, and so do its answers", async () => {
    const played = new PlayedPac(COUNTER);
    await played.ask("a");
    played.script = find("return 'PROXY new:1';");
    played.clock.advance(300_000);
    await until(() => played.logger.lines.length === 2);
    expect(await played.ask("a")).toBe("http://new:1");
    const [old] = played.workers;
    if (old.threadId !== -1) await once(old, "exit");
  });

  it("answers those who have asked before it gave way", async () => {
    const lookup = Promise.withResolvers<string>();
    const asked = Promise.withResolvers<void>();
    const played = new PlayedPac(find("return host === 'a' ? 'PROXY ' + dnsResolve('old') : 'DIRECT';"), {
      lookup: () => {
        asked.resolve();
        return lookup.promise;
      },
    });
    const before = played.ask("a");
    await asked.promise;
    played.script = find("return 'PROXY new:1';");
    played.network = "192.0.2.8";
    played.clock.advance(1000);
    await played.ask("b");
    await until(() => played.logger.lines.length === 2);
    expect(await played.ask("a")).toBe("http://new:1");
    lookup.resolve("192.0.2.1");
    expect(await before).toBe("http://192.0.2.1:80");
    const [old] = played.workers;
    if (old.threadId !== -1) await once(old, "exit");
  });

  it("and its answers stay when the new one is the same", async () => {
    const played = new PlayedPac(COUNTER, { refetchSeconds: 10 });
    await played.ask("a");
    played.clock.advance(10_000);
    await played.fetches.take(2);
    await settle();
    expect(await played.ask("a")).toBe("http://a:1");
    expect(await played.ask("b")).toBe("http://b:2");
    expect(played.workers).toHaveLength(1);
  });

  it("starts anew with another network, even when it is the same", async () => {
    const played = new PlayedPac(`var own = myIpAddress(); ${find("return 'PROXY ' + own;")}`);
    expect(await played.ask("a")).toBe("http://192.0.2.7:80");
    played.network = "192.0.2.8";
    played.clock.advance(999);
    await played.ask("a");
    expect(played.fetches.events).toHaveLength(1);
    played.clock.advance(1);
    await played.ask("a");
    await until(() => played.logger.lines.length === 2);
    expect(await played.ask("a")).toBe("http://192.0.2.8:80");
  });

  it("is not asked any more once it is closed, and its thread ends", async () => {
    const played = new PlayedPac(find("return dnsResolve(host);"), { lookup: () => new Promise(() => {}) });
    const waiting = expect(played.ask("a")).rejects.toThrow(PacError);
    await until(() => played.logger.lines.length === 1);
    await settle();
    played.pac.close();
    await played.ended();
    await expect(played.ask("b")).rejects.toThrow("no longer in force");
    played.clock.advance(2000);
    await waiting;
    expect(played.clock.timers).toBe(0);
  });

  it("is not waited for once it is closed", async () => {
    const played = new PlayedPac("", {
      fetch: (_url, signal) => new Promise((_, reject) => signal.addEventListener("abort", reject)),
    });
    const waiting = expect(played.ask("a")).rejects.toThrow("no longer in force");
    played.pac.close();
    await waiting;
    await settle();
    expect(played.clock.timers).toBe(0);
  });
});

/** Waits for what threads do, which time that is played does not bring about. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await settle();
}
