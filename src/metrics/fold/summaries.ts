// The fold's last part: what is said of each series and of each metric's line. Where points only came behind the end, by
// merging; else again from the entries of the segments.
import type { Repeats } from '../columns.ts';
import { concatEntries, type Entries, entryOf, mergeEntries } from '../chart/rollup.ts';
import { countBelow, slice } from '../chart/line.ts';
import { decodeEntries, encodeEntries } from '../codec/rollups.ts';
import { decodeSegmentPoints } from '../codec/segment.ts';
import {
  columnsOf,
  nameOfSeries,
  pack,
  readSegmentEntries,
  type SegmentEntry,
  type SegmentKey,
  type SeriesKey,
  type Store,
} from './store.ts';
import { type FoldContext, type SeriesState, type SeriesWork, type StoredSeries, unlessDamaged } from './work.ts';

const ENTRIES_AT_ONCE = 1024;

export interface MetricWork {
  metric: number;
  name: string;
  tag: string;
  repeats: Repeats;
  /** Stored before, by attempt. */
  stored: ReadonlyMap<number, StoredSeries>;
  /** Those that something came for. */
  works: SeriesWork[];
}

export async function readSeries(
  { client, runId, pause }: FoldContext,
  metrics: readonly number[],
): Promise<Map<number, Map<number, StoredSeries>>> {
  const { rows } = await client.query<
    SeriesKey & Omit<StoredSeries, 'entry' | 'lineEntry'> & { entry: Buffer; lineEntry: Buffer | null }
  >(
    `SELECT metric, attempt, count, first_step AS "firstStep", last_step AS "lastStep", top_shift AS "topShift", entry,
            line_cut AS "lineCut", line_entry AS "lineEntry"
     FROM series WHERE run_id = $1 AND metric = ANY($2::int[])`,
    [runId, metrics],
  );
  const found = new Map<number, Map<number, StoredSeries>>();
  for (const { metric, attempt, entry, lineEntry, ...rest } of rows) {
    const series = found.get(metric) ?? new Map<number, StoredSeries>();
    found.set(metric, series);
    series.set(attempt, {
      ...rest,
      entry: unlessDamaged(() => decodeEntries(entry)),
      lineEntry: lineEntry && unlessDamaged(() => decodeEntries(lineEntry)),
    });
    await pause();
  }
  return found;
}

/** Gives each work what its series is `after` the fold. Its segments are written. */
export async function summarise(context: FoldContext, works: readonly SeriesWork[]): Promise<void> {
  const again: SeriesWork[] = [];
  for (const work of works) {
    const { stored, tail, isBehind } = work;
    if (!isBehind) again.push(work);
    else if (tail !== null) work.after = stateOf(joined([stored?.entry ?? null, entryOf(tail)])!);
    await context.pause();
  }
  const states = await readStates(
    context,
    again.map(({ metric, attempt }) => ({ metric, attempt, below: null })),
  );
  for (const work of again)
    work.after = states.get(nameOfSeries(work)) ?? { count: 0, firstStep: 0, lastStep: 0, entry: null };
}

function stateOf(entry: Entries): SeriesState {
  return { count: entry.counts[0]!, firstStep: entry.firstSteps[0]!, lastStep: entry.lastSteps[0]!, entry };
}

function joined(entries: readonly (Entries | null)[]): Entries | null {
  const some = entries.filter((entry) => entry !== null);
  if (some.length < 2) return some[0] ?? null;
  const all = concatEntries(some);
  return mergeEntries(all, 0, all.counts.length);
}

/** Of the points below a step, or of all of them: from the segments' entries; series without a point are left out. */
async function readStates(
  context: FoldContext,
  series: readonly (SeriesKey & { below: number | null })[],
): Promise<Map<string, SeriesState>> {
  const states = new Map<string, SeriesState>();
  if (series.length === 0) return states;
  const belowOf = new Map(series.map((one) => [nameOfSeries(one), one.below]));
  for (let after: SegmentKey | null = null; ;) {
    const rows = await readSegmentEntries(context, series, after, ENTRIES_AT_ONCE);
    for (const row of rows) {
      const name = nameOfSeries(row);
      const state = partBelow(row, belowOf.get(name) ?? null);
      if (state) states.set(name, extended(states.get(name), state));
    }
    after = rows.at(-1) ?? null;
    if (rows.length < ENTRIES_AT_ONCE) return states;
    await context.pause();
  }
}

function partBelow(
  { firstStep, lastStep, count, entry, points }: SegmentEntry,
  below: number | null,
): SeriesState | null {
  if (points === null || below === null)
    return { count, firstStep, lastStep, entry: unlessDamaged(() => decodeEntries(entry)) };
  const decoded = unlessDamaged(() => decodeSegmentPoints(points));
  const end = decoded ? countBelow(decoded.steps, below) : 0;
  return decoded && end > 0 ? stateOf(entryOf(slice(decoded, 0, end))) : null;
}

/** One by one: thousands of entries are in memory as two. */
function extended(state: SeriesState | undefined, more: SeriesState): SeriesState {
  if (!state) return more;
  return {
    count: state.count + more.count,
    firstStep: Math.min(state.firstStep, more.firstStep),
    lastStep: Math.max(state.lastStep, more.lastStep),
    entry: joined([state.entry, more.entry]),
  };
}

interface SeriesRow extends SeriesKey, SeriesState {
  topShift: number;
  lineCut: number | null;
  lineEntry: Entries | null;
}

/** Writes series and metrics; what has no point left keeps its metric, with no figures. */
export async function writeSummaries(
  context: FoldContext,
  projectId: string,
  metrics: readonly MetricWork[],
): Promise<void> {
  const lines = metrics.map((metric) => ({ metric, series: seriesOf(metric) }));
  const cut = lines.flatMap(({ series }) => series.filter((one) => one.isStale && isDivided(one)));
  const below = await readStates(
    context,
    cut.map(({ metric, attempt, lineCut }) => ({ metric, attempt, below: lineCut })),
  );
  for (const one of cut) one.lineEntry = below.get(nameOfSeries(one))?.entry ?? null;
  const changed = lines.flatMap(({ series }) => series.filter((one) => one.isStale));
  const emptied = metrics.flatMap(({ works }) => works.filter(({ after, stored }) => after.count === 0 && stored));
  await writeSeries(context, changed);
  await deleteSeries(context, emptied);
  const figures: { metric: MetricWork; line: Entries | null }[] = [];
  for (const { metric, series } of lines) {
    const parts = series.map(({ entry, lineCut, lineEntry }) => (lineCut === null ? entry : lineEntry));
    figures.push({ metric, line: joined(parts) });
    await context.pause();
  }
  await writeMetrics(context, projectId, figures);
}

/** In ascending order of attempts, each with where a later one cuts it. */
function seriesOf({ metric, stored, works }: MetricWork): (SeriesRow & { isStale: boolean })[] {
  const changed = new Map(works.map((work) => [work.attempt, work]));
  const attempts = [...new Set([...stored.keys(), ...changed.keys()])].toSorted((a, b) => b - a);
  const rows: (SeriesRow & { isStale: boolean })[] = [];
  let lineCut: number | null = null;
  for (const attempt of attempts) {
    const before = stored.get(attempt);
    const work = changed.get(attempt);
    const state = work?.after ?? before!;
    if (state.count === 0) continue;
    const isStale = work !== undefined || lineCut !== before?.lineCut;
    const { count, firstStep, lastStep, entry } = state;
    const row = { metric, attempt, count, firstStep, lastStep, entry, lineCut };
    const topShift = work?.topShift ?? before!.topShift;
    const isWhole: boolean = lineCut !== null && lastStep < lineCut;
    const lineEntry = isStale ? (isWhole ? entry : null) : before.lineEntry;
    rows.unshift({ ...row, topShift, lineEntry, isStale });
    lineCut = Math.min(lineCut ?? Infinity, firstStep);
  }
  return rows;
}

function isDivided({ lineCut, firstStep, lastStep }: SeriesRow): boolean {
  return lineCut !== null && firstStep < lineCut && lastStep >= lineCut;
}

async function writeSeries({ client, runId, pause }: FoldContext, rows: readonly SeriesRow[]): Promise<void> {
  if (rows.length === 0) return;
  const { metric, attempt, count, firstStep, lastStep, topShift, lineCut } = columnsOf(rows, [
    'metric',
    'attempt',
    'count',
    'firstStep',
    'lastStep',
    'topShift',
    'lineCut',
  ]);
  const encoded = { entries: [] as Buffer[], lines: [] as Buffer[] };
  for (const { entry, lineEntry } of rows) {
    encoded.entries.push(entry ? encodeEntries(entry) : Buffer.alloc(0));
    encoded.lines.push(lineEntry ? encodeEntries(lineEntry) : Buffer.alloc(0));
    await pause();
  }
  const entries = pack(encoded.entries);
  const lines = pack(encoded.lines);
  await client.query(
    `INSERT INTO series (run_id, metric, attempt, count, first_step, last_step, top_shift, line_cut, entry, line_entry)
     SELECT $1, metric, attempt, count, first_step, last_step, top_shift, line_cut,
            substring($9::bytea FROM entry_at FOR entry_bytes),
            CASE WHEN line_bytes > 0 THEN substring($12::bytea FROM line_at FOR line_bytes) END
     FROM unnest($2::int[], $3::int[], $4::bigint[], $5::bigint[], $6::bigint[], $7::int[], $8::bigint[],
                 $10::int[], $11::int[], $13::int[], $14::int[])
       AS given (metric, attempt, count, first_step, last_step, top_shift, line_cut,
                 entry_at, entry_bytes, line_at, line_bytes)
     ON CONFLICT (run_id, metric, attempt) DO UPDATE
     SET count = EXCLUDED.count, first_step = EXCLUDED.first_step, last_step = EXCLUDED.last_step,
         top_shift = EXCLUDED.top_shift, line_cut = EXCLUDED.line_cut, entry = EXCLUDED.entry,
         line_entry = EXCLUDED.line_entry`,
    [
      runId,
      metric,
      attempt,
      count,
      firstStep,
      lastStep,
      topShift,
      lineCut,
      entries.bytes,
      entries.starts,
      entries.lengths,
      lines.bytes,
      lines.starts,
      lines.lengths,
    ],
  );
}

async function deleteSeries({ client, runId }: Store, series: readonly SeriesKey[]): Promise<void> {
  if (series.length === 0) return;
  const { metric, attempt } = columnsOf(series, ['metric', 'attempt']);
  await client.query(
    `DELETE FROM series s USING unnest($2::int[], $3::int[]) AS g (metric, attempt)
     WHERE s.run_id = $1 AND s.metric = g.metric AND s.attempt = g.attempt`,
    [runId, metric, attempt],
  );
}

async function writeMetrics(
  { client, runId }: Store,
  projectId: string,
  metrics: readonly { metric: MetricWork; line: Entries | null }[],
): Promise<void> {
  if (metrics.length === 0) return;
  const column = (of: (line: Entries) => number | null) => metrics.map(({ line }) => (line ? textOf(of(line)) : null));
  const finite = (of: (line: Entries) => Float64Array) =>
    column((line) => (line.counts[0] === line.nonFiniteCounts[0] ? null : of(line)[0]!));
  await client.query(
    `INSERT INTO metric (project_id, run_id, metric, name, tag, repeats, count, non_finite_count, first_step, last_step,
                         first_time, last_time, first, last, min, max, mean, min_step, max_step)
     SELECT $1, $2, given.* FROM unnest(
       $3::int[], $4::text[], $5::text[], $6::metric_repeats[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[],
       $11::bigint[], $12::bigint[], $13::float8[], $14::float8[], $15::float8[], $16::float8[], $17::float8[],
       $18::bigint[], $19::bigint[]) AS given
     ON CONFLICT (run_id, metric) DO UPDATE
     SET count = EXCLUDED.count, non_finite_count = EXCLUDED.non_finite_count,
         first_step = EXCLUDED.first_step, last_step = EXCLUDED.last_step,
         first_time = EXCLUDED.first_time, last_time = EXCLUDED.last_time,
         first = EXCLUDED.first, last = EXCLUDED.last, min = EXCLUDED.min, max = EXCLUDED.max, mean = EXCLUDED.mean,
         min_step = EXCLUDED.min_step, max_step = EXCLUDED.max_step`,
    [
      projectId,
      runId,
      metrics.map(({ metric }) => metric.metric),
      metrics.map(({ metric }) => metric.name),
      metrics.map(({ metric }) => metric.tag),
      metrics.map(({ metric }) => metric.repeats),
      metrics.map(({ line }) => line?.counts[0] ?? 0),
      metrics.map(({ line }) => line?.nonFiniteCounts[0] ?? 0),
      column((line) => line.firstSteps[0]!),
      column((line) => line.lastSteps[0]!),
      column((line) => line.firstTimes[0]!),
      column((line) => line.lastTimes[0]!),
      column((line) => line.first[0]!),
      column((line) => line.last[0]!),
      finite((line) => line.min),
      finite((line) => line.max),
      finite((line) => line.mean),
      finite((line) => line.minSteps),
      finite((line) => line.maxSteps),
    ],
  );
}

/** As PostgreSQL reads it, every float exact: of −0 JavaScript makes 0. */
function textOf(value: number | null): string | null {
  return value === null ? null : Object.is(value, -0) ? '-0' : String(value);
}
