import type { IpLiteral } from "./host-names.ts";
import { PortRules } from "./port-rules.ts";

/** The addresses of one family that start with the same bits. */
export interface Network {
  readonly width: 32 | 128;
  readonly prefixLength: number;
  /** Its first address. */
  readonly start: bigint;
}

/** Entries by the network they are for. What it costs to find one depends on how many prefix lengths there are. */
export class NetworkTable {
  readonly #families = {
    32: new Map<number, Map<bigint, PortRules>>(),
    128: new Map<number, Map<bigint, PortRules>>(),
  };

  add({ width, prefixLength, start }: Network, port: number | null, entry: string): void {
    const family = this.#families[width];
    let networks = family.get(prefixLength);
    if (networks === undefined) family.set(prefixLength, (networks = new Map()));
    PortRules.in(networks, start >> BigInt(width - prefixLength)).add(port, entry);
  }

  /** An entry whose network the address is in. */
  find({ width, value }: IpLiteral, port: number): string | null {
    for (const [prefixLength, networks] of this.#families[width]) {
      const entry = networks.get(value >> BigInt(width - prefixLength))?.find(port) ?? null;
      if (entry !== null) return entry;
    }
    return null;
  }
}
