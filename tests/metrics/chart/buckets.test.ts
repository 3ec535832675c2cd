import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { exactly, summaryOf } from '../../../src/metrics/chart/buckets.ts';
import { entryOf } from '../../../src/metrics/chart/rollup.ts';
import type { Points } from '../../../src/metrics/columns.ts';
import { anyStep, anyValue } from '../points.ts';

function seriesOf(rows: readonly (readonly [number, number, number])[]): Points {
  return {
    steps: Float64Array.from(rows, ([step]) => step),
    times: Float64Array.from(rows, ([, time]) => time),
    values: Float64Array.from(rows, ([, , value]) => value),
    metadata: null,
  };
}

const anySeries: fc.Arbitrary<Points> = fc
  .array(fc.tuple(anyStep, anyStep, anyValue), { maxLength: 60 })
  .map((rows) => seriesOf(rows.toSorted(([a], [b]) => a - b)));

function curve(values: readonly number[]): Points {
  return seriesOf(values.map((value, i) => [i, 1000 * i, value]));
}

describe('a bucket for each point', () => {
  test('says of it what it is', () => {
    const points = curve([1, NaN, -Infinity, 4]);
    const buckets = exactly(points, points.times);
    expect(buckets.exact).toBe(true);
    expect([...buckets.x]).toEqual([0, 1000, 2000, 3000]);
    expect(buckets.steps).toEqual(points.steps);
    expect(buckets.times).toEqual(points.times);
    expect([buckets.first, buckets.last]).toEqual([points.values, points.values]);
    for (const column of [buckets.min, buckets.max, buckets.mean]) expect([...column]).toEqual([1, NaN, NaN, 4]);
    expect([...buckets.counts]).toEqual([1, 1, 1, 1]);
    expect([...buckets.nonFiniteCounts]).toEqual([0, 1, 1, 0]);
  });

  test('has columns of one length, none of no points', () => {
    fc.assert(
      fc.property(anySeries, (points) => {
        const columns = Object.values(exactly(points, points.steps)).filter((one) => one instanceof Float64Array);
        expect(columns).toHaveLength(10);
        expect(columns.every(({ length }) => length === points.steps.length)).toBe(true);
      }),
    );
  });
});

describe('a summary', () => {
  test('is of all points', () => {
    fc.assert(
      fc.property(
        anySeries.filter(({ steps }) => steps.length > 0),
        (points) => {
          const { steps, times, values } = points;
          const count = steps.length;
          const finite = [...values].filter((value) => Number.isFinite(value));
          const stepOf = (value: number | null) =>
            value === null ? null : steps[values.findIndex((v) => v === value)];
          const min = finite.length === 0 ? null : Math.min(...finite);
          const max = finite.length === 0 ? null : Math.max(...finite);
          const { mean, ...rest } = summaryOf(entryOf(points));
          expect(rest).toMatchObject({
            count,
            firstStep: steps[0],
            lastStep: steps[count - 1],
            firstTime: times[0],
            lastTime: times[count - 1],
            last: values[count - 1],
            nonFiniteCount: count - finite.length,
            minStep: stepOf(min),
            maxStep: stepOf(max),
          });
          // −0 is as small as 0.
          const plain = (value: number | null) => (value === null ? null : value + 0);
          expect([rest.min, rest.max].map(plain)).toEqual([min, max].map(plain));
          expect(mean === null).toBe(finite.length === 0);
          expect(mean === null || (mean >= min! && mean <= max!)).toBe(true);
        },
      ),
      { numRuns: 500 },
    );
  });

  test('names the first step of an extreme', () => {
    const summary = (values: number[]) => summaryOf(entryOf(curve(values)));
    expect(summary([2, 1, 3, 1, 3, NaN])).toMatchObject({ min: 1, minStep: 1, max: 3, maxStep: 2, mean: 2 });
    expect(summary([NaN, Infinity])).toMatchObject({ min: null, max: null, mean: null, minStep: null });
    expect(summary([-1e308, -1.5e308, -0.5e308]).mean).toBeCloseTo(-1e308, -300);
  });
});
