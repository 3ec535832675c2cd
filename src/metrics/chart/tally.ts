// What a run of points comes to: how many, how many of them finite, their extremes and mean. Points and entries of
// points (rollup.ts) are added in the metric's order, one after the other; the answer is the same however they were
// grouped, but for the last digits of the mean. Only finite values take part; there is no value that it refuses.

import type { Points } from '../columns.ts';
import type { Entries } from './rollup.ts';

export interface Tally {
  count: number;
  finiteCount: number;
  /** Of the finite values, and the step of the first of them; ±Infinity and NaN while there is none. */
  min: number;
  max: number;
  minStep: number;
  maxStep: number;
  /** Of the finite values, with what rounding has lost of it; not finite once it has left the range of floats. */
  sum: number;
  lost: number;
  /** The same sum at a scale at which it cannot leave the range: 2^53 values of 2^1024 are 2^1013. */
  scaled: number;
}

const SCALE = 2 ** -64;

/** Points are summed up this many at a time, then with compensation: the error does not grow with their number. */
const BLOCK = 512;

export function newTally(): Tally {
  return clear({
    count: 0,
    finiteCount: 0,
    min: 0,
    max: 0,
    minStep: NaN,
    maxStep: NaN,
    sum: 0,
    lost: 0,
    scaled: 0,
  });
}

export function clear(tally: Tally): Tally {
  tally.count = 0;
  tally.finiteCount = 0;
  tally.min = Infinity;
  tally.max = -Infinity;
  tally.minStep = NaN;
  tally.maxStep = NaN;
  tally.sum = 0;
  tally.lost = 0;
  tally.scaled = 0;
  return tally;
}

/** Points from `start` up to, not including, `end`. */
export function addPoints(tally: Tally, { steps, values }: Points, start: number, end: number): void {
  tally.count += end - start;
  for (let at = start; at < end; at += BLOCK) addBlock(tally, steps, values, at, Math.min(end, at + BLOCK));
}

function addBlock(tally: Tally, steps: Float64Array, values: Float64Array, start: number, end: number): void {
  let { min, max } = tally;
  let minAt = -1;
  let maxAt = -1;
  let finiteCount = 0;
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
  if (minAt !== -1) {
    tally.min = min;
    tally.minStep = steps[minAt]!;
  }
  if (maxAt !== -1) {
    tally.max = max;
    tally.maxStep = steps[maxAt]!;
  }
  tally.finiteCount += finiteCount;
  let scaled = sum * SCALE;
  if (!Number.isFinite(sum)) {
    scaled = 0;
    for (let at = start; at < end; at++) if (Number.isFinite(values[at])) scaled += values[at]! * SCALE;
  }
  addSum(tally, sum, scaled);
}

/** Entries from `start` up to, not including, `end`. */
export function addEntries(tally: Tally, entries: Entries, start: number, end: number): void {
  const { counts, nonFiniteCounts, min, max, mean } = entries;
  for (let at = start; at < end; at++) {
    const count = counts[at]!;
    const finiteCount = count - nonFiniteCounts[at]!;
    tally.count += count;
    if (finiteCount === 0) continue;
    tally.finiteCount += finiteCount;
    if (min[at]! < tally.min) {
      tally.min = min[at]!;
      tally.minStep = entries.minSteps[at]!;
    }
    if (max[at]! > tally.max) {
      tally.max = max[at]!;
      tally.maxStep = entries.maxSteps[at]!;
    }
    addSum(tally, mean[at]! * finiteCount, mean[at]! * SCALE * finiteCount);
  }
}

/** Neumaier's sum: what the addition drops is kept apart. Once the sum is infinite, both are no numbers any more. */
function addSum(tally: Tally, sum: number, scaled: number): void {
  const total = tally.sum + sum;
  tally.lost += Math.abs(tally.sum) >= Math.abs(sum) ? tally.sum - total + sum : sum - total + tally.sum;
  tally.sum = total;
  tally.scaled += scaled;
}

/** Always between the minimum and the maximum; NaN when no value is finite. */
export function meanOf({ finiteCount, min, max, sum, lost, scaled }: Tally): number {
  if (finiteCount === 0) return NaN;
  const exact = sum + lost;
  const mean = Number.isFinite(exact) ? exact / finiteCount : scaled / finiteCount / SCALE;
  // Rounding must not put the mean outside of its values: that of 0.1, 0.1 and 0.1 would be more than 0.1.
  return Math.max(min, Math.min(max, mean));
}
