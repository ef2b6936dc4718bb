import type { Duplex } from "node:stream";
import { type Clock, FlowStream } from "@hostd/streams";

/** How long a client that has its last answer may go on sending, in milliseconds. */
const LINGER_TIME = 5_000;

/**
 * Ends a connection when its client has all that was written, however slowly it reads. What a client sends that has not read
 * its last answer yet would have it dropped (RFC 9112, 9.6), so its own end is awaited a while longer. Whoever calls this has
 * what it sends read.
 */
export function endStream(client: Duplex, clock: Clock): void {
  const linger = () => {
    const stop = clock.every(LINGER_TIME, () => {
      if (!(client instanceof FlowStream) || client.unacknowledged === 0) client.destroy();
    });
    client.once("close", stop);
  };
  if (client.writableFinished) linger();
  else client.once("finish", linger);
  client.end();
}
