// When what this process believes about credentials no longer holds. The database counts every change of who may do
// what (the triggers of prisma/migrations/20261123010000_access); this looks at the count twice a second, and at once
// when another process says so over the bus. So a revoked credential is refused within a second, bus or no bus.
import type pg from 'pg';
import type { Bus } from '../bus/bus.ts';
import type { Log } from '../db/pool.ts';

export interface AccessChanges {
  /**
   * Resolves when no change that was made a second ago or before is unknown here: at once, unless the last look was too
   * long ago. Rejects while the database is away.
   */
  settle(): Promise<void>;
  /** After the commit of a change: what this process asks next sees it, and others look at once. */
  announce(): void;
  /** Something has changed: what was believed before may be wrong. Returned: the end of listening. */
  onChange(listener: () => void): () => void;
  close(): void;
}

const CHANNEL = 'access';
const LOOK_MS = 500;
const FRESH_MS = 1_000;

export function createAccessChanges({ pool, bus, log }: { pool: pg.Pool; bus: Bus; log: Log }): AccessChanges {
  const listeners = new Set<() => void>();
  let seen: number | null = null;
  let freshUntil = 0;
  let expired = 0;
  let looking: { began: number; done: Promise<void> } | null = null;

  const look = (): Promise<void> => {
    const began = performance.now();
    const mine = {
      began,
      done: read(began, expired).finally(() => {
        if (looking === mine) looking = null;
      }),
    };
    looking = mine;
    return mine.done;
  };
  const read = async (began: number, before: number) => {
    const { rows } = await pool.query<{ counter: number }>({
      name: 'access changes',
      text: 'SELECT counter FROM access_change',
    });
    const counter = rows[0]?.counter ?? 0;
    if (counter !== seen) {
      seen = counter;
      for (const listener of listeners) listener();
    }
    if (before === expired) freshUntil = Math.max(freshUntil, began + FRESH_MS);
  };
  const lookLater = () => {
    look().catch((error: unknown) => log.debug({ err: error }, 'changes of access could not be looked up'));
  };
  const expire = () => {
    // A look that is under way may have begun before the change: it proves nothing.
    expired += 1;
    freshUntil = 0;
    looking = null;
  };
  const timer = setInterval(() => looking ?? lookLater(), LOOK_MS);
  timer.unref();
  const stop = bus.subscribe(CHANNEL, () => {
    expire();
    lookLater();
  });

  return {
    settle() {
      const now = performance.now();
      if (now < freshUntil) return Promise.resolve();
      return looking && now - looking.began < FRESH_MS ? looking.done : look();
    },
    announce() {
      expire();
      bus.publish(CHANNEL, Buffer.from('changed'));
    },
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close() {
      clearInterval(timer);
      listeners.clear();
      stop.then((end) => end()).catch((error: unknown) => log.debug({ err: error }, 'unsubscribe'));
    },
  };
}
