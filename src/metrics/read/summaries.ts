// Summaries of metrics: what is stored of the line, with the tail merged into it. One statement where the tail only goes
// on from it; what it replaces, removes or cuts is read as far as it must be.
import type pg from 'pg';
import { RuntideError } from '../../errors.ts';
import { type Summary, summaryOf } from '../chart/buckets.ts';
import { COARSEST_SHIFT } from '../chart/cells.ts';
import { concatEntries, type Entries, entryOf, mergeEntries, newEntries } from '../chart/rollup.ts';
import type { Repeats } from '../columns.ts';
import { compareText, type JournalRow, type TailMetric } from '../tail.ts';
import { cover } from './cover.ts';
import { newParts } from './parts.ts';
import { readSnapshot, readStored, type Reading, type Settle, together } from './rounds.ts';
import { type Database } from './stored.ts';
import { entryOfSeries, isTouched, lineOf, newSeries, type Span, tailOf } from './series.ts';
import { checkTails, RUNS, tailOfRun, TAILS } from './tails.ts';

export interface MetricSummary extends Summary {
  name: string;
  tag: string;
  repeats: Repeats;
}

/** Of the line, by name and tag. A run whose points are damaged has an error, the others what they have. */
export async function readSummaries(
  pool: pg.Pool,
  runIds: readonly string[],
  settle?: Settle,
): Promise<Map<string, MetricSummary[] | RuntideError>> {
  let found: string[] = [];
  const answers = await readSnapshot(
    pool,
    (database) => openSummaries(database, runIds),
    (runs) => {
      found = runs.map(({ runId }) => runId);
      return runs.map(summariesOf);
    },
    // Nothing but entries is kept of each.
    { settle, atOnce: Infinity },
  );
  return new Map(answers.map((answer, at) => [found[at]!, answer]));
}

interface Run {
  runId: string;
  newestAttempt: number;
  journal: JournalRow[];
  metrics: StoredMetric[];
}

interface StoredMetric {
  metric: number;
  name: string;
  tag: string;
  repeats: Repeats;
  /** Of the line; null where it has no point. */
  entry: Entries | null;
}

const RUN = 0;
const BATCH = 1;
const METRIC = 2;

const SUMMARIES = `
WITH asked AS MATERIALIZED (SELECT $1::uuid[] AS run_ids), ${RUNS}
SELECT ${RUN} AS kind, run, NULL::bigint AS of, attempt::bigint AS a, NULL::bytea AS bytes, NULL AS name, NULL AS tag,
       NULL AS repeats, NULL::bigint AS b, NULL::bigint AS c, NULL::bigint AS d, NULL::bigint AS e, NULL::bigint AS f,
       NULL::bigint AS g, NULL::bigint AS h, NULL::float8 AS i, NULL::float8 AS j, NULL::float8 AS k, NULL::float8 AS l,
       NULL::float8 AS m
FROM run
UNION ALL
SELECT ${BATCH}, run, j.sequence, j.attempt, j.payload, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
       NULL, NULL, NULL, NULL
FROM run ${TAILS}
UNION ALL
SELECT ${METRIC}, run, m.metric, m.count, NULL, m.name, m.tag, m.repeats::text, m.non_finite_count, m.first_step, m.last_step,
       m.first_time, m.last_time, m.min_step, m.max_step, m.first, m.last, m.min, m.max, m.mean
FROM run CROSS JOIN LATERAL (SELECT * FROM metric m WHERE m.run_id = run.run_id OFFSET 0) m`;

type Row = [
  kind: number,
  run: number,
  of: number,
  a: number,
  bytes: Buffer,
  name: string,
  tag: string,
  repeats: Repeats,
  ...figures: (number | null)[],
];

async function openSummaries(database: Database, runIds: readonly string[]): Promise<Run[]> {
  const { rows } = await database.query({ name: 'summaries', text: SUMMARIES, values: [runIds], rowMode: 'array' });
  const runs = new Map<number, Run>();
  for (const [kind, place, , attempt] of rows as Row[])
    if (kind === RUN) runs.set(place, { runId: runIds[place - 1]!, newestAttempt: attempt, journal: [], metrics: [] });
  for (const [kind, place, of, a, bytes, name, tag, repeats, ...figures] of rows as Row[]) {
    const run = runs.get(place)!;
    if (kind === BATCH) run.journal.push({ sequence: of, attempt: a, payload: bytes });
    if (kind === METRIC) run.metrics.push({ metric: of, name, tag, repeats, entry: storedEntry(a, figures) });
  }
  checkTails([...runs.values()]);
  return [...runs.values()];
}

/** Without the extremes of its times, which no summary shows. */
function storedEntry(count: number, figures: readonly (number | null)[]): Entries | null {
  if (count === 0) return null;
  const entry = newEntries(1);
  entry.counts[0] = count;
  const { nonFiniteCounts, firstSteps, lastSteps, firstTimes, lastTimes, minSteps, maxSteps } = entry;
  const { first, last, min, max, mean } = entry;
  const columns = [nonFiniteCounts, firstSteps, lastSteps, firstTimes, lastTimes, minSteps, maxSteps];
  [...columns, first, last, min, max, mean].forEach((column, at) => (column[0] = figures[at] ?? NaN));
  return entry;
}

function* summariesOf({ runId, newestAttempt, journal, metrics }: Run): Reading<MetricSummary[]> {
  const keyOf = ({ name, tag }: { name: string; tag: string }) => JSON.stringify([name, tag]);
  const stored = new Map(metrics.map((metric) => [keyOf(metric), metric]));
  const tail = tailOfRun(
    runId,
    journal,
    () => true,
    (name, tag) => stored.get(keyOf({ name, tag }))?.repeats ?? null,
  );
  if (tail instanceof RuntideError) throw tail;
  const summaries: MetricSummary[] = [];
  const add = ({ name, tag, repeats }: Pick<StoredMetric, 'name' | 'tag' | 'repeats'>, entry: Entries | null) => {
    if (entry !== null) summaries.push({ name, tag, repeats, ...summaryOf(entry) });
  };
  const touched: { metric: StoredMetric | null; added: TailMetric }[] = [];
  for (const added of tail) {
    const metric = stored.get(keyOf(added)) ?? null;
    stored.delete(keyOf(added));
    if (metric?.entry && goesOn(metric.entry, added, newestAttempt)) {
      const more = entryOf(added.series[0]!.points);
      add(metric, mergeEntries(concatEntries([metric.entry, more]), 0, 2));
    } else touched.push({ metric, added });
  }
  for (const metric of stored.values()) add(metric, metric.entry);
  const known = touched.flatMap(({ metric }) => (metric === null ? [] : [{ runId, metric: metric.metric }]));
  const rows = known.length === 0 ? [] : yield* readStored(known);
  const entries = yield* together(
    touched.map(({ metric, added }) =>
      entryOfLine(runId, added, metric === null ? [] : rows[known.findIndex((one) => one.metric === metric.metric)]!),
    ),
  );
  entries.forEach((entry, at) => add(touched[at]!.added, entry));
  return summaries.toSorted((a, b) => compareText(a.name, b.name) || compareText(a.tag, b.tag));
}

/** Whether the tail is nothing but points of the newest attempt behind the line. */
function goesOn({ lastSteps }: Entries, { series, removedFrom }: TailMetric, newestAttempt: number): boolean {
  const [only] = series;
  if (series.length !== 1 || only!.attempt !== newestAttempt || only!.points.steps[0]! <= lastSteps[0]!) return false;
  for (let attempt = 1; attempt <= newestAttempt; attempt++) if (removedFrom(attempt).length > 0) return false;
  return true;
}

function* entryOfLine(
  runId: string,
  { name, tag, repeats, series: added, removedFrom }: TailMetric,
  stored: readonly { attempt: number; stored: Parameters<typeof newSeries>[0]['stored'] }[],
): Reading<Entries | null> {
  const attempts = new Set([...stored, ...added].map(({ attempt }) => attempt));
  const series = [...attempts].map((attempt) => {
    const row = stored.find((one) => one.attempt === attempt)?.stored ?? null;
    return newSeries(
      { runId, name, tag, repeats, attempt, stored: row, near: null },
      added.find((one) => one.attempt === attempt)?.points,
      row === null ? [] : removedFrom(attempt),
    );
  });
  const line = yield* lineOf(series);
  if (line === null) return null;
  const parts = newParts(0, entryOf);
  const rest: Span[] = [];
  for (const span of line.spans) {
    const known = storedEntryOf(span);
    if (known === null) {
      rest.push(span);
      continue;
    }
    parts.take(span.series, { entries: known });
    const behind = tailOf(span, 'BEHIND');
    if (behind.steps.length > 0) parts.take(span.series, { points: behind });
  }
  yield* cover(
    rest.map((span) => ({ ...span, shift: COARSEST_SHIFT })),
    parts.take,
  );
  const entries = concatEntries(
    parts.inOrder().map(({ part }) => ('entries' in part ? part.entries : entryOf(part.points))),
  );
  return mergeEntries(entries, 0, entries.counts.length);
}

/** Of all that is stored in the span, where that is known and the tail has left it as it was. */
function storedEntryOf({ series, to }: Span): Entries | null {
  const { stored, lateCount } = series;
  if (stored === null || lateCount > 0 || isTouched(series, stored.firstStep, stored.lastStep)) return null;
  if (to >= stored.lastStep) return entryOfSeries(series, stored.entry);
  if (stored.lineCut !== to + 1 || stored.lineEntry === null) return null;
  return entryOfSeries(series, stored.lineEntry);
}
