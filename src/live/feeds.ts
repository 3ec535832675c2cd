// What this process hears about the runs that its subscribers watch: one listener on the bus a run, shared by all of
// them, and one look a second at the heads of all watched runs, so that a lost message costs a second and not a gap.
// Subscribers that miss the same are served by one reading of the journal.
import type pg from 'pg';
import type { Bus } from '../bus/bus.ts';
import type { Log } from '../db/pool.ts';
import { type Head, readHeads } from '../metrics/heads.ts';
import { type BatchMessage, batchesChannel, readBatchMessage } from '../metrics/append/publish.ts';
import type { MetricsEvent } from './events.ts';
import { createSignals, type Signals } from './signals.ts';
import { type JournalPage, readBytes, readPage, readPayload, type ReadPayload } from './journal.ts';

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
  /** Decoded once for all who ask; null where the payload was not carried, or is of no use. */
  read(): ReadPayload | null;
  /** The events that end with this batch, by what they have in them: for all who are told while it is being heard, and
   * null from then on, so that what waits for a slow reader does not hold them. */
  made: Map<string, MetricsEvent | null> | null;
}

export interface Feeds {
  /** Resolves when whatever is accepted from now on will be heard. */
  listen(runId: string, listener: FeedListener): Promise<void>;
  /** Also what was never listened to, or is about to be. */
  stop(runId: string, listener: FeedListener): void;
  /** What follows `after`, for whoever knows of `known`. Those who ask while another reading is under way, and know of
   * nothing that is newer than it, are given the same page. */
  readJournal(runId: string, after: number, known: number): Promise<JournalPage>;
  readHeads(runIds: readonly string[]): Promise<Map<string, Head>>;
  watchedRuns(): number;
  /** Of what is beside their batches. */
  signals: Signals;
  close(): void;
}

const HEADS_MS = 1_000;

interface Feed {
  listeners: Set<FeedListener>;
  heard: Promise<() => Promise<void>>;
}

export function createFeeds({ pool, bus, log }: { pool: pg.Pool; bus: Bus; log: Log }): Feeds {
  const feeds = new Map<string, Feed>();
  const readings = new Map<string, { known: number; page: Promise<JournalPage> }>();
  const signals = createSignals({ pool, bus, log });
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
      batch.made = null;
    });
    const feed = { listeners, heard };
    feeds.set(runId, feed);
    return feed;
  };

  return {
    async listen(runId, listener) {
      const feed = feeds.get(runId) ?? open(runId);
      feed.listeners.add(listener);
      await feed.heard;
    },
    stop(runId, listener) {
      const feed = feeds.get(runId);
      if (!feed?.listeners.delete(listener) || feed.listeners.size > 0) return;
      feeds.delete(runId);
      feed.heard
        .then((unsubscribe) => unsubscribe())
        .catch((error: unknown) => log.debug({ err: error }, 'unsubscribe'));
    },
    readHeads: (runIds) => readHeads(pool, runIds),
    readJournal(runId, after, known) {
      const key = `${runId} ${after}`;
      const reading = readings.get(key);
      if (reading && reading.known >= known) return reading.page;
      const page = readPage(pool, runId, after).finally(() => {
        if (readings.get(key)?.page === page) readings.delete(key);
      });
      readings.set(key, { known, page });
      return page;
    },
    watchedRuns: () => feeds.size,
    signals,
    close() {
      clearInterval(timer);
      signals.close();
    },
  };
}

function toFeedBatch({ sequence, attempt, pointCount, payload }: BatchMessage, log: Log): FeedBatch {
  let decoded: ReadPayload | null | undefined;
  return {
    sequence,
    attempt,
    bytes: payload ? readBytes(payload, pointCount) : 0,
    made: new Map(),
    read() {
      if (decoded !== undefined) return decoded;
      try {
        decoded = payload && readPayload(payload);
      } catch (error) {
        // What the bus garbled, or a newer server wrote, is read from the journal instead.
        log.warn({ err: error }, 'a batch from the bus could not be read');
        decoded = null;
      }
      return decoded;
    },
  };
}
