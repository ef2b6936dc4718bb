/** What happens in the daemon, told to whoever listens at the moment. */

/** What can be told of an event, by its kind. */
export interface EventFields {
  readonly "vm.attached": { readonly vm: string };
  readonly "vm.detached": { readonly vm: string; readonly fault?: string };
  /** The VM's own address has become known. */
  readonly "vm.address": { readonly vm: string; readonly mac: string; readonly address: string };
  readonly "lease.granted": { readonly mac: string; readonly address: string; readonly host?: string };
  readonly "lease.released": { readonly mac: string; readonly address: string };
  readonly "forward.added": { readonly id: string; readonly to: string; readonly origin: string };
  readonly "forward.removed": { readonly id: string; readonly origin: string };
  readonly "forward.failed": { readonly id: string; readonly origin: string; readonly error: string };
  readonly "zone.added": { readonly zone: string };
  readonly "zone.removed": { readonly zone: string };
  /** Other proxy settings are in force, whoever has made them. */
  readonly "proxy.changed": {
    /** The proxies for plain HTTP and for tunnels, without credentials; none for direct. */
    readonly http: readonly string[];
    readonly https: readonly string[];
    /** Where the PAC script is that decides in their place. */
    readonly pac: string | null;
    /** What goes direct nevertheless. */
    readonly exclusions: readonly string[];
    /** Where they are from, for people. */
    readonly from: string;
  };
  readonly "config.reloaded": { readonly changed: readonly string[] };
}

export type EventType = keyof EventFields;

/** An event with the time at which it happened, in ISO 8601. */
export type HostdEvent = {
  [Type in EventType]: { readonly type: Type; readonly time: string } & EventFields[Type];
}[EventType];

export class EventHub {
  readonly #listeners = new Set<(event: HostdEvent) => void>();

  /** How many listen. */
  get listeners(): number {
    return this.#listeners.size;
  }

  /** Tells everybody who listens. */
  emit<Type extends EventType>(type: Type, fields: EventFields[Type]): void {
    if (this.#listeners.size === 0) return;
    const event = { type, time: new Date().toISOString(), ...fields } as HostdEvent;
    for (const listener of [...this.#listeners]) listener(event);
  }

  /** Listens until the returned function is called. The listener must not throw. */
  listen(listener: (event: HostdEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
