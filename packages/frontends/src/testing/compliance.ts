import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { FramePort } from "../port.ts";
import { patternFrame, randomFrames, seededRandom } from "./random.ts";
import { RecordingConsumer } from "./recording-consumer.ts";
import type { StreamPeer } from "./stream-peer.ts";

/** A way for VMs to attach, at work. */
export interface FrontendUnderTest {
  /** Lets a VM attach; resolves when the host's end has been handed to `attached`. */
  attach(attached: (port: FramePort) => void): Promise<StreamPeer>;
  /** Ends everything that {@link attach} opened. */
  close(): Promise<void>;
}

export interface FrontendCase {
  readonly name: string;
  /** Bytes of the largest frame that it carries from the VM. */
  readonly longestFrame: number;
  readonly open: () => Promise<FrontendUnderTest>;
  /** What breaks the framing, and the word for it that the port closes with. */
  readonly faults: readonly { readonly name: string; readonly bytes: Uint8Array; readonly message: string | RegExp }[];
}

/** Bytes of an Ethernet frame of the largest MTU that hostd can be set to. */
const LONGEST_SENT = 65520 + 14;

function put(port: FramePort, frame: Uint8Array): boolean {
  const offset = port.reserve(frame.length);
  if (offset < 0) return false;
  port.bytes.set(frame, offset);
  port.commit(frame.length);
  return true;
}

function expectFrames(actual: readonly Uint8Array[], expected: readonly Uint8Array[]): void {
  expect(actual.map(({ length }) => length)).toEqual(expected.map(({ length }) => length));
  expect(Buffer.compare(Buffer.concat(actual), Buffer.concat(expected))).toBe(0);
}

/** Sends every frame, waiting whenever the port takes no more, and says when it had to wait first. */
async function sendAll(port: FramePort, consumer: RecordingConsumer, frames: readonly Uint8Array[], full?: () => void) {
  for (const frame of frames) {
    while (!put(port, frame)) {
      full?.();
      const calls = consumer.writableCalls;
      await consumer.until(() => consumer.writableCalls > calls);
    }
  }
  port.flush();
}

/** What every way for a VM to attach has to hold to. */
export function describeFrontend({ name, longestFrame, open, faults }: FrontendCase): void {
  describe(`${name} as a frontend`, () => {
    let frontend: FrontendUnderTest;
    let consumer: RecordingConsumer;

    beforeEach(async () => {
      frontend = await open();
      consumer = new RecordingConsumer();
    });

    afterEach(async () => {
      await frontend.close();
    });

    async function attach(): Promise<{ port: FramePort; peer: StreamPeer }> {
      const attached = Promise.withResolvers<FramePort>();
      const peer = await frontend.attach((port) => {
        port.start(consumer);
        attached.resolve(port);
      });
      return { port: await attached.promise, peer };
    }

    it("hands over frames whole, in order, and says when a read is done", async () => {
      const { peer } = await attach();
      const frames = randomFrames(seededRandom(1), 50, 1, 1514);
      peer.send(...frames);
      await consumer.until(() => consumer.frames.length === frames.length && consumer.batches.length > 0);
      expectFrames(consumer.frames, frames);
      expect(consumer.batches.reduce((sum, count) => sum + count, 0)).toBe(frames.length);
    });

    it("takes frames that were sent right after connecting", async () => {
      const peer = await frontend.attach((port) => port.start(consumer));
      peer.send(patternFrame(60, 1));
      await consumer.until(() => consumer.frames.length === 1);
      expectFrames(consumer.frames, [patternFrame(60, 1)]);
    });

    it("takes frames of one byte and of the largest length", async () => {
      const { peer } = await attach();
      const frames = [1, longestFrame, 1, longestFrame].map((length, tag) => patternFrame(length, tag));
      peer.send(...frames);
      await consumer.until(() => consumer.frames.length === frames.length);
      expectFrames(consumer.frames, frames);
    });

    it("puts frames together that come in pieces", async () => {
      const { peer } = await attach();
      const frames = [60, 1514].map((length, tag) => patternFrame(length, tag));
      peer.socket.setNoDelay(true);
      let sent = 0;
      const write = peer.socket.write.bind(peer.socket);
      let stream = new Uint8Array(0);
      peer.socket.write = (bytes: Uint8Array | string) => {
        stream = new Uint8Array(Buffer.from(bytes));
        return true;
      };
      peer.send(...frames);
      for (const step of [1, 2, 5, 60, 200, stream.length]) {
        await new Promise<void>((resolve) => write(stream.subarray(sent, sent + step), () => resolve()));
        sent += step;
      }
      await consumer.until(() => consumer.frames.length === frames.length);
      expectFrames(consumer.frames, frames);
    });

    it("sends frames of every length, in order", async () => {
      const { port, peer } = await attach();
      const lengths = [1, 14, 60, 1514, 9014, LONGEST_SENT, 60, LONGEST_SENT, LONGEST_SENT, LONGEST_SENT, 42];
      const frames = lengths.map((length, tag) => patternFrame(length, tag));
      await sendAll(port, consumer, frames);
      await peer.received(frames.length);
      expectFrames(peer.frames, frames);
    });

    it("asks to be flushed once for many frames, and sends nothing before", async () => {
      const { port, peer } = await attach();
      const frames = randomFrames(seededRandom(2), 40, 60, 1514);
      for (const frame of frames) put(port, frame);
      expect(consumer.pendingCalls).toBe(1);
      expect(peer.socket.bytesRead).toBe(0);
      port.flush();
      await peer.received(frames.length);
      expectFrames(peer.frames, frames);
    });

    it("carries both directions at once without loss", async () => {
      const { port, peer } = await attach();
      const out = randomFrames(seededRandom(3), 2000, 60, 9014);
      const back = randomFrames(seededRandom(4), 2000, 60, 9014);
      peer.send(...back);
      await sendAll(port, consumer, out);
      await peer.received(out.length);
      await consumer.until(() => consumer.frames.length === back.length);
      expectFrames(peer.frames, out);
      expectFrames(consumer.frames, back);
    });

    it("refuses frames while the VM does not read, and loses and reorders nothing when it does again", async () => {
      const { port, peer } = await attach();
      peer.socket.pause();
      const frames = randomFrames(seededRandom(5), 400, 60, LONGEST_SENT);
      let refusals = 0;
      await sendAll(port, consumer, frames, () => {
        refusals++;
        peer.socket.resume();
      });
      await peer.received(frames.length);
      expect(refusals).toBeGreaterThan(0);
      expectFrames(peer.frames, frames);
      expect(consumer.faults).toEqual([]);
    });

    it("goes on receiving while the VM does not read", async () => {
      const { port, peer } = await attach();
      peer.socket.pause();
      while (put(port, patternFrame(60000, 1)));
      const frames = randomFrames(seededRandom(6), 100, 60, 1514);
      peer.send(...frames);
      await consumer.until(() => consumer.frames.length === frames.length);
      expectFrames(consumer.frames, frames);
    });

    it("says once, without a fault, that the VM left", async () => {
      const { peer } = await attach();
      peer.send(patternFrame(60, 1));
      peer.socket.end();
      expect(await consumer.closing()).toBeNull();
      await peer.closed;
      expect(consumer.frames).toHaveLength(1);
      expect(consumer.faults).toEqual([null]);
    });

    it("takes a VM that is killed for one that left", async () => {
      const { port, peer } = await attach();
      peer.socket.pause();
      put(port, patternFrame(60, 1));
      port.flush();
      peer.reset();
      expect(await consumer.closing()).toBeNull();
      expect(put(port, patternFrame(60, 1))).toBe(false);
      port.flush();
      expect(consumer.faults).toEqual([null]);
    });

    it("takes a VM that is killed while frames wait for it for one that left", async () => {
      const { port, peer } = await attach();
      peer.socket.pause();
      while (put(port, patternFrame(60000, 1)));
      peer.reset();
      expect(await consumer.closing()).toBeNull();
      expect(put(port, patternFrame(60, 1))).toBe(false);
    });

    it("sends what was committed before it closes, and takes nothing after", async () => {
      const { port, peer } = await attach();
      const frames = randomFrames(seededRandom(7), 100, 60, 9014);
      for (const frame of frames) put(port, frame);
      port.close();
      expect(put(port, patternFrame(60, 1))).toBe(false);
      port.flush();
      await peer.until(() => peer.ended);
      expectFrames(peer.frames, frames);
      expect(await consumer.closing()).toBeNull();
      expect(consumer.faults).toEqual([null]);
    });

    it("hands over nothing once it was closed from within a frame", async () => {
      const { port, peer } = await attach();
      consumer.onFrame = () => port.close();
      peer.send(...[1, 2, 3].map((tag) => patternFrame(60, tag)));
      expect(await consumer.closing()).toBeNull();
      expectFrames(consumer.frames, [patternFrame(60, 1)]);
    });

    it("closes although the VM does not read", async () => {
      const { port, peer } = await attach();
      peer.socket.pause();
      while (put(port, patternFrame(60000, 1)));
      port.close();
      expect(await consumer.closing()).toBeNull();
    });

    it("may be closed twice, and after the VM left", async () => {
      const { port, peer } = await attach();
      peer.socket.end();
      await consumer.closing();
      port.close();
      port.close();
      expect(consumer.faults).toEqual([null]);
    });

    it.each(faults)("ends the link with a word about $name", async ({ bytes, message }) => {
      const { port, peer } = await attach();
      peer.send(patternFrame(60, 1));
      peer.socket.end(bytes);
      expect(await consumer.closing()).toMatch(message);
      await peer.closed;
      expectFrames(consumer.frames, [patternFrame(60, 1)]);
      expect(consumer.faults).toHaveLength(1);
      expect(put(port, patternFrame(60, 1))).toBe(false);
    });

    it("serves the next VM after one that broke the framing", async () => {
      const first = await attach();
      first.peer.socket.end(faults[0].bytes);
      await consumer.closing();
      consumer = new RecordingConsumer();
      const { peer } = await attach();
      peer.send(patternFrame(60, 2));
      await consumer.until(() => consumer.frames.length === 1);
      expectFrames(consumer.frames, [patternFrame(60, 2)]);
    });
  });
}
