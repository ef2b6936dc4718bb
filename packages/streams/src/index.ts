export { after, type Clock, systemClock } from "./clock.ts";
export { FailureLog, type Logger } from "./failure-log.ts";
export { FlowStream } from "./flow-stream.ts";
export { type IdleEntry, IdleTable, type IdleTableOptions } from "./idle-table.ts";
export { Relay, type RelayOwner, type RelaySocketOptions } from "./relay.ts";
export { RelayPool } from "./relay-pool.ts";
export { LARGEST_SLAB, SMALLEST_SLAB } from "./slab-pool.ts";
