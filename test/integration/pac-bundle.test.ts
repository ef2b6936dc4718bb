import { execFile } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile, stat } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Worker } from "node:worker_threads";
import { beforeAll, describe, expect, it } from "vitest";
import type { PacQuestion } from "../../packages/httpproxy/src/pac/pac-protocol.ts";

const BUILD = fileURLToPath(new URL("../../scripts/build-bundle.mjs", import.meta.url));
const BUNDLE = new URL("../../apps/hostd/bundle/", import.meta.url);

beforeAll(async () => {
  await promisify(execFile)(process.execPath, [BUILD]);
});

describe("hostd's bundle", () => {
  it("runs PAC scripts in the thread and with the engine that it has", async () => {
    const worker = new Worker(new URL("pac-worker.js", BUNDLE), { env: {}, execArgv: [] });
    const ask = async (question: PacQuestion) => {
      worker.postMessage(question);
      return (await once(worker, "message"))[0];
    };
    try {
      const script = `function FindProxyForURL(url, host) {
        return weekdayRange("SUN", "SAT") && isInNet(host, "10.0.0.0", "255.0.0.0") ? "DIRECT" : "PROXY p:1";
      }`;
      const addresses = new Map([["a.example", "10.1.2.3"]]);
      const result = (text: string) => ({ kind: "result", text, alerts: [] });
      expect(await ask({ kind: "load", script, addresses: new Map() })).toEqual(result(""));
      expect(await ask({ kind: "find", url: "http://a/", host: "a.example", addresses })).toEqual(result("DIRECT"));
      expect(await ask({ kind: "find", url: "http://b/", host: "192.0.2.1", addresses })).toEqual(result("PROXY p:1"));
    } finally {
      await worker.terminate();
    }
  });

  it("has the engine's code in no other file, so that nothing else loads it", async () => {
    const files = (await readdir(BUNDLE)).filter((name) => name.endsWith(".js"));
    const texts = await Promise.all(files.map((name) => readFile(new URL(name, BUNDLE), "utf8")));
    expect(files.filter((_name, index) => texts[index].includes("qjs_eval"))).toEqual(["pac-worker.js"]);
    expect(files.filter((_name, index) => texts[index].includes("weekdayRange("))).toEqual(["pac-worker.js"]);
  });

  it("leaves out what translates scripts", async () => {
    expect((await stat(new URL("pac-worker.js", BUNDLE))).size).toBeLessThan(150_000);
  });
});
