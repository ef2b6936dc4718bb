/** A repeatable sequence of numbers from 0 to below 1 (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A frame whose bytes differ from those of every other `tag`. */
export function patternFrame(length: number, tag: number): Uint8Array {
  const frame = new Uint8Array(length);
  for (let index = 0; index < length; index++) frame[index] = (index * 31 + tag * 17 + (index >> 8)) & 0xff;
  if (length >= 4) new DataView(frame.buffer).setUint32(0, tag);
  return frame;
}

/** Frames of random lengths from `least` to `most`, each with a pattern of its own. */
export function randomFrames(random: () => number, count: number, least: number, most: number): Uint8Array[] {
  return Array.from({ length: count }, (_, tag) =>
    patternFrame(least + Math.floor(random() * (most - least + 1)), tag + 1),
  );
}
