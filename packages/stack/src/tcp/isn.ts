import type { Ipv4 } from "../address.ts";
import type { Sequence } from "../sequence.ts";
import type { FourTuple } from "./flow.ts";

/** Initial sequence numbers tick once in four microseconds (RFC 9293, 3.4.1). */
const TICKS_PER_MILLISECOND = 250;

/**
 * Initial sequence numbers that an outsider cannot guess (RFC 6528): a clock plus a keyed hash of the four-tuple, so
 * that successive incarnations of one four-tuple still count upwards. The hash is SipHash-2-4 with a key made when the
 * stack starts.
 */
export class InitialSequenceNumbers {
  readonly #key: Int32Array;

  /** @param randomBytes - fills an array from a cryptographic source. */
  constructor(randomBytes: (bytes: Uint8Array) => void) {
    const key = new Uint8Array(16);
    randomBytes(key);
    this.#key = new Int32Array(key.buffer);
  }

  /** @param now - milliseconds of a clock that never goes back. */
  next({ localAddress, localPort, remoteAddress, remotePort }: FourTuple, now: number): Sequence {
    const hash = sipHash(this.#key, localAddress, remoteAddress, (localPort << 16) | remotePort);
    return (hash + Math.floor((now * TICKS_PER_MILLISECOND) % 2 ** 32)) | 0;
  }
}

/**
 * What the timestamps of the connections between two hosts start from (RFC 7323, 5.4): they tell nothing of how long this
 * side has been running, and a later connection's are later, by which a peer in TIME-WAIT knows it for a new one
 * (RFC 6191).
 */
export class TimestampOffsets {
  readonly #key: Int32Array;

  /** @param randomBytes - fills an array from a cryptographic source. */
  constructor(randomBytes: (bytes: Uint8Array) => void) {
    const key = new Uint8Array(16);
    randomBytes(key);
    this.#key = new Int32Array(key.buffer);
  }

  of(localAddress: Ipv4, remoteAddress: Ipv4): number {
    return sipHash(this.#key, localAddress, remoteAddress, 0);
  }
}

/** The four 64-bit words of SipHash's state, low and high halves in turn. */
const state = new Int32Array(8);

function add(to: number, from: number): void {
  const low = (state[to] >>> 0) + (state[from] >>> 0);
  state[to] = low;
  state[to + 1] = state[to + 1] + state[from + 1] + (low > 0xffffffff ? 1 : 0);
}

/** Rotates word `at` left by `bits` (not 32) and exclusive-ors word `by` into it. */
function rotateXor(at: number, bits: number, by: number): void {
  let low = state[at];
  let high = state[at + 1];
  if (bits >= 32) {
    [low, high] = [high, low];
    bits -= 32;
  }
  state[at] = ((low << bits) | (high >>> (32 - bits))) ^ state[by];
  state[at + 1] = ((high << bits) | (low >>> (32 - bits))) ^ state[by + 1];
}

function swapHalves(at: number): void {
  const low = state[at];
  state[at] = state[at + 1];
  state[at + 1] = low;
}

function round(): void {
  add(0, 2);
  rotateXor(2, 13, 0);
  swapHalves(0);
  add(4, 6);
  rotateXor(6, 16, 4);
  add(0, 6);
  rotateXor(6, 21, 0);
  add(4, 2);
  rotateXor(2, 17, 4);
  swapHalves(4);
}

/**
 * SipHash-2-4 (Aumasson, Bernstein 2012) of a message of twelve bytes given as three words.
 *
 * @param key - 128 bits as four little-endian words.
 * @returns the low 32 bits of the hash.
 */
export function sipHash(key: Int32Array, a: number, b: number, c: number): number {
  state[0] = key[0] ^ 0x70736575;
  state[1] = key[1] ^ 0x736f6d65;
  state[2] = key[2] ^ 0x6e646f6d;
  state[3] = key[3] ^ 0x646f7261;
  state[4] = key[0] ^ 0x6e657261;
  state[5] = key[1] ^ 0x6c796765;
  state[6] = key[2] ^ 0x79746573;
  state[7] = key[3] ^ 0x74656462;
  absorb(a, b);
  // The last block ends with the length of the message in its top byte.
  absorb(c, 12 << 24);
  state[4] ^= 0xff;
  for (let index = 0; index < 4; index++) round();
  return state[0] ^ state[2] ^ state[4] ^ state[6];
}

function absorb(low: number, high: number): void {
  state[6] ^= low;
  state[7] ^= high;
  round();
  round();
  state[0] ^= low;
  state[1] ^= high;
}
