import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { LinkedStacks } from "../../../streams/src/testing/linked-stacks.ts";
import { cleanUp, dialPath, makeFolder } from "../../../streams/src/testing/peer.ts";

/** Both ends of a connection: the client's, and the one that is served. */
export type StreamPair = readonly [client: Duplex, served: Duplex];

/** A guest's connection through two stacks. */
export async function guestPair(): Promise<StreamPair> {
  const stacks = new LinkedStacks();
  cleanUp(() => stacks.close());
  return stacks.join();
}

/** A connection of sockets. */
export async function socketPair(): Promise<StreamPair> {
  const path = join(await makeFolder(), "pair.sock");
  const accepted = Promise.withResolvers<Socket>();
  const server = createServer({ allowHalfOpen: true }, accepted.resolve);
  server.listen(path);
  await once(server, "listening");
  cleanUp(() => server.close());
  const client = await dialPath(path);
  const served = await accepted.promise;
  cleanUp(() => {
    client.destroy();
    served.destroy();
  });
  return [client, served];
}
