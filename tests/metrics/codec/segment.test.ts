import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Points } from '../../../src/metrics/columns.ts';
import { mergeBatches } from '../../../src/metrics/chart/line.ts';
import { decodeEntries, encodeEntries } from '../../../src/metrics/codec/rollups.ts';
import { entryOf } from '../../../src/metrics/chart/rollup.ts';
import { decodeSegmentPoints, encodeSegment, SEGMENT_POINTS, splitSeries } from '../../../src/metrics/codec/segment.ts';
import { anyChanges, changed, errorOf, undetected, isDamage, sealed } from './damage.ts';
import { anyPoints, rowsOf } from '../points.ts';

const anySomePoints = anyPoints.filter(({ steps }) => steps.length > 0);

/** A loss curve as training logs it: 32-bit values, a step a call, about 100 ms apart. */
function lossCurve(length: number, firstStep = 0): Points {
  let seed = 7;
  const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
  let time = 1_700_000_000_000;
  return {
    steps: Float64Array.from({ length }, (_, i) => firstStep + i),
    times: Float64Array.from({ length }, () => (time += 95 + Math.floor(10 * random()))),
    values: Float64Array.from({ length }, (_, i) =>
      Math.fround(2 * Math.exp(-(firstStep + i) / 200_000) + random() / 20),
    ),
    metadata: null,
  };
}

function joined(parts: readonly Points[]): unknown[] {
  return parts.flatMap(rowsOf);
}

const lengthsOf = (parts: readonly Points[]) => parts.map(({ steps }) => steps.length);

/** `groups` of points, each of one step and time. */
function grouped(groups: readonly number[]): Points {
  const steps = Float64Array.from(groups.flatMap((size, group) => Array.from({ length: size }, () => group)));
  return { steps, times: steps, values: Float64Array.from(steps.keys()), metadata: null };
}

describe('a series is cut', () => {
  const anyLength = fc.oneof(
    fc.integer({ min: 0, max: 30_000 }),
    fc.constantFrom(0, 1, 4095, 4096, 4097, 8192, 8193, 12_288),
  );

  test('at its end so that segments are full, and appending rewrites the last one alone', () => {
    fc.assert(
      fc.property(anyLength, fc.integer({ min: 1, max: 10_000 }), (stored, added) => {
        const all = lossCurve(stored + added);
        const before = splitSeries(lossCurve(stored), 'REPLACE');
        const after = splitSeries(all, 'REPLACE');
        expect(
          lengthsOf(after)
            .slice(0, -1)
            .every((length) => length === SEGMENT_POINTS),
        ).toBe(true);
        const full = Math.floor(stored / SEGMENT_POINTS);
        expect(lengthsOf(after.slice(0, full))).toEqual(lengthsOf(before.slice(0, full)));
        // What a fold does: the last segment and what is new, cut by themselves.
        const start = Math.max(0, before.length - 1) * SEGMENT_POINTS;
        const column = (whole: Float64Array) => whole.subarray(start);
        const { steps, times, values } = all;
        const rest = { steps: column(steps), times: column(times), values: column(values), metadata: null };
        const folded = [...before.slice(0, -1), ...splitSeries(rest, 'REPLACE')];
        expect(lengthsOf(folded)).toEqual(lengthsOf(after));
        expect(after.map(({ steps }) => steps[0])).toEqual(folded.map(({ steps }) => steps[0]));
      }),
      { numRuns: 50 },
    );
  });

  test('in the middle so that late points find room', () => {
    expect(lengthsOf(splitSeries(lossCurve(4096), 'REPLACE', 'MIDDLE'))).toEqual([4096]);
    expect(lengthsOf(splitSeries(lossCurve(4097), 'REPLACE', 'MIDDLE'))).toEqual([2049, 2048]);
    expect(lengthsOf(splitSeries(lossCurve(10_000), 'REPLACE', 'MIDDLE'))).toEqual([3334, 3334, 3332]);
    expect(splitSeries(lossCurve(0), 'REPLACE', 'MIDDLE')).toEqual([]);
    // A metric logged backwards, a hundred points a fold: segments stay half full at least.
    let segments: Points[] = [];
    for (let step = 20_000; step > 0; step -= 100) {
      const [first, ...others] = segments;
      const late = { ...lossCurve(100, step), name: 'loss', tag: '', repeats: 'REPLACE' as const };
      const known = first === undefined ? [] : [{ ...late, ...first }];
      const [series] = mergeBatches([...known, late].map((columns, sequence) => ({ sequence, attempt: 1, columns })));
      segments = [...splitSeries(series!, 'REPLACE', 'MIDDLE'), ...others];
    }
    expect(joined(segments)).toHaveLength(20_000);
    expect(Math.min(...lengthsOf(segments))).toBeGreaterThanOrEqual(SEGMENT_POINTS / 2);
  });

  test('into pieces of at most 4,096 that are the series, the same each time and again from any cut', () => {
    const anyGroups = fc.array(
      fc.oneof(
        { weight: 5, arbitrary: fc.integer({ min: 1, max: 60 }) },
        fc.integer({ min: 1, max: 3000 }),
        fc.constantFrom(2047, 2048, 2049, 4095, 4096, 4097, 9000),
      ),
      { maxLength: 40 },
    );
    fc.assert(
      fc.property(
        anyGroups,
        fc.constantFrom('REPLACE' as const, 'KEEP' as const),
        fc.constantFrom('END' as const, 'MIDDLE' as const),
        (groups, repeats, where) => {
          const points = grouped(groups);
          const segments = splitSeries(points, repeats, where);
          expect(joined(segments)).toEqual(rowsOf(points));
          expect(lengthsOf(splitSeries(points, repeats, where))).toEqual(lengthsOf(segments));
          for (const length of lengthsOf(segments)) expect(length > 0 && length <= SEGMENT_POINTS).toBe(true);
          if (where === 'MIDDLE') return;
          for (const length of lengthsOf(segments).slice(0, -1)) {
            expect(length).toBeGreaterThan(SEGMENT_POINTS / 2);
          }
          const [first] = segments;
          if (first === undefined) return;
          const column = (whole: Float64Array) => whole.subarray(first.steps.length);
          const { steps, times, values } = points;
          const rest = { steps: column(steps), times: column(times), values: column(values), metadata: null };
          expect(lengthsOf(splitSeries(rest, repeats))).toEqual(lengthsOf(segments).slice(1));
        },
      ),
      { numRuns: 100 },
    );
  });

  test('where metadata would make a segment of megabytes, of which each fold writes the last one anew', () => {
    const count = SEGMENT_POINTS + 10;
    const heavy = Array.from({ length: count }, (_, at) => ({ note: `${at}`.padEnd(16_000, 'x') }));
    const points = { ...lossCurve(count), metadata: heavy };
    for (const where of ['END', 'MIDDLE'] as const) {
      const pieces = splitSeries(points, 'KEEP', where);
      expect(lengthsOf(pieces).reduce((sum, one) => sum + one, 0)).toBe(count);
      expect(Math.max(...lengthsOf(pieces))).toBe(16);
      // All of it in one segment would be more than a segment may hold, and the run was never folded again.
      expect(decodeSegmentPoints(encodeSegment(pieces[0]!).points).metadata).toEqual(heavy.slice(0, 16));
    }
  });

  test('between steps and times that differ where repeats are kept, unless thousands are the same', () => {
    expect(lengthsOf(splitSeries(grouped([4000, 200, 10]), 'KEEP'))).toEqual([4000, 210]);
    expect(lengthsOf(splitSeries(grouped([4000, 200, 10]), 'REPLACE'))).toEqual([4096, 114]);
    expect(lengthsOf(splitSeries(grouped([4096, 10]), 'KEEP'))).toEqual([4096, 10]);
    expect(lengthsOf(splitSeries(grouped([10, 10_000, 10]), 'KEEP'))).toEqual([4096, 4096, 1828]);
    const byTime = { ...grouped([4000, 200]), steps: new Float64Array(4200) };
    expect(lengthsOf(splitSeries(byTime, 'KEEP'))).toEqual([4000, 200]);
  });
});

describe('what was stored is what is read', () => {
  function read(points: Points) {
    const { points: stored, entry } = encodeSegment(points);
    return {
      rows: rowsOf(decodeSegmentPoints(stored)),
      count: entry.counts[0],
      entry: encodeEntries(decodeEntries(encodeEntries(entry))),
    };
  }

  function written(points: Points) {
    return { rows: rowsOf(points), count: points.steps.length, entry: encodeEntries(entryOf(points)) };
  }

  test('for anything that may be logged', () => {
    fc.assert(
      fc.property(anySomePoints, (points) => {
        expect(read(points)).toEqual(written(points));
        expect(encodeSegment(points)).toEqual(encodeSegment(points));
      }),
      { numRuns: 1000 },
    );
  });

  test('for a segment of anything, repeated until it is full', () => {
    fc.assert(
      fc.property(anySomePoints, (few) => {
        const at = Array.from({ length: SEGMENT_POINTS }, (_, i) => i % few.steps.length);
        const column = (one: Float64Array) => Float64Array.from(at, (i) => one[i]!);
        const metadata = few.metadata && at.map((i) => few.metadata![i]!);
        const points = { steps: column(few.steps), times: column(few.times), values: column(few.values), metadata };
        expect(read(points)).toEqual(written(points));
      }),
      { numRuns: 50 },
    );
  });

  test.each([
    ['a loss curve', lossCurve(4096, 500_000)],
    ['64-bit values', { ...lossCurve(4096), values: lossCurve(4096).values.map((value) => value * Math.PI) }],
    ['one value', { ...lossCurve(4096), values: new Float64Array(4096).fill(0.1) }],
    ['nothing but NaN', { ...lossCurve(300), values: new Float64Array(300).fill(NaN) }],
    ['times that go backwards', { ...lossCurve(4096), times: lossCurve(4096).times.toReversed() }],
    ['steps that are the times', { ...lossCurve(500), times: lossCurve(500).steps }],
    ['one step thousands of times', grouped([4096])],
    ['metadata', { ...lossCurve(4096), metadata: Array.from({ length: 4096 }, (_, i) => (i % 3 ? { i } : null)) }],
    [
      'metadata of megabytes',
      { ...lossCurve(100), metadata: Array.from({ length: 100 }, (_, i) => ({ text: `${i}`.repeat(20_000) })) },
    ],
    ['metadata that is all null', { ...lossCurve(9), metadata: Array.from({ length: 9 }, () => null) }],
  ])('for %s', (_, points) => {
    expect(read(points)).toEqual(written(points));
  });

  test('in fewer bytes than an eighth of what it is: a 32-bit loss curve and the entries of its segments', () => {
    const segments = splitSeries(lossCurve(100_000, 500_000), 'REPLACE').map(encodeSegment);
    const bytesAPoint = (of: (one: (typeof segments)[number]) => number) =>
      segments.reduce((sum, one) => sum + of(one), 0) / 100_000;
    expect(bytesAPoint(({ points }) => points.length)).toBeLessThan(3.3);
    expect(bytesAPoint(({ entry }) => encodeEntries(entry).length)).toBeLessThan(0.025);
  });

  test('and what is no segment is not written', () => {
    expect(() => encodeSegment(lossCurve(0))).toThrow(RangeError);
    expect(() => encodeSegment(lossCurve(4097))).toThrow(RangeError);
    expect(() => encodeSegment({ ...lossCurve(3), times: new Float64Array(2) })).toThrow(RangeError);
    expect(() => encodeSegment({ ...lossCurve(3), metadata: [null] })).toThrow(RangeError);
    expect(() => encodeSegment({ ...lossCurve(2), steps: Float64Array.of(0, 0.5) })).toThrow(RangeError);
    expect(read(lossCurve(3))).toEqual(written(lossCurve(3)));
  });
});

describe('what was damaged is an error', () => {
  test.each([
    ['a few points', lossCurve(5)],
    ['points with metadata', { ...lossCurve(5), metadata: [null, { a: 1 }, null, { b: 'x' }, null] }],
    ['points whose columns are compressed', lossCurve(700)],
  ])('%s', (_, points) => {
    expect(undetected(encodeSegment(points).points, decodeSegmentPoints)).toEqual([]);
  });

  test('any bytes that never were a segment', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        expect(isDamage(errorOf(() => decodeSegmentPoints(bytes)))).toBe(true);
      }),
    );
  });

  test('or, with a checksum that fits, whole columns all the same', () => {
    const large = encodeSegment(lossCurve(700)).points;
    let refused = 0;
    fc.assert(
      fc.property(
        fc.oneof(
          { weight: 3, arbitrary: anySomePoints.map((points) => encodeSegment(points).points) },
          fc.constant(large),
        ),
        anyChanges,
        fc.option(fc.nat(), { freq: 3 }),
        (payload, changes, cut) => {
          const whole = changed(payload, 5, changes);
          const altered = cut === null ? whole : whole.subarray(0, 6 + (cut % (whole.length - 5)));
          const error = errorOf(() => {
            const { steps, times, values, metadata } = decodeSegmentPoints(sealed(altered));
            const { length } = steps;
            if (length === 0 || length > SEGMENT_POINTS) throw new Error('not a segment');
            if (times.length !== length || values.length !== length) throw new Error('columns of different length');
            if (metadata !== null && metadata.length !== length) throw new Error('metadata of different length');
            if (![...steps, ...times].every((one) => Number.isSafeInteger(one))) throw new Error('not an integer');
          });
          if (error === undefined) return;
          refused++;
          if (!isDamage(error)) throw error;
        },
      ),
      { numRuns: 3000 },
    );
    expect(refused).toBeGreaterThan(100);
  });

  const huge = [0xff, 0xff, 0xff, 0xff, 0x0f];
  test.each([
    ['no points', [0, 0], /a segment of 0 points/],
    ['more points than a segment has', [0x81, 0x20, 0], /a segment of 4097 points/],
    ['a piece longer than everything', [1, 0, 9, 0, 1], /end too soon/],
    ['a frame longer than everything', [1, 0, 9, 9, 1], /end too soon/],
    ['a frame that is none', [1, 0, 9, 2, 1, 1], /does not unpack/],
    ['a body of gigabytes', [1, 0, ...huge, 2, 1, 1], /a body of 4294967295 bytes/],
    ['bytes after the last column', [1, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0], /left over/],
    ['columns that are not there', [1, 0, 2, 0, 0, 0], /end too soon/],
    ['steps like those of a metric before', [1, 0x30, 5, 0, 0, 0, 0, 0, 0], /another length/],
  ])('%s', (_, bytes, message) => {
    const payload = sealed(Buffer.from([1, 0, 0, 0, 0, ...bytes]));
    expect(() => decodeSegmentPoints(payload)).toThrow(message);
    expect(isDamage(errorOf(() => decodeSegmentPoints(payload)))).toBe(true);
  });
});
