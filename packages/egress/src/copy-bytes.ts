const copy = Buffer.prototype.copy;

/** Copies bytes without the view that `TypedArray.set` would need of a part of `source`. */
export function copyBytes(
  source: Uint8Array,
  sourceOffset: number,
  target: Uint8Array,
  targetOffset: number,
  length: number,
): void {
  copy.call(source, target, targetOffset, sourceOffset, sourceOffset + length);
}
