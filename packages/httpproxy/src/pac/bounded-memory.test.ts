import { describe, expect, it } from "vitest";
import { limitMemory } from "./bounded-memory.ts";

/** The part of the WebAssembly API that is used here. */
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (
    module: object,
  ) => { readonly exports: { readonly memory: { grow(pages: number): number; readonly buffer: ArrayBuffer } } };
};

const PREAMBLE = [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
const CUSTOM = [0, 3, 2, 0x68, 0x69];
const EXPORT = [7, 10, 1, 6, ...Buffer.from("memory"), 2, 0];

/** A module that exports its memory, with a section before it. */
const moduleWith = (limits: readonly number[]) =>
  Uint8Array.from([...PREAMBLE, ...CUSTOM, 5, limits.length, ...limits, ...EXPORT]);

const memoryOf = (module: Uint8Array) => new WebAssembly.Instance(new WebAssembly.Module(module)).exports.memory;

describe("limitMemory", () => {
  it.each([
    ["no maximum", [1, 0, 2]],
    ["a larger one", [1, 1, 2, 0x80, 0x08]],
    ["a smaller one", [1, 1, 2, 3]],
  ])("gives a memory with %s the maximum", (_name, limits) => {
    const memory = memoryOf(limitMemory(moduleWith(limits), 300));
    expect(memory.buffer.byteLength).toBe(2 * 65536);
    memory.grow(298);
    expect(memory.buffer.byteLength).toBe(300 * 65536);
    expect(() => memory.grow(1)).toThrow(RangeError);
  });

  it.each([
    ["has no memory", Uint8Array.from([...PREAMBLE, ...CUSTOM]), "no memory of its own"],
    ["has two memories", moduleWith([2, 0, 1, 0, 1]), "2 memories"],
    ["has a shared memory", moduleWith([1, 3, 1, 2]), "unknown kind"],
    ["starts larger", moduleWith([1, 0, 0x80, 0x08]), "starts with 1024 pages"],
    ["is cut off", moduleWith([1, 0, 2]).subarray(0, 9), "cut off"],
  ])("refuses a module that %s", (_name, module, message) => {
    expect(() => limitMemory(module, 512)).toThrow(message);
  });
});
