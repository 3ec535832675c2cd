// One subscriber of `metrics`: what the journal holds after the cursors, then live batches in the order of their
// sequence, without a gap and without a duplicate. From the bus only the next sequence is taken; whatever else is
// missing is read from the journal. What waits for a slow reader is bounded, as is what one event holds: past the bound
// it is dropped, and read from the journal when the reader comes back.
import type pg from 'pg';
import { isUnavailable } from '../db/pool.ts';
import { decodeColumns, decodedBytes } from '../metrics/codec/columns.ts';
import { decodeRemoval, isRemoval } from '../metrics/codec/removal.ts';
import type { MetricColumns } from '../metrics/columns.ts';
import { readHeads } from '../metrics/heads.ts';
import type { FeedBatch, Feeds } from './feeds.ts';

export interface MetricSelector {
  name: string;
  /** No tag: every tag of that name; "": the untagged one. */
  tag?: string | null | undefined;
}

export interface LiveColumns extends MetricColumns {
  attempt: number;
}

export type MetricsEvent =
  | { kind: 'appended'; runId: string; cursor: string; metrics: LiveColumns[] }
  | { kind: 'reset'; runId: string; cursor: string; reason: string };

/** What may wait for one subscriber, and what one event holds if it has more than a batch. Decoded: 100 bytes of payload
 * can stand for 200,000 points, so that payloads alone bound nothing. */
export const WAITING_BYTES = 2 * 1024 * 1024;
/** Of the journal, read at once. */
const PAGE_ROWS = 256;
const PAGE_BYTES = 1024 * 1024;
/** Between two tries while the database is away. */
const AWAY_MS = 1_000;

interface Watched {
  runId: string;
  delivered: number;
  /** The highest sequence heard of. */
  known: number;
  /** Ascending, with holes where the bus lost something: those are read from the journal. */
  waiting: FeedBatch[];
  /** The cursor cannot be served. */
  reset: string | null;
}

export async function watchMetrics(
  { pool, feeds }: { pool: pg.Pool; feeds: Feeds },
  runs: readonly { runId: string; after: number | null }[],
  selectors: readonly MetricSelector[] | null,
): Promise<AsyncIterableIterator<MetricsEvent>> {
  const watched = new Map<string, Watched>();
  const stops: (() => void)[] = [];
  const wanted = wantedBy(selectors);
  let waitingBytes = 0;
  let wake: (() => void) | null = null;
  let done = false;
  const pending = new Set<(result: IteratorResult<MetricsEvent>) => void>();

  const end = () => {
    done = true;
    for (const stop of stops.splice(0)) stop();
    watched.clear();
    wake?.();
    for (const resolve of pending) resolve({ done: true, value: undefined });
    pending.clear();
  };
  const heard = (run: Watched, sequence: number) => {
    if (sequence <= run.known) return;
    run.known = sequence;
    wake?.();
  };
  const drop = (run: Watched, count: number) => {
    for (const { bytes } of run.waiting.splice(0, count)) waitingBytes -= bytes;
  };
  const dropDelivered = (run: Watched) => {
    const first = run.waiting.findIndex(({ sequence }) => sequence > run.delivered);
    drop(run, first === -1 ? run.waiting.length : first);
  };

  // The bus first, then the heads: what is accepted in between is heard, what was accepted before is below the head.
  for (const { runId, after } of runs) {
    const run: Watched = { runId, delivered: after ?? -1, known: -1, waiting: [], reset: null };
    watched.set(runId, run);
    const stop = await feeds
      .listen(runId, {
        onHead: (sequence) => heard(run, sequence),
        onBatch(batch) {
          if (batch.sequence > (run.waiting.at(-1)?.sequence ?? run.delivered) && batch.bytes > 0) {
            run.waiting.push(batch);
            waitingBytes += batch.bytes;
            if (waitingBytes > WAITING_BYTES) for (const one of watched.values()) drop(one, one.waiting.length);
          }
          heard(run, batch.sequence);
        },
      })
      .catch((error: unknown) => {
        end();
        throw error;
      });
    stops.push(stop);
  }
  try {
    for (const [runId, { sequence }] of await readHeads(pool, [...watched.keys()])) {
      const run = watched.get(runId);
      if (!run) continue;
      if (run.delivered === -1) {
        // From now on. What the bus brought since is above the head, or in it.
        run.delivered = sequence;
        dropDelivered(run);
      } else if (run.delivered > sequence) run.reset = 'the cursor is ahead of the run: the server was set back';
      run.known = Math.max(run.known, sequence);
    }
  } catch (error) {
    end();
    throw error;
  }

  /** What is there for one run, or null. Moves `delivered` past it. */
  const take = async (run: Watched): Promise<MetricsEvent | null> => {
    if (run.reset === null) {
      if (run.known <= run.delivered) return null;
      dropDelivered(run);
      const fromBus = takeWaiting(run.waiting, run.delivered + 1);
      if (fromBus.length > 0) {
        drop(run, fromBus.length);
        return eventOf(run, fromBus);
      }
      const rows = await readJournal(pool, run.runId, run.delivered);
      if (done) return null;
      if (rows[0]?.sequence === run.delivered + 1) {
        if (!removes(rows[0].payload, wanted)) return fromJournal(run, rows);
        run.reset = 'points were deleted';
      }
    }
    const head = (await readHeads(pool, [run.runId])).get(run.runId);
    if (run.reset === null && (head?.sequence ?? 0) <= run.delivered) {
      run.known = run.delivered;
      return null;
    }
    return resetTo(run, head?.sequence ?? 0, run.reset ?? 'the cursor is older than what the journal keeps');
  };

  const fromJournal = (run: Watched, rows: readonly JournalRow[]): MetricsEvent | null => {
    const batches: LiveBatch[] = [];
    let bytes = 0;
    for (const { sequence, attempt, point_count: pointCount, payload } of rows) {
      if (removes(payload, wanted)) break;
      bytes += decodedBytes(payload, pointCount);
      if (batches.length > 0 && bytes > WAITING_BYTES) break;
      try {
        batches.push({ sequence, attempt, columns: isRemoval(payload) ? [] : decodeColumns(payload, wanted) });
      } catch {
        // One that cannot be read must not hold back those behind it, nor the other runs.
        if (batches.length === 0) return resetTo(run, sequence, `batch ${sequence} of the run is damaged`);
        break;
      }
    }
    return eventOf(run, batches);
  };

  const resetTo = (run: Watched, sequence: number, reason: string): MetricsEvent => {
    run.reset = null;
    run.delivered = sequence;
    return { kind: 'reset', runId: run.runId, cursor: String(sequence), reason };
  };

  const eventOf = (run: Watched, batches: readonly LiveBatch[]): MetricsEvent | null => {
    run.delivered = batches.at(-1)?.sequence ?? run.delivered;
    const metrics = mergeBatches(batches, wanted);
    if (metrics.length === 0) return null;
    return { kind: 'appended', runId: run.runId, cursor: String(run.delivered), metrics };
  };

  let last: Promise<unknown> = Promise.resolve();
  const sleep = (milliseconds?: number) =>
    new Promise<void>((resolve) => {
      const timer = milliseconds === undefined ? undefined : setTimeout(resolve, milliseconds);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  const pull = async (): Promise<IteratorResult<MetricsEvent>> => {
    while (!done) {
      for (const run of watched.values()) {
        const event = await take(run).catch((error: unknown) => {
          if (isUnavailable(error)) return 'away' as const;
          throw error;
        });
        if (done) break;
        if (event === 'away') {
          // The database is away: the cursor stands, and the subscriber waits with it.
          await sleep(AWAY_MS);
        } else if (event) {
          // Whoever was served goes to the end of the line.
          watched.delete(run.runId);
          watched.set(run.runId, run);
          return { done: false, value: event };
        }
      }
      const behind = [...watched.values()].some((run) => run.reset !== null || run.known > run.delivered);
      if (!done && !behind) await sleep();
    }
    return { done: true, value: undefined };
  };
  const iterator: AsyncIterableIterator<MetricsEvent> = {
    [Symbol.asyncIterator]: () => iterator,
    next() {
      if (done) return Promise.resolve({ done: true, value: undefined });
      return new Promise((resolve, reject) => {
        pending.add(resolve);
        const fail = (error: Error) => {
          reject(error);
          end();
        };
        last = last.then(pull).then(resolve, fail);
        void last.then(() => pending.delete(resolve));
      });
    },
    // Ends what waits in `next` at once, rather than after another event or an answer of the database.
    return() {
      end();
      return Promise.resolve({ done: true, value: undefined });
    },
  };
  return iterator;
}

interface LiveBatch {
  sequence: number;
  attempt: number;
  columns: MetricColumns[];
}

/** The batches from the bus that come next without a hole. */
function takeWaiting(waiting: readonly FeedBatch[], next: number): LiveBatch[] {
  const batches: LiveBatch[] = [];
  for (const batch of waiting) {
    if (batch.sequence !== next + batches.length) break;
    const columns = batch.columns();
    if (columns === null) break;
    batches.push({ sequence: batch.sequence, attempt: batch.attempt, columns });
  }
  return batches;
}

function wantedBy(selectors: readonly MetricSelector[] | null): (name: string, tag: string) => boolean {
  return (name, tag) =>
    selectors === null || selectors.some((one) => one.name === name && (one.tag == null || one.tag === tag));
}

/** Whether points of what is watched were removed; by a removal that cannot be read, they may have been. */
function removes(payload: Buffer, wanted: (name: string, tag: string) => boolean): boolean {
  if (!isRemoval(payload)) return false;
  try {
    const { name, tag } = decodeRemoval(payload);
    return wanted(name, tag);
  } catch {
    return true;
  }
}

/** Batches in the order of their sequence become one: a column a metric and attempt. */
function mergeBatches(
  batches: readonly { attempt: number; columns: MetricColumns[] }[],
  wanted: (name: string, tag: string) => boolean,
): LiveColumns[] {
  const groups = new Map<string, LiveColumns[]>();
  for (const { attempt, columns } of batches) {
    for (const one of columns) {
      if (!wanted(one.name, one.tag) || one.steps.length === 0) continue;
      const key = `${attempt}\0${one.tag}\0${one.name}`;
      const group = groups.get(key);
      if (group) group.push({ ...one, attempt });
      else groups.set(key, [{ ...one, attempt }]);
    }
  }
  return [...groups.values()].map((group) => {
    const [first] = group as [LiveColumns];
    if (group.length === 1) return first;
    const metadata = group.some((one) => one.metadata)
      ? group.flatMap((one) => one.metadata ?? Array.from(one.steps, () => null))
      : null;
    return {
      ...first,
      steps: joined(group, 'steps'),
      times: joined(group, 'times'),
      values: joined(group, 'values'),
      metadata,
    };
  });
}

function joined(group: readonly LiveColumns[], column: 'steps' | 'times' | 'values'): Float64Array {
  const all = new Float64Array(group.reduce((sum, one) => sum + one[column].length, 0));
  let position = 0;
  for (const one of group) {
    all.set(one[column], position);
    position += one[column].length;
  }
  return all;
}

interface JournalRow {
  sequence: number;
  attempt: number;
  point_count: number;
  payload: Buffer;
}

/** The rows that come next, up to a page; the first one whatever its size. */
async function readJournal(pool: pg.Pool, runId: string, after: number): Promise<JournalRow[]> {
  const { rows } = await pool.query<JournalRow>({
    name: 'journal page',
    text: `SELECT sequence, attempt, point_count, payload FROM (
             SELECT sequence, attempt, point_count, payload,
                    sum(octet_length(payload)) OVER (ORDER BY sequence) - octet_length(payload) AS before
             FROM (SELECT * FROM journal WHERE run_id = $1 AND sequence > $2 ORDER BY sequence LIMIT ${PAGE_ROWS}) page
           ) summed WHERE before < ${PAGE_BYTES} ORDER BY sequence`,
    values: [runId, after],
  });
  return rows;
}
