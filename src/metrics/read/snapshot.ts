// What a read of metrics opens with: one statement for any number of runs that brings their heads, their tails and what
// is stored of the metrics in question; for charts also the pages or segments that they will most likely be drawn from.
import { RuntideError } from '../../errors.ts';
import type { Repeats } from '../columns.ts';
import { compareText, type JournalRow, type TailMetric } from '../tail.ts';
import { compareSegments, type Database, overlapping, type SegmentRow } from './stored.ts';
import { type Near, newSeries, type Series, type StoredSeries } from './series.ts';
import { checkTails, RUNS, tailOfRun, TAILS } from './tails.ts';

export interface MetricSelector {
  name: string;
  /** No tag: every tag of that name; "": the untagged one. */
  tag?: string | null | undefined;
}

export interface MetricState {
  name: string;
  tag: string;
  repeats: Repeats;
  /** Ascending by attempt. */
  series: Series[];
}

export interface RunState {
  runId: string;
  head: number;
  /** ms since the epoch: when it was created, where it has not started. */
  startedAt: number;
  /** A batch of the tail cannot be read: then nothing of the run is, rather than what would be wrong. */
  damage: RuntideError | null;
  /** By name, then tag. */
  metrics: MetricState[];
}

/** What a chart will want: steps to draw, inclusive, and how finely. */
export interface Wanted {
  from: number | null;
  to: number | null;
  buckets: number;
  /** Of the run's lines, or of each attempt. */
  attempts: 'LINE' | 'EACH';
}

/** Up to so many points of a series are read as points, whatever is asked of them. */
export const SHORT_SERIES = 65_536;

/** Bounds on what the one statement brings: what is beyond is read in rounds. */
const NEAR_ROWS = 512;
const NEAR_BYTES = 48 * 1024 * 1024;

const RUN = 0;
const BATCH = 1;
const SERIES = 2;
const PAGE = 3;
const SEGMENT = 4;

// Kind and run (its place in $1), then by kind; what belongs to a series says which by metric and attempt.
type Row = [
  kind: number,
  run: number,
  metric: number | null,
  attempt: number,
  a: number,
  b: number,
  c: number,
  d: number,
  e: number,
  f: number,
  g: number,
  h: number,
  i: number | null,
  j: number | null,
  bytes: Buffer | null,
  name: string,
  tag: string,
  repeats: Repeats,
  line: Buffer | null,
];

const RUNS_AND_TAILS = `
SELECT ${RUN} AS kind, run, NULL::int AS metric, NULL::int AS attempt, head AS a, folded AS b, started AS c, NULL::bigint AS d,
       NULL::bigint AS e, NULL::bigint AS f, NULL::bigint AS g, NULL::bigint AS h, NULL::bigint AS i,
       NULL::bigint AS j, NULL::bytea AS bytes, NULL AS name, NULL AS tag, NULL AS repeats,
       NULL::bytea AS line
FROM run
UNION ALL
SELECT ${BATCH}, run, NULL, j.attempt, j.sequence, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, j.payload, NULL, NULL, NULL, NULL
FROM run ${TAILS}`;

const SERIES_ROWS = `
SELECT ${SERIES}, run, metric, attempt, count, first_step, last_step, top_shift, line_cut, NULL, NULL, NULL, NULL, NULL, entry, name,
       tag, repeats, line_entry
FROM series`;

/** `found` are the metrics that were asked for of a run: how one repeats is told also where nothing is stored of it. */
const seriesOf = (found: string) => `
series AS MATERIALIZED (
  SELECT run.run, m.name, m.tag, m.repeats::text AS repeats, m.first_step AS line_first, m.last_step AS line_last, s.*
  FROM run
  CROSS JOIN asked
  CROSS JOIN LATERAL (${found} OFFSET 0) m
  LEFT JOIN LATERAL (SELECT * FROM series s WHERE s.run_id = m.run_id AND s.metric = m.metric OFFSET 0) s ON true
)`;

// The level is the one of cells.ts (chooseShift), so far as what is stored tells. Segments are of all the range, or of its
// ends: what is on no page there, or else the cell that it has a part of.
const CHARTS = `
WITH asked AS MATERIALIZED (
  SELECT $1::uuid[] AS run_ids, $2::text[] AS names, $3::text[] AS tags, $4::bigint AS low, $5::bigint AS high,
         $6::int AS buckets, $7::boolean AS each
), ${RUNS}, ${seriesOf(`
    SELECT * FROM metric m
    WHERE m.run_id = run.run_id AND m.name = ANY(asked.names) AND (asked.tags IS NULL OR m.tag = ANY(asked.tags))`)}, wanted AS MATERIALIZED (
  SELECT s.*, w.low, w.high, CASE WHEN s.count <= ${SHORT_SERIES} THEN 0 ELSE least(s.top_shift, (
           SELECT coalesce(max(level), 0) FROM generate_series(6, 54, 3) AS level
           WHERE (line.high - line.low)::float8 >= 2 ^ level::float8 * 2 * asked.buckets)) END AS shift
  FROM series s
  CROSS JOIN asked
  CROSS JOIN LATERAL (
    SELECT greatest(asked.low, CASE WHEN asked.each THEN s.first_step ELSE s.line_first END) AS low,
           least(asked.high, CASE WHEN asked.each THEN s.last_step ELSE s.line_last END) AS high
  ) line
  CROSS JOIN LATERAL (
    SELECT greatest(line.low, s.first_step) AS low, least(line.high, s.last_step, CASE WHEN NOT asked.each THEN s.line_cut - 1 END) AS high
  ) w
), page AS (
  SELECT w.run, w.metric, w.attempt, r.page, r.entries FROM wanted w CROSS JOIN LATERAL (
    SELECT r.page, r.entries FROM rollup r
    WHERE w.shift > 0 AND r.run_id = w.run_id AND r.metric = w.metric AND r.attempt = w.attempt AND r.shift = w.shift
      AND r.page BETWEEN w.low >> (w.shift + 9) AND w.high >> (w.shift + 9)
    ORDER BY r.page LIMIT ${NEAR_ROWS} + 1
  ) r
), near AS MATERIALIZED (
  SELECT w.*,
         CASE WHEN w.shift = 0 OR e.first IS NULL THEN w.high
              WHEN e.first > w.low >> (w.shift + 9) THEN (e.first << (w.shift + 9)) - 1
              WHEN w.low > w.first_step AND w.low % (1::bigint << w.shift) <> 0
                THEN least(w.high, ((w.low >> w.shift) + 1 << w.shift) - 1) END AS low_end,
         CASE WHEN w.shift = 0 OR e.first IS NULL THEN NULL
              WHEN e.last < w.high >> (w.shift + 9) THEN (e.last + 1) << (w.shift + 9)
              WHEN w.high < w.last_step AND (w.high + 1) % (1::bigint << w.shift) <> 0
                THEN greatest(w.low, w.high >> w.shift << w.shift) END AS high_end
  FROM wanted w LEFT JOIN (
    SELECT run, metric, attempt, min(page) AS first, max(page) AS last FROM page GROUP BY run, metric, attempt
  ) e ON e.run = w.run AND e.metric = w.metric AND e.attempt = w.attempt
), segment_row AS (
  SELECT w.run, w.metric AS of, w.attempt AS during, g.* FROM near w
  CROSS JOIN LATERAL (VALUES (w.low, w.low_end), (w.high_end, w.high)) AS part (low, high)
  CROSS JOIN LATERAL (
    SELECT g.* FROM segment g
    WHERE ${overlapping('w', 'part.low', 'part.high')}
    ORDER BY g.first_step, g.first_time, g.part LIMIT ${NEAR_ROWS} + 1
  ) g
)
${RUNS_AND_TAILS}
UNION ALL
SELECT ${SERIES}, run, metric, attempt, count, first_step, last_step, top_shift, line_cut, shift, low, high, low_end, high_end,
       entry, name, tag, repeats, line_entry
FROM near
UNION ALL
SELECT ${PAGE}, run, metric, attempt, page, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
       CASE WHEN sum(octet_length(entries)) OVER (ORDER BY run, metric, attempt, page) <= ${NEAR_BYTES} THEN entries END,
       NULL, NULL, NULL, NULL
FROM page
UNION ALL
SELECT ${SEGMENT}, run, of, during, first_step, first_time, part, last_step, min_time, max_time, NULL, NULL, NULL, NULL,
       CASE WHEN sum(octet_length(points)) OVER (ORDER BY run, of, during, first_step, first_time, part) <= ${NEAR_BYTES}
            THEN points END,
       NULL, NULL, NULL, NULL
FROM segment_row`;

/** For charts over time all of the line is wanted. */
export async function openCharts(
  database: Database,
  runIds: readonly string[],
  selectors: readonly MetricSelector[],
  { from, to, buckets, attempts }: Wanted,
): Promise<RunState[]> {
  const tags = selectors.some(({ tag }) => tag == null) ? null : selectors.map(({ tag }) => textOf(tag!));
  const rows = await read(database, 'charts', CHARTS, [
    runIds,
    selectors.map(({ name }) => textOf(name)),
    tags,
    stepOf(from ?? -Infinity),
    stepOf(to ?? Infinity),
    buckets,
    attempts === 'EACH',
  ]);
  return assemble(runIds, rows, (name, tag) => selectors.some((one) => selects(one, name, tag)));
}

const METRICS = `
WITH asked AS MATERIALIZED (SELECT $1::uuid[] AS run_ids, $2::text[] AS names, $3::text[] AS tags), ${RUNS},
${seriesOf(`
    SELECT m.* FROM (SELECT DISTINCT * FROM unnest(asked.names, asked.tags) AS n (name, tag)) n
    CROSS JOIN LATERAL (
      SELECT * FROM metric m WHERE m.run_id = run.run_id AND m.name = n.name AND m.tag = n.tag OFFSET 0
    ) m`)}
${RUNS_AND_TAILS} UNION ALL ${SERIES_ROWS}`;

/** Of metrics that are named, no pages and no segments. */
export async function openMetrics(
  database: Database,
  runIds: readonly string[],
  metrics: readonly { name: string; tag: string }[],
): Promise<RunState[]> {
  const rows = await read(database, 'metrics', METRICS, [
    runIds,
    metrics.map(({ name }) => textOf(name)),
    metrics.map(({ tag }) => textOf(tag)),
  ]);
  return assemble(runIds, rows, (name, tag) => metrics.some((one) => one.name === name && one.tag === tag));
}

/** PostgreSQL knows no NUL, and no stored name has one: none is like this. */
function textOf(text: string): string | null {
  return text.includes('\0') ? null : text;
}

function stepOf(step: number): number {
  return Math.max(-Number.MAX_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, step));
}

export function selects({ name, tag }: MetricSelector, otherName: string, otherTag: string): boolean {
  return name === otherName && (tag == null || tag === otherTag);
}

async function read(database: Database, name: string, text: string, values: unknown[]): Promise<Row[]> {
  const { rows } = await database.query({ name, text, values, rowMode: 'array' });
  return rows as Row[];
}

interface Gathered {
  head: number;
  startedAt: number;
  journal: JournalRow[];
  /** By name and tag: of all that is known of before the tail, also without a point. */
  repeats: Map<string, Repeats>;
  /** By metric and attempt. */
  stored: Map<string, StoredRow>;
}

interface StoredRow {
  name: string;
  tag: string;
  repeats: Repeats;
  attempt: number;
  stored: StoredSeries;
  near: Near | null;
}

/** In the order of the runs; those that do not exist are left out. */
function assemble(
  runIds: readonly string[],
  rows: readonly Row[],
  wanted: (name: string, tag: string) => boolean,
): RunState[] {
  const runs = new Map<number, Gathered>();
  // A run comes before what it has, a series before its pages and segments: UNION ALL need not keep that order.
  for (const row of rows.toSorted((one, other) => one[0] - other[0])) gather(runs, row);
  checkTails([...runs].map(([place, { journal }]) => ({ runId: runIds[place - 1]!, journal })));
  return runIds.flatMap((runId, at) => {
    const run = runs.get(at + 1);
    return run === undefined ? [] : [stateOf(runId, run, wanted)];
  });
}

function gather(runs: Map<number, Gathered>, row: Row): void {
  const [kind, place, metric, attempt, a, b, c, d, e, f, g, h, i, j, bytes, name, tag, repeats, line] = row;
  if (kind === RUN) {
    runs.set(place, { head: a, startedAt: c, journal: [], repeats: new Map(), stored: new Map() });
    return;
  }
  const run = runs.get(place)!;
  if (kind === BATCH) {
    run.journal.push({ sequence: a, attempt, payload: bytes! });
    return;
  }
  if (kind === SERIES) run.repeats.set(JSON.stringify([name, tag]), repeats);
  if (metric === null) return;
  const key = `${metric},${attempt}`;
  if (kind === SERIES) {
    const stored = {
      metric,
      count: a,
      firstStep: b,
      lastStep: c,
      topShift: d,
      entry: bytes!,
      lineCut: e,
      lineEntry: line,
    };
    const ends = [...(i === null ? [] : [{ from: g, to: i }]), ...(j === null ? [] : [{ from: j, to: h }])];
    const near = f === null ? null : { shift: f, from: g, to: h, ends, pages: [], segments: [] };
    run.stored.set(key, { name, tag, repeats, attempt, stored, near });
    return;
  }
  const series = run.stored.get(key)!;
  const { near } = series;
  if (near === null) return;
  // What had no room, here or in a row before: then nothing is near, and everything is read in rounds.
  const isFull = near.pages.length === NEAR_ROWS || near.segments.length === NEAR_ROWS;
  if (bytes === null || isFull) series.near = null;
  else if (kind === PAGE) near.pages.push({ page: a, entries: bytes });
  else if (kind === SEGMENT)
    near.segments.push({ firstStep: a, firstTime: b, part: c, lastStep: d, minTime: e, maxTime: f, points: bytes });
}

function stateOf(runId: string, run: Gathered, wanted: (name: string, tag: string) => boolean): RunState {
  const { head, startedAt } = run;
  const stored = [...run.stored.values()].filter(({ name, tag }) => wanted(name, tag));
  for (const { near } of stored) near?.pages.sort((one, other) => one.page - other.page);
  for (const { near } of stored) if (near !== null) near.segments = distinct(near.segments.toSorted(compareSegments));
  const repeatsOf = (name: string, tag: string) => run.repeats.get(JSON.stringify([name, tag])) ?? null;
  const tail = tailOfRun(runId, run.journal, wanted, repeatsOf);
  if (tail instanceof RuntideError) return { runId, head, startedAt, damage: tail, metrics: [] };
  return { runId, head, startedAt, damage: null, metrics: metricsOf(runId, stored, tail) };
}

/** Both ends may be in one segment. */
function distinct(segments: SegmentRow[]): SegmentRow[] {
  return segments.filter((one, at) => at === 0 || compareSegments(segments[at - 1]!, one) !== 0);
}

function metricsOf(runId: string, stored: readonly StoredRow[], tail: readonly TailMetric[]): MetricState[] {
  const keyOf = ({ name, tag }: { name: string; tag: string }) => JSON.stringify([name, tag]);
  const byName = Map.groupBy(stored, keyOf);
  const tails = new Map(tail.map((one) => [keyOf(one), one]));
  const metrics = [...new Set([...byName.keys(), ...tails.keys()])].map((key): MetricState => {
    const rows = byName.get(key) ?? [];
    const added = tails.get(key);
    const { name, tag, repeats } = (rows[0] ?? added)!;
    const attempts = new Set([...rows, ...(added?.series ?? [])].map(({ attempt }) => attempt));
    const series = [...attempts]
      .toSorted((a, b) => a - b)
      .map((attempt): Series => {
        const row = rows.find((one) => one.attempt === attempt);
        return newSeries(
          { runId, name, tag, repeats, attempt, stored: row?.stored ?? null, near: row?.near ?? null },
          added?.series.find((one) => one.attempt === attempt)?.points,
          row && added ? added.removedFrom(attempt) : [],
        );
      });
    return { name, tag, repeats, series };
  });
  return metrics.toSorted((a, b) => compareText(a.name, b.name) || compareText(a.tag, b.tag));
}
