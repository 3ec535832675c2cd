// What this process hears about runs beside their batches: one listener on the bus a run, shared by all who watch it, and
// one look a second at the heads of all of them, so that a lost message costs a second. What there is to tell is read from
// the database by whoever is told, when they come for it: nothing waits for a slow reader.
import type pg from 'pg';
import type { Bus } from '../bus/bus.ts';
import { isUnavailable, type Log } from '../db/pool.ts';
import { readSignal, type RunSignal, signalsChannel } from '../runs/publish.ts';

export interface Signals {
  /** Resolves when whatever happens from now on will be heard; `hear` is told what is known by then. */
  listen(runId: string, hear: (signal: RunSignal) => void): Promise<() => void>;
  /** Those who want the same while it is being read, and know of nothing that is newer, are given the same. */
  share<Found>(key: string, known: number, read: () => Promise<Found>): Promise<Found>;
  close(): void;
}

const LOOK_MS = 1_000;
/** Between two tries while the database is away. */
const AWAY_MS = 1_000;

interface Feed {
  listeners: Set<(signal: RunSignal) => void>;
  heard: Promise<() => Promise<void>>;
}

export function createSignals({ pool, bus, log }: { pool: pg.Pool; bus: Bus; log: Log }): Signals {
  const feeds = new Map<string, Feed>();
  const readings = new Map<string, { known: number; found: Promise<unknown> }>();
  let looking = false;

  const look = async () => {
    if (looking || feeds.size === 0) return;
    looking = true;
    try {
      for (const [runId, signal] of await readSignals(pool, [...feeds.keys()]))
        for (const hear of feeds.get(runId)?.listeners ?? []) hear(signal);
    } catch (error) {
      log.debug({ err: error }, 'the signals of watched runs could not be read; the next look covers it');
    } finally {
      looking = false;
    }
  };
  const timer = setInterval(() => void look(), LOOK_MS);
  timer.unref();

  const open = (runId: string): Feed => {
    const listeners: Feed['listeners'] = new Set();
    const heard = bus.subscribe(signalsChannel(runId), (message) => {
      const signal = { ...NOTHING, ...readSignal(message) };
      for (const hear of listeners) hear(signal);
    });
    const feed = { listeners, heard };
    feeds.set(runId, feed);
    return feed;
  };

  return {
    async listen(runId, hear) {
      const feed = feeds.get(runId) ?? open(runId);
      feed.listeners.add(hear);
      const stop = () => {
        if (!feed.listeners.delete(hear) || feed.listeners.size > 0 || feeds.get(runId) !== feed) return;
        feeds.delete(runId);
        feed.heard
          .then((unsubscribe) => unsubscribe())
          .catch((error: unknown) => log.debug({ err: error }, 'unsubscribe'));
      };
      try {
        // The bus first: what happens in between is heard.
        await feed.heard;
        hear((await readSignals(pool, [runId])).get(runId) ?? NOTHING);
      } catch (error) {
        stop();
        throw error;
      }
      return stop;
    },
    share<Found>(key: string, known: number, read: () => Promise<Found>) {
      const reading = readings.get(key);
      if (reading && reading.known >= known) return reading.found as Promise<Found>;
      const found = read().finally(() => {
        if (readings.get(key)?.found === found) readings.delete(key);
      });
      readings.set(key, { known, found });
      return found;
    },
    close: () => clearInterval(timer),
  };
}

const NOTHING: RunSignal = { console: 0, commands: 0 };

async function readSignals(pool: pg.Pool, runIds: readonly string[]): Promise<Map<string, RunSignal>> {
  const { rows } = await pool.query<{ run_id: string; console_sequence: number; command_sequence: number }>({
    name: 'signals',
    text: 'SELECT run_id, console_sequence, command_sequence FROM run_head WHERE run_id = ANY($1::uuid[])',
    values: [runIds],
  });
  return new Map(rows.map((row) => [row.run_id, { console: row.console_sequence, commands: row.command_sequence }]));
}

/**
 * What `take` finds of a run, event by event: it is asked with the highest that was heard of, until it has nothing more,
 * and again when something was heard. One question at a time.
 */
export async function watchSignals<Event>(
  signals: Signals,
  runId: string,
  begin: (known: RunSignal) => (known: RunSignal) => Promise<Event | null>,
): Promise<AsyncIterableIterator<Event>> {
  const known = { ...NOTHING };
  let isOver = false;
  let hasNews = true;
  let wake: (() => void) | null = null;
  const stop = await signals.listen(runId, (signal) => {
    for (const [name, value] of Object.entries(signal) as [keyof RunSignal, number][]) {
      if (value <= known[name]) continue;
      known[name] = value;
      hasNews = true;
      wake?.();
    }
  });
  const end = () => {
    isOver = true;
    stop();
    wake?.();
  };
  let take: (known: RunSignal) => Promise<Event | null>;
  try {
    take = begin({ ...known });
  } catch (error) {
    end();
    throw error;
  }
  const pause = (timeoutMs?: number) =>
    new Promise<void>((resolve) => {
      const timer = timeoutMs === undefined ? undefined : setTimeout(resolve, timeoutMs);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  const iterator: AsyncIterableIterator<Event> = {
    [Symbol.asyncIterator]: () => iterator,
    async next() {
      while (!isOver) {
        if (!hasNews) {
          await pause();
          continue;
        }
        hasNews = false;
        try {
          const value = await take({ ...known });
          if (isOver) break;
          if (value === null) continue;
          hasNews = true;
          return { done: false, value };
        } catch (error) {
          if (!isUnavailable(error)) {
            end();
            throw error;
          }
          // The database is away: the subscriber waits with it.
          hasNews = true;
          await pause(AWAY_MS);
        }
      }
      return { done: true, value: undefined };
    },
    return() {
      end();
      return Promise.resolve({ done: true, value: undefined });
    },
  };
  return iterator;
}
