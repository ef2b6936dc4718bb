/**
 * How frames travel in a stream, each behind its length: `qemu` has 32 bits, big-endian (QEMU's `-netdev stream` and
 * `socket`), `hyperkit` 16 bits, little-endian (hyperkit, vpnkit, and gvproxy's `/connect`).
 */
export type Framing = "qemu" | "hyperkit";

export interface FramingFormat {
  /** What it is called in messages. */
  readonly label: string;
  /** Bytes of the length. */
  readonly prefixLength: 2 | 4;
  /** The longest frame; a greater length means that the peer speaks something else. */
  readonly maxFrameLength: number;
}

export const FRAMINGS: Readonly<Record<Framing, FramingFormat>> = {
  // QEMU itself never sends more than 68 KiB.
  qemu: { label: "QEMU's", prefixLength: 4, maxFrameLength: 128 * 1024 },
  hyperkit: { label: "hyperkit's", prefixLength: 2, maxFrameLength: 0xffff },
};
