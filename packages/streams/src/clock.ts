/** Time and one kind of timer, so that tests can hand in their own. */
export interface Clock {
  /** Milliseconds since any fixed moment; never goes back. */
  now(): number;
  /** Calls `callback` every `milliseconds` until the returned function is called. */
  every(milliseconds: number, callback: () => void): () => void;
}

/** The process's clock. Its timers do not keep the process alive. */
export const systemClock: Clock = {
  now: () => performance.now(),
  every(milliseconds, callback) {
    const timer = setInterval(callback, milliseconds);
    timer.unref();
    return () => clearInterval(timer);
  },
};

/** Calls `callback` once after `milliseconds`, unless the returned function is called before. */
export function after(clock: Clock, milliseconds: number, callback: () => void): () => void {
  const stop = clock.every(milliseconds, () => {
    stop();
    callback();
  });
  return stop;
}
