// Drawing: points, entries of points (rollup.ts) and mixtures of both into buckets of equal width in x that hide no
// spike, at a cost of one look at each point or entry. Which to draw from is chosen here too. Pure; it refuses parts
// that are out of order.

import { invalidInput } from '../../errors.ts';
import type { Buckets } from './buckets.ts';
import type { Points } from '../columns.ts';
import type { Entries } from './rollup.ts';
import { addEntries, addPoints, clear, meanOf, newTally } from './tally.ts';
import type { Tally } from './tally.ts';

/** What is drawn at once: points, or entries of any levels, in the metric's order (by time: in the order of time). */
export type Drawn = { points: Points } | { entries: Entries };

/**
 * Buckets of parts that ascend in x and do not overlap. An entry is never divided: it belongs to the bucket that its
 * last x falls into, so that the inner edges of buckets snap to where entries end. By TIME nothing may begin before what
 * stands in front of it ends, within an entry, a part and from part to part: else it is a RangeError, and those points
 * want sorting first. Never `exact`.
 */
export function bucketsOfEntries(parts: readonly Drawn[], x: 'STEP' | 'TIME', buckets: number): Buckets {
  checkBuckets(buckets);
  return draw(
    parts.map((part) => ('points' in part ? stripOf(part.points, x) : stripOfEntries(part.entries, x))),
    buckets,
  );
}

/**
 * How many points an entry of the coarsest level has that still gives two entries a bucket: 1 (the points themselves:
 * exact, if they are no more than the buckets), 64, 512, 4,096 and so on, each level 8 times the one before.
 */
export function chooseLevel(pointCount: number, buckets: number): number {
  checkBuckets(buckets);
  const enough = pointCount / (2 * buckets);
  if (enough < 64) return 1;
  let level = 64;
  while (level * 8 <= enough) level *= 8;
  return level;
}

/** Points or entries on their way into buckets: columns of equal length, and what they are tallied from. */
export interface Strip {
  /** Of each one's last point, ascending. */
  x: Float64Array;
  /** Of the first one's first point. */
  lowest: number;
  steps: Float64Array;
  times: Float64Array;
  first: Float64Array;
  last: Float64Array;
  points: Points | null;
  entries: Entries | null;
}

export function stripOfPoints(points: Points, x: Float64Array): Strip {
  const { steps, times, values } = points;
  return { x, lowest: x[0]!, steps, times, first: values, last: values, points, entries: null };
}

function stripOf(points: Points, by: 'STEP' | 'TIME'): Strip {
  if (by === 'STEP') return stripOfPoints(points, points.steps);
  checkTimes(points.times, points.times);
  return stripOfPoints(points, points.times);
}

function stripOfEntries(entries: Entries, by: 'STEP' | 'TIME'): Strip {
  const { firstSteps, lastSteps: steps, firstTimes, lastTimes: times, first, last } = entries;
  const columns = { steps, times, first, last, points: null, entries };
  if (by === 'STEP') return { x: steps, lowest: firstSteps[0]!, ...columns };
  if (entries.timesOrdered.includes(0)) throw new RangeError('times go down within an entry');
  checkTimes(firstTimes, times);
  return { x: times, lowest: firstTimes[0]!, ...columns };
}

/** Steps ascend in every metric, times only as a rule. */
function checkTimes(first: Float64Array, last: Float64Array): void {
  for (let i = 1; i < first.length; i++) if (first[i]! < last[i - 1]!) throw new RangeError('times go down');
}

/** All strips in at most so many buckets of equal width; those without a point are left out. */
export function draw(all: readonly Strip[], buckets: number): Buckets {
  const strips = all.filter((strip) => strip.x.length > 0);
  const total = strips.reduce((length, strip) => length + strip.x.length, 0);
  const answer = newBuckets(Math.min(buckets, total));
  if (total === 0) return answer;
  const low = strips[0]!.lowest;
  const scale = scaleOf(low, strips.at(-1)!.x.at(-1)!, buckets);
  const tally = newTally();
  let filled = -1;
  let current = -1;
  let before = low;
  for (const strip of strips) {
    const { x, points, entries } = strip;
    if (!(strip.lowest >= before)) throw new RangeError('parts overlap');
    before = x.at(-1)!;
    for (let start = 0, end = 0; start < x.length; start = end) {
      const bucket = bucketOf(x[start]!, scale);
      if (bucket < current) throw new RangeError('x does not ascend');
      end = endOf(x, start, bucket, scale);
      if (bucket !== current) {
        current = bucket;
        filled++;
        clear(tally);
        answer.first[filled] = strip.first[start]!;
      }
      if (points !== null) addPoints(tally, points, start, end);
      if (entries !== null) addEntries(tally, entries, start, end);
      answer.x[filled] = x[end - 1]!;
      answer.steps[filled] = strip.steps[end - 1]!;
      answer.times[filled] = strip.times[end - 1]!;
      answer.last[filled] = strip.last[end - 1]!;
      put(answer, filled, tally);
    }
  }
  return cut(answer, filled + 1);
}

interface Scale {
  low: number;
  span: number;
  unit: number;
  buckets: number;
}

function scaleOf(low: number, high: number, buckets: number): Scale {
  // The span of ±1e308 is no number any more; half of it is.
  const unit = Number.isFinite(high - low) ? 1 : 0.5;
  return { low: low * unit, span: high * unit - low * unit, unit, buckets };
}

function bucketOf(x: number, { low, span, unit, buckets }: Scale): number {
  return span === 0 ? 0 : Math.min(buckets - 1, Math.floor(((x * unit - low) / span) * buckets));
}

/** Where what is in the bucket of `start` ends: by ever longer steps, as a look at each costs more than all the rest. */
function endOf(ascending: Float64Array, start: number, bucket: number, scale: Scale): number {
  let low = start;
  let step = 1;
  while (low + step < ascending.length && bucketOf(ascending[low + step]!, scale) === bucket) {
    low += step;
    step *= 2;
  }
  let high = Math.min(ascending.length, low + step);
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if (bucketOf(ascending[middle]!, scale) === bucket) low = middle;
    else high = middle;
  }
  return high;
}

/** Also of a bucket that is not complete yet: what follows puts its own. */
function put(answer: Buckets, at: number, tally: Tally): void {
  const { count, finiteCount } = tally;
  answer.min[at] = finiteCount === 0 ? NaN : tally.min;
  answer.max[at] = finiteCount === 0 ? NaN : tally.max;
  answer.mean[at] = meanOf(tally);
  answer.counts[at] = count;
  answer.nonFiniteCounts[at] = count - finiteCount;
}

function newBuckets(length: number): Buckets {
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

function cut(buckets: Buckets, length: number): Buckets {
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
