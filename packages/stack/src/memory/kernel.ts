import { KERNEL_MODULE } from "./kernel-module.ts";

/** The part of the WebAssembly API that is used here; this package is compiled without any platform's types. */
declare const WebAssembly:
  | {
      Memory: new (size: { initial: number; maximum: number }) => { readonly buffer: ArrayBuffer };
      Module: new (bytes: Uint8Array) => object;
      Instance: new (module: object, imports: object) => { readonly exports: object };
    }
  | undefined;

/** Bytes of the memory: address space only, until it is used. */
export const KERNEL_MEMORY_BYTES = 128 * 1024 * 1024;
const PAGE_BYTES = 65536;

interface KernelExports {
  /** The sum of `length` bytes at `at` (at most 65536 of them), folded, in network byte order. */
  sum(at: number, length: number): number;
  /** Copies `length` bytes and returns their sum. The ranges may not overlap. */
  copySum(source: number, target: number, length: number): number;
  /** Copies `length` bytes. */
  copy(source: number, target: number, length: number): void;
}

function load(): { memory: ArrayBuffer; exports: KernelExports } | null {
  try {
    if (WebAssembly === undefined) return null;
    const pages = KERNEL_MEMORY_BYTES / PAGE_BYTES;
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    const bytes = new Uint8Array(KERNEL_MODULE.length / 2);
    for (let index = 0; index < bytes.length; index++) {
      bytes[index] = Number.parseInt(KERNEL_MODULE.slice(2 * index, 2 * index + 2), 16);
    }
    const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes), { packet: { memory } });
    return { memory: memory.buffer, exports: instance.exports as KernelExports };
  } catch {
    // No WebAssembly, no SIMD, or no address space: everything works without, more slowly.
    return null;
  }
}

const loaded = load();
const nothing = new Uint8Array(0);

/**
 * All of the memory that the functions below work on, and the one view of it. Whoever has bytes in it passes these very
 * objects with an offset, so that comparing a reference tells whether the fast way is open. Empty when there is none.
 */
export const kernelBytes: Uint8Array = loaded === null ? nothing : new Uint8Array(loaded.memory);
export const kernelView: DataView = new DataView(kernelBytes.buffer);

function unavailable(): never {
  throw new Error("there is no packet memory on this platform");
}

const { sum, copySum, copy }: KernelExports = loaded?.exports ?? {
  sum: unavailable,
  copySum: unavailable,
  copy: unavailable,
};

/** The sum of up to 65536 bytes of {@link kernelBytes}, 0 to 0xffff in network byte order (RFC 1071). */
export const kernelSum: KernelExports["sum"] = sum;
/** Copies within {@link kernelBytes} and sums what it copies; the ranges may not overlap. */
export const kernelCopySum: KernelExports["copySum"] = copySum;
/** Copies within {@link kernelBytes}. */
export const kernelCopy: KernelExports["copy"] = copy;
