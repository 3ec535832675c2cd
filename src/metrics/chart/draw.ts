// Drawing over steps: points, entries of points (rollup.ts) and mixtures of both into buckets of equal width that hide no
// spike, at a cost of one look at each point or entry. Everything goes where its cell (cells.ts) begins, so that it is
// not seen in the answer what was drawn from points and what from entries. Pure; it refuses parts that are out of order.
import { invalidInput } from '../../errors.ts';
import type { Points } from '../columns.ts';
import { type Buckets, newBuckets } from './buckets.ts';
import { type Entries, entriesBetween } from './rollup.ts';
import { addEntries, addPoints, clear, meanOf, newTally } from './tally.ts';
import type { Tally } from './tally.ts';

/** What is drawn at once: points, or entries of any levels, in the metric's order. */
export type Drawn = { points: Points } | { entries: Entries };

/** Buckets of equal width from `low` to `high`, inclusive both, in the unit of x. */
export interface Scale {
  low: number;
  high: number;
  buckets: number;
}

export interface StepScale extends Scale {
  /** What is drawn snaps to cells of 2^shift steps; 0: to steps. */
  shift: number;
}

/**
 * Parts are in the metric's order and do not overlap; no entry reaches over the end of a cell of the scale, and no step is
 * outside of it. Buckets without a point are left out. Never `exact`.
 */
export function drawSteps(parts: readonly Drawn[], scale: StepScale): Buckets {
  checkBuckets(scale.buckets);
  const total = parts.reduce((sum, part) => sum + lengthOf(part), 0);
  const answer = newBuckets(Math.min(scale.buckets, total));
  const tally = newTally();
  let filled = -1;
  let current = -1;
  for (const part of parts) {
    const points = 'points' in part ? part.points : null;
    const entries = 'entries' in part ? part.entries : null;
    const column = stripOf(part);
    const { from } = column;
    for (let start = 0, end = 0; start < from.length; start = end) {
      const bucket = bucketOfStep(from[start]!, scale);
      if (bucket < current) throw new RangeError('parts are out of order');
      end = endOf(from, start, bucket, scale);
      if (bucket !== current) {
        current = bucket;
        filled++;
        clear(tally);
        answer.first[filled] = column.first[start]!;
      }
      if (points !== null) addPoints(tally, points, start, end);
      if (entries !== null) addEntries(tally, entries, start, end);
      answer.x[filled] = answer.steps[filled] = column.steps[end - 1]!;
      answer.times[filled] = column.times[end - 1]!;
      answer.last[filled] = column.last[end - 1]!;
      put(answer, filled, tally);
    }
  }
  return cutBuckets(answer, filled + 1);
}

/** Points as one entry a bucket: what is drawn from these is drawn as from the points. */
export function reduceSteps(points: Points, scale: StepScale): Entries {
  const { steps } = points;
  const starts: number[] = [];
  for (let at = 0; at < steps.length; at = endOf(steps, at, bucketOfStep(steps[at]!, scale), scale)) starts.push(at);
  return entriesBetween(points, [...starts, steps.length]);
}

export function lengthOf(part: Drawn): number {
  return 'points' in part ? part.points.steps.length : part.entries.counts.length;
}

function stripOf(part: Drawn) {
  if ('points' in part) {
    const { steps, times, values } = part.points;
    return { from: steps, steps, times, first: values, last: values };
  }
  const { firstSteps, lastSteps, lastTimes, first, last } = part.entries;
  return { from: firstSteps, steps: lastSteps, times: lastTimes, first, last };
}

function bucketOfStep(step: number, scale: StepScale): number {
  if (scale.shift === 0) return bucketOf(step, scale);
  const size = 2 ** scale.shift;
  return bucketOf(Math.max(scale.low, Math.floor(step / size) * size), scale);
}

export function bucketOf(x: number, { low, high, buckets }: Scale): number {
  return high === low ? 0 : Math.min(buckets - 1, Math.floor(((x - low) / (high - low)) * buckets));
}

/** Where what is in the bucket of `start` ends: by ever longer steps, as a look at each costs more than all the rest. */
function endOf(ascending: Float64Array, start: number, bucket: number, scale: StepScale): number {
  let low = start;
  let step = 1;
  while (low + step < ascending.length && bucketOfStep(ascending[low + step]!, scale) === bucket) {
    low += step;
    step *= 2;
  }
  let high = Math.min(ascending.length, low + step);
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if (bucketOfStep(ascending[middle]!, scale) === bucket) low = middle;
    else high = middle;
  }
  return high;
}

/** Also of a bucket that is not complete yet: what follows puts its own. */
export function put(answer: Buckets, at: number, tally: Tally): void {
  const { count, finiteCount } = tally;
  answer.min[at] = finiteCount === 0 ? NaN : tally.min;
  answer.max[at] = finiteCount === 0 ? NaN : tally.max;
  answer.mean[at] = meanOf(tally);
  answer.counts[at] = count;
  answer.nonFiniteCounts[at] = count - finiteCount;
}

function cutBuckets(buckets: Buckets, length: number): Buckets {
  if (buckets.x.length === length) return buckets;
  return {
    exact: false,
    x: buckets.x.slice(0, length),
    steps: buckets.steps.slice(0, length),
    times: buckets.times.slice(0, length),
    first: buckets.first.slice(0, length),
    last: buckets.last.slice(0, length),
    min: buckets.min.slice(0, length),
    max: buckets.max.slice(0, length),
    mean: buckets.mean.slice(0, length),
    counts: buckets.counts.slice(0, length),
    nonFiniteCounts: buckets.nonFiniteCounts.slice(0, length),
  };
}

export function checkBuckets(buckets: number): void {
  if (!Number.isInteger(buckets) || buckets < 1) {
    throw invalidInput('buckets must be a whole number, 1 or more', { field: 'buckets' });
  }
}
