/** One frame of a capture. */
export interface PcapRecord {
  /** Microseconds since the Unix epoch. */
  readonly time: number;
  /** Bytes of the frame on the link; `data` may have fewer. */
  readonly length: number;
  readonly data: Uint8Array;
}

/**
 * Reads a capture in the classic format of little-endian machines, with times in microseconds.
 *
 * @throws when anything of it is not as the format has it.
 */
export function readPcap(file: Uint8Array): PcapRecord[] {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const check = (holds: boolean, what: string) => {
    if (!holds) throw new Error(`not a capture: ${what}`);
  };
  check(file.length >= 24, "no file header");
  check(view.getUint32(0, true) === 0xa1b2c3d4, "magic number");
  check(view.getUint16(4, true) === 2 && view.getUint16(6, true) === 4, "version");
  check(view.getUint32(8, true) === 0 && view.getUint32(12, true) === 0, "reserved fields");
  const longest = view.getUint32(16, true);
  check(view.getUint32(20, true) === 1, "link type");
  const records: PcapRecord[] = [];
  for (let at = 24; at < file.length; ) {
    check(file.length - at >= 16, "a record header is cut off");
    const microseconds = view.getUint32(at + 4, true);
    const captured = view.getUint32(at + 8, true);
    const length = view.getUint32(at + 12, true);
    check(microseconds < 1_000_000, "microseconds");
    check(captured <= longest && captured <= length, "captured length");
    check(file.length - at - 16 >= captured, "a record is cut off");
    records.push({
      time: view.getUint32(at, true) * 1_000_000 + microseconds,
      length,
      data: file.subarray(at + 16, at + 16 + captured),
    });
    at += 16 + captured;
  }
  return records;
}
