import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RuntideError } from '../../../src/errors.ts';
import { bucketsOf } from '../../../src/metrics/chart/buckets.ts';
import type { Buckets } from '../../../src/metrics/chart/buckets.ts';
import type { Points } from '../../../src/metrics/columns.ts';
import { bucketsOfEntries, chooseLevel } from '../../../src/metrics/chart/draw.ts';
import type { Drawn } from '../../../src/metrics/chart/draw.ts';
import { concatEntries, newEntries } from '../../../src/metrics/chart/rollup.ts';
import { encodeSegment, decodeSegmentPoints, splitSeries } from '../../../src/metrics/codec/segment.ts';
import { anyStep, anyValue, entriesOf, mergeEach } from '../points.ts';

type By = 'STEP' | 'TIME';

/** Steps and times ascend both, with repeats of either: a series that may be drawn by both. */
const anySeries: fc.Arbitrary<Points> = fc
  .array(fc.tuple(fc.oneof(anyStep, fc.integer({ min: 0, max: 9 })), anyStep, anyValue), { maxLength: 80 })
  .map((rows) => {
    const ascending = (column: number[]) => Float64Array.from(column).toSorted();
    return {
      steps: ascending(rows.map(([step]) => step)),
      times: ascending(rows.map(([, time]) => time)),
      values: Float64Array.from(rows, ([, , value]) => value),
      metadata: null,
    };
  });

function part(points: Points, start: number, end: number): Points {
  const column = (whole: Float64Array) => whole.subarray(start, end);
  const { steps, times, values } = points;
  return { steps: column(steps), times: column(times), values: column(values), metadata: null };
}

interface Mixture {
  parts: Drawn[];
  /** What is never divided: index of the first point, and after the last. */
  groups: { start: number; end: number }[];
}

/** The series as parts: each some points, exact (size 0) or as entries of a size; 7 stands for entries merged of 2s. */
function mix(points: Points, drawn: readonly { length: number; size: number }[]): Mixture {
  const parts: Drawn[] = [];
  const groups: Mixture['groups'] = [];
  const { length } = points.steps;
  let start = 0;
  for (const one of [...drawn, { length, size: 0 }]) {
    const end = Math.min(length, start + one.length);
    const some = part(points, start, end);
    const size = one.size === 0 ? 1 : one.size === 7 ? 6 : one.size;
    if (one.size === 0) parts.push({ points: some });
    else parts.push({ entries: one.size === 7 ? mergeEach(entriesOf(some, 2), 3) : entriesOf(some, size) });
    for (let at = start; at < end; at += size) groups.push({ start: at, end: Math.min(end, at + size) });
    start = end;
  }
  return { parts, groups };
}

const anyMix = fc.array(fc.record({ length: fc.nat(40), size: fc.integer({ min: 0, max: 12 }) }), { maxLength: 8 });

/** A row a bucket; `mean` apart, which two ways of adding round differently. */
function rowsOf(buckets: Buckets) {
  return Array.from(buckets.x, (x, i) => ({
    x: x + 0,
    step: buckets.steps[i]! + 0,
    time: buckets.times[i]! + 0,
    first: buckets.first[i],
    last: buckets.last[i],
    min: buckets.min[i]! + 0,
    max: buckets.max[i]! + 0,
    count: buckets.counts[i],
    nonFiniteCount: buckets.nonFiniteCounts[i],
  }));
}

/** Every group asked for the bucket of its last x by itself, every bucket for its points. */
function naive({ steps, times, values }: Points, groups: Mixture['groups'], by: By, buckets: number) {
  const x = by === 'STEP' ? steps : times;
  const low = x[0]!;
  const high = x.at(-1)!;
  const grouped = Map.groupBy(groups, ({ end }) =>
    high === low ? 0 : Math.min(buckets - 1, Math.floor(((x[end - 1]! - low) / (high - low)) * buckets)),
  );
  return [...grouped.values()].map((members) => {
    const start = members[0]!.start;
    const last = members.at(-1)!.end - 1;
    const all = [...values.subarray(start, last + 1)];
    const finite = all.filter((value) => Number.isFinite(value));
    return {
      x: x[last]! + 0,
      step: steps[last]! + 0,
      time: times[last]! + 0,
      first: values[start],
      last: values[last],
      min: finite.length === 0 ? NaN : Math.min(...finite) + 0,
      max: finite.length === 0 ? NaN : Math.max(...finite) + 0,
      count: all.length,
      nonFiniteCount: all.length - finite.length,
    };
  });
}

function curve(length: number): Points {
  return {
    steps: Float64Array.from({ length }, (_, i) => i),
    times: Float64Array.from({ length }, (_, i) => 1_700_000_000_000 + 100 * i),
    values: Float64Array.from({ length }, (_, i) => Math.sin(i / 100)),
    metadata: null,
  };
}

const sum = (column: Float64Array) => column.reduce((total, entry) => total + entry, 0);
const finiteOf = (column: Float64Array) => column.filter((value) => Number.isFinite(value));
const anyBy = fc.constantFrom('STEP' as const, 'TIME' as const);
const anyBuckets = fc.oneof(fc.integer({ min: 1, max: 10 }), fc.integer({ min: 1, max: 2000 }));

describe('a mixture of points and entries', () => {
  test('is drawn as a naive model draws it, the same each time', () => {
    fc.assert(
      fc.property(anySeries, anyMix, anyBy, anyBuckets, (points, drawn, by, buckets) => {
        const { parts, groups } = mix(points, drawn);
        const answer = bucketsOfEntries(parts, by, buckets);
        expect(rowsOf(answer)).toEqual(naive(points, groups, by, buckets));
        expect(bucketsOfEntries(parts, by, buckets)).toEqual(answer);
      }),
      { numRuns: 2000 },
    );
  });

  test('counts every point once, keeps both extremes and ends with the last point, in at most so many buckets', () => {
    fc.assert(
      fc.property(anySeries, anyMix, anyBy, anyBuckets, (points, drawn, by, buckets) => {
        const { steps, times, values } = points;
        const answer = bucketsOfEntries(mix(points, drawn).parts, by, buckets);
        expect(answer.exact).toBe(false);
        expect(answer.x.length).toBeLessThanOrEqual(buckets);
        const columns = Object.values(answer).filter((one) => one instanceof Float64Array);
        expect(columns.every(({ length }) => length === answer.x.length)).toBe(true);
        expect(answer.x.every((x, i) => i === 0 || x > answer.x[i - 1]!)).toBe(true);
        expect(sum(answer.counts)).toBe(steps.length);
        expect(sum(answer.nonFiniteCounts)).toBe(steps.length - finiteOf(values).length);
        expect(Math.min(...finiteOf(answer.min)) + 0).toBe(Math.min(...finiteOf(values)) + 0);
        expect(Math.max(...finiteOf(answer.max)) + 0).toBe(Math.max(...finiteOf(values)) + 0);
        expect(
          answer.mean.every((mean, i) => Number.isNaN(mean) === (answer.counts[i] === answer.nonFiniteCounts[i])),
        ).toBe(true);
        expect(answer.mean.every((mean, i) => !(mean < answer.min[i]! || mean > answer.max[i]!))).toBe(true);
        if (steps.length === 0) return;
        expect(answer.first[0]).toBe(values[0]);
        expect([answer.steps.at(-1), answer.times.at(-1), answer.last.at(-1)]).toEqual([
          steps.at(-1),
          times.at(-1),
          values.at(-1),
        ]);
      }),
      { numRuns: 1000 },
    );
  });

  test('of nothing but points is what points are drawn as, and entries of one point are points', () => {
    fc.assert(
      fc.property(anySeries, anyBy, anyBuckets, (points, by, buckets) => {
        const x = by === 'STEP' ? points.steps : points.times;
        const expected = bucketsOf(points, x, { buckets });
        const answer = bucketsOfEntries([{ points }], by, buckets);
        const single = bucketsOfEntries([{ entries: entriesOf(points, 1) }], by, buckets);
        expect(rowsOf(single)).toEqual(rowsOf(answer));
        expect(answer).toEqual(expected.exact ? answer : expected);
      }),
      { numRuns: 500 },
    );
  });

  test('has the same mean from every level', () => {
    const points = curve(100_000);
    const exact = bucketsOfEntries([{ points }], 'STEP', 1);
    for (const size of [1, 7, 64, 512, 4096]) {
      const { mean } = bucketsOfEntries([{ entries: entriesOf(points, size) }], 'STEP', 1);
      expect(Math.abs(mean[0]! - exact.mean[0]!)).toBeLessThanOrEqual(1e-12);
    }
  });

  test('shows a spike of one step in a million points, whatever it is drawn from', () => {
    const points = curve(1_000_000);
    points.values[654_321] = 1000;
    points.values[123_456] = NaN;
    const by64 = entriesOf(points, 64);
    const by512 = mergeEach(by64, 8);
    const mixed = [
      { points: part(points, 0, 640) },
      { entries: entriesOf(part(points, 640, 4096), 64) },
      { entries: entriesOf(part(points, 4096, 999_424), 4096) },
      { points: part(points, 999_424, 1_000_000) },
    ];
    for (const parts of [[{ points }], [{ entries: by64 }], [{ entries: by512 }], mixed]) {
      const answer = bucketsOfEntries(parts, 'STEP', 500);
      const spikeAt = answer.max.indexOf(1000);
      expect(spikeAt).toBeGreaterThan(0);
      // In the bucket of its step, or in the next where an entry reaches over the edge.
      expect(answer.x[spikeAt]).toBeGreaterThanOrEqual(654_321);
      expect(answer.x[spikeAt - 1]).toBeLessThan(654_321);
      expect(answer.x[spikeAt]! - answer.x[spikeAt - 1]!).toBeLessThan(2000 + 4096 * 2);
      expect([sum(answer.counts), sum(answer.nonFiniteCounts)]).toEqual([1_000_000, 1]);
      expect(answer.steps.at(-1)).toBe(999_999);
    }
  });

  test('is what was stored of it', () => {
    const points = curve(10_000);
    const stored = splitSeries(points, 'REPLACE').map(encodeSegment);
    const [first, second, third] = stored;
    const answer = bucketsOfEntries(
      [{ points: decodeSegmentPoints(first!.points) }, { entries: second!.entry }, { entries: third!.entry }],
      'TIME',
      10,
    );
    expect(sum(answer.counts)).toBe(10_000);
    expect(answer.times.at(-1)).toBe(points.times.at(-1));
    expect(answer.x).toEqual(answer.times);
  });

  test('of one step thousands of times, as repeats that are kept have, is one bucket', () => {
    const points = { ...curve(9000), steps: new Float64Array(9000).fill(7) };
    const parts = splitSeries(points, 'KEEP').map((some, i) =>
      i === 1 ? { points: some } : { entries: entriesOf(some, 64) },
    );
    const byStep = bucketsOfEntries(parts, 'STEP', 500);
    expect([...byStep.counts]).toEqual([9000]);
    expect([byStep.x[0], byStep.first[0], byStep.last[0]]).toEqual([7, points.values[0], points.values.at(-1)]);
    expect(bucketsOfEntries(parts, 'TIME', 10).x).toHaveLength(10);
  });

  test('of nothing but NaN has counts and nothing else', () => {
    const points = { ...curve(1000), values: new Float64Array(1000).fill(NaN) };
    const answer = bucketsOfEntries([{ entries: entriesOf(points, 64) }], 'STEP', 4);
    expect(sum(answer.nonFiniteCounts)).toBe(1000);
    for (const column of [answer.first, answer.last, answer.min, answer.max, answer.mean]) {
      expect([...column]).toEqual([NaN, NaN, NaN, NaN]);
    }
  });

  test('of no parts, or of empty ones, is none', () => {
    for (const parts of [[], [{ points: curve(0) }, { entries: newEntries(0) }]]) {
      expect(bucketsOfEntries(parts, 'TIME', 5).x).toHaveLength(0);
    }
    const around = [{ entries: newEntries(0) }, { points: curve(3) }, { points: curve(0) }];
    expect(bucketsOfEntries(around, 'TIME', 1).counts[0]).toBe(3);
  });

  test('that is out of order is refused', () => {
    const points = curve(1000);
    const [head, tail] = [part(points, 0, 500), part(points, 500, 1000)];
    const draw = (parts: Drawn[], by: By) => () => bucketsOfEntries(parts, by, 10);
    for (const by of ['STEP', 'TIME'] as const) {
      expect(draw([{ points: tail }, { points: head }], by)).toThrow(RangeError);
      expect(draw([{ entries: entriesOf(tail, 64) }, { points: head }], by)).toThrow(RangeError);
      expect(draw([{ points: head }, { entries: entriesOf(part(points, 400, 1000), 64) }], by)).toThrow(RangeError);
    }
    // Times that go down within an entry, between entries, between points: sound by step, not by time.
    const swapped = (at: number) => {
      const times = points.times.slice();
      [times[at], times[at + 1]] = [times[at + 1]!, times[at]!];
      return { ...points, times };
    };
    for (const parts of [
      [{ entries: entriesOf(swapped(10), 64) }],
      [{ entries: entriesOf(swapped(63), 64) }],
      [{ points: swapped(10) }],
      [{ entries: concatEntries([entriesOf(points, 64), entriesOf(points, 64)]) }],
    ]) {
      expect(draw(parts, 'TIME')).toThrow(RangeError);
    }
    expect(draw([{ entries: entriesOf(swapped(10), 64) }], 'STEP')).not.toThrow();
  });

  test('into no number of buckets is refused', () => {
    for (const buckets of [0, -1, 1.5, NaN]) {
      expect(() => bucketsOfEntries([{ points: curve(1) }], 'STEP', buckets)).toThrow(RuntideError);
      expect(() => chooseLevel(10, buckets)).toThrow(RuntideError);
    }
  });
});

describe('the level', () => {
  test('is the coarsest that still gives two entries a bucket', () => {
    const levels = [1, ...Array.from({ length: 17 }, (_, i) => 64 * 8 ** i)];
    fc.assert(
      fc.property(fc.oneof(fc.maxSafeNat(), fc.nat(10_000_000)), anyBuckets, (count, buckets) => {
        const expected = levels.findLast((level) => level === 1 || count / level >= 2 * buckets);
        expect(chooseLevel(count, buckets)).toBe(expected);
      }),
      { numRuns: 1000 },
    );
  });

  test.each([
    [0, 1],
    [500, 1],
    [63_999, 1],
    [64_000, 64],
    [1_000_000, 512],
    [10_000_000, 4096],
    [100_000_000, 32_768],
    [1_000_000_000, 262_144],
  ])('of %i points for 500 buckets is %i', (count, level) => {
    expect(chooseLevel(count, 500)).toBe(level);
  });
});
