import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";

const OUTPUT = fileURLToPath(new URL("../../output/", import.meta.url));

/** The files of one test, which stay when it fails. */
export class Captures {
  readonly #name: string;
  readonly #paths: string[] = [];

  constructor(name: string) {
    this.#name = name;
  }

  /** A path for the next capture: `<test>.pcap`, then `<test>-2.pcap`. */
  next(): string {
    const count = this.#paths.length + 1;
    return this.#add(count === 1 ? ".pcap" : `-${count}.pcap`);
  }

  /** The path of the test's log. */
  log(): string {
    return this.#add(".log");
  }

  async remove(): Promise<void> {
    for (const path of this.#paths) await rm(path, { force: true });
  }

  #add(ending: string): string {
    const path = join(OUTPUT, this.#name + ending);
    this.#paths.push(path);
    return path;
  }
}

/**
 * Runs a test whose frames are captured in `test/output`. A test that fails, or never ends, leaves its captures there.
 */
export async function withCapture(body: (captures: Captures) => Promise<void>): Promise<void> {
  await mkdir(OUTPUT, { recursive: true });
  const name = expect.getState().currentTestName ?? "test";
  const captures = new Captures(name.replaceAll(/[^A-Za-z0-9]+/g, "-").slice(0, 120));
  await body(captures);
  await captures.remove();
}
