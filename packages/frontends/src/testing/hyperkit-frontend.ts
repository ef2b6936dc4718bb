import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { StreamPort } from "../stream-port.ts";
import type { FrontendUnderTest } from "./compliance.ts";
import { type StreamFraming, StreamPeer } from "./stream-peer.ts";

/** Bytes of the length in front of each frame. */
const PREFIX_LENGTH = 2;

/** Frames as hyperkit sends them: each behind its length. */
export function encodeHyperkitFrames(...frames: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(frames.flatMap((frame) => [Uint8Array.of(frame.length & 0xff, frame.length >> 8), frame]));
}

/** Cuts what arrives from the host into frames. Made apart from the decoder under test, for whole buffers only. */
class HyperkitStreamReader {
  #rest: Buffer = Buffer.alloc(0);

  /** @returns the frames that `chunk` completes. */
  push(chunk: Uint8Array): Uint8Array[] {
    const bytes = Buffer.concat([this.#rest, chunk]);
    const frames: Uint8Array[] = [];
    let at = 0;
    while (bytes.length - at >= PREFIX_LENGTH) {
      const end = at + PREFIX_LENGTH + bytes.readUInt16LE(at);
      if (end > bytes.length) break;
      frames.push(new Uint8Array(bytes.subarray(at + PREFIX_LENGTH, end)));
      at = end;
    }
    this.#rest = bytes.subarray(at);
    return frames;
  }
}

export const HYPERKIT_FRAMING: StreamFraming = {
  encode: encodeHyperkitFrames,
  makeReader: () => new HyperkitStreamReader(),
};

/** A Unix socket whose connections are links in hyperkit's framing. */
export async function openHyperkitFrontend(): Promise<FrontendUnderTest> {
  const folder = await mkdtemp(join(tmpdir(), "hostd-frontend-"));
  const path = join(folder, "vm.sock");
  const accepted: ((socket: Socket) => void)[] = [];
  const peers: StreamPeer[] = [];
  const server = createServer({ pauseOnConnect: true }, (socket) => accepted.shift()?.(socket));
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return {
    attach: async (attached) => {
      const ready = new Promise<Socket>((resolve) => accepted.push(resolve));
      const peer = new StreamPeer(connect(path), HYPERKIT_FRAMING);
      peers.push(peer);
      attached(new StreamPort(await ready, "the name", { framing: "hyperkit" }));
      return peer;
    },
    close: async () => {
      server.close();
      for (const peer of peers) peer.socket.destroy();
      await Promise.all(peers.map(({ closed }) => closed));
      await rm(folder, { recursive: true });
    },
  };
}
