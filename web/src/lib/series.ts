// The curves of one run: what `charts` answered, with the points that came live after it. Knows when the picture it
// can make by itself is no longer exact, and says so (`outdated`), so that the charts are read again.
import { contains } from './cursor.ts';
import type { Columns, Repeats, WireValues } from './columns.ts';
import { cutAt, decodeValues, emptyColumns, mergeColumns, putPoint } from './columns.ts';

export const buckets = 500;
const liveLimit = 2 * buckets;

export type ChartAnswer = {
  name: string;
  tag: string;
  repeats: Repeats;
  exact: boolean;
  steps: readonly number[];
  times: readonly number[];
  last: WireValues;
  min: WireValues;
  max: WireValues;
  mean: WireValues;
  nonFiniteCounts: readonly number[];
  cursor: string;
};

export type LiveColumns = {
  name: string;
  tag: string;
  attempt: number;
  repeats: Repeats;
  steps: readonly number[];
  times: readonly number[];
  values: WireValues;
};

/** `base` is as of `cursor`, and of attempts up to `attempt`; `live` has what came after, by attempt. */
export type Series = {
  name: string;
  tag: string;
  repeats: Repeats;
  exact: boolean;
  cursor: string | null;
  attempt: number;
  base: Columns;
  live: Map<number, Columns>;
  liveCount: number;
  line: Columns | null;
};

export type SeriesStore = Map<string, Series>;

export const seriesKey = (name: string, tag: string): string => JSON.stringify([name, tag]);

export function fromChart(chart: ChartAnswer, attempt: number): Series {
  const last = decodeValues(chart.last);
  const points = chart.steps.length;
  const values = chart.exact ? last : decodeValues(chart.mean);
  // A downsampled line still ends in the value that was logged last.
  if (!chart.exact && points > 0) values[points - 1] = last[points - 1]!;
  const base = {
    steps: [...chart.steps],
    times: [...chart.times],
    values,
    low: chart.exact ? last : decodeValues(chart.min),
    high: chart.exact ? last : decodeValues(chart.max),
    bad: [...chart.nonFiniteCounts],
  };
  return { ...freshSeries(chart), exact: chart.exact, cursor: chart.cursor, attempt, base };
}

function freshSeries({ name, tag, repeats }: Pick<Series, 'name' | 'tag' | 'repeats'>): Series {
  const base = emptyColumns();
  return { name, tag, repeats, exact: true, cursor: null, attempt: 0, base, live: new Map(), liveCount: 0, line: null };
}

/** Applies one live event; what a series' base already contains is left out. Returns whether `charts` should be read
 *  again: because of a new attempt, a point that only the server can place, or too many live points. */
export function applyLive(store: SeriesStore, cursor: string, metrics: readonly LiveColumns[]): boolean {
  let outdated = false;
  for (const metric of metrics) {
    const key = seriesKey(metric.name, metric.tag);
    // How it repeats is fixed by the first batch that named it: what the chart says wins.
    const series = store.get(key) ?? freshSeries(metric);
    store.set(key, series);
    if (contains(series.cursor, cursor)) continue;
    if (needsServer(series, metric)) outdated = true;
    let columns = series.live.get(metric.attempt);
    if (!columns) series.live.set(metric.attempt, (columns = emptyColumns()));
    const values = decodeValues(metric.values);
    for (const [i, step] of metric.steps.entries()) {
      putPoint(columns, step, metric.times[i] ?? NaN, values[i]!, series.repeats);
    }
    series.liveCount += values.length;
    series.line = null;
    if (series.liveCount > liveLimit) outdated = true;
  }
  return outdated;
}

function needsServer(series: Series, metric: LiveColumns): boolean {
  const newest = Math.max(series.attempt, ...series.live.keys());
  if (newest > 0 && metric.attempt !== newest) return true;
  const end = series.base.steps.at(-1);
  if (end === undefined || metric.steps.every((step) => step > end)) return false;
  // Into buckets, or among the points of several attempts, a late point cannot be placed exactly from here.
  return !series.exact || newest > 1;
}

/** The line over attempts: each is followed up to, not including, the smallest step of a later one. */
export function lineOf(series: Series): Columns {
  if (series.line) return series.line;
  let line = series.base;
  for (const attempt of [...series.live.keys()].toSorted((a, b) => a - b)) {
    const points = series.live.get(attempt)!;
    if (attempt < series.attempt || points.steps.length === 0) continue;
    if (attempt > series.attempt) line = cutAt(line, points.steps[0]!);
    line = mergeColumns(line, points, series.repeats);
  }
  return (series.line = line);
}

export type LiveEvent = { cursor: string; metrics: readonly LiveColumns[] };

/** A store made of a fresh answer and of the events that came while it was on its way, in their order. */
export function rebuild(
  charts: readonly ChartAnswer[],
  attempt: number,
  since: readonly LiveEvent[],
): { store: SeriesStore; outdated: boolean } {
  const store: SeriesStore = new Map();
  for (const chart of charts) {
    if (chart.steps.length > 0) store.set(seriesKey(chart.name, chart.tag), fromChart(chart, attempt));
  }
  let outdated = false;
  for (const event of since) outdated = applyLive(store, event.cursor, event.metrics) || outdated;
  return { store, outdated };
}
