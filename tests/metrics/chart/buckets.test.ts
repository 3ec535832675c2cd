import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RuntideError } from '../../../src/errors.ts';
import { bucketsOf, summaryOf } from '../../../src/metrics/chart/buckets.ts';
import type { BucketRequest, Buckets } from '../../../src/metrics/chart/buckets.ts';
import type { Points } from '../../../src/metrics/columns.ts';
import { anyStep, anyValue } from '../points.ts';

const anySeries: fc.Arbitrary<Points> = fc
  .array(fc.tuple(anyStep, anyStep, anyValue), { maxLength: 60 })
  .map((rows) => rows.toSorted(([a], [b]) => a - b))
  .map((rows) => seriesOf(rows));

const anyRequest: fc.Arbitrary<BucketRequest> = fc.record({
  from: fc.option(fc.oneof(anyStep, fc.double({ noNaN: true }))),
  to: fc.option(fc.oneof(anyStep, fc.double({ noNaN: true }))),
  buckets: fc.oneof(fc.integer({ min: 1, max: 10 }), fc.integer({ min: 1, max: 2000 })),
});

function seriesOf(rows: readonly (readonly [number, number, number])[]): Points {
  return {
    steps: Float64Array.from(rows, ([step]) => step),
    times: Float64Array.from(rows, ([, time]) => time),
    values: Float64Array.from(rows, ([, , value]) => value),
    metadata: null,
  };
}

function curve(values: readonly number[]): Points {
  return seriesOf(values.map((value, i) => [i, 1000 * i, value]));
}

const byStep = (points: Points, request: BucketRequest) => bucketsOf(points, points.steps, request);

const sum = (column: Float64Array) => column.reduce((total, entry) => total + entry, 0);
const orNull = (value: number) => (Number.isNaN(value) ? null : value);

/** A row a bucket; `mean` apart, which two ways of adding round differently. */
function rowsOf(buckets: Buckets) {
  return Array.from(buckets.x, (x, i) => ({
    x,
    step: buckets.steps[i],
    time: buckets.times[i],
    first: buckets.first[i],
    last: buckets.last[i],
    min: buckets.min[i]! + 0,
    max: buckets.max[i]! + 0,
    count: buckets.counts[i],
    nonFiniteCount: buckets.nonFiniteCounts[i],
  }));
}

/** Every point asked for its bucket by itself, every bucket for its points. */
function naive({ steps, times, values }: Points, { from, to, buckets }: BucketRequest) {
  const inRange = Array.from(steps.keys()).filter(
    (i) => steps[i]! >= (from ?? -Infinity) && steps[i]! <= (to ?? Infinity),
  );
  const low = steps[inRange[0] ?? 0]!;
  const high = steps[inRange.at(-1) ?? 0]!;
  const exact = inRange.length <= buckets;
  const groups = Map.groupBy(inRange, (i) => {
    if (exact) return i;
    return high === low ? 0 : Math.min(buckets - 1, Math.floor(((steps[i]! - low) / (high - low)) * buckets));
  });
  return [...groups.values()].map((members) => {
    const last = members.at(-1)!;
    const finite = members.map((i) => values[i]!).filter((value) => Number.isFinite(value));
    return {
      x: steps[last]!,
      step: steps[last],
      time: times[last],
      first: values[members[0]!],
      last: values[last],
      min: finite.length === 0 ? NaN : Math.min(...finite) + 0,
      max: finite.length === 0 ? NaN : Math.max(...finite) + 0,
      count: members.length,
      nonFiniteCount: members.length - finite.length,
    };
  });
}

describe('buckets', () => {
  test('are those of a naive model, at most as many as asked for, and the same at every call', () => {
    fc.assert(
      fc.property(anySeries, anyRequest, (points, request) => {
        const buckets = byStep(points, request);
        expect(rowsOf(buckets)).toEqual(naive(points, request));
        expect(buckets.x.length).toBeLessThanOrEqual(request.buckets);
        expect(byStep(points, request)).toEqual(buckets);
      }),
      { numRuns: 1000 },
    );
  });

  test('count every point of the range once and end with its last', () => {
    fc.assert(
      fc.property(anySeries, anyRequest, (points, request) => {
        const { steps, times, values } = points;
        const inRange = [...steps.keys()].filter(
          (i) => steps[i]! >= (request.from ?? -Infinity) && steps[i]! <= (request.to ?? Infinity),
        );
        const buckets = byStep(points, request);
        expect(sum(buckets.counts)).toBe(inRange.length);
        expect(sum(buckets.nonFiniteCounts)).toBe(inRange.filter((i) => !Number.isFinite(values[i])).length);
        expect(buckets.counts.every((count) => count > 0)).toBe(true);
        if (inRange.length === 0) return;
        const last = inRange.at(-1)!;
        expect([buckets.x.at(-1), buckets.times.at(-1), buckets.last.at(-1)]).toEqual([
          steps[last],
          times[last],
          values[last],
        ]);
      }),
    );
  });

  test('never hide a spike', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5000 }), fc.nat(), fc.integer({ min: 1, max: 50 }), (n, at, buckets) => {
        const values = Array.from({ length: n }, (_, i) => Math.sin(i));
        values[at % n] = 1000;
        expect(Math.max(...byStep(curve(values), { buckets }).max)).toBe(1000);
        values[at % n] = -1000;
        expect(Math.min(...byStep(curve(values), { buckets }).min)).toBe(-1000);
      }),
      { numRuns: 100 },
    );
  });

  test('have a mean of their finite values that lies between them', () => {
    fc.assert(
      fc.property(anySeries, anyRequest, (points, request) => {
        const { min, max, mean, counts, nonFiniteCounts } = byStep(points, request);
        mean.forEach((value, i) => {
          const isNone = counts[i] === nonFiniteCounts[i];
          expect(Number.isNaN(value)).toBe(isNone);
          expect(isNone || (value >= min[i]! && value <= max[i]!)).toBe(true);
        });
      }),
    );
  });

  test('give the points themselves when there are no more than asked for', () => {
    const points = curve([1, NaN, -Infinity, 4]);
    const buckets = byStep(points, { buckets: 4 });
    expect(buckets.exact).toBe(true);
    expect(buckets.x).toEqual(points.steps);
    expect(buckets.times).toEqual(points.times);
    expect([buckets.first, buckets.last]).toEqual([points.values, points.values]);
    for (const column of [buckets.min, buckets.max, buckets.mean]) expect([...column]).toEqual([1, NaN, NaN, 4]);
    expect([...buckets.counts]).toEqual([1, 1, 1, 1]);
    expect([...buckets.nonFiniteCounts]).toEqual([0, 1, 1, 0]);
    expect(byStep(points, { buckets: 3 }).exact).toBe(false);
    // Exact is said of the range, not of the series.
    expect(byStep(points, { buckets: 3, from: 1 }).exact).toBe(true);
  });

  test('are of equal width, and those without a point are left out', () => {
    const points = seriesOf([0, 1, 2, 90, 91, 100].map((step) => [step, step, step]));
    const buckets = byStep(points, { buckets: 5 });
    expect([...buckets.counts]).toEqual([3, 3]);
    expect([...buckets.steps]).toEqual([2, 100]);
    expect([...buckets.mean]).toEqual([1, (90 + 91 + 100) / 3]);
    expect([...byStep(points, { buckets: 2, from: 1, to: 91 }).steps]).toEqual([2, 91]);
  });

  test('of a range without points are none', () => {
    for (const request of [
      { buckets: 3, from: 9 },
      { buckets: 3, to: -1 },
      { buckets: 3, from: 2, to: 1 },
    ]) {
      const buckets = byStep(curve([1, 2, 3]), request);
      expect(buckets.exact).toBe(true);
      expect(buckets.x).toHaveLength(0);
    }
  });

  test('stand for everything at one x, when all points are there', () => {
    const points = seriesOf([1, 2, 3].map((value) => [7, value, value]));
    const buckets = byStep(points, { buckets: 2 });
    expect([buckets.counts[0], buckets.first[0], buckets.last[0], buckets.mean[0]]).toEqual([3, 1, 3, 2]);
  });

  test('divide an x that spans more than a float, and one that spans next to nothing', () => {
    const wide = Float64Array.of(-1.7e308, -1e308, 0, 1e308, 1.7e308);
    expect([...bucketsOf(curve([1, 2, 3, 4, 5]), wide, { buckets: 2 }).counts]).toEqual([2, 3]);
    const narrow = Float64Array.of(0, 5e-324, 1e-323, 1.5e-323);
    expect([...bucketsOf(curve([1, 2, 3, 4]), narrow, { buckets: 3 }).counts]).toEqual([1, 1, 2]);
  });

  test('do not lose a mean to the size of its values', () => {
    const mean = (values: number[]) => byStep(curve([...values, 0]), { buckets: 1, to: values.length - 1 }).mean[0];
    expect(mean([1e308, 1e308, 1e308])).toBe(1e308);
    expect(mean([Number.MAX_VALUE, Number.MAX_VALUE, -Number.MAX_VALUE, -Number.MAX_VALUE])).toBe(0);
    expect(mean([0.1, 0.1, 0.1])).toBe(0.1);
    expect(mean([1, Infinity, 3, NaN])).toBe(2);
    expect(summaryOf(curve([-1e308, -1.5e308, -0.5e308]))?.mean).toBeCloseTo(-1e308, -300);
  });

  test('of no number are refused', () => {
    for (const buckets of [0, -1, 1.5, NaN]) expect(() => byStep(curve([1]), { buckets })).toThrow(RuntideError);
  });
});

describe('a summary', () => {
  test('says of a series what one bucket over all of it says', () => {
    fc.assert(
      fc.property(
        anySeries.filter(({ steps }) => steps.length > 0),
        (points) => {
          const { steps, times, values } = points;
          const count = steps.length;
          const whole = byStep(points, { buckets: 1 });
          const stepOf = (value: number) => (Number.isNaN(value) ? null : steps[values.findIndex((v) => v === value)]);
          expect(summaryOf(points)).toEqual({
            count,
            firstStep: steps[0],
            lastStep: steps[count - 1],
            firstTime: times[0],
            lastTime: times[count - 1],
            last: values[count - 1],
            min: orNull(whole.min[0]!),
            max: orNull(whole.max[0]!),
            mean: orNull(whole.mean[0]!),
            nonFiniteCount: whole.nonFiniteCounts[0],
            minStep: stepOf(whole.min[0]!),
            maxStep: stepOf(whole.max[0]!),
          });
        },
      ),
      { numRuns: 500 },
    );
  });

  test('of no points is none', () => {
    expect(summaryOf(curve([]))).toBeNull();
  });

  test('names the first step of an extreme', () => {
    expect(summaryOf(curve([2, 1, 3, 1, 3, NaN]))).toMatchObject({ min: 1, minStep: 1, max: 3, maxStep: 2, mean: 2 });
    expect(summaryOf(curve([NaN, Infinity]))).toMatchObject({ min: null, max: null, mean: null, minStep: null });
  });
});
