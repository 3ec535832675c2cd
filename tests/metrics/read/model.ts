// What is read of points, told from the model of what they are, a point at a time and without a thought for speed.
import { expect } from 'vitest';
import type { Metadata, Points } from '../../../src/metrics/columns.ts';
import type { Chart, ChartsRequest } from '../../../src/metrics/read/charts.ts';
import type { PointsPage, PointsRequest } from '../../../src/metrics/read/points.ts';
import { lineParts, type Model, seriesOf } from '../fold/model.ts';

type Metrics = Model['metrics'];
type Metric = Metrics[number];

export interface Row {
  step: number;
  time: number;
  value: number;
  metadata: Metadata | null;
}

function rowsOf({ steps, times, values, metadata }: Points): Row[] {
  return Array.from(steps, (step, at) => ({
    step,
    time: times[at]!,
    value: values[at]!,
    metadata: metadata?.[at] ?? null,
  }));
}

/** In the metric's order: of an attempt, or of the line where that is null. */
export function listOf(metric: Metric, attempt: number | null = null): Row[] {
  const ends = lineParts(metric).map(({ points }) => points?.steps.length ?? 0);
  return seriesOf(metric).flatMap((one, at) => {
    if (attempt === null) return rowsOf(one.points).slice(0, ends[at]);
    return attempt === one.attempt ? rowsOf(one.points) : [];
  });
}

const finite = (list: readonly Row[]) => list.filter(({ value }) => Number.isFinite(value));

/** Of the finite values; where there is none, `none`. −0 is as small as 0. */
function figuresOf<None>(list: readonly Row[], none: None) {
  const numbers = finite(list);
  const nonFiniteCount = list.length - numbers.length;
  if (numbers.length === 0) return { min: none, max: none, minStep: none, maxStep: none, mean: none, nonFiniteCount };
  const least = numbers.reduce((a, b) => (b.value < a.value ? b : a));
  const most = numbers.reduce((a, b) => (b.value > a.value ? b : a));
  const [min, max] = [least.value + 0, most.value + 0];
  const mean = numbers.reduce((sum, { value }) => sum + value / numbers.length, 0);
  const error = 1e-11 * Math.max(Math.abs(min), Math.abs(max)) + 1e-320;
  const isMean = (found: unknown) =>
    typeof found === 'number' && found >= min && found <= max && Math.abs(found / 2 - mean / 2) <= error;
  return {
    min,
    max,
    minStep: least.step,
    maxStep: most.step,
    mean: expect.toSatisfy(isMean) as number,
    nonFiniteCount,
  };
}

const zero = <Value>(value: Value) => (value === 0 ? 0 : value);

type ChartQuestion = Pick<ChartsRequest, 'x' | 'attempts' | 'buckets'> & { from: number | null; to: number | null };

/** As they should be: each with what `plainChart` has. */
export function chartsOf(metrics: Metrics, names: readonly string[], question: ChartQuestion, startedAt: number) {
  return metrics
    .filter(({ name }) => names.includes(name))
    .toSorted((a, b) => names.indexOf(a.name) - names.indexOf(b.name) || (a.tag < b.tag ? -1 : 1))
    .flatMap((metric) => {
      const { name, tag, repeats } = metric;
      const attempts = seriesOf(metric).map(({ attempt }) => attempt);
      const each = question.attempts === 'EACH' ? attempts : attempts.length > 0 ? [null] : [];
      return each.map((attempt) => {
        const { exact, pieces } = piecesOf(listOf(metric, attempt), question, startedAt);
        return {
          name,
          tag,
          repeats,
          attempt,
          exact,
          buckets: pieces.map((piece) => bucketOf(piece, question.x, startedAt)),
        };
      });
    });
}

function bucketOf(piece: readonly Row[], x: ChartsRequest['x'], startedAt: number) {
  const { step, time, value } = piece.at(-1)!;
  const { min, max, mean, nonFiniteCount } = figuresOf(piece, NaN);
  return {
    x: x === 'STEP' ? step : x === 'TIME' ? time : time - startedAt,
    step,
    time,
    first: piece[0]!.value,
    last: value,
    min,
    max,
    mean,
    count: piece.length,
    nonFiniteCount,
  };
}

/** Buckets of equal width between the ends of what there is in range; over steps whole cells of the grid go where they begin. */
function piecesOf(list: readonly Row[], { x, buckets, ...range }: ChartQuestion, startedAt: number) {
  const zeroAt = x === 'RELATIVE_TIME' ? startedAt : 0;
  const ofRow = (row: Row) => (x === 'STEP' ? row.step : row.time);
  const ordered = x === 'STEP' ? list : list.toSorted((a, b) => a.time - b.time || a.step - b.step);
  const low = Math.max((range.from ?? -Infinity) + zeroAt, ofRow(ordered[0]!));
  const high = Math.min((range.to ?? Infinity) + zeroAt, ofRow(ordered.at(-1)!));
  const inRange = ordered.filter((row) => ofRow(row) >= low && ofRow(row) <= high);
  if (inRange.length <= buckets) return { exact: true, pieces: inRange.map((row) => [row]) };
  let cell = 1;
  if (x === 'STEP')
    for (let shift = 6; shift <= 54 && 2 ** shift <= (high - low) / (2 * buckets); shift += 3) cell = 2 ** shift;
  const place = (row: Row) => Math.max(low, Math.floor(ofRow(row) / cell) * cell);
  const bucket = (row: Row) =>
    high === low ? 0 : Math.min(buckets - 1, Math.floor(((place(row) - low) / (high - low)) * buckets));
  return { exact: false, pieces: [...Map.groupBy(inRange, bucket).values()] };
}

export function plainChart(chart: Chart) {
  const { name, tag, repeats, attempt, exact } = chart;
  const buckets = Array.from(chart.x, (x, at) => ({
    x,
    step: chart.steps[at]!,
    time: chart.times[at]!,
    first: chart.first[at]!,
    last: chart.last[at]!,
    min: zero(chart.min[at]!),
    max: zero(chart.max[at]!),
    mean: chart.mean[at]!,
    count: chart.counts[at]!,
    nonFiniteCount: chart.nonFiniteCounts[at]!,
  }));
  return { name, tag, repeats, attempt, exact, buckets };
}

/** All that the pages of a question come to, one after the other. */
export function pointsOf(
  metrics: Metrics,
  { name, tag, attempt, from, to, orderBy }: Omit<PointsRequest, 'runId' | 'first' | 'after'>,
): Row[] {
  const metric = metrics.find((one) => one.name === name && one.tag === tag);
  const major = (row: Row) => (orderBy.startsWith('STEP') ? row.step : row.time);
  const minor = (row: Row) => (orderBy.startsWith('STEP') ? row.time : row.step);
  const ascending = (metric ? listOf(metric, attempt) : [])
    .filter(({ step }) => step >= (from ?? -Infinity) && step <= (to ?? Infinity))
    .toSorted((a, b) => major(a) - major(b) || minor(a) - minor(b));
  return orderBy.endsWith('ASC') ? ascending : ascending.toReversed();
}

export function plainPage(page: PointsPage) {
  return { rows: rowsOf(page), totalCount: page.totalCount, hasNextPage: page.hasNextPage };
}

export function summariesOf(metrics: Metrics) {
  return metrics
    .flatMap((metric) => {
      const line = listOf(metric);
      const { name, tag, repeats } = metric;
      const [first, last] = [line[0], line.at(-1)];
      if (!first || !last) return [];
      return {
        name,
        tag,
        repeats,
        count: line.length,
        firstStep: first.step,
        lastStep: last.step,
        firstTime: first.time,
        lastTime: last.time,
        last: last.value,
        ...figuresOf(line, null),
      };
    })
    .toSorted((a, b) => (a.name === b.name ? (a.tag < b.tag ? -1 : 1) : a.name < b.name ? -1 : 1));
}

export function plainSummary<Summary extends { min: number | null; max: number | null }>(summary: Summary): Summary {
  return { ...summary, min: zero(summary.min), max: zero(summary.max) };
}
