import { zstdCompressSync } from 'node:zlib';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Points } from '../../../src/metrics/columns.ts';
import { decodeEntries, encodeEntries } from '../../../src/metrics/codec/rollups.ts';
import { concatEntries, mergeEntries, newEntries, sliceEntries } from '../../../src/metrics/chart/rollup.ts';
import type { Entries } from '../../../src/metrics/chart/rollup.ts';
import { anyChanges, changed, errorOf, undetected, isDamage, sealed } from '../codec/damage.ts';
import { anyPoints, anyStep, anyValue, entriesOf, mergeEach } from '../points.ts';

const { MAX_SAFE_INTEGER, MIN_SAFE_INTEGER, MAX_VALUE } = Number;

const anySomePoints = anyPoints.filter(({ steps }) => steps.length > 0);

function pointsOf(values: readonly number[], times: readonly number[] = values.map((_, i) => i)): Points {
  return {
    steps: Float64Array.from(values.keys()),
    times: Float64Array.from(times),
    values: Float64Array.from(values),
    metadata: null,
  };
}

/** An object an entry, every column by its name; −0 in a step or time is 0. */
function rowsOf(entries: Entries): Record<keyof Entries, number>[] {
  const names = Object.keys(entries) as (keyof Entries)[];
  for (const name of names) expect(entries[name]).toHaveLength(entries.counts.length);
  const isInteger = (name: string) => /steps|times/i.test(name);
  return Array.from(
    entries.counts,
    (_, i) =>
      Object.fromEntries(
        names.map((name) => [name, isInteger(name) ? entries[name][i]! + 0 : entries[name][i]]),
      ) as Record<keyof Entries, number>,
  );
}

/** What is rounded: the mean. */
const withoutMean = (entries: Entries) =>
  rowsOf(entries).map((row) => Object.fromEntries(Object.entries(row).filter(([name]) => name !== 'mean')));

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

const anyFinite = anyValue.filter((value) => Number.isFinite(value));

/** What points make, and what they would hardly: any steps, times and counts next to each other. */
const anyEntries: fc.Arbitrary<Entries> = fc.oneof(
  fc.tuple(anyPoints, fc.integer({ min: 1, max: 5 })).map(([points, size]) => entriesOf(points, size)),
  fc
    .array(
      fc.record({
        counts: fc.oneof(fc.integer({ min: 1, max: 4096 }), fc.integer({ min: 1, max: 2 ** 49 })),
        steps: fc.tuple(anyStep, anyStep, anyStep, anyStep),
        times: fc.tuple(anyStep, anyStep, anyStep, anyStep),
        timesOrdered: fc.integer({ min: 0, max: 1 }),
        values: fc.tuple(anyValue, anyValue, anyFinite, anyFinite, anyFinite),
        nonFinite: fc.double({ min: 0, max: 1, noNaN: true }),
      }),
      { maxLength: 12 },
    )
    .map((rows) => {
      const entries = newEntries(rows.length);
      rows.forEach(({ counts, steps, times, timesOrdered, values, nonFinite }, i) => {
        const nonFiniteCount = Math.floor(counts * nonFinite);
        const none = nonFiniteCount === counts;
        const row = { counts, nonFiniteCounts: nonFiniteCount, timesOrdered };
        const [firstSteps, lastSteps, minSteps, maxSteps] = steps;
        const [firstTimes, lastTimes, minTimes, maxTimes] = times;
        const [first, last, min, max, mean] = values;
        const extremes = none
          ? { min: NaN, max: NaN, mean: NaN, minSteps: NaN, maxSteps: NaN }
          : { min, max, mean, minSteps, maxSteps };
        const all = { ...row, firstSteps, lastSteps, firstTimes, lastTimes, minTimes, maxTimes, ...extremes };
        for (const [name, value] of Object.entries({ ...all, first, last })) {
          entries[name as keyof Entries][i] = value;
        }
      });
      return entries;
    }),
);

function curve(length: number): Entries {
  const values = Array.from({ length: length * 64 }, (_, i) =>
    Math.fround(2 * Math.exp(-i / 500) + Math.sin(i * i) / 20),
  );
  return entriesOf(
    pointsOf(
      values,
      values.map((_, i) => 1_700_000_000_000 + 100 * i + ((i * 7) % 10)),
    ),
    64,
  );
}

describe('what was stored is what is read', () => {
  test('for any entries, to the bit', () => {
    fc.assert(
      fc.property(anyEntries, (entries) => {
        const payload = encodeEntries(entries);
        expect(rowsOf(decodeEntries(payload))).toEqual(rowsOf(entries));
        expect(encodeEntries(entries)).toEqual(payload);
      }),
      { numRuns: 2000 },
    );
  });

  test('also for columns that are far apart everywhere', () => {
    const row = { timesOrdered: 0, first: 0.1, last: 0.2, min: 0.3, max: 0.4, mean: 0.5 };
    const entries = newEntries(8);
    for (const name of Object.keys(entries) as (keyof Entries)[]) {
      for (let i = 0; i < 8; i++) {
        const isInteger = /steps|times/i.test(name);
        const far = i % 2 === 0 ? MIN_SAFE_INTEGER + i : MAX_SAFE_INTEGER - i;
        const isOdd = /^(last|min)(Steps|Times)/.test(name);
        entries[name][i] = isInteger ? (isOdd ? -far : far) : (row[name as keyof typeof row] ?? 0) * (i + 1);
      }
    }
    entries.timesOrdered.fill(0);
    entries.counts.forEach((_, i) => (entries.counts[i] = (i % 2) * 2 ** 50 + 2 + i));
    entries.nonFiniteCounts.forEach((_, i) => (entries.nonFiniteCounts[i] = (i % 2) * 2 ** 49 + (i % 3)));
    const payload = encodeEntries(entries);
    expect(rowsOf(decodeEntries(payload))).toEqual(rowsOf(entries));
  });

  test('in a few bytes: an entry of 64 points of a loss curve in 24', () => {
    expect(encodeEntries(curve(512)).length / 512).toBeLessThan(24);
    expect(encodeEntries(mergeEntries(curve(64), 0, 64)).length).toBeLessThan(90);
  });

  test('entries that would not be read as they are are not written', () => {
    expect(() => encodeEntries(newEntries(4097))).toThrow(RangeError);
    for (const [name, value] of [
      ['lastSteps', 0.5],
      ['firstTimes', NaN],
      ['maxTimes', 2 ** 53],
      ['minSteps', 2 ** 60],
    ] as const) {
      const entries = curve(2);
      entries[name][1] = value;
      expect(() => encodeEntries(entries)).toThrow(RangeError);
    }
  });
});

describe('what was damaged is an error', () => {
  test.each([
    ['an entry', encodeEntries(curve(1))],
    ['a page of entries', encodeEntries(curve(64))],
    ['entries', encodeEntries(entriesOf(pointsOf([1, NaN, 0.1, 4], [4, 3, 9, 9]), 2))],
    ['none', encodeEntries(newEntries(0))],
  ])('%s', (_, payload) => {
    expect(undetected(payload, decodeEntries)).toEqual([]);
  });

  test('any bytes that never were a payload', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        expect(isDamage(errorOf(() => decodeEntries(bytes)))).toBe(true);
      }),
    );
  });

  test('or, with a checksum that fits, entries all the same: of whole columns and possible counts', () => {
    let refused = 0;
    fc.assert(
      fc.property(anyEntries, anyChanges, fc.option(fc.nat(), { freq: 3 }), (entries, changes, cut) => {
        const whole = changed(encodeEntries(entries), 5, changes);
        const altered = cut === null ? whole : whole.subarray(0, 6 + (cut % (whole.length - 5)));
        const error = errorOf(() => {
          for (const row of rowsOf(decodeEntries(sealed(altered)))) {
            expect(row.counts).toBeGreaterThan(0);
            expect(row.nonFiniteCounts).toBeLessThanOrEqual(row.counts);
            expect(Number.isSafeInteger(row.lastSteps) && Number.isSafeInteger(row.maxTimes)).toBe(true);
          }
        });
        if (error === undefined) return;
        refused++;
        if (!isDamage(error)) throw error;
      }),
      { numRuns: 3000 },
    );
    expect(refused).toBeGreaterThan(100);
  });

  test.each([
    ['more entries than there may be', [0xff, 0xff, 0x3f, ...Array.from({ length: 40 }, () => 0)], /more than 4096/],
    ['no bytes for what it says', [3, 0, 0], /end too soon/],
    ['bytes after the last column', [...encodeEntries(newEntries(0)).subarray(6), 0], /left over/],
    ['an unknown way of storing a column', [1, 3, 0, 0], /unknown way/],
  ])('%s', (_, bytes, message) => {
    const payload = sealed(Buffer.from([1, 0, 0, 0, 0, 0, ...bytes]));
    expect(() => decodeEntries(payload)).toThrow(message);
    expect(isDamage(errorOf(() => decodeEntries(payload)))).toBe(true);
  });

  test.each([
    ['an unknown packing', [2, 0], /packing 2 is unknown/],
    ['a length that is not there', [1, 0, 0], /end too soon/],
    ['a body of gigabytes', [1, 0xff, 0xff, 0xff, 0xff, 1], /a body of 4294967295 bytes/],
    ['a frame that is none', [1, 9, 0, 0, 0, 1, 2, 3], /does not unpack/],
    ['a body shorter than it says', [1, 99, 0, 0, 0, ...zstdCompressSync(Buffer.alloc(98))], /not as long as it says/],
  ])('%s', (_, bytes, message) => {
    const payload = sealed(Buffer.from([1, 0, 0, 0, 0, ...bytes]));
    expect(() => decodeEntries(payload)).toThrow(message);
    expect(isDamage(errorOf(() => decodeEntries(payload)))).toBe(true);
  });
});
