import type { Clock } from "@hostd/streams";

/** Calls `callback` once, after `milliseconds`, unless the returned function is called before. */
export function after(clock: Clock, milliseconds: number, callback: () => void): () => void {
  const stop = clock.every(milliseconds, () => {
    stop();
    callback();
  });
  return stop;
}

/** A result, or what `late` makes when it has not come in time. */
export async function within<T>(clock: Clock, milliseconds: number, result: Promise<T>, late: () => Error): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const stop = after(clock, milliseconds, () => reject(late()));
  try {
    return await Promise.race([result, promise]);
  } finally {
    stop();
  }
}
