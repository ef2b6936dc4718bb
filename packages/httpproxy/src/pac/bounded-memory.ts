/** The preamble of a binary module: its magic and version (WebAssembly Core Specification 2.0, 5.5.16). */
const PREAMBLE = 8;
const MEMORY_SECTION = 5;
const HAS_MAXIMUM = 0x01;

/**
 * Gives the one memory of a binary WebAssembly module a maximum, beyond which its `memory.grow` fails.
 *
 * @param maximum - in pages of 64 KiB.
 * @throws when the module has no memory of its own, more than one, or one that starts larger.
 */
export function limitMemory(module: Uint8Array, maximum: number): Uint8Array<ArrayBuffer> {
  let at = PREAMBLE;
  while (at < module.length) {
    const size = readUnsigned(module, at + 1);
    const end = size.next + size.value;
    if (module[at] === MEMORY_SECTION) {
      const section = [MEMORY_SECTION, ...withLength(memories(module, size.next, maximum))];
      return Uint8Array.from(Buffer.concat([module.subarray(0, at), Uint8Array.from(section), module.subarray(end)]));
    }
    at = end;
  }
  throw new Error("the module has no memory of its own");
}

/** The contents of the memory section (5.5.8): a vector of limits (5.3.7). */
function memories(module: Uint8Array, at: number, maximum: number): number[] {
  const count = readUnsigned(module, at);
  if (count.value !== 1) throw new Error(`the module has ${count.value} memories, not one`);
  const flags = module[count.next];
  if ((flags & ~HAS_MAXIMUM) !== 0) throw new Error(`the module's memory is of an unknown kind, ${flags}`);
  const minimum = readUnsigned(module, count.next + 1);
  if (minimum.value > maximum) throw new Error(`the module's memory starts with ${minimum.value} pages`);
  return [1, HAS_MAXIMUM, ...unsigned(minimum.value), ...unsigned(maximum)];
}

/** Reads a number in LEB128 (5.2.2). */
function readUnsigned(bytes: Uint8Array, at: number): { readonly value: number; readonly next: number } {
  let value = 0;
  for (let next = at, factor = 1; next < bytes.length && next < at + 5; next++, factor *= 128) {
    value += (bytes[next] & 0x7f) * factor;
    if (bytes[next] < 0x80) return { value, next: next + 1 };
  }
  throw new Error("the module is cut off or malformed");
}

function unsigned(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsigned(value >>> 7)];
}

function withLength(bytes: readonly number[]): number[] {
  return [...unsigned(bytes.length), ...bytes];
}
