// What is read of metrics: charts, exact points, summaries. Every function is one SQL statement and so one snapshot,
// whatever the number of runs. All is decoded from the journal here; callers see series, cursors and summaries.
import type pg from 'pg';
import { limits } from '../access/limits.ts';
import { invalidInput, RuntideError } from '../errors.ts';
import { type Buckets, bucketsOf, type Summary, summaryOf } from './chart/buckets.ts';
import { byTime, lineOf, type Series } from './chart/line.ts';
import type { Points, Repeats } from './columns.ts';
import { type JournalRow, readTail, type TailMetric } from './tail.ts';

export interface MetricSelector {
  name: string;
  /** No tag: every tag of that name; "": the untagged one. */
  tag?: string | null | undefined;
}

export interface ChartsRequest {
  runIds: readonly string[];
  metrics: readonly MetricSelector[];
  x: 'STEP' | 'TIME' | 'RELATIVE_TIME';
  /** Inclusive, in the unit of x: a step, ms since the epoch, ms since the run started. */
  from?: number | null | undefined;
  to?: number | null | undefined;
  buckets: number;
  attempts: 'LINE' | 'EACH';
}

export interface Chart extends Buckets {
  runId: string;
  name: string;
  tag: string;
  repeats: Repeats;
  /** Null for the line over all attempts. */
  attempt: number | null;
  /** A subscription that begins here misses nothing and repeats nothing. */
  cursor: string;
}

/**
 * In the order of the runs asked for, then of the selectors, then of name, tag and attempt. More than the limits is
 * refused: what selectors without a tag and runs with many attempts bring is known only here.
 */
export async function readCharts(pool: pg.Pool, request: ChartsRequest): Promise<Chart[]> {
  const { metrics: selectors } = request;
  const wanted = (name: string, tag: string) => selectors.some((one) => selects(one, name, tag));
  const runs = await readRuns(pool, request.runIds, wanted);
  let charts = 0;
  let buckets = 0;
  return request.runIds.flatMap((runId) => {
    const run = runs.get(runId);
    if (!run) return [];
    if (run.damage) throw run.damage;
    for (const { series } of run.metrics) charts += request.attempts === 'EACH' ? series.length : 1;
    if (charts > limits.charts)
      throw invalidInput(`these are more than ${limits.charts} charts: ask for fewer runs or metrics`);
    const rank = (one: StoredMetric) => selectors.findIndex((selector) => selects(selector, one.name, one.tag));
    const found = run.metrics.toSorted((a, b) => rank(a) - rank(b));
    return found.flatMap((metric) => {
      const { name, tag, repeats } = metric;
      const drawn = request.attempts === 'EACH' ? metric.series : [{ attempt: null, ...lineOf(metric.series) }];
      return drawn.map((points) => {
        const drawing = draw(points, run.startedAt, request);
        buckets += drawing.x.length;
        if (buckets > limits.chartPoints)
          throw invalidInput(
            `these charts have more than ${limits.chartPoints} buckets: ask for fewer runs, metrics or buckets`,
          );
        return { runId, name, tag, repeats, attempt: points.attempt, cursor: String(run.head), ...drawing };
      });
    });
  });
}

function draw(points: Points, startedAt: number, request: ChartsRequest): Buckets {
  if (request.x === 'STEP') return bucketsOf(points, points.steps, request);
  const ordered = byTime(points);
  const x = request.x === 'TIME' ? ordered.times : ordered.times.map((time) => time - startedAt);
  return bucketsOf(ordered, x, request);
}

export interface MetricSummary extends Summary {
  name: string;
  tag: string;
  repeats: Repeats;
}

/** Of the line, by name and tag. A run whose points are damaged has an error, the others what they have. */
export async function readSummaries(
  pool: pg.Pool,
  runIds: readonly string[],
): Promise<Map<string, MetricSummary[] | RuntideError>> {
  const runs = await readRuns(pool, runIds, () => true);
  return new Map([...runs].map(([runId, run]) => [runId, run.damage ?? run.metrics.flatMap(summariesOf)]));
}

function summariesOf({ name, tag, repeats, series }: StoredMetric): MetricSummary[] {
  const summary = summaryOf(lineOf(series));
  return summary ? [{ name, tag, repeats, ...summary }] : [];
}

export type PointsOrder = 'STEP_ASC' | 'STEP_DESC' | 'TIME_ASC' | 'TIME_DESC';

export interface PointsRequest {
  runId: string;
  name: string;
  tag: string;
  /** Null: the line. */
  attempt: number | null;
  /** Inclusive steps. */
  from: number | null;
  to: number | null;
  orderBy: PointsOrder;
  first: number;
  after: string | null;
}

export interface PointsPage extends Points {
  totalCount: number;
  hasNextPage: boolean;
  endCursor: string | null;
}

/** Exact points; a page, or what is wrong with the run, for each request, in the order of the requests. */
export async function readPoints(
  pool: pg.Pool,
  requests: readonly PointsRequest[],
): Promise<(PointsPage | RuntideError)[]> {
  const runIds = [...new Set(requests.map(({ runId }) => runId))];
  const wanted = (name: string, tag: string) => requests.some((one) => one.name === name && one.tag === tag);
  const runs = await readRuns(pool, runIds, wanted);
  return requests.map((request) => {
    const run = runs.get(request.runId);
    if (run?.damage) return run.damage;
    const metric = run?.metrics.find((one) => one.name === request.name && one.tag === request.tag);
    const series = metric?.series ?? [];
    const all =
      request.attempt === null
        ? lineOf(series)
        : (series.find(({ attempt }) => attempt === request.attempt) ?? lineOf([]));
    return pageOf(all, request);
  });
}

function pageOf(points: Points, { from, to, orderBy, first, after }: PointsRequest): PointsPage {
  const inRange = Array.from(points.steps.keys()).filter(
    (index) => points.steps[index]! >= (from ?? -Infinity) && points.steps[index]! <= (to ?? Infinity),
  );
  const byStep = orderBy === 'STEP_ASC' || orderBy === 'STEP_DESC';
  const [major, minor] = byStep ? [points.steps, points.times] : [points.times, points.steps];
  const sign = orderBy.endsWith('DESC') ? -1 : 1;
  const compare = (a: readonly [number, number], b: readonly [number, number]) => sign * (a[0] - b[0] || a[1] - b[1]);
  const keyOf = (index: number) => [major[index]!, minor[index]!] as const;
  inRange.sort((a, b) => compare(keyOf(a), keyOf(b)) || sign * (a - b));
  let start = 0;
  if (after !== null) {
    const [cursorMajor, cursorMinor, taken] = readPageCursor(after);
    const key = [cursorMajor, cursorMinor] as const;
    start = inRange.findIndex((index) => compare(keyOf(index), key) >= 0);
    if (start === -1) start = inRange.length;
    // Points of one step and time, as kept repeats have: those that were given already are counted.
    for (let left = taken; left > 0 && start < inRange.length && compare(keyOf(inRange[start]!), key) === 0; left--)
      start++;
  }
  const page = inRange.slice(start, start + first);
  const last = page.at(-1);
  let endCursor: string | null = null;
  if (last !== undefined) {
    const key = keyOf(last);
    const taken = inRange.slice(0, start + page.length).filter((index) => compare(keyOf(index), key) === 0).length;
    endCursor = `${key[0]},${key[1]},${taken}`;
  }
  const column = (from: Float64Array) => Float64Array.from(page, (index) => from[index]!);
  return {
    steps: column(points.steps),
    times: column(points.times),
    values: column(points.values),
    metadata: points.metadata && page.map((index) => points.metadata?.[index] ?? null),
    totalCount: inRange.length,
    hasNextPage: start + page.length < inRange.length,
    endCursor,
  };
}

function readPageCursor(text: string): [number, number, number] {
  const parts = /^(-?\d+),(-?\d+),(\d+)$/.exec(text)?.slice(1).map(Number);
  if (!parts) throw invalidInput('after must be an endCursor as the server gave it', { field: 'after' });
  return parts as [number, number, number];
}

interface StoredMetric {
  name: string;
  tag: string;
  repeats: Repeats;
  /** Ascending by attempt. */
  series: Series[];
}

interface StoredRun {
  head: number;
  /** ms since the epoch: when it was created, where it has not started. */
  startedAt: number;
  /** A batch cannot be read: then nothing of the run is, rather than what would be wrong. */
  damage: RuntideError | null;
  /** By name, then tag. */
  metrics: StoredMetric[];
}

/** Head and journal in one snapshot. */
async function readRuns(
  pool: pg.Pool,
  runIds: readonly string[],
  wanted: (name: string, tag: string) => boolean,
): Promise<Map<string, StoredRun>> {
  const { rows } = await pool.query<{
    run_id: string;
    head: number;
    started_at: Date;
    sequence: number | null;
    attempt: number;
    payload: Buffer;
  }>({
    name: 'read runs',
    text: `SELECT h.run_id, h.sequence AS head, coalesce(r.started_at, r.created_at) AS started_at,
                  j.sequence, j.attempt, j.payload
           FROM run_head h JOIN run r ON r.id = h.run_id LEFT JOIN journal j ON j.run_id = h.run_id
           WHERE h.run_id = ANY($1::uuid[]) ORDER BY h.run_id, j.sequence`,
    values: [runIds],
  });
  const runs = new Map<string, StoredRun>();
  for (const [runId, ofRun] of Map.groupBy(rows, ({ run_id }) => run_id)) {
    const [{ head, started_at }] = ofRun as [(typeof rows)[number]];
    const journal = ofRun.filter((row): row is typeof row & JournalRow => row.sequence !== null);
    const run: StoredRun = { head, startedAt: started_at.getTime(), damage: null, metrics: [] };
    runs.set(runId, run);
    const read = tryRead(journal, wanted);
    if (read instanceof RuntideError) {
      const at = journal.find((row) => tryRead([row], wanted) instanceof RuntideError)?.sequence;
      run.damage = new RuntideError('INTERNAL', `run ${runId}, batch ${at}: ${read.message}`);
    } else
      for (const { name, tag, repeats, series } of read) {
        // What has no points, or none any more, is left out.
        if (series.length === 0) continue;
        const all = series.map(({ attempt, points }) => ({ attempt, repeats, ...points }));
        run.metrics.push({ name, tag, repeats, series: all });
      }
  }
  return runs;
}

function tryRead(
  rows: readonly JournalRow[],
  wanted: (name: string, tag: string) => boolean,
): TailMetric[] | RuntideError {
  try {
    return readTail(rows, wanted, () => null);
  } catch (error) {
    if (error instanceof RuntideError) return error;
    throw error;
  }
}

function selects({ name, tag }: MetricSelector, otherName: string, otherTag: string): boolean {
  return name === otherName && (tag == null || tag === otherTag);
}
