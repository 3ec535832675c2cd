// A series drawn with fewer points than it has: buckets of equal width in x that hide no spike, and the summary of a
// whole series. Pure and deterministic: the same points and the same question give the same answer. It refuses no
// value; what the mean, minimum or maximum of no finite value would be is NaN in columns and null in a summary.

import type { Points } from '../columns.ts';
import { checkBuckets, draw, stripOfPoints } from './draw.ts';
import type { Strip } from './draw.ts';
import { countBelow } from './line.ts';
import { addPoints, meanOf, newTally } from './tally.ts';

export interface BucketRequest {
  /** Inclusive, in the unit of x; without one, from the first point. */
  from?: number | null | undefined;
  /** Inclusive; without one, to the last point. */
  to?: number | null | undefined;
  /** The most buckets to answer with, 1 or more. */
  buckets: number;
}

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

/**
 * `x` has an entry a point, ascending and finite: the steps, the times of `byTime(points)`, or anything else that the
 * points were ordered by. Buckets divide the x that points of the range really have, so that a wide question about a
 * short series is answered as finely as it may be; points of one x are never divided.
 */
export function bucketsOf(points: Points, x: Float64Array, { from, to, buckets }: BucketRequest): Buckets {
  checkBuckets(buckets);
  const start = countBelow(x, from ?? -Infinity);
  const end = Math.max(start, countUpTo(x, to ?? Infinity));
  const column = (whole: Float64Array) => whole.subarray(start, end);
  const { steps, times, values } = points;
  const inRange = { steps: column(steps), times: column(times), values: column(values), metadata: null };
  const strip = stripOfPoints(inRange, column(x));
  return end - start <= buckets ? exactly(strip) : draw([strip], buckets);
}

/** Null for a series without points. */
export function summaryOf(points: Points): Summary | null {
  const { steps, times, values } = points;
  const count = steps.length;
  if (count === 0) return null;
  const tally = newTally();
  addPoints(tally, points, 0, count);
  const { finiteCount } = tally;
  const isFinite = finiteCount > 0;
  return {
    count,
    firstStep: steps[0]!,
    lastStep: steps[count - 1]!,
    firstTime: times[0]!,
    lastTime: times[count - 1]!,
    last: values[count - 1]!,
    min: isFinite ? tally.min : null,
    max: isFinite ? tally.max : null,
    mean: isFinite ? meanOf(tally) : null,
    nonFiniteCount: count - finiteCount,
    minStep: isFinite ? tally.minStep : null,
    maxStep: isFinite ? tally.maxStep : null,
  };
}

/** A point a bucket. */
function exactly({ x, steps, times, last: values }: Strip): Buckets {
  const finite = values.every((value) => Number.isFinite(value))
    ? values
    : values.map((value) => (Number.isFinite(value) ? value : NaN));
  return {
    exact: true,
    x: x.slice(),
    steps: steps.slice(),
    times: times.slice(),
    first: values.slice(),
    last: values.slice(),
    min: finite.slice(),
    max: finite.slice(),
    mean: finite.slice(),
    counts: new Float64Array(values.length).fill(1),
    nonFiniteCounts: values.map((value) => (Number.isFinite(value) ? 0 : 1)),
  };
}

/** How many entries of an ascending column are at most `x`: the index after the last of them. */
function countUpTo(ascending: Float64Array, x: number): number {
  let low = 0;
  let high = ascending.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ascending[middle]! <= x) low = middle + 1;
    else high = middle;
  }
  return low;
}
