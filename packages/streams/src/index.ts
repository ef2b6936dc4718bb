export { FlowStream } from "./flow-stream.ts";
export { Relay, type RelaySocketOptions } from "./relay.ts";
export { RelayPool } from "./relay-pool.ts";
export { LARGEST_SLAB, SMALLEST_SLAB } from "./slab-pool.ts";
