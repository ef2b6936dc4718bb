const FILE_HEADER_LENGTH = 24;
const RECORD_HEADER_LENGTH = 16;
/** Where a record's header says how many bytes of the frame follow. */
const CAPTURED_LENGTH_AT = 8;

/** Counts the packets of a little-endian pcap file that comes in pieces, up to as many as are wanted. */
export class RecordCounter {
  readonly #wanted: number;
  readonly #header = new Uint8Array(RECORD_HEADER_LENGTH);
  readonly #view = new DataView(this.#header.buffer);
  /** Bytes of the header of the next record that have come. */
  #headerLength = 0;
  /** Bytes until the next header: of the file's own header first, then of a packet. */
  #bytesLeft = FILE_HEADER_LENGTH;
  #inPacket = false;
  #packets = 0;

  constructor(wanted = Number.POSITIVE_INFINITY) {
    this.#wanted = wanted;
  }

  /** Packets that have come whole. */
  get packets(): number {
    return this.#packets;
  }

  get isDone(): boolean {
    return this.#packets >= this.#wanted;
  }

  /** Counts the packets of a piece; returns as much of it as belongs to those that are wanted. */
  take(piece: Uint8Array): Uint8Array {
    let at = 0;
    while (!this.isDone) {
      const skipped = Math.min(this.#bytesLeft, piece.length - at);
      at += skipped;
      this.#bytesLeft -= skipped;
      if (this.#bytesLeft > 0) break;
      if (this.#inPacket) {
        this.#inPacket = false;
        this.#packets++;
        continue;
      }
      const part = piece.subarray(at, at + RECORD_HEADER_LENGTH - this.#headerLength);
      this.#header.set(part, this.#headerLength);
      this.#headerLength += part.length;
      at += part.length;
      if (this.#headerLength < RECORD_HEADER_LENGTH) break;
      this.#headerLength = 0;
      this.#bytesLeft = this.#view.getUint32(CAPTURED_LENGTH_AT, true);
      this.#inPacket = true;
    }
    return piece.subarray(0, at);
  }
}
