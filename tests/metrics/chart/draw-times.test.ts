import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { newTimeDrawing } from '../../../src/metrics/chart/draw-times.ts';
import { bucketOf } from '../../../src/metrics/chart/draw.ts';
import { byTime } from '../../../src/metrics/chart/line.ts';
import { entryOf } from '../../../src/metrics/chart/rollup.ts';
import type { Points } from '../../../src/metrics/columns.ts';
import { anyValue } from '../points.ts';

/** In the metric's order: steps ascend with repeats, times do as they like. */
const anySeries: fc.Arbitrary<Points> = fc
  .array(fc.tuple(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 60 }), anyValue), {
    minLength: 1,
    maxLength: 90,
  })
  .map((rows) => rows.toSorted(([a], [b]) => a - b))
  .map((rows) => ({
    steps: Float64Array.from(rows, ([step]) => step),
    times: Float64Array.from(rows, ([, time]) => time),
    values: Float64Array.from(rows, ([, , value]) => value),
    metadata: null,
  }));

function part({ steps, times, values }: Points, start: number, end: number): Points {
  const column = (whole: Float64Array) => whole.subarray(start, end);
  return { steps: column(steps), times: column(times), values: column(values), metadata: null };
}

test('points and entries in any order are the buckets of the points in the order of time', () => {
  fc.assert(
    fc.property(
      anySeries,
      fc.record({ low: fc.integer({ min: 0, max: 30 }), width: fc.nat(40), buckets: fc.integer({ min: 1, max: 12 }) }),
      fc.infiniteStream(fc.nat(1_000)),
      (points, { low, width, buckets }, chance) => {
        const scale = { low, high: low + width, buckets };
        const random = () => chance.next().value!;
        // Pieces of points that share no step with one another; those that lie in one bucket may come as an entry.
        const pieces: Points[] = [];
        const { steps, times } = points;
        for (let start = 0, end = 0; start < steps.length; start = end) {
          end = start + 1 + (random() % 6);
          while (end < steps.length && steps[end] === steps[end - 1]) end++;
          pieces.push(part(points, start, Math.min(end, steps.length)));
        }
        const drawing = newTimeDrawing(scale);
        for (const piece of pieces.toSorted(() => (random() % 2) - 0.5)) {
          const entry = entryOf(piece);
          const [from, to] = [entry.minTimes[0]!, entry.maxTimes[0]!];
          const isInside = from >= low && to <= scale.high && bucketOf(from, scale) === bucketOf(to, scale);
          if (isInside && entry.timesOrdered[0] === 1 && random() % 3 > 0) drawing.addEntry(entry, 0);
          else drawing.addPoints(piece);
        }
        const ordered = byTime(points);
        const inRange = Array.from(times.keys()).filter(
          (at) => ordered.times[at]! >= low && ordered.times[at]! <= scale.high,
        );
        const groups = [...Map.groupBy(inRange, (at) => bucketOf(ordered.times[at]!, scale)).values()];
        const answer = drawing.finish();
        expect(drawing.count).toBe(inRange.length);
        expect(answer.exact).toBe(false);
        const column = (of: (group: number[]) => number) => groups.map(of);
        const last = (group: number[]) => group.at(-1)!;
        const finite = (group: number[]) => group.map((at) => ordered.values[at]!).filter(Number.isFinite);
        expect([...answer.x]).toEqual(column((group) => ordered.times[last(group)]!));
        expect([...answer.times]).toEqual([...answer.x]);
        expect([...answer.steps]).toEqual(column((group) => ordered.steps[last(group)]!));
        expect([...answer.first]).toEqual(column((group) => ordered.values[group[0]!]!));
        expect([...answer.last]).toEqual(column((group) => ordered.values[last(group)]!));
        expect([...answer.counts]).toEqual(column((group) => group.length));
        expect([...answer.nonFiniteCounts]).toEqual(column((group) => group.length - finite(group).length));
        const orNaN = (value: number) => (Number.isFinite(value) ? value + 0 : NaN);
        expect(Array.from(answer.min, orNaN)).toEqual(column((group) => orNaN(Math.min(...finite(group)))));
        expect(Array.from(answer.max, orNaN)).toEqual(column((group) => orNaN(Math.max(...finite(group)))));
      },
    ),
    { numRuns: 1000 },
  );
});

test('an entry whose times are not ordered counts, and is never the first or the last', () => {
  const points = (times: number[], values: number[]): Points => ({
    steps: Float64Array.from(times.keys()),
    times: Float64Array.from(times),
    values: Float64Array.from(values),
    metadata: null,
  });
  const drawing = newTimeDrawing({ low: 0, high: 100, buckets: 1 });
  drawing.addEntry(entryOf(points([50, 40, 60, 45], [9, -9, 9, 9])), 0);
  drawing.addPoints(points([10, 90], [1, 2]));
  const { first, last, min, counts } = drawing.finish();
  expect([first[0], last[0], min[0], counts[0]]).toEqual([1, 2, -9, 6]);
});
