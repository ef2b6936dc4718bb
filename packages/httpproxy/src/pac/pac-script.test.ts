import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { find } from "../testing/played-pac.ts";
import { limitMemory } from "./bounded-memory.ts";
import { type Addresses, OWN_ADDRESS, type PacAnswer } from "./pac-protocol.ts";
import { PacScript } from "./pac-script.ts";

const NONE: Addresses = new Map();

let engine: Uint8Array;

beforeAll(async () => {
  const library = createRequire(import.meta.url).resolve("quickjs-wasi");
  engine = limitMemory(await readFile(join(library, "../../quickjs.wasm")), 512);
});

async function load(
  script: string,
  addresses = NONE,
): Promise<{ readonly pac: PacScript; readonly answer: PacAnswer }> {
  const pac = await PacScript.create(engine);
  return { pac, answer: pac.load(script, addresses) };
}

/** What a script says for `http://www.example.com/`. */
async function ask(script: string, addresses = NONE): Promise<PacAnswer> {
  const { pac, answer } = await load(script, addresses);
  expect(answer).toEqual({ kind: "result", text: "", alerts: [] });
  return pac.find("http://www.example.com/", "www.example.com", addresses);
}

const result = (text: string) => ({ kind: "result", text, alerts: [] });
const failure = (message: unknown, isBroken = false) => ({ kind: "failed", message, isBroken });

describe("PacScript", () => {
  it("calls the function with the URL and the host", async () => {
    expect(await ask(find("return url + ' ' + host;"))).toEqual(result("http://www.example.com/ www.example.com"));
  });

  it.each(["null", "undefined", "''"])("takes %s for nothing", async (value) => {
    expect(await ask(find(`return ${value};`))).toEqual(result(""));
  });

  // Each breaks, or turns into something else, when calls of DNS functions are made to wait by a translation.
  it.each([
    [
      "a function expression",
      `var FindProxyForURL = function (url, host) { return isInNet(host, "10.0.0.0", "255.0.0.0") ? "A" : "B"; };`,
    ],
    [
      "a lexical declaration",
      `"use strict"; const FindProxyForURL = (url, host) => isInNet(host, "10.0.0.0", "255.0.0.0") ? "A" : "B";`,
    ],
    [
      "a callback",
      find(
        `return ["172.16.0.0", "10.0.0.0"].some(function (net) { return isInNet(host, net, "255.0.0.0"); }) ? "A" : "B";`,
      ),
    ],
    [
      "a named callback",
      `function inside(host) { return isInNet(host, "10.0.0.0", "255.0.0.0"); } ${find(`return [host, "192.0.2.1"].filter(inside).length === 1 ? "A" : "B";`)}`,
    ],
    [
      "a method",
      `var nets = { ours: function (host) { return dnsResolve(host) === "10.1.2.3"; } }; ${find(`return nets.ours(host) ? "A" : "B";`)}`,
    ],
    [
      "a call of a result",
      `function of(net) { return function (host) { return isInNet(host, net, "255.0.0.0"); }; } ${find(`return of("10.0.0.0")(host) ? "A" : "B";`)}`,
    ],
    [
      "newer syntax",
      `const nets = (() => ({ ...{ ours: "10.0.0.0" } }))(); ${find(`return isInNet(host, nets?.ours ?? "", "255.0.0.0") ? "A" : "B";`)}`,
    ],
    [
      "a function that is another's",
      `var inside = isInNet; ${find(`return inside(host, "10.0.0.0", "255.0.0.0") ? "A" : "B";`)}`,
    ],
  ])("runs a script as it is: %s", async (_name, script) => {
    expect(await ask(script, new Map([["www.example.com", "10.1.2.3"]]))).toEqual(result("A"));
    expect(await ask(script, new Map([["www.example.com", "192.0.2.80"]]))).toEqual(result("B"));
  });

  it("asks for the addresses that it needs, and starts over with them", async () => {
    const script = find(`return dnsResolve("a.example") + " " + dnsResolve("b.example") + " " + myIpAddress();`);
    const { pac } = await load(script);
    const addresses = new Map<string, string | null>();
    const names: (readonly string[])[] = [];
    for (;;) {
      const answer = pac.find("http://a/", "a", addresses);
      if (answer.kind !== "names") {
        expect(answer).toEqual(result("192.0.2.1 null 192.0.2.7"));
        break;
      }
      names.push(answer.names);
      for (const name of answer.names) {
        addresses.set(name, name === OWN_ADDRESS ? "192.0.2.7" : name === "a.example" ? "192.0.2.1" : null);
      }
    }
    expect(names).toEqual([["a.example"], ["b.example"], [OWN_ADDRESS]]);
  });

  it("asks for them even when the script hides that they are missing", async () => {
    const script = find(`try { return dnsResolve("a.example"); } catch (error) { return "DIRECT"; }`);
    expect(await ask(script)).toEqual({ kind: "names", names: ["a.example"] });
    expect(await ask(script, new Map([["a.example", "192.0.2.1"]]))).toEqual(result("192.0.2.1"));
  });

  it("asks for those that the script itself needs as it is loaded", async () => {
    const script = `var own = myIpAddress(); ${find("return own;")}`;
    expect((await load(script)).answer).toEqual({ kind: "names", names: [OWN_ADDRESS] });
    expect(await ask(script, new Map([[OWN_ADDRESS, "192.0.2.7"]]))).toEqual(result("192.0.2.7"));
  });

  it("keeps the first 10 alerts of a run, as one line each", async () => {
    const answer = await ask(
      find(`for (var i = 0; i < 1000; i++) alert("n " + i + "\\n\\x1b[2J" + "x".repeat(1000)); return "DIRECT";`),
    );
    expect(answer).toMatchObject({ kind: "result", text: "DIRECT" });
    const alerts = answer.kind === "result" ? answer.alerts : [];
    expect(alerts).toHaveLength(10);
    expect(alerts[9]).toMatch(/^n 9 \[2Jx+\.\.\.$/);
    expect(alerts[9].length).toBeLessThan(210);
  });

  it.each([
    ["that is none", "<html>", /^SyntaxError: /],
    ["that throws", "throw new TypeError('no');", "TypeError: no"],
    ["without the function", "function findProxyForURL() {}", "it has no function FindProxyForURL"],
    ["with something else in its place", "var FindProxyForURL = 'DIRECT';", "it has no function FindProxyForURL"],
    ["that is empty", "", "it has no function FindProxyForURL"],
  ])("does not load a script %s", async (_name, script, message) => {
    const expected = typeof message === "string" ? message : expect.stringMatching(message);
    expect((await load(script)).answer).toEqual(failure(expected));
  });

  it.each([
    ["return 4;", "FindProxyForURL returns a value of type number, not a text"],
    ["return { toString: function () { return 'DIRECT'; } };", /type object/],
    ["return Promise.resolve('DIRECT');", /type object/],
    ["return Symbol('DIRECT');", /type symbol/],
    ["return 'DIRECT;'.repeat(1e6);", "FindProxyForURL returns more than 8192 characters"],
    ["nowhere();", /^ReferenceError: /],
    ["throw new Error('a\\n\\x1b[31mb\\u2028\\u202ec');", "Error: a [31mb c"],
    ["throw 'text';", "Error: text"],
    ["throw Symbol();", /^Error/],
    ["throw { get message() { throw 1; } };", /^Error/],
    ["return dnsResolve('x'.repeat(8193));", /more than 8192 characters/],
  ])("fails with a function that does %s and goes on", async (body, message) => {
    const { pac } = await load(find(`if (host === "ok") return "DIRECT"; ${body}`));
    const expected = typeof message === "string" ? message : expect.stringMatching(message);
    expect(pac.find("http://a/", "a", NONE)).toEqual(failure(expected));
    expect(pac.find("http://ok/", "ok", NONE)).toEqual(result("DIRECT"));
  });

  it("shows no more than the start of an error", async () => {
    const answer = await ask(find("throw new Error('x'.repeat(1e6));"));
    expect(answer.kind === "failed" && answer.message.length).toBeLessThan(210);
  });

  it.each([
    ["a recursion without end", "function again() { return again() + 1; } again();"],
    ["an array too large", "new Array(4e9).fill(0);"],
    ["objects without end", "var all = {}; for (var i = 0; ; i++) all['k' + i] = [i];"],
    ["long texts without end", "var all = []; for (var i = 0; ; i++) all.push('x'.repeat(100000) + i);"],
    ["nesting without end", "for (var all = []; ; all = [all]);"],
  ])("is broken by %s", async (_name, body) => {
    expect(await ask(find(body))).toEqual(failure(expect.any(String), true));
  });

  it("gives a script 32 MiB and no more", async () => {
    const answer = await ask(
      find(
        "var all = []; try { for (;;) all.push(new Uint8Array(100000).fill(1)); } catch (e) {} var n = all.length; all = null; return 'n ' + n;",
      ),
    );
    const held = answer.kind === "result" ? Number(answer.text.split(" ")[1]) * 100_000 : 0;
    expect(held).toBeGreaterThan(8 * 1024 * 1024);
    expect(held).toBeLessThan(32 * 1024 * 1024);
  });

  it("loads a script of 900 KB with 30,000 names", async () => {
    const names = Array.from({ length: 30_000 }, (_, index) => `"host${index}.example${index % 977}.com": 1`);
    const { pac, answer } = await load(
      `var names = {\n${names.join(",\n")}};\n${find("return names[host] ? 'A' : 'B';")}`,
    );
    expect(answer).toEqual(result(""));
    expect(pac.find("http://a/", "host29999.example689.com", NONE)).toEqual(result("A"));
    expect(pac.find("http://a/", "host29999.example688.com", NONE)).toEqual(result("B"));
  });

  it("does not fill up, whether it succeeds, fails or asks", async () => {
    const { pac } = await load(
      find(`if (host === "throw") throw new Error(url); return dnsResolve(host) + host.repeat(10);`),
    );
    const addresses = new Map([["a.example", "192.0.2.1"]]);
    const url = `http://${"x".repeat(4000)}/`;
    // Were anything of it kept, this would be more than the sandbox has.
    for (let round = 0; round < 10_000; round++) {
      expect(pac.find(url, "a.example", addresses).kind).toBe("result");
      expect(pac.find(url, "throw", addresses).kind).toBe("failed");
      expect(pac.find(url, "b.example", addresses).kind).toBe("names");
    }
  });
});

describe("a script's sandbox", () => {
  const GLOBALS = [
    "process",
    "require",
    "module",
    "Buffer",
    "fetch",
    "setTimeout",
    "console",
    "WebAssembly",
    "XMLHttpRequest",
    "importScripts",
    "__dirname",
    "global",
    "print",
    "std",
    "os",
  ];

  it("has nothing of Node or browsers", async () => {
    const types = GLOBALS.map((name) => `typeof ${name}`).join(" + ' ' + ");
    expect(await ask(find(`return ${types};`))).toEqual(result(GLOBALS.map(() => "undefined").join(" ")));
  });

  it.each([
    ["isPlainHostName.constructor('return typeof process')()", "undefined"],
    ["isPlainHostName.constructor('return process')()", "ReferenceError"],
    ["isPlainHostName.constructor.constructor('return typeof process')()", "undefined"],
    ["(function () {}).constructor('return typeof require')()", "undefined"],
    ["(0, eval)('typeof process')", "undefined"],
    ["typeof Object.getPrototypeOf(isPlainHostName).constructor('return this')().process", "undefined"],
    ["typeof alert('x', { get constructor() { return Object; } })", "undefined"],
    ["dnsResolve('x'.repeat(9000))", "Error"],
    [
      "typeof thrown(function () { dnsResolve('x'.repeat(9000)); }).constructor.constructor('return this')().process",
      "undefined",
    ],
    ["thrown(function () { dnsResolve('x'.repeat(9000)); }) instanceof Error", "true"],
    ["typeof dnsDomainIs.caller", "TypeError"],
  ])("does not lead out by %s", async (expression, expected) => {
    const script = `
      function thrown(call) { try { call(); } catch (error) { return error; } }
      ${find(`try { return String(${expression}); } catch (error) { return error.name; }`)}`;
    expect(await ask(script)).toMatchObject({ kind: "result", text: expected });
  });

  it("cannot load modules", async () => {
    expect((await load("import fs from 'node:fs';")).answer.kind).toBe("failed");
    const { pac } = await load(find("import('node:fs').then(function (fs) { alert(typeof fs); }); return 'DIRECT';"));
    expect(pac.find("http://a/", "a", NONE)).toEqual(result("DIRECT"));
    expect(pac.find("http://a/", "a", NONE)).toEqual(result("DIRECT"));
  });

  it("tells a script nothing about this host in its errors", async () => {
    const script = find(
      `try { dnsResolve("x".repeat(9000)); } catch (error) { return error.message + "|" + error.stack; }`,
    );
    const answer = await ask(script);
    expect(answer).toMatchObject({ kind: "result" });
    expect(answer.kind === "result" && answer.text).not.toMatch(/pac-|node|file:|\/src|\.ts|\.js/);
  });

  it("stands scripts that change what everything is made of", async () => {
    const script = `
      Object.prototype.toString = String.prototype.toString = null;
      Array.prototype[Symbol.iterator] = Array.prototype.push = null;
      Object.defineProperty(Object.prototype, "kind", { value: "result" });
      Object.defineProperty(Object.prototype, "length", { get: function () { return 5; } });
      dnsResolve = null; globalThis = null;
      ${find("return dnsDomainIs(host, '.com') ? 'A' : 'B';")}
      Object.freeze(Object.prototype); Object.freeze(Function.prototype);`;
    expect(await ask(script)).toEqual(result("A"));
    expect({}.toString()).toBe("[object Object]");
  });

  it("looks into no objects that a script passes", async () => {
    const values = [
      "new Array(4294967295)",
      "new Proxy({}, { get: function () { for (;;); } })",
      "{ toString: function () { for (;;); } }",
      "function () {}",
      "Symbol()",
      "1n",
      "null",
    ];
    for (const value of values) {
      expect(await ask(find(`return dnsDomainIs(${value}, "x") + " " + isResolvable(${value});`))).toEqual(
        result("false false"),
      );
    }
  });
});
