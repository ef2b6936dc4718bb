import { join } from "node:path";
import { FakeClock } from "../../../streams/src/testing/fake-clock.ts";
import {
  cleanUp,
  dialPath,
  makeFolder,
  Peer,
  type PlayedServer,
  settle,
  startServer,
} from "../../../streams/src/testing/peer.ts";
import { RecordingLogger } from "../../../streams/src/testing/recording-logger.ts";
import { DockerProxy, type DockerProxyOptions } from "../docker-proxy.ts";

export interface ProxyUnderTest {
  readonly proxy: DockerProxy;
  readonly clock: FakeClock;
  readonly logger: RecordingLogger;
  /** Connects a client. */
  connect(): Promise<Peer>;
}

/** A proxy that is closed after the test. */
export async function startProxy(
  options: Pick<DockerProxyOptions, "dial"> & Partial<DockerProxyOptions>,
): Promise<ProxyUnderTest> {
  const path = join(await makeFolder(), "docker.sock");
  const clock = new FakeClock();
  const logger = new RecordingLogger();
  const proxy = await DockerProxy.open({ path, engine: "unix:///engine", logger, clock, ...options });
  cleanUp(() => proxy.close());
  return { proxy, clock, logger, connect: async () => new Peer(await dialPath(path)) };
}

/** A client, the engine's end of its connection once the client has sent something, and all around them. */
export async function startPair(
  options: Partial<DockerProxyOptions> = {},
): Promise<ProxyUnderTest & { readonly client: Peer; readonly engine: PlayedServer }> {
  const engine = await startServer();
  const proxy = await startProxy({ dial: engine.dial, ...options });
  return { ...proxy, client: await proxy.connect(), engine };
}

/** Waits until nothing is left of any client's connection. */
export async function idle(proxy: DockerProxy): Promise<void> {
  while (proxy.connections > 0) await settle(1);
}
