import type { Duplex } from "node:stream";

/** The other end closed the connection before it had answered. */
export class ClosedError extends Error {
  override readonly name = "ClosedError";
}

/**
 * Reads a stream up to where an answer ends. What is behind it stays in the stream, which is as if nobody had read it.
 *
 * @param take - is given what comes; returns where the answer ends in it, or null when it goes on. What it throws ends
 *   the reading.
 * @throws the stream's error, {@link ClosedError}, or what `take` throws.
 */
export function readAnswer(stream: Duplex, take: (bytes: Buffer) => number | null): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const stop = () => {
    stream.off("readable", read).off("end", closed).off("close", closed).off("error", failed);
  };
  const failed = (error: unknown) => {
    stop();
    reject(error);
  };
  const closed = () => failed(new ClosedError("closed"));
  const read = () => {
    try {
      // Asked for what is there and no more, a stream does not notice that it has ended before somebody else reads it.
      while (stream.readableLength > 0) {
        const bytes: Buffer = stream.read(stream.readableLength);
        const end = take(bytes);
        if (end === null) continue;
        stop();
        if (end < bytes.length) stream.unshift(bytes.subarray(end));
        resolve();
        return;
      }
    } catch (error) {
      failed(error);
      return;
    }
    stream.read();
  };
  // `readable` and not `data`: afterwards the stream is neither flowing nor paused.
  stream.on("readable", read).on("end", closed).on("close", closed).on("error", failed);
  if (stream.destroyed || stream.readableEnded) closed();
  return promise;
}
