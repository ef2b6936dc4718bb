import type { Clock } from "@hostd/streams";

/** Calls `callback` once after `milliseconds`, unless the returned function is called before. */
export function after(clock: Clock, milliseconds: number, callback: () => void): () => void {
  const stop = clock.every(milliseconds, () => {
    stop();
    callback();
  });
  return stop;
}
