// What a chart and a summary are, the chart that has a bucket for each point, and the summary of a whole line. Pure. It
// refuses no value; what the mean, minimum or maximum of no finite value would be is NaN in columns and null in a summary.
import type { Points } from '../columns.ts';
import type { Entries } from './rollup.ts';

/** One entry a bucket that has a point, ascending in x. */
export interface Buckets {
  /** Each bucket is one point, and no point of the range is missing. */
  exact: boolean;
  /** x, step and time of the bucket's last point. */
  x: Float64Array;
  steps: Float64Array;
  times: Float64Array;
  /** As logged, NaN and ±Infinity too. */
  first: Float64Array;
  last: Float64Array;
  /** Of the finite values; NaN where there is none. */
  min: Float64Array;
  max: Float64Array;
  mean: Float64Array;
  counts: Float64Array;
  /** How many of the values are NaN or ±Infinity. */
  nonFiniteCounts: Float64Array;
}

export interface Summary {
  count: number;
  /** Step and time of the first and last point in the metric's order. */
  firstStep: number;
  lastStep: number;
  firstTime: number;
  lastTime: number;
  /** As logged: may be NaN or ±Infinity. */
  last: number;
  /** Of the finite values, null when there is none. */
  min: number | null;
  max: number | null;
  mean: number | null;
  nonFiniteCount: number;
  /** The step at which the minimum, the maximum was reached first. */
  minStep: number | null;
  maxStep: number | null;
}

export function newBuckets(length: number): Buckets {
  const column = () => new Float64Array(length);
  return {
    exact: false,
    x: column(),
    steps: column(),
    times: column(),
    first: column(),
    last: column(),
    min: column(),
    max: column(),
    mean: column(),
    counts: column(),
    nonFiniteCounts: column(),
  };
}

/** Of the one entry of all points. */
export function summaryOf(entry: Entries): Summary {
  const one = (column: Float64Array) => column[0]!;
  const count = one(entry.counts);
  const nonFiniteCount = one(entry.nonFiniteCounts);
  const finite = (column: Float64Array) => (nonFiniteCount < count ? one(column) : null);
  return {
    count,
    firstStep: one(entry.firstSteps),
    lastStep: one(entry.lastSteps),
    firstTime: one(entry.firstTimes),
    lastTime: one(entry.lastTimes),
    last: one(entry.last),
    min: finite(entry.min),
    max: finite(entry.max),
    mean: finite(entry.mean),
    nonFiniteCount,
    minStep: finite(entry.minSteps),
    maxStep: finite(entry.maxSteps),
  };
}

/** A point a bucket; `x` has an entry a point. */
export function exactly({ steps, times, values }: Points, x: Float64Array): Buckets {
  const finite = values.every((value) => Number.isFinite(value))
    ? values
    : values.map((value) => (Number.isFinite(value) ? value : NaN));
  return {
    exact: true,
    x,
    steps,
    times,
    first: values,
    last: values,
    min: finite,
    max: finite,
    mean: finite,
    counts: new Float64Array(values.length).fill(1),
    nonFiniteCounts: values.map((value) => (Number.isFinite(value) ? 0 : 1)),
  };
}
