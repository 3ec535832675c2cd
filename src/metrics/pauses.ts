// Work that goes on for long gives others their turn of the event loop, now and then.
import { setImmediate } from 'node:timers/promises';

/** To be awaited at each step: it waits once so much time has gone by. Aborted, it throws. */
export function pauses(turnMs: number, signal?: AbortSignal): () => Promise<void> {
  let since = performance.now();
  return async () => {
    signal?.throwIfAborted();
    if (performance.now() - since < turnMs) return;
    await setImmediate();
    since = performance.now();
  };
}
