// Entries of rollups as they are stored: to the bit, in few bytes, and never read once they are damaged.
import { zstdCompressSync } from 'node:zlib';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeEntries, encodeEntries } from '../../../src/metrics/codec/rollups.ts';
import { type Entries, mergeEntries, newEntries } from '../../../src/metrics/chart/rollup.ts';
import { anyPoints, anyStep, anyValue, entriesOf, entryRows, pointsOf } from '../points.ts';
import { anyChanges, changed, errorOf, undetected, isDamage, sealed } from './damage.ts';

const { MAX_SAFE_INTEGER, MIN_SAFE_INTEGER } = Number;

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
  const times = values.map((_, i) => 1_700_000_000_000 + 100 * i + ((i * 7) % 10));
  return entriesOf(pointsOf(values, times), 64);
}

describe('what was stored is what is read', () => {
  test('for any entries, to the bit', () => {
    fc.assert(
      fc.property(anyEntries, (entries) => {
        const payload = encodeEntries(entries);
        expect(entryRows(decodeEntries(payload))).toEqual(entryRows(entries));
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
    expect(entryRows(decodeEntries(payload))).toEqual(entryRows(entries));
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
          for (const row of entryRows(decodeEntries(sealed(altered)))) {
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
