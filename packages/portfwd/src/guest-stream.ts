import { once } from "node:events";
import type { FourTuple } from "@hostd/stack";
import { FlowStream } from "@hostd/streams";
import type { AttachedVm } from "./attached-vm.ts";

/** After how long without a segment the guest is asked whether it is still there, in milliseconds. */
const KEEP_ALIVE_TIME = 30_000;

/**
 * Opens a TCP connection into the guest as a stream, which ends with the VM.
 *
 * @throws {Error} with a `code` as Node's sockets have it, when the guest does not take it or there is no room for it.
 */
export async function openGuestStream(attached: AttachedVm, tuple: FourTuple): Promise<FlowStream> {
  const stream = new FlowStream();
  const flow = attached.vm.tcpDial(tuple, stream.handler);
  if (flow === null) throw new Error("the VM's stack has no room for another connection");
  stream.bind(flow);
  // It may be silent for days, as events of an engine are; a VM that was reset is to be noticed all the same.
  flow.setKeepAlive(KEEP_ALIVE_TIME);
  const place = attached.connections.add({ reset: () => void stream.destroy() });
  stream.once("close", () => place.leave());
  await once(stream, "connect");
  return stream;
}
