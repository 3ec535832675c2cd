// The fold of one run: what the journal holds beyond it goes into segments, rollups and summaries, in one transaction
// that holds the run's fold row and never the head, which appends lock. Whatever ends it, everything is as it was before
// or as it is after: nothing is lost, and nothing counted twice. Folding changes no answer.
import { setImmediate } from 'node:timers/promises';
import type pg from 'pg';
import { type Log, transaction } from '../../db/pool.ts';
import { RuntideError } from '../../errors.ts';
import type { Repeats } from '../columns.ts';
import { type JournalRow, readTail, type TailMetric } from '../tail.ts';
import { damagedRows, finishFold, type JournalPortion, markDamaged, nameOfMetric, readPortion } from './journal.ts';
import { foldPages } from './pages.ts';
import { foldSegments } from './segments.ts';
import { type MetricWork, readSeries, summarise, writeSummaries } from './summaries.ts';
import { type FoldContext, newWork, type SeriesWork, type StoredSeries } from './work.ts';

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
    const context: FoldContext = { client, runId, log, damagedSegments: 0, pause: pauses(turnMs, signal) };
    const portion = await readPortion(context, fold.folded, portionBytes);
    await foldPortion(context, fold.projectId, portion);
    const { deleted } = await finishFold(context, { ...portion, windowMs });
    return {
      batches: portion.rows.length,
      points: portion.pointCount,
      bytes: portion.bytes,
      deleted,
      damagedBatches: portion.damaged.length,
      damagedSegments: context.damagedSegments,
      hasMore: portion.hasMore,
    };
  });
}

function pauses(turnMs: number, signal: AbortSignal | undefined): () => Promise<void> {
  let since = performance.now();
  return async () => {
    signal?.throwIfAborted();
    if (performance.now() - since < turnMs) return;
    await setImmediate();
    since = performance.now();
  };
}

async function foldPortion(context: FoldContext, projectId: string, portion: JournalPortion): Promise<void> {
  const known = await readMetrics(context, portion);
  const tail = soundTail(context, portion, (name, tag) => known.get(nameOfMetric(name, tag))?.repeats ?? null);
  await markDamaged(context, portion.damaged);
  if (tail.length === 0) return;
  const stored = await readSeries(
    context,
    [...known.values()].map(({ metric }) => metric),
  );
  let last = await lastMetric(context, known.size < tail.length);
  const metrics: MetricWork[] = [];
  for (const one of tail) {
    const name = nameOfMetric(one.name, one.tag);
    const before = known.get(name);
    // Only removed, and never logged: there is nothing to it.
    if (!before && portion.names.get(name)?.isLogged !== true) continue;
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

/** Rows that turn out to be damaged go from `rows` to `damaged`. */
function soundTail(
  { log, runId }: FoldContext,
  portion: JournalPortion,
  storedRepeats: (name: string, tag: string) => Repeats | null,
): TailMetric[] {
  const read = (rows: readonly JournalRow[]) => readTail(rows, () => true, storedRepeats);
  let tail: TailMetric[];
  try {
    tail = read(portion.rows);
  } catch (error) {
    if (!(error instanceof RuntideError)) throw error;
    const damaged = new Set(damagedRows(portion.rows));
    portion.damaged.push(...damaged);
    portion.rows = portion.rows.filter(({ sequence }) => !damaged.has(sequence));
    tail = read(portion.rows);
  }
  for (const sequence of portion.damaged)
    log.error({ runId, sequence }, 'a batch in the journal is damaged: it was passed over, and left where it is');
  return tail;
}

interface KnownMetric {
  metric: number;
  name: string;
  tag: string;
  repeats: Repeats;
}

/** Those of the portion that are stored, by name and tag. */
async function readMetrics(
  { client, runId }: FoldContext,
  { names }: JournalPortion,
): Promise<Map<string, KnownMetric>> {
  const wanted = [...names.values()];
  if (wanted.length === 0) return new Map();
  const { rows } = await client.query<KnownMetric>(
    `SELECT m.metric, m.name, m.tag, m.repeats FROM metric m
     JOIN unnest($2::text[], $3::text[]) AS w (name, tag) ON m.name = w.name AND m.tag = w.tag
     WHERE m.run_id = $1`,
    [runId, wanted.map(({ name }) => name), wanted.map(({ tag }) => tag)],
  );
  return new Map(rows.map((one) => [nameOfMetric(one.name, one.tag), one]));
}

/** The highest number that a metric of the run has. */
async function lastMetric({ client, runId }: FoldContext, isNeeded: boolean): Promise<number> {
  if (!isNeeded) return 0;
  const { rows } = await client.query<{ last: number }>(
    'SELECT coalesce(max(metric), 0) AS last FROM metric WHERE run_id = $1',
    [runId],
  );
  return rows[0]!.last;
}
