/** What the main thread and the thread of a PAC script tell each other. */

/** The name under which a script finds this host's own address; the name of no host. */
export const OWN_ADDRESS = "";

/** IPv4 addresses of names; null for a name that has none. */
export type Addresses = ReadonlyMap<string, string | null>;

/** What is asked. Each question gets one answer, in their order; a `find` is asked once a `load` has succeeded. */
export type PacQuestion =
  | { readonly kind: "load"; readonly script: string; readonly addresses: Addresses }
  | { readonly kind: "find"; readonly url: string; readonly host: string; readonly addresses: Addresses };

export type PacAnswer =
  /** What the script returned; empty for null, for nothing, and for a `load`. */
  | { readonly kind: "result"; readonly text: string; readonly alerts: readonly string[] }
  /** The addresses of these are needed: the same is to be asked again, with them. */
  | { readonly kind: "names"; readonly names: readonly string[] }
  /** What is wrong, in words that may be the script's; after a `broken` one the thread is of no more use. */
  | { readonly kind: "failed"; readonly message: string; readonly isBroken: boolean };
