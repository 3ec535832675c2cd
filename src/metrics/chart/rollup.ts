// Entries: each says of consecutive points of one metric, in the metric's order, what a chart needs to know of them.
// An entry of entries is the entry of all their points, so that charts are drawn from whichever level is fine enough.
// Pure; columns rather than objects, since a chart goes through thousands.

import type { Points } from '../columns.ts';
import { addEntries, addPoints, clear, meanOf, newTally } from './tally.ts';
import type { Tally } from './tally.ts';

/** Columns of equal length, one element an entry. An entry stands for one point at least. */
export interface Entries {
  counts: Float64Array;
  /** How many of the values are NaN or ±Infinity. */
  nonFiniteCounts: Float64Array;
  /** Step and time of the first and the last point in the metric's order. */
  firstSteps: Float64Array;
  lastSteps: Float64Array;
  firstTimes: Float64Array;
  lastTimes: Float64Array;
  /** The earliest and the latest time, wherever it stands. */
  minTimes: Float64Array;
  maxTimes: Float64Array;
  /** 1 where times never go down from the first point to the last, else 0. */
  timesOrdered: Uint8Array;
  /** As logged, NaN and ±Infinity too. */
  first: Float64Array;
  last: Float64Array;
  /** Of the finite values; NaN where there is none. */
  min: Float64Array;
  max: Float64Array;
  mean: Float64Array;
  /** The step of the first point that has the minimum, the maximum; NaN where there is none. */
  minSteps: Float64Array;
  maxSteps: Float64Array;
}

export function newEntries(length: number): Entries {
  const column = () => new Float64Array(length);
  return {
    counts: column(),
    nonFiniteCounts: column(),
    firstSteps: column(),
    lastSteps: column(),
    firstTimes: column(),
    lastTimes: column(),
    minTimes: column(),
    maxTimes: column(),
    timesOrdered: new Uint8Array(length),
    first: column(),
    last: column(),
    min: column(),
    max: column(),
    mean: column(),
    minSteps: column(),
    maxSteps: column(),
  };
}

/** The one entry of all points, which are one at least and in the metric's order. */
export function entryOf(points: Points): Entries {
  if (points.steps.length === 0) throw new RangeError('no points');
  return entriesBetween(points, [0, points.steps.length]);
}

/** An entry for the points from each boundary up to, not including, the next; none of them is empty. */
export function entriesBetween(points: Points, boundaries: readonly number[]): Entries {
  const { steps, times, values } = points;
  const entries = newEntries(boundaries.length - 1);
  const tally = newTally();
  for (let at = 0; at + 1 < boundaries.length; at++) {
    const start = boundaries[at]!;
    const end = boundaries[at + 1]!;
    const last = end - 1;
    addPoints(clear(tally), points, start, end);
    put(entries, at, tally);
    entries.firstSteps[at] = steps[start]!;
    entries.lastSteps[at] = steps[last]!;
    entries.firstTimes[at] = times[start]!;
    entries.lastTimes[at] = times[last]!;
    entries.first[at] = values[start]!;
    entries.last[at] = values[last]!;
    let minTime = times[start]!;
    let maxTime = minTime;
    let isOrdered = 1;
    for (let i = start + 1; i < end; i++) {
      const time = times[i]!;
      if (time < times[i - 1]!) isOrdered = 0;
      if (time < minTime) minTime = time;
      if (time > maxTime) maxTime = time;
    }
    entries.minTimes[at] = minTime;
    entries.maxTimes[at] = maxTime;
    entries.timesOrdered[at] = isOrdered;
  }
  return entries;
}

/** The one entry of those from index `from` up to, not including, `to`, which are one at least. */
export function mergeEntries(entries: Entries, from: number, to: number): Entries {
  if (!(from >= 0 && from < to && to <= entries.counts.length)) throw new RangeError(`no entries ${from} to ${to}`);
  return mergeBetween(entries, [from, to]);
}

/** One entry for the entries from each boundary up to, not including, the next; none of them is empty. */
export function mergeBetween(entries: Entries, boundaries: readonly number[]): Entries {
  const merged = newEntries(boundaries.length - 1);
  const tally = newTally();
  for (let at = 0; at + 1 < boundaries.length; at++) {
    const start = boundaries[at]!;
    const end = boundaries[at + 1]!;
    const last = end - 1;
    addEntries(clear(tally), entries, start, end);
    put(merged, at, tally);
    merged.firstSteps[at] = entries.firstSteps[start]!;
    merged.lastSteps[at] = entries.lastSteps[last]!;
    merged.firstTimes[at] = entries.firstTimes[start]!;
    merged.lastTimes[at] = entries.lastTimes[last]!;
    merged.first[at] = entries.first[start]!;
    merged.last[at] = entries.last[last]!;
    let minTime = Infinity;
    let maxTime = -Infinity;
    let isOrdered = 1;
    for (let i = start; i < end; i++) {
      if (entries.minTimes[i]! < minTime) minTime = entries.minTimes[i]!;
      if (entries.maxTimes[i]! > maxTime) maxTime = entries.maxTimes[i]!;
      if (entries.timesOrdered[i] === 0 || (i > start && entries.firstTimes[i]! < entries.lastTimes[i - 1]!)) {
        isOrdered = 0;
      }
    }
    merged.minTimes[at] = minTime;
    merged.maxTimes[at] = maxTime;
    merged.timesOrdered[at] = isOrdered;
  }
  return merged;
}

function put(entries: Entries, at: number, tally: Tally): void {
  const { count, finiteCount } = tally;
  entries.counts[at] = count;
  entries.nonFiniteCounts[at] = count - finiteCount;
  entries.min[at] = finiteCount === 0 ? NaN : tally.min;
  entries.max[at] = finiteCount === 0 ? NaN : tally.max;
  entries.mean[at] = meanOf(tally);
  entries.minSteps[at] = tally.minStep;
  entries.maxSteps[at] = tally.maxStep;
}

/** All in one, in their order; entries of any levels. */
export function concatEntries(parts: readonly Entries[]): Entries {
  if (parts.length === 1) return parts[0]!;
  const joined = newEntries(parts.reduce((length, part) => length + part.counts.length, 0));
  let at = 0;
  for (const part of parts) {
    for (const name of COLUMNS) joined[name].set(part[name], at);
    at += part.counts.length;
  }
  return joined;
}

/** Entries from index `from` up to, not including, `to`. No copy: columns are views. */
export function sliceEntries(entries: Entries, from: number, to: number): Entries {
  if (from === 0 && to === entries.counts.length) return entries;
  const column = (whole: Float64Array) => whole.subarray(from, to);
  return {
    counts: column(entries.counts),
    nonFiniteCounts: column(entries.nonFiniteCounts),
    firstSteps: column(entries.firstSteps),
    lastSteps: column(entries.lastSteps),
    firstTimes: column(entries.firstTimes),
    lastTimes: column(entries.lastTimes),
    minTimes: column(entries.minTimes),
    maxTimes: column(entries.maxTimes),
    timesOrdered: entries.timesOrdered.subarray(from, to),
    first: column(entries.first),
    last: column(entries.last),
    min: column(entries.min),
    max: column(entries.max),
    mean: column(entries.mean),
    minSteps: column(entries.minSteps),
    maxSteps: column(entries.maxSteps),
  };
}

const COLUMNS = Object.keys(newEntries(0)) as (keyof Entries)[];
