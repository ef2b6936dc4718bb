export { FlowStream } from "./flow-stream.ts";
