/**
 * The Internet checksum (RFC 1071).
 *
 * Sums are kept as 16-bit one's complement sums in network byte order. Because the sum does not depend on byte order
 * (RFC 1071, 2.B), words are read in the machine's likely order, little-endian, and the result is swapped once.
 */

import { kernelSum, kernelView } from "../memory/kernel.ts";

/** From so many bytes on the call into WebAssembly is made up for. */
const KERNEL_WORTH_BYTES = 48;

/** Folds the carries of a sum into its low 16 bits. */
export function fold(sum: number): number {
  sum = (sum & 0xffff) + (sum >>> 16);
  return (sum & 0xffff) + (sum >>> 16);
}

/**
 * The one's complement sum of a range of bytes; an odd last byte counts as the high half of a word.
 *
 * @param length - at most 65536 bytes, so that the halves cannot overflow 32 bits.
 * @returns the folded sum, 0 to 0xffff.
 */
export function sum(view: DataView, offset: number, length: number): number {
  if (view === kernelView && length >= KERNEL_WORTH_BYTES) return kernelSum(offset, length);
  let low = 0;
  let high = 0;
  const end = offset + length;
  const unrolledEnd = end - 15;
  while (offset < unrolledEnd) {
    const a = view.getInt32(offset, true);
    const b = view.getInt32(offset + 4, true);
    const c = view.getInt32(offset + 8, true);
    const d = view.getInt32(offset + 12, true);
    low = (low + (a & 0xffff) + (b & 0xffff) + (c & 0xffff) + (d & 0xffff)) | 0;
    high = (high + (a >>> 16) + (b >>> 16) + (c >>> 16) + (d >>> 16)) | 0;
    offset += 16;
  }
  while (offset < end - 1) {
    low = (low + view.getUint16(offset, true)) | 0;
    offset += 2;
  }
  if (offset < end) low = (low + view.getUint8(offset)) | 0;
  const folded = fold(fold(low) + fold(high));
  return ((folded & 0xff) << 8) | (folded >>> 8);
}

/** The sum of a range that is made of two, the first of which has `firstLength` bytes (RFC 1071, 2.B). */
export function joinSums(first: number, firstLength: number, second: number): number {
  return fold(first + ((firstLength & 1) === 0 ? second : ((second & 0xff) << 8) | (second >>> 8)));
}

/** The sum of the pseudo-header of TCP and UDP over IPv4 (RFC 9293, 3.1): addresses, protocol and length. */
export function pseudoHeaderSum(source: number, destination: number, protocol: number, length: number): number {
  return fold((source >>> 16) + (source & 0xffff) + (destination >>> 16) + (destination & 0xffff) + protocol + length);
}

/** The checksum field that makes a range with the given sum verify. */
export function complement(sum: number): number {
  return ~fold(sum) & 0xffff;
}
