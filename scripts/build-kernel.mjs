/**
 * Makes packages/stack/src/memory/kernel-module.ts of kernel.wat:
 *
 *   node scripts/build-kernel.mjs [--check]
 *
 * With --check nothing is written, and the exit code tells whether the two belong together.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import wabt from "wabt";

const folder = join(import.meta.dirname, "../packages/stack/src/memory");
const source = join(folder, "kernel.wat");
const target = join(folder, "kernel-module.ts");

const { parseWat } = await wabt();
const module = parseWat(source, readFileSync(source, "utf8"), { simd: true, bulk_memory: true });
const { buffer } = module.toBinary({});
const hex = Buffer.from(buffer).toString("hex");
const lines = hex.match(/.{1,114}/g).map((line) => `  "${line}",`);
const text = `/** The WebAssembly module of kernel.wat, in hexadecimal digits; made by scripts/build-kernel.mjs. */
export const KERNEL_MODULE: string = [
${lines.join("\n")}
].join("");
`;

if (process.argv.includes("--check")) {
  if (readFileSync(target, "utf8") !== text) {
    console.error("kernel-module.ts is not made of kernel.wat as it is: run node scripts/build-kernel.mjs");
    process.exit(1);
  }
} else {
  writeFileSync(target, text);
}
