import type { Ipv4 } from "@hostd/stack";

/** Who asks: what an answer may depend on beside the question. */
export interface QueryContext {
  /** The link that the query came over, by the name of its VM's attachment. */
  readonly link: string;
  /** The source address of the query. A container whose address is not masqueraded asks under its own. */
  readonly client: Ipv4;
  /** The address of the VM behind whose link the client is, or null when it has none yet. */
  readonly vmAddress: Ipv4 | null;
}

/** How a query came in, and so how it goes upstream. */
export type Transport = "udp" | "tcp";
