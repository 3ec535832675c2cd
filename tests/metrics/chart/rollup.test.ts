// What entries of a rollup say of their points, against a naive look at them.
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Points } from '../../../src/metrics/columns.ts';
import { concatEntries, mergeEntries, sliceEntries } from '../../../src/metrics/chart/rollup.ts';
import type { Entries } from '../../../src/metrics/chart/rollup.ts';
import { anyPoints, entriesOf, entryRows, mergeEach, pointsOf } from '../points.ts';

const { MAX_VALUE } = Number;

const anySomePoints = anyPoints.filter(({ steps }) => steps.length > 0);

/** What is rounded: the mean. */
const withoutMean = (entries: Entries) =>
  entryRows(entries).map((row) => Object.fromEntries(Object.entries(row).filter(([name]) => name !== 'mean')));

/** A sum that rounds once: in integers of the smallest float, 2^-1074. */
function exactMean(values: readonly number[]): number {
  const bits = new DataView(new ArrayBuffer(8));
  let sum = 0n;
  for (const value of values) {
    bits.setFloat64(0, value);
    const high = bits.getUint32(0);
    const exponent = (high >>> 20) & 0x7ff;
    const mantissa = (BigInt(high & 0xfffff) << 32n) | BigInt(bits.getUint32(4));
    const size = exponent === 0 ? mantissa : (mantissa | (1n << 52n)) << BigInt(exponent - 1);
    sum += value < 0 ? -size : size;
  }
  // 64 more bits for the quotient, then as many away as leave a number that is exact: 2^-96 of it is lost at most.
  let quotient = (sum << 64n) / BigInt(values.length);
  let scale = -1074 - 64;
  while (quotient > 2n ** 128n || quotient < -(2n ** 128n)) {
    quotient >>= 32n;
    scale += 32;
  }
  return Number(quotient) * 2 ** Math.ceil(scale / 2) * 2 ** Math.floor(scale / 2);
}

function naiveEntry({ steps, times, values }: Points, start: number, end: number) {
  const all = Array.from({ length: end - start }, (_, i) => start + i);
  const finite = all.filter((i) => Number.isFinite(values[i]));
  const lowest = finite.reduce((best, i) => (values[i]! < values[best]! ? i : best), finite[0]!);
  const highest = finite.reduce((best, i) => (values[i]! > values[best]! ? i : best), finite[0]!);
  const none = finite.length === 0;
  return {
    counts: all.length,
    nonFiniteCounts: all.length - finite.length,
    firstSteps: steps[start]! + 0,
    lastSteps: steps[end - 1]! + 0,
    firstTimes: times[start]! + 0,
    lastTimes: times[end - 1]! + 0,
    minTimes: Math.min(...all.map((i) => times[i]!)) + 0,
    maxTimes: Math.max(...all.map((i) => times[i]!)) + 0,
    timesOrdered: all.every((i) => i === start || times[i]! >= times[i - 1]!) ? 1 : 0,
    first: values[start],
    last: values[end - 1],
    min: none ? NaN : values[lowest],
    max: none ? NaN : values[highest],
    minSteps: none ? NaN : steps[lowest]! + 0,
    maxSteps: none ? NaN : steps[highest]! + 0,
  };
}

/** Off by 1e-12 of the largest value at most: what values that cancel each other out leave has no digits of its own. */
function isMean(mean: number, values: readonly number[]): boolean {
  const finite = values.filter((value) => Number.isFinite(value));
  if (finite.length === 0) return Number.isNaN(mean);
  const largest = Math.max(...finite.map((value) => Math.abs(value)));
  // Half of it each: the difference of ±1e308 is no number.
  const isNear = Math.abs(mean / 2 - exactMean(finite) / 2) <= largest * 0.5e-12 + 1e-323;
  return isNear && mean >= Math.min(...finite) && mean <= Math.max(...finite);
}

describe('an entry', () => {
  test('is what a naive look at its points says', () => {
    fc.assert(
      fc.property(anyPoints, fc.integer({ min: 1, max: 50 }), (points, size) => {
        const entries = entriesOf(points, size);
        const { length } = points.steps;
        const starts = Array.from({ length: Math.ceil(length / size) }, (_, i) => i * size);
        const ends = starts.map((start) => Math.min(length, start + size));
        expect(withoutMean(entries)).toEqual(starts.map((start, i) => naiveEntry(points, start, ends[i]!)));
        const isRight = (mean: number, i: number) => isMean(mean, [...points.values.subarray(starts[i], ends[i])]);
        expect(entries.mean.every(isRight)).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });

  test('of entries is the entry of their points, however they were grouped', () => {
    fc.assert(
      fc.property(anySomePoints, fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }), (points, sizes) => {
        let parts = Array.from(points.values, (_, i) => sliceEntries(entriesOf(points, 1), i, i + 1));
        for (const size of sizes) {
          const joined = concatEntries(parts);
          const next: Entries[] = [];
          for (let at = 0; at < parts.length; at += size) {
            next.push(mergeEntries(joined, at, Math.min(parts.length, at + size)));
          }
          expect(mergeEach(joined, size)).toEqual(concatEntries(next));
          parts = next;
        }
        const merged = mergeEntries(concatEntries(parts), 0, parts.length);
        expect(withoutMean(merged)).toEqual(withoutMean(entriesOf(points, points.steps.length)));
        expect(isMean(merged.mean[0]!, [...points.values])).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });

  test.each([
    ['values whose sum is no float any more', [1e308, 1e308, 1e308, -1e308, MAX_VALUE, 1.5e308]],
    ['values that cancel each other out past the range', [MAX_VALUE, MAX_VALUE, -MAX_VALUE, -MAX_VALUE]],
    ['the largest there are', [MAX_VALUE, MAX_VALUE, MAX_VALUE]],
    ['values whose mean rounding would put above them', [0.1, 0.1, 0.1]],
    ['the smallest there are', [5e-324, 5e-324, 0]],
    ['nothing finite', [NaN, Infinity, -Infinity, NaN]],
    ['something finite among others', [NaN, 3, Infinity, 1]],
  ])('keeps its mean: %s', (_, values) => {
    for (const size of [1, 2, values.length]) {
      const parts = entriesOf(pointsOf(values), size);
      expect(isMean(mergeEntries(parts, 0, parts.counts.length).mean[0]!, values)).toBe(true);
    }
  });

  test('of a million points keeps its mean through five levels', () => {
    let seed = 7;
    const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
    const values = Array.from({ length: 1_000_000 }, (_, i) => Math.sin(i / 1000) * 3 + random() * 1e-3 + 10);
    let level = entriesOf(pointsOf(values), 64);
    for (let i = 0; i < 4; i++) level = mergeEach(level, 8);
    expect(level.counts).toHaveLength(4);
    const { mean } = mergeEntries(level, 0, 4);
    const expected = exactMean(values);
    expect(Math.abs(mean[0]! - expected)).toBeLessThanOrEqual(1e-12 * expected);
    // A hundred thousand entries of very different weight in one go.
    const flat = entriesOf(pointsOf(values), 10);
    expect(Math.abs(mergeEntries(flat, 0, 100_000).mean[0]! - expected)).toBeLessThanOrEqual(1e-12 * expected);
  });

  test('says where times go down: within it, and between those it was made of', () => {
    const times = [1, 2, 3, 4, 9, 10, 8, 11];
    const pairs = entriesOf(pointsOf([0, 0, 0, 0, 0, 0, 0, 0], times), 2);
    expect([...pairs.timesOrdered]).toEqual([1, 1, 1, 1]);
    const halves = mergeEach(pairs, 2);
    expect([...halves.timesOrdered]).toEqual([1, 0]);
    expect([...halves.minTimes]).toEqual([1, 8]);
    expect([...halves.maxTimes]).toEqual([4, 11]);
    expect([...mergeEach(pairs, 3).timesOrdered]).toEqual([1, 1]);
  });

  test('names the first step of an extreme', () => {
    const { minSteps, maxSteps } = mergeEach(entriesOf(pointsOf([NaN, 2, 1, 3, 1, 3, 0, -0]), 2), 4);
    expect([minSteps[0], maxSteps[0]]).toEqual([6, 3]);
  });

  test('is of one entry at least', () => {
    const entries = entriesOf(pointsOf([1, 2]), 1);
    for (const [from, to] of [
      [0, 0],
      [1, 0],
      [0, 3],
      [-1, 1],
      [NaN, 1],
    ] as const) {
      expect(() => mergeEntries(entries, from, to)).toThrow(RangeError);
    }
  });
});
