import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Attachment, attachQemu } from "../attach.ts";
import type { Endpoint } from "../endpoint.ts";
import type { FramePort } from "../port.ts";
import type { FrontendUnderTest } from "./compliance.ts";
import { encodeQemuFrames, QemuStreamReader } from "./qemu-stream.ts";
import { type StreamFraming, StreamPeer } from "./stream-peer.ts";

export const QEMU_FRAMING: StreamFraming = { encode: encodeQemuFrames, makeReader: () => new QemuStreamReader() };

/** Connects as QEMU does with `server=off`. */
export async function connectPeer(endpoint: Endpoint): Promise<StreamPeer> {
  const socket =
    endpoint.transport === "unix" ? connect(endpoint.path) : connect({ host: endpoint.host, port: endpoint.port });
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", reject);
  });
  return new StreamPeer(socket, QEMU_FRAMING);
}

/** Listens as QEMU does with `server=on`. A TCP port of 0 is filled in. */
export async function listenAsQemu(
  endpoint: Endpoint,
  connected: (socket: Socket) => void,
): Promise<{ endpoint: Endpoint; server: Server }> {
  const server = createServer(connected);
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    if (endpoint.transport === "unix") server.listen(endpoint.path, resolve);
    else server.listen(endpoint.port, endpoint.host, resolve);
  });
  const address = server.address();
  if (endpoint.transport === "tcp" && address !== null && typeof address === "object") {
    return { endpoint: { ...endpoint, port: address.port }, server };
  }
  return { endpoint, server };
}

/** QEMU's stream framing at an endpoint of either kind, listened on or dialled. */
export async function openQemuFrontend(
  transport: Endpoint["transport"],
  mode: Endpoint["mode"],
): Promise<FrontendUnderTest> {
  const folder = await mkdtemp(join(tmpdir(), "hostd-frontend-"));
  const wanted: Endpoint =
    transport === "unix"
      ? { transport, path: join(folder, "vm.sock"), mode }
      : { transport, host: "127.0.0.1", port: 0, mode };
  return mode === "listen" ? await openListening(wanted, folder) : await openDialling(wanted, folder);
}

const unexpected = (message: string) => {
  throw new Error(`a fault of the endpoint: ${message}`);
};

async function openListening(wanted: Endpoint, folder: string): Promise<FrontendUnderTest> {
  let attached: (port: FramePort) => void = () => {};
  const peers: StreamPeer[] = [];
  const attachment = await attachQemu(wanted, { attached: (port) => attached(port), fault: unexpected });
  return {
    attach: async (handler) => {
      const ready = Promise.withResolvers<void>();
      attached = (port) => {
        handler(port);
        ready.resolve();
      };
      const peer = await connectPeer(attachment.endpoint);
      peers.push(peer);
      await ready.promise;
      return peer;
    },
    close: async () => {
      await attachment.close();
      for (const peer of peers) peer.socket.destroy();
      await Promise.all(peers.map(({ closed }) => closed));
      await rm(folder, { recursive: true });
    },
  };
}

async function openDialling(wanted: Endpoint, folder: string): Promise<FrontendUnderTest> {
  let connected: (socket: Socket) => void = (socket) => socket.destroy();
  const { endpoint, server } = await listenAsQemu(wanted, (socket) => connected(socket));
  const peers: StreamPeer[] = [];
  let attachment: Attachment | null = null;
  let attached: (port: FramePort) => void = () => {};
  return {
    attach: async (handler) => {
      const ready = Promise.withResolvers<void>();
      const peer = new Promise<StreamPeer>((resolve) => {
        connected = (socket) => resolve(new StreamPeer(socket, QEMU_FRAMING));
      });
      attached = (port) => {
        handler(port);
        ready.resolve();
      };
      attachment ??= await attachQemu(endpoint, { attached: (port) => attached(port), fault: unexpected });
      await ready.promise;
      peers.push(await peer);
      return await peer;
    },
    close: async () => {
      await attachment?.close();
      server.close();
      for (const peer of peers) peer.socket.destroy();
      await Promise.all(peers.map(({ closed }) => closed));
      await rm(folder, { recursive: true });
    },
  };
}
