import type { Router } from "../route.ts";

/** Ports of origins whose connections are looked into, though the guest knows of no proxy. */
export type TransparentPorts = "none" | "all" | readonly number[];

export interface TransparentRules {
  readonly ports: TransparentPorts;
  /** What becomes of a connection on them that is neither HTTP nor TLS. */
  readonly other: "direct" | "refuse";
  readonly router: Pick<Router, "isAlwaysDirect">;
}

/**
 * Whether a connection to a port is to be looked into. It has to be accepted for that before the origin is connected, so
 * none is for as long as nothing could come of it.
 */
export function isLookedInto(port: number, { ports, other, router }: TransparentRules): boolean {
  if (ports === "none" || (ports !== "all" && !ports.includes(port))) return false;
  return other === "refuse" || !router.isAlwaysDirect;
}
