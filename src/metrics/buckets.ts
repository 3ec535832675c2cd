// A series drawn with fewer points than it has: buckets of equal width in x that hide no spike, and the summary of a
// whole series. Pure and deterministic: the same points and the same question give the same answer. It refuses no
// value; what the mean, minimum or maximum of no finite value would be is NaN in columns and null in a summary.

import { invalidInput } from '../errors.ts';
import type { Points } from './columns.ts';
import { countBelow } from './line.ts';

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
  if (!Number.isInteger(buckets) || buckets < 1) {
    throw invalidInput('buckets must be a whole number, 1 or more', { field: 'buckets' });
  }
  const start = countBelow(x, from ?? -Infinity);
  const end = Math.max(start, countUpTo(x, to ?? Infinity));
  const exact = end - start <= buckets;
  const ends = exact ? Array.from({ length: end - start }, (_, i) => start + i + 1) : divide(x, start, end, buckets);
  const { steps, times, values } = points;
  const column = () => new Float64Array(ends.length);
  const answer: Buckets = {
    exact,
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
  let first = start;
  ends.forEach((next, bucket) => {
    const last = next - 1;
    const spread = spreadOf(values, first, next);
    answer.x[bucket] = x[last]!;
    answer.steps[bucket] = steps[last]!;
    answer.times[bucket] = times[last]!;
    answer.first[bucket] = values[first]!;
    answer.last[bucket] = values[last]!;
    answer.min[bucket] = spread.finiteCount === 0 ? NaN : values[spread.minAt]!;
    answer.max[bucket] = spread.finiteCount === 0 ? NaN : values[spread.maxAt]!;
    answer.mean[bucket] = spread.mean;
    answer.counts[bucket] = next - first;
    answer.nonFiniteCounts[bucket] = next - first - spread.finiteCount;
    first = next;
  });
  return answer;
}

/** Null for a series without points. */
export function summaryOf({ steps, times, values }: Points): Summary | null {
  const count = steps.length;
  if (count === 0) return null;
  const { finiteCount, minAt, maxAt, mean } = spreadOf(values, 0, count);
  const isFinite = finiteCount > 0;
  return {
    count,
    firstStep: steps[0]!,
    lastStep: steps[count - 1]!,
    firstTime: times[0]!,
    lastTime: times[count - 1]!,
    last: values[count - 1]!,
    min: isFinite ? values[minAt]! : null,
    max: isFinite ? values[maxAt]! : null,
    mean: isFinite ? mean : null,
    nonFiniteCount: count - finiteCount,
    minStep: isFinite ? steps[minAt]! : null,
    maxStep: isFinite ? steps[maxAt]! : null,
  };
}

/** Where each bucket that has a point ends: the index after its last point. */
function divide(x: Float64Array, start: number, end: number, buckets: number): number[] {
  const low = x[start]!;
  const high = x[end - 1]!;
  // The span of ±1e308 is no number any more; half of it is.
  const unit = Number.isFinite(high - low) ? 1 : 0.5;
  const span = high * unit - low * unit;
  const bucketOf = (at: number) =>
    span === 0 ? 0 : Math.min(buckets - 1, Math.floor(((x[at]! * unit - low * unit) / span) * buckets));
  const ends: number[] = [];
  let current = 0;
  for (let at = start + 1; at < end; at++) {
    const bucket = bucketOf(at);
    if (bucket !== current) ends.push(at);
    current = bucket;
  }
  ends.push(end);
  return ends;
}

interface Spread {
  finiteCount: number;
  minAt: number;
  maxAt: number;
  mean: number;
}

/** Of the finite values from `start` up to, not including, `end`: where the first extremes are, and the mean. */
function spreadOf(values: Float64Array, start: number, end: number): Spread {
  let finiteCount = 0;
  let minAt = start;
  let maxAt = start;
  let min = Infinity;
  let max = -Infinity;
  let sum = 0;
  for (let at = start; at < end; at++) {
    const value = values[at]!;
    // Only NaN and the infinities differ from themselves by something that is not 0.
    if (value - value !== 0) continue;
    finiteCount++;
    sum += value;
    if (value < min) {
      min = value;
      minAt = at;
    }
    if (value > max) {
      max = value;
      maxAt = at;
    }
  }
  if (finiteCount === 0) return { finiteCount, minAt, maxAt, mean: NaN };
  let mean = sum / finiteCount;
  if (!Number.isFinite(sum)) {
    // The sum left the range of floats, as that of values near 1e308 does: sum up their shares.
    mean = 0;
    for (let at = start; at < end; at++) if (Number.isFinite(values[at])) mean += values[at]! / finiteCount;
  }
  // Rounding must not put the mean outside of its values: that of 0.1, 0.1 and 0.1 would be more than 0.1.
  return { finiteCount, minAt, maxAt, mean: Math.max(min, Math.min(max, mean)) };
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
