import type { StackStatistics } from "../statistics.ts";
import type { CongestionControl } from "./congestion/congestion-control.ts";
import type { TcpConnection } from "./connection.ts";
import type { LinkLoad } from "./link-load.ts";
import type { LossRecovery } from "./loss-recovery.ts";
import type { ReassemblyQueue } from "./reassembly-queue.ts";
import type { ReceiveLoad } from "./receive-load.ts";
import type { Delivery, RetransmissionQueue, SegmentRingPool } from "./retransmission-queue.ts";
import type { SendBuffer, SendQueues } from "./send-buffer.ts";
import type { TcpSettings } from "./settings.ts";

/** What only a connection needs that sends or receives data. */
export interface SpentParts {
  readonly sendBuffer: SendBuffer;
  readonly outOfOrder: ReassemblyQueue;
  readonly sent: RetransmissionQueue;
  readonly recovery: LossRecovery;
}

/** What a connection asks of the TCP it belongs to. */
export interface ConnectionOwner {
  /** Has the connection looked at by the transmitter before the turn ends. */
  wake(connection: TcpConnection): void;
  /** Sends a reset, takes the connection out of every table and tells its handler. */
  abort(connection: TcpConnection): void;
  /** Asks for `bytes` more of the memory that buffers may promise; false when there is none left. */
  reserve(connection: TcpConnection, bytes: number): boolean;
  /** Has the timer queue look at the connection's deadlines again. */
  reschedule(connection: TcpConnection): void;
  /** Milliseconds of the stack's clock. */
  now(): number;
}

/** What the connections of one stack share. */
export interface SharedState {
  readonly segments: SegmentRingPool;
  readonly delivery: Delivery;
  readonly load: LinkLoad;
  readonly windows: ReceiveLoad;
  readonly queues: SendQueues;
  /** Stands in until the peer's segment size is known; nothing but a SYN is sent by it. */
  readonly congestionBeforeHandshake: CongestionControl;
  /** What those in TIME-WAIT have in common, which has nothing in it. */
  readonly spent: SpentParts;
  readonly statistics: StackStatistics;
  readonly settings: TcpSettings;
}
