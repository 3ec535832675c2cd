// The bus of a single process. Messages wait for the next turn of the event loop, so that a publisher never runs
// listeners, and what listeners publish waits for the turn after, so that they cannot starve sockets.

import type { Bus, BusLog } from './bus.ts';
import { createListeners } from './listeners.ts';
import type { Listening } from './listeners.ts';

/** `log` hears of listeners that throw. */
export function createInProcessBus({ log }: { log?: BusLog } = {}): Bus {
  const listeners = createListeners(log);
  const counts = { published: 0, failed: 0, received: 0 };
  let waiting: { to: readonly Listening[]; message: Buffer }[] = [];
  let closed = false;

  function deliverWaiting(): void {
    const turn = waiting;
    waiting = [];
    for (const { to, message } of turn) {
      if (listeners.deliver(to, message)) counts.received += 1;
    }
  }

  return {
    counts,

    publish(channel, message) {
      if (closed) {
        counts.failed += 1;
        return;
      }
      counts.published += 1;
      // Those who listen now: one who subscribes before the delivery does not hear what was published earlier.
      const to = listeners.of(channel);
      if (to.length === 0) return;
      if (waiting.length === 0) setImmediate(deliverWaiting);
      waiting.push({ to, message });
    },

    async subscribe(channel, listener) {
      if (closed) return async () => {};
      const { listening } = listeners.add(channel, listener);
      return async () => {
        listeners.remove(listening);
      };
    },

    connected: () => !closed,

    async close() {
      closed = true;
      waiting = [];
      listeners.clear();
    },
  };
}
