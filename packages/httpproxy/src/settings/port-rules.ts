/** The entries for one host, by the port they are for. The first one for a port stays. */
export class PortRules {
  #any: string | null = null;
  #byPort: Map<number, string> | null = null;

  /** Those of a key, which are made when there are none. */
  static in<Key>(map: Map<Key, PortRules>, key: Key): PortRules {
    let rules = map.get(key);
    if (rules === undefined) map.set(key, (rules = new PortRules()));
    return rules;
  }

  /** @param port - null for all of them. */
  add(port: number | null, entry: string): void {
    if (port === null) {
      this.#any ??= entry;
      return;
    }
    this.#byPort ??= new Map();
    if (!this.#byPort.has(port)) this.#byPort.set(port, entry);
  }

  /** The entry for all ports. */
  get any(): string | null {
    return this.#any;
  }

  find(port: number): string | null {
    return this.#any ?? this.#byPort?.get(port) ?? null;
  }
}
