// Charts of many runs and metrics: one statement where pages and a few segments tell all, and so in one snapshot.
import type pg from 'pg';
import { limits } from '../../access/limits.ts';
import { invalidInput, RuntideError } from '../../errors.ts';
import { type Buckets, exactly, newBuckets } from '../chart/buckets.ts';
import { chooseShift } from '../chart/cells.ts';
import { checkBuckets, drawSteps, reduceSteps, type StepScale } from '../chart/draw.ts';
import type { Repeats } from '../columns.ts';
import { drawTimes } from './chart-times.ts';
import { cover } from './cover.ts';
import { KEPT_POINTS, newParts } from './parts.ts';
import { READS_AT_ONCE, readSnapshot, type Reading, type Settle } from './rounds.ts';
import { type Line, lineOf } from './series.ts';
import { type MetricSelector, type MetricState, openCharts, type RunState, selects } from './snapshot.ts';

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
 * In the order of the runs asked for, then of the selectors, then of name, tag and attempt; a metric without a point is
 * left out. More than the limits is refused: what selectors without a tag and runs with many attempts bring is known
 * only here.
 */
export async function readCharts(pool: pg.Pool, request: ChartsRequest, settle?: Settle): Promise<Chart[]> {
  checkBuckets(request.buckets);
  const { runIds, metrics, buckets, attempts } = request;
  const range = request.x === 'STEP' ? rangeOf(request) : { from: null, to: null };
  const charts = await readSnapshot(
    pool,
    (database) => openCharts(database, runIds, metrics, { ...range, buckets, attempts }),
    (runs) => chartsOf(runs, request),
    { settle, atOnce: Math.min(READS_AT_ONCE, Math.max(1, Math.floor(BUCKETS_AT_ONCE / buckets))) },
  );
  return charts.flatMap((chart) => {
    if (chart instanceof RuntideError) throw chart;
    return chart ?? [];
  });
}

/**
 * A chart that is being read holds up to sixteen cells a bucket, 2 KB of them: with the most buckets, 20 MB and as much
 * again when they are put together.
 */
const BUCKETS_AT_ONCE = 20_000;

/** Whole numbers are enough: no step and no time is between them. */
function rangeOf({ from, to }: ChartsRequest) {
  return { from: from == null ? null : Math.ceil(from), to: to == null ? null : Math.floor(to) };
}

interface Drawing {
  run: RunState;
  metric: MetricState;
  attempt: number | null;
}

function* chartsOf(runs: readonly RunState[], request: ChartsRequest): Generator<Reading<Chart | null>> {
  const { metrics: selectors, attempts } = request;
  const rank = ({ name, tag }: MetricState) => selectors.findIndex((one) => selects(one, name, tag));
  const drawings = runs.flatMap((run) => {
    if (run.damage) throw run.damage;
    return run.metrics
      .toSorted((a, b) => rank(a) - rank(b))
      .flatMap((metric): Drawing[] =>
        attempts === 'LINE'
          ? [{ run, metric, attempt: null }]
          : metric.series.map(({ attempt }) => ({ run, metric, attempt })),
      );
  });
  if (drawings.length > limits.charts)
    throw invalidInput(`these are more than ${limits.charts} charts: ask for fewer runs or metrics`);
  const drawn = { buckets: 0 };
  for (const drawing of drawings) yield chartOf(drawing, request, drawn);
}

function* chartOf(
  { run, metric, attempt }: Drawing,
  request: ChartsRequest,
  drawn: { buckets: number },
): Reading<Chart | null> {
  const { name, tag, repeats, series } = metric;
  const line = yield* lineOf(attempt === null ? series : series.filter((one) => one.attempt === attempt));
  if (line === null) return null;
  const buckets = yield* draw(line, run, request);
  drawn.buckets += buckets.x.length;
  if (drawn.buckets > limits.chartPoints)
    throw invalidInput(
      `these charts have more than ${limits.chartPoints} buckets: ask for fewer runs, metrics or buckets`,
    );
  return { runId: run.runId, name, tag, repeats, attempt, cursor: String(run.head), ...buckets };
}

function* draw(line: Line, { startedAt }: RunState, request: ChartsRequest): Reading<Buckets> {
  const { from, to } = rangeOf(request);
  const { x, buckets } = request;
  if (x === 'STEP') return yield* drawLine(line, from ?? -Infinity, to ?? Infinity, buckets);
  const start = x === 'TIME' ? 0 : startedAt;
  // A time is an integer and so is the start: the ends may be moved instead of all times.
  const drawing = yield* drawTimes(line, (from ?? -Infinity) + start, (to ?? Infinity) + start, buckets);
  return start === 0 ? drawing : { ...drawing, x: drawing.times.map((time) => time - start) };
}

/** Over steps. */
function* drawLine(line: Line, from: number, to: number, buckets: number): Reading<Buckets> {
  const scale: StepScale = { low: Math.max(from, line.first), high: Math.min(to, line.last), buckets, shift: 0 };
  if (scale.low > scale.high) return { ...newBuckets(0), exact: true };
  scale.shift = chooseShift(scale.low, scale.high, buckets);
  const spans = line.spans.flatMap((span) => {
    const part = { ...span, from: Math.max(span.from, from), to: Math.min(span.to, to) };
    return part.from <= part.to ? [part] : [];
  });
  // What a few cells stand for may be few points, to be shown as they are: then they are read as points after all.
  for (let shift = scale.shift; ; shift = 0) {
    const parts = newParts(Math.max(KEPT_POINTS, buckets), (points) => reduceSteps(points, scale));
    yield* cover(
      spans.map((span) => ({ ...span, shift })),
      parts.take,
    );
    const points = parts.count <= buckets ? parts.points() : null;
    if (points !== null) return exactly(points, points.steps);
    if (parts.count > buckets)
      return drawSteps(
        parts.inOrder().map(({ part }) => part),
        scale,
      );
  }
}
