// What this process hears about the runs that its subscribers watch: one listener on the bus a run, shared by all of
// them, and one look a second at the heads of all watched runs, so that a lost message costs a second and not a gap.
import type pg from 'pg';
import type { Bus } from '../bus/bus.ts';
import type { Log } from '../db/pool.ts';
import { decodeColumns, decodedBytes } from '../metrics/codec/columns.ts';
import type { MetricColumns } from '../metrics/columns.ts';
import { readHeads } from '../metrics/heads.ts';
import { type BatchMessage, batchesChannel, readBatchMessage } from '../metrics/publish.ts';

export interface FeedListener {
  onBatch(batch: FeedBatch): void;
  /** The run's sequence, as the database has it. */
  onHead(sequence: number): void;
}

export interface FeedBatch {
  sequence: number;
  attempt: number;
  /** That it takes once decoded; 0 where the payload was not carried. */
  bytes: number;
  /** Decoded once for all who ask; null where the payload was not carried. */
  columns(): MetricColumns[] | null;
}

export interface Feeds {
  /** Resolves when whatever is accepted from now on will be heard. */
  listen(runId: string, listener: FeedListener): Promise<() => void>;
  watchedRuns(): number;
  close(): void;
}

const HEADS_MS = 1_000;

interface Feed {
  listeners: Set<FeedListener>;
  heard: Promise<() => Promise<void>>;
}

export function createFeeds({ pool, bus, log }: { pool: pg.Pool; bus: Bus; log: Log }): Feeds {
  const feeds = new Map<string, Feed>();
  let looking = false;

  const look = async () => {
    if (looking || feeds.size === 0) return;
    looking = true;
    try {
      for (const [runId, { sequence }] of await readHeads(pool, [...feeds.keys()]))
        for (const listener of feeds.get(runId)?.listeners ?? []) listener.onHead(sequence);
    } catch (error) {
      log.debug({ err: error }, 'the heads of watched runs could not be read; the next look covers it');
    } finally {
      looking = false;
    }
  };
  const timer = setInterval(() => void look(), HEADS_MS);
  timer.unref();

  const open = (runId: string): Feed => {
    const listeners = new Set<FeedListener>();
    const heard = bus.subscribe(batchesChannel(runId), (message) => {
      const read = readBatchMessage(message);
      if (!read) return;
      const batch = toFeedBatch(read, log);
      for (const listener of listeners) listener.onBatch(batch);
    });
    const feed = { listeners, heard };
    feeds.set(runId, feed);
    return feed;
  };

  return {
    async listen(runId, listener) {
      const feed = feeds.get(runId) ?? open(runId);
      feed.listeners.add(listener);
      const stop = () => {
        feed.listeners.delete(listener);
        if (feed.listeners.size > 0 || feeds.get(runId) !== feed) return;
        feeds.delete(runId);
        feed.heard
          .then((unsubscribe) => unsubscribe())
          .catch((error: unknown) => log.debug({ err: error }, 'unsubscribe'));
      };
      try {
        await feed.heard;
      } catch (error) {
        stop();
        throw error;
      }
      return stop;
    },
    watchedRuns: () => feeds.size,
    close: () => clearInterval(timer),
  };
}

function toFeedBatch({ sequence, attempt, pointCount, payload }: BatchMessage, log: Log): FeedBatch {
  let decoded: MetricColumns[] | null | undefined;
  return {
    sequence,
    attempt,
    bytes: payload ? decodedBytes(payload, pointCount) : 0,
    columns() {
      if (decoded !== undefined) return decoded;
      try {
        decoded = payload && decodeColumns(payload);
      } catch (error) {
        // What the bus garbled, or a newer server wrote, is read from the journal instead.
        log.warn({ err: error }, 'a batch from the bus could not be read');
        decoded = null;
      }
      return decoded;
    },
  };
}
