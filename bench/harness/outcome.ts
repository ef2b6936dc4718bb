/** What one try of a measure gave. */
export interface Outcome {
  readonly peer: string;
  readonly mtu: number;
  /** From 1 on. */
  readonly round: number;
  readonly measure: string;
  /** Figures by the id of their cell. With a failure, those that were there before. */
  readonly figures: Readonly<Record<string, number>>;
  readonly failure?: string;
  /** The part of the processors' time that the hypervisor below this machine gave to others meanwhile, from 0 to 1. */
  readonly stolen: number;
  readonly notes: readonly string[];
}

/** A measure that a peer is not able to do at an MTU. */
export interface Inability {
  readonly peer: string;
  readonly mtu: number;
  readonly measure: string;
  readonly reason: string;
}
