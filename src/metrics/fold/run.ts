// The fold of one run: what the journal holds beyond it goes into segments, rollups and summaries, in one transaction
// that holds the run's fold row and never the head, which appends lock. Whatever ends it, everything is as it was before
// or as it is after: nothing is lost, and nothing counted twice. Folding changes no answer.
import type pg from 'pg';
import { type Log, transaction } from '../../db/pool.ts';
import type { Repeats } from '../columns.ts';
import { pauses } from '../pauses.ts';
import { readTail, type TailMetric } from '../tail.ts';
import {
  finishFold,
  isLogged,
  type JournalPortion,
  markDamaged,
  nameOfMetric,
  readPortion,
  setDamagedAside,
} from './journal.ts';
import { foldPages } from './pages.ts';
import { foldSegments } from './segments.ts';
import { type MetricWork, readSeries, summarise, writeSummaries } from './summaries.ts';
import { type FoldContext, newWork, type SeriesWork, type StoredSeries, unlessDamaged } from './work.ts';

export interface FoldOptions {
  /** Folded rows of the journal are kept for so long, for subscribers that come back. */
  windowMs: number;
  /** About what is decoded of the journal at once; the rest is left for the next fold. */
  portionBytes?: number;
  /** No turn of the event loop should be much longer. */
  turnMs?: number;
  /** Aborted, the fold is rolled back. */
  signal?: AbortSignal;
  log: Log;
}

export interface Folded {
  batches: number;
  points: number;
  /** Of the journal's payloads. */
  bytes: number;
  /** Rows of the journal that the window has passed. */
  deleted: number;
  damagedBatches: number;
  damagedSegments: number;
  /** There is more to fold by now. */
  hasMore: boolean;
}

// A point takes 24 bytes and more: some 150,000 of them, 10 ms of work between two looks at the clock at the most.
const PORTION_BYTES = 4 * 1024 * 1024;
const TURN_MS = 5;

/** Null: somebody else is at it, or there is no such run. */
export async function foldRun(pool: pg.Pool, runId: string, options: FoldOptions): Promise<Folded | null> {
  const { windowMs, portionBytes = PORTION_BYTES, turnMs = TURN_MS, signal, log } = options;
  // By itself, so that two who find no row wait for one another no longer than this takes.
  await pool.query(
    `INSERT INTO fold (run_id) SELECT h.run_id FROM run_head h
     WHERE h.run_id = $1 AND NOT EXISTS (SELECT FROM fold f WHERE f.run_id = $1) ON CONFLICT DO NOTHING`,
    [runId],
  );
  return transaction(pool, async (client) => {
    const { rows } = await client.query<{ folded: number; projectId: string | null }>(
      `SELECT f.folded, (SELECT r.project_id FROM run r WHERE r.id = f.run_id) AS "projectId"
       FROM fold f WHERE f.run_id = $1 FOR UPDATE SKIP LOCKED`,
      [runId],
    );
    const [fold] = rows;
    if (!fold?.projectId) return null;
    const context: FoldContext = {
      client,
      runId,
      log,
      damagedSegments: 0,
      fresh: new Map(),
      pause: pauses(turnMs, signal),
    };
    const portion = await readPortion(context, fold.folded, portionBytes);
    await foldPortion(context, fold.projectId, portion);
    const { deleted } = await finishFold(context, { ...portion, windowMs });
    return {
      batches: portion.rows.length,
      points: portion.rows.reduce((sum, { pointCount }) => sum + pointCount, 0),
      bytes: portion.bytes,
      deleted,
      damagedBatches: portion.damaged.length,
      damagedSegments: context.damagedSegments,
      hasMore: portion.hasMore,
    };
  });
}

async function foldPortion(context: FoldContext, projectId: string, portion: JournalPortion): Promise<void> {
  if (portion.rows.length === 0) return;
  const known = await readMetrics(context);
  const tail = soundTail(context, portion, (name, tag) => known.get(nameOfMetric(name, tag))?.repeats ?? null);
  await markDamaged(context, portion.damaged);
  if (tail.length === 0) return;
  const numbers = tail.map(({ name, tag }) => known.get(nameOfMetric(name, tag))?.metric);
  const stored = await readSeries(
    context,
    numbers.filter((number) => number !== undefined),
  );
  let last = [...known.values()].reduce((most, { metric }) => Math.max(most, metric), 0);
  const metrics: MetricWork[] = [];
  for (const one of tail) {
    const name = nameOfMetric(one.name, one.tag);
    const before = known.get(name);
    // Only removed, and never logged: there is nothing to it.
    if (!before && one.series.length === 0 && !isLogged(portion, one.name, one.tag)) continue;
    const metric = before?.metric ?? ++last;
    metrics.push(metricWork(one, metric, stored.get(metric) ?? new Map()));
  }
  const works = metrics.flatMap((metric) => metric.works);
  await foldSegments(context, works);
  await summarise(context, works);
  await foldPages(context, works);
  await writeSummaries(context, projectId, metrics);
}

function metricWork(tail: TailMetric, metric: number, stored: ReadonlyMap<number, StoredSeries>): MetricWork {
  const { name, tag, repeats } = tail;
  const points = new Map(tail.series.map((one) => [one.attempt, one.points]));
  const works: SeriesWork[] = [];
  for (const attempt of new Set([...stored.keys(), ...points.keys()])) {
    const work = newWork({
      metric,
      attempt,
      repeats,
      stored: stored.get(attempt) ?? null,
      tail: points.get(attempt) ?? null,
      removed: tail.removedFrom(attempt),
    });
    if (work.tail !== null || work.removed.length > 0) works.push(work);
  }
  return { metric, name, tag, repeats, stored, works };
}

/** What rows there are that can be read; the others are set aside, and said. */
function soundTail(
  { log, runId }: FoldContext,
  portion: JournalPortion,
  storedRepeats: (name: string, tag: string) => Repeats | null,
): TailMetric[] {
  const read = () => readTail(portion.rows, () => true, storedRepeats);
  const tail = unlessDamaged(read);
  if (tail !== null) return tail;
  setDamagedAside(portion);
  for (const sequence of portion.damaged)
    log.error({ runId, sequence }, 'a batch in the journal is damaged: it was passed over, and left where it is');
  return read();
}

interface KnownMetric {
  metric: number;
  name: string;
  tag: string;
  repeats: Repeats;
}

/** All of the run, by name and tag. */
async function readMetrics({ client, runId }: FoldContext): Promise<Map<string, KnownMetric>> {
  const { rows } = await client.query<KnownMetric>('SELECT metric, name, tag, repeats FROM metric WHERE run_id = $1', [
    runId,
  ]);
  return new Map(rows.map((one) => [nameOfMetric(one.name, one.tag), one]));
}
