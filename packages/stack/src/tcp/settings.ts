/** The algorithms that size the congestion window: CUBIC (RFC 9438) or Reno (RFC 5681). */
export type CongestionAlgorithm = "cubic" | "reno";

/** What bounds a stack's TCP, and which of the optional parts of TCP it uses. */
export interface TcpSettings {
  /** Connections in all states but TIME-WAIT. */
  readonly maximumConnections: number;
  /**
   * Connections that peers began and whose handshake is not complete: those that wait for their owner, and those whose
   * SYN-ACK is not acknowledged. Beyond, the oldest is given up.
   */
  readonly maximumHalfOpen: number;
  /** Bytes that the buffers of all flows may promise beyond the smallest size of each. */
  readonly bufferBudget: number;
  readonly congestionControl: CongestionAlgorithm;
  /** Whether timestamps (RFC 7323) are offered and accepted. */
  readonly timestamps: boolean;
  /** Whether selective acknowledgments (RFC 2018) are offered and accepted. */
  readonly selectiveAcknowledgments: boolean;
  /** Frames that the peer's network card can hold: what may be in flight on the link at once, each way. */
  readonly receiveRing: number;
  /** Idle milliseconds after which the peer is asked whether it is still there (RFC 9293, 3.8.4); 0 for never. */
  readonly keepAliveIdle: number;
  /** Milliseconds between keep-alive probes that are not answered. */
  readonly keepAliveInterval: number;
  /** Unanswered keep-alive probes after which the connection ends. */
  readonly keepAliveProbes: number;
  /**
   * Milliseconds that data may stay unacknowledged before the connection ends (RFC 9293, 3.8.3); 0 for as long as the
   * retransmissions go on.
   */
  readonly userTimeout: number;
}

export const DEFAULT_TCP_SETTINGS: TcpSettings = {
  maximumConnections: 16384,
  maximumHalfOpen: 1024,
  bufferBudget: 256 * 1024 * 1024,
  congestionControl: "cubic",
  timestamps: true,
  selectiveAcknowledgments: true,
  receiveRing: 256,
  keepAliveIdle: 0,
  keepAliveInterval: 75_000,
  keepAliveProbes: 9,
  userTimeout: 0,
};
