import { type Checkout, NotInCheckout } from "./checkout.ts";

/** A range of memory: {@link bytes} and {@link view} may be those of something larger. */
export interface PacketMemory {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Where the range begins. */
  readonly offset: number;
}

/** Memory of the engine's heap. */
export function heapMemory(size: number): PacketMemory {
  const bytes = new Uint8Array(size);
  return { bytes, view: new DataView(bytes.buffer), offset: 0 };
}

/** Memory for frames as the checkout's own transports have it: plain where there is no special one. */
export async function packetMemory(checkout: Checkout, size: number): Promise<PacketMemory> {
  try {
    const { takeRegion } = await checkout.import<typeof import("../../packages/stack/src/memory/packet-memory.ts")>(
      "packages/stack/src/memory/packet-memory.ts",
      { takeRegion: [] },
    );
    return takeRegion(size);
  } catch (error) {
    if (error instanceof NotInCheckout) return heapMemory(size);
    throw error;
  }
}
