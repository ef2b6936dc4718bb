/** The thread in which a PAC script runs: answers each {@link PacQuestion} with a {@link PacAnswer}. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { parentPort } from "node:worker_threads";
import { limitMemory } from "./bounded-memory.ts";
import type { PacAnswer, PacQuestion } from "./pac-protocol.ts";
import { PacScript } from "./pac-script.ts";

/** 32 MiB. A script of 900 KB with 30,000 names takes 6. QuickJS's own limit does not count sizes. */
const MAX_PAGES = 512;

if (parentPort === null) throw new Error("pac-worker is to be started as a worker");
const port = parentPort;
const engine = limitMemory(await readFile(engineFile()), MAX_PAGES);
let script: PacScript | null = null;

port.on("message", async (question: PacQuestion) => port.postMessage(await answer(question)));

/** QuickJS: beside this file in the bundle, else in its package. */
function engineFile(): URL {
  const bundled = new URL("quickjs.wasm", import.meta.url);
  return existsSync(bundled) ? bundled : new URL("../quickjs.wasm", import.meta.resolve("quickjs-wasi"));
}

async function answer(question: PacQuestion): Promise<PacAnswer> {
  if (question.kind === "load") {
    script = await PacScript.create(engine);
    return script.load(question.script, question.addresses);
  }
  if (script === null) throw new Error("there is no script yet");
  return script.find(question.url, question.host, question.addresses);
}
