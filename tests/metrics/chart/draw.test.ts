import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RuntideError } from '../../../src/errors.ts';
import type { Buckets } from '../../../src/metrics/chart/buckets.ts';
import { cellOf, cellsOfEntries, cellsOfPoints, chooseShift } from '../../../src/metrics/chart/cells.ts';
import { type Drawn, drawSteps, reduceSteps, type StepScale } from '../../../src/metrics/chart/draw.ts';
import { newEntries } from '../../../src/metrics/chart/rollup.ts';
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

/** Steps that span a few cells of the finest level, as many as there are, and single ones, with repeats. */
const anySeries: fc.Arbitrary<Points> = fc
  .tuple(fc.constantFrom(50, 2_000, 200_000, 2 ** 40, Number.MAX_SAFE_INTEGER), fc.integer({ min: 1, max: 120 }))
  .chain(([most, length]) =>
    fc.array(fc.tuple(fc.oneof(fc.integer({ min: -most, max: most }), anyStep), anyStep, anyValue), {
      minLength: 1,
      maxLength: length,
    }),
  )
  .map((rows) => seriesOf(rows.toSorted(([a], [b]) => a - b)));

const anyBuckets = fc.oneof(fc.integer({ min: 1, max: 10 }), fc.integer({ min: 1, max: 2000 }));

/** Within the points, as a reader clips its range: the whole, or some of it. */
function scaleOf({ steps }: Points, buckets: number): StepScale {
  const low = steps[0]!;
  const high = steps.at(-1)!;
  return { low, high, buckets, shift: chooseShift(low, high, buckets) };
}

function part(points: Points, start: number, end: number): Points {
  const column = (whole: Float64Array) => whole.subarray(start, end);
  const { steps, times, values } = points;
  return { steps: column(steps), times: column(times), values: column(values), metadata: null };
}

/** The series cut anywhere, each piece as points, as what they reduce to, as entries of cells or of finer cells. */
function mix(points: Points, cuts: readonly { length: number; as: number }[], scale: StepScale): Drawn[] {
  const parts: Drawn[] = [];
  const { length } = points.steps;
  let start = 0;
  for (const one of [...cuts, { length, as: 0 }]) {
    const end = Math.min(length, start + one.length);
    const some = part(points, start, end);
    start = end;
    if (one.as === 0) parts.push({ points: some });
    else if (some.steps.length === 0) parts.push({ entries: newEntries(0) });
    else if (one.as === 1 || scale.shift === 0) parts.push({ entries: reduceSteps(some, scale) });
    else if (one.as === 2) parts.push({ entries: cellsOfPoints(some, scale.shift) });
    else if (one.as === 3) parts.push({ entries: cellsOfPoints(some, Math.max(6, scale.shift - 3)) });
    else parts.push({ entries: cellsOfEntries(cellsOfPoints(some, 6), scale.shift) });
  }
  return parts;
}

const anyMix = fc.array(fc.record({ length: fc.nat(40), as: fc.integer({ min: 0, max: 4 }) }), { maxLength: 8 });

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

/** Every point asked for the bucket of its cell by itself, every bucket for its points. */
function naive({ steps, times, values }: Points, { low, high, buckets, shift }: StepScale) {
  const grouped = Map.groupBy(steps.keys(), (at) => {
    const place = shift === 0 ? steps[at]! : Math.max(low, cellOf(steps[at]!, shift) * 2 ** shift);
    return high === low ? 0 : Math.min(buckets - 1, Math.floor(((place - low) / (high - low)) * buckets));
  });
  return [...grouped.values()].map((members) => {
    const last = members.at(-1)!;
    const all = members.map((at) => values[at]!);
    const finite = all.filter((value) => Number.isFinite(value));
    return {
      x: steps[last]! + 0,
      step: steps[last]! + 0,
      time: times[last]! + 0,
      first: all[0],
      last: values[last],
      min: finite.length === 0 ? NaN : Math.min(...finite) + 0,
      max: finite.length === 0 ? NaN : Math.max(...finite) + 0,
      count: all.length,
      nonFiniteCount: all.length - finite.length,
    };
  });
}

function curve(length: number): Points {
  return seriesOf(Array.from({ length }, (_, i) => [i, 1_700_000_000_000 + 100 * i, Math.sin(i / 100)]));
}

const sum = (column: Float64Array) => column.reduce((total, entry) => total + entry, 0);
const finiteOf = (column: Float64Array) => column.filter((value) => Number.isFinite(value));

describe('a mixture of points and entries', () => {
  test('is drawn as a naive model draws the points, the same each time', () => {
    fc.assert(
      fc.property(anySeries, anyMix, anyBuckets, (points, cuts, buckets) => {
        const scale = scaleOf(points, buckets);
        const parts = mix(points, cuts, scale);
        const answer = drawSteps(parts, scale);
        expect(rowsOf(answer)).toEqual(naive(points, scale));
        expect(drawSteps(parts, scale)).toEqual(answer);
      }),
      { numRuns: 2000 },
    );
  });

  test('counts every point once, keeps both extremes and ends with the last point, in at most so many buckets', () => {
    fc.assert(
      fc.property(anySeries, anyMix, anyBuckets, (points, cuts, buckets) => {
        const { steps, times, values } = points;
        const scale = scaleOf(points, buckets);
        const answer = drawSteps(mix(points, cuts, scale), scale);
        expect(answer.exact).toBe(false);
        expect(answer.x.length).toBeLessThanOrEqual(buckets);
        const columns = Object.values(answer).filter((one) => one instanceof Float64Array);
        expect(columns.every(({ length }) => length === answer.x.length)).toBe(true);
        expect(answer.x.every((x, i) => i === 0 || x > answer.x[i - 1]!)).toBe(true);
        expect(sum(answer.counts)).toBe(steps.length);
        expect(sum(answer.nonFiniteCounts)).toBe(steps.length - finiteOf(values).length);
        expect(Math.min(...finiteOf(answer.min)) + 0).toBe(Math.min(...finiteOf(values)) + 0);
        expect(Math.max(...finiteOf(answer.max)) + 0).toBe(Math.max(...finiteOf(values)) + 0);
        answer.mean.forEach((mean, i) => {
          expect(Number.isNaN(mean)).toBe(answer.counts[i] === answer.nonFiniteCounts[i]);
          expect(mean < answer.min[i]! || mean > answer.max[i]!).toBe(false);
        });
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

  test('has the same mean from every level', () => {
    const points = curve(100_000);
    const scale = { low: 0, high: 99_999, buckets: 1, shift: 15 };
    const exact = drawSteps([{ points }], scale);
    for (const shift of [6, 9, 12, 15]) {
      const { mean } = drawSteps([{ entries: cellsOfPoints(points, shift) }], scale);
      mean.forEach((one, i) => expect(Math.abs(one - exact.mean[i]!)).toBeLessThanOrEqual(1e-12));
    }
  });

  test('shows a spike of one step in a million points, whatever it is drawn from', () => {
    const points = curve(1_000_000);
    points.values[654_321] = 1000;
    points.values[123_456] = NaN;
    const scale = scaleOf(points, 500);
    expect(scale.shift).toBe(9);
    const mixed = [
      { points: part(points, 0, 512) },
      { entries: cellsOfPoints(part(points, 512, 5_120), 6) },
      { entries: cellsOfPoints(part(points, 5_120, 999_424), 9) },
      { points: part(points, 999_424, 1_000_000) },
    ];
    for (const parts of [[{ points }], [{ entries: cellsOfPoints(points, 6) }], mixed]) {
      const answer = drawSteps(parts, scale);
      const spikeAt = answer.max.indexOf(1000);
      expect(spikeAt).toBeGreaterThan(0);
      expect(answer.x[spikeAt]).toBeGreaterThanOrEqual(654_321);
      expect(answer.x[spikeAt - 1]).toBeLessThan(654_321);
      // Two thousand steps a bucket, and a cell that reaches over its edge.
      expect(answer.x[spikeAt]! - answer.x[spikeAt - 1]!).toBeLessThan(2_000 + 512 + 1);
      expect([sum(answer.counts), sum(answer.nonFiniteCounts)]).toEqual([1_000_000, 1]);
      expect(answer.steps.at(-1)).toBe(999_999);
    }
  });

  test('of one step thousands of times, as repeats that are kept have, is one bucket', () => {
    const points = { ...curve(9000), steps: new Float64Array(9000).fill(7) };
    const scale = { low: 7, high: 7, buckets: 500, shift: 0 };
    const parts = [{ points: part(points, 0, 4096) }, { entries: reduceSteps(part(points, 4096, 9000), scale) }];
    const answer = drawSteps(parts, scale);
    expect([...answer.counts]).toEqual([9000]);
    expect([answer.x[0], answer.first[0], answer.last[0]]).toEqual([7, points.values[0], points.values.at(-1)]);
  });

  test('leaves out buckets without a point', () => {
    const points = seriesOf([0, 1, 2, 90, 91, 100].map((step) => [step, step, step]));
    const answer = drawSteps([{ points }], { low: 0, high: 100, buckets: 5, shift: 0 });
    expect([...answer.counts]).toEqual([3, 3]);
    expect([...answer.steps]).toEqual([2, 100]);
    expect([...answer.mean]).toEqual([1, (90 + 91 + 100) / 3]);
  });

  test('does not lose a mean to the size of its values', () => {
    const mean = (values: number[]) => {
      const points = seriesOf(values.map((value, step) => [step, step, value]));
      return drawSteps([{ points }], { low: 0, high: values.length, buckets: 1, shift: 0 }).mean[0];
    };
    expect(mean([1e308, 1e308, 1e308])).toBe(1e308);
    expect(mean([Number.MAX_VALUE, Number.MAX_VALUE, -Number.MAX_VALUE, -Number.MAX_VALUE])).toBe(0);
    expect(mean([0.1, 0.1, 0.1])).toBe(0.1);
    expect(mean([1, Infinity, 3, NaN])).toBe(2);
    expect(mean([NaN, Infinity])).toBeNaN();
  });

  test('of no parts, or of empty ones, is none', () => {
    const scale = { low: 0, high: 2, buckets: 5, shift: 0 };
    expect(drawSteps([], scale).x).toHaveLength(0);
    expect(drawSteps([{ points: part(curve(3), 0, 0) }, { entries: newEntries(0) }], scale).x).toHaveLength(0);
  });

  test('that is out of order, or into no number of buckets, is refused', () => {
    const points = curve(1000);
    const scale = { low: 0, high: 999, buckets: 10, shift: 6 };
    const [head, tail] = [part(points, 0, 512), part(points, 512, 1000)];
    expect(() => drawSteps([{ points: tail }, { points: head }], scale)).toThrow(RangeError);
    expect(() => drawSteps([{ entries: cellsOfPoints(tail, 6) }, { points: head }], scale)).toThrow(RangeError);
    for (const buckets of [0, -1, 1.5, NaN])
      expect(() => drawSteps([{ points }], { ...scale, buckets })).toThrow(RuntideError);
  });
});
