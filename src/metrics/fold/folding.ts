// When runs are folded: when their tail has grown, when it has waited for long, when they pause. Appends give hints; a
// look at the whole tail finds what nobody here has heard of (other processes that died, a restart, rows that the replay
// window has passed). Any number of processes do the same, and none is special: a run that another one is at is left to it.
import { setTimeout as wait } from 'node:timers/promises';
import type pg from 'pg';
import { isUnavailable, type Log } from '../../db/pool.ts';
import { type Folded, foldRun } from './run.ts';
import { surveyTail } from './survey.ts';

export interface Rhythm {
  /** Folded rows of the journal are kept for so long, for subscribers that come back. */
  windowMs: number;
  /** A run is folded once its tail has so many bytes, */
  tailBytes: number;
  /** or once so much time has gone by since its first point that is not folded, */
  waitMs: number;
  /** or since its last point. */
  pauseMs: number;
  /** With fewer bytes it waits `patience` times as long for both: */
  smallBytes: number;
  patience: number;
  /** How often the whole tail is looked at, at the most; less often where that takes long. */
  surveyMs: number;
  /** How often it is looked whether a run is due. */
  tickMs: number;
  /** Runs at once. */
  atOnce: number;
  /** After a failure; twice that after the next one, and so on up to `longestRestMs`. */
  restMs: number;
  longestRestMs: number;
  /** A fold that is under way when it all stops has so much time to end; then it is rolled back. */
  stopMs: number;
  /** How long `settle` tries. */
  settleMs: number;
}

const rhythm: Rhythm = {
  windowMs: 10 * 60_000,
  tailBytes: 256 * 1024,
  waitMs: 10_000,
  pauseMs: 2_000,
  // A fold writes the last segment of each metric again, some 9 KB to the log of the database, however few points come:
  // of a run with a point a second 900 bytes a point when it was folded every 10 s, 300 every 30 s, 90 every 100 s.
  smallBytes: 16 * 1024,
  patience: 6,
  surveyMs: 1_000,
  tickMs: 250,
  atOnce: 2,
  restMs: 1_000,
  longestRestMs: 60_000,
  stopMs: 3_000,
  settleMs: 10_000,
};

/** Runs that wait twice as long as they should are nobody's. */
const OVERDUE = 2;
/** Between two folds of a run that has no more to fold, by how long the last one took: many metrics are much to write. */
const REST = 2;
/** Batches are coming when one came so lately. */
const TAKING_MS = 100;
/** Then after each fold there is a rest, so many times as long while the tail is short, and none once it is long. */
const STAND_BACK = 4;
const LONG_TAIL_BYTES = 32 * 1024 * 1024;
/** How long `settle` waits for somebody else who is at the run, before it looks again. */
const BUSY_MS = 20;
/** Of the time, looks at the tail take a twentieth at the most. */
const SURVEY_SHARE = 20;

export interface FoldCounts {
  folds: number;
  batches: number;
  points: number;
  failures: number;
  seconds: number;
  damagedBatches: number;
  damagedSegments: number;
}

export interface Folding {
  /** After the commit of what came: a hint. */
  appended(runId: string, bytes: number): void;
  /** Of this process, since it started. */
  counts: Readonly<FoldCounts>;
  /** Of all runs, about: as of the last look, with what came and went here since. */
  tail: () => { bytes: number; waiting: number };
  /** Folds what of these runs waits now, so that their tails are short enough to be read; gives up in time. */
  settle(this: void, runIds: readonly string[]): Promise<void>;
  /** No fold begins any more; those under way end, or are rolled back. */
  close(): Promise<void>;
}

interface Waiting {
  bytes: number;
  since: number;
  last: number;
  restUntil: number;
  failures: number;
  isFolding: boolean;
}

export function startFolding({ pool, log }: { pool: pg.Pool; log: Log }, options: Partial<Rhythm> = {}): Folding {
  const { windowMs, tailBytes, waitMs, pauseMs, smallBytes, patience, surveyMs, tickMs, atOnce, ...rest } = {
    ...rhythm,
    ...options,
  };
  const { restMs, longestRestMs, stopMs, settleMs } = rest;
  const counts: FoldCounts = {
    folds: 0,
    batches: 0,
    points: 0,
    failures: 0,
    seconds: 0,
    damagedBatches: 0,
    damagedSegments: 0,
  };
  const runs = new Map<string, Waiting>();
  const underWay = new Set<Promise<void>>();
  const stopping = new AbortController();
  let isClosed = false;
  let surveyed = { bytes: 0, waiting: 0 };
  /** What came and went here, of bytes, since the process started; `surveyedAt` is where it was at the last look. */
  let balance = 0;
  let surveyedAt = 0;
  let survey: Promise<void> | null = null;
  let nextSurvey = 0;
  let isBlind = false;
  let lastAppend = -Infinity;
  let allRestUntil = 0;

  const isDue = ({ bytes, since, last, restUntil, isFolding }: Waiting, now: number) => {
    const times = bytes < smallBytes ? patience : 1;
    const hasWaited = now - since >= waitMs * times || now - last >= pauseMs * times;
    return !isFolding && now >= restUntil && (bytes >= tailBytes || hasWaited);
  };

  const tailNow = () => Math.max(0, surveyed.bytes + balance - surveyedAt);

  /** While batches come, folds stand back for them: one at a time, and then a rest, shorter the longer the tail is. */
  const isTaking = (now: number) => now - lastAppend < TAKING_MS;

  const begin = () => {
    if (isClosed) return;
    const now = performance.now();
    if (isTaking(now) && now < allRestUntil) return;
    const most = isTaking(now) ? 1 : atOnce;
    for (const [runId, waiting] of runs) {
      if (underWay.size >= most) return;
      if (!isDue(waiting, now)) continue;
      const work = foldOne(runId, waiting).finally(() => {
        underWay.delete(work);
        const end = performance.now();
        allRestUntil = end + (end - now) * STAND_BACK * Math.max(0, 1 - tailNow() / LONG_TAIL_BYTES);
        begin();
      });
      underWay.add(work);
    }
  };

  const foldOne = async (runId: string, waiting: Waiting) => {
    const { bytes } = waiting;
    const start = performance.now();
    // In its new place the run is behind the others, and what comes from now on is of the next fold.
    runs.delete(runId);
    runs.set(runId, Object.assign(waiting, { bytes: 0, since: Infinity, last: Infinity, isFolding: true }));
    try {
      const folded = await foldRun(pool, runId, { windowMs, log, signal: stopping.signal });
      const took = performance.now() - start;
      if (folded) count(folded, took);
      waiting.failures = 0;
      // Somebody else is at it: whether that was all of it is seen after a while.
      if (folded === null) again(waiting, bytes, pauseMs);
      else if (folded.hasMore) again(waiting, tailBytes, 0);
      else waiting.restUntil = performance.now() + took * REST;
    } catch (error) {
      counts.failures++;
      waiting.failures++;
      const rest = Math.min(longestRestMs, restMs * 2 ** (waiting.failures - 1));
      again(waiting, bytes, rest);
      // That the database is away is said once, by the look at the tail.
      if (!stopping.signal.aborted && !isUnavailable(error))
        log.warn({ err: error, runId, retryAfterMs: rest }, 'a run could not be folded');
    } finally {
      waiting.isFolding = false;
      if (waiting.since === Infinity) runs.delete(runId);
    }
  };

  const again = (waiting: Waiting, bytes: number, rest: number) => {
    const now = performance.now();
    waiting.bytes += bytes;
    waiting.since = Math.min(waiting.since, now - waitMs * patience);
    waiting.last = Math.min(waiting.last, now);
    waiting.restUntil = now + rest;
  };

  const count = (folded: Folded, took: number) => {
    if (folded.batches > 0) counts.folds++;
    counts.batches += folded.batches;
    counts.points += folded.points;
    counts.seconds += took / 1_000;
    counts.damagedBatches += folded.damagedBatches;
    counts.damagedSegments += folded.damagedSegments;
    balance -= folded.bytes;
  };

  /** Whoever reads a run meanwhile waits for the same. */
  const settling = new Map<string, Promise<void>>();
  const settleOne = async (runId: string) => {
    const end = performance.now() + settleMs;
    while (performance.now() < end && !isClosed) {
      const start = performance.now();
      const folded = await foldRun(pool, runId, { windowMs, log, signal: stopping.signal }).catch((error: unknown) => {
        // Rolled back by the stop: whoever reads is told to come again.
        if (!isClosed) throw error;
        return null;
      });
      if (folded) count(folded, performance.now() - start);
      if (folded?.hasMore === false) return;
      if (folded === null) await wait(BUSY_MS);
    }
  };

  const look = async () => {
    const start = performance.now();
    const before = balance;
    try {
      const { bytes, waiting, due } = await surveyTail(pool, {
        windowMs,
        overdueMs: waitMs * OVERDUE,
        smallBytes,
        smallOverdueMs: waitMs * patience * OVERDUE,
      });
      surveyed = { bytes, waiting };
      surveyedAt = before;
      isBlind = false;
      const now = performance.now();
      for (const one of due)
        if (!runs.has(one.runId))
          runs.set(one.runId, {
            bytes: one.bytes,
            since: now - waitMs * patience,
            last: now,
            restUntil: 0,
            failures: 0,
            isFolding: false,
          });
    } catch (error) {
      if (!isClosed && !isBlind) log.warn({ err: error }, 'the tail could not be looked at');
      isBlind = true;
    }
    const took = performance.now() - start;
    nextSurvey = performance.now() + Math.max(surveyMs, Math.min(waitMs, took * SURVEY_SHARE));
    survey = null;
    begin();
  };

  const tick = () => {
    if (!survey && performance.now() >= nextSurvey) survey = look();
    begin();
  };
  const timer = setInterval(tick, tickMs);
  timer.unref();

  return {
    counts,
    appended(runId, bytes) {
      balance += bytes;
      const now = performance.now();
      lastAppend = now;
      const waiting = runs.get(runId);
      if (waiting) {
        waiting.bytes += bytes;
        waiting.since = Math.min(waiting.since, now);
        waiting.last = now;
      } else runs.set(runId, { bytes, since: now, last: now, restUntil: 0, failures: 0, isFolding: false });
      if (bytes >= tailBytes || (waiting && waiting.bytes >= tailBytes)) begin();
    },
    tail: () => ({ bytes: tailNow(), waiting: surveyed.waiting }),
    async settle(runIds) {
      for (const runId of runIds) {
        const work = settling.get(runId) ?? settleOne(runId).finally(() => settling.delete(runId));
        settling.set(runId, work);
        await work;
      }
    },
    async close() {
      isClosed = true;
      clearInterval(timer);
      const late = setTimeout(() => stopping.abort(), stopMs);
      await Promise.all([...underWay, survey, ...settling.values()]);
      clearTimeout(late);
    },
  };
}
