import { expect, it } from 'vitest';
import type { Repeats } from './columns.ts';
import { cutAt, decodeValues, emptyColumns, lowerBound, mergeColumns, nearest, putPoint, rangeAt } from './columns.ts';

function columnsOf(points: [number, number][]) {
  const columns = emptyColumns();
  for (const [step, value] of points) putPoint(columns, step, 1000 + step, value, 'REPLACE');
  return columns;
}

it('keeps points in step order whatever order they come in, the later value of a step winning', () => {
  const columns = columnsOf([
    [5, 1],
    [1, 2],
    [9, 3],
    [-4, 4],
    [5, 5],
    [7, 6],
  ]);
  expect(columns.steps).toEqual([-4, 1, 5, 7, 9]);
  expect(columns.values).toEqual([4, 2, 5, 6, 3]);
  expect(columns.times).toEqual([996, 1001, 1005, 1007, 1009]);
});

it('is the same as a sorted map of steps, for many shuffled points', () => {
  let seed = 7;
  const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
  const points = Array.from({ length: 2000 }, (_, i): [number, number] => [Math.floor(random() * 500), i]);
  const expected = [...new Map(points)].toSorted((a, b) => a[0] - b[0]);
  const half = mergeColumns(columnsOf(points.slice(0, 900)), columnsOf(points.slice(900)), 'REPLACE');
  for (const columns of [columnsOf(points), half]) {
    expect(columns.steps).toEqual(expected.map(([step]) => step));
    expect(columns.values).toEqual(expected.map(([, value]) => value));
  }
});

it('keeps what is not finite and counts it', () => {
  const columns = columnsOf([
    [1, NaN],
    [2, 1],
    [3, -Infinity],
  ]);
  expect(columns.values).toEqual([NaN, 1, -Infinity]);
  expect(columns.bad).toEqual([1, 0, 1]);
  putPoint(columns, 1, 0, 4, 'REPLACE');
  expect(columns.bad).toEqual([0, 0, 1]);
  expect(decodeValues([1, 'NaN', 'Infinity', '-Infinity', null])).toEqual([1, NaN, Infinity, -Infinity, NaN]);
});

it('finds bounds, cuts and neighbours, also in nothing', () => {
  const columns = columnsOf([
    [10, 1],
    [20, 2],
    [40, 3],
  ]);
  expect([5, 10, 11, 40, 41].map((step) => lowerBound(columns.steps, step))).toEqual([0, 0, 1, 2, 3]);
  expect(cutAt(columns, 20).steps).toEqual([10]);
  expect([-9, 14, 15, 16, 31, 99].map((step) => nearest(columns, step))).toEqual([0, 0, 0, 1, 2, 2]);
  expect(nearest(emptyColumns(), 3)).toBe(-1);
  expect(mergeColumns(emptyColumns(), columns, 'REPLACE').steps).toEqual([10, 20, 40]);
  expect(mergeColumns(columns, emptyColumns(), 'REPLACE').steps).toEqual([10, 20, 40]);
});

function keptOf(points: [step: number, time: number, value: number][], repeats: Repeats = 'KEEP') {
  const columns = emptyColumns();
  for (const [step, time, value] of points) putPoint(columns, step, time, value, repeats);
  return columns;
}
const pointsOf = ({ steps, times, values }: ReturnType<typeof emptyColumns>) =>
  steps.map((step, i) => [step, times[i], values[i]]);

it('keeps every value of a step in order of time, and a point that comes again once', () => {
  const columns = keptOf([
    [2, 30, 5],
    [1, 10, 1],
    [2, 20, 7],
    [2, 30, 6],
    [2, 30, NaN],
    [2, 30, 5],
    [2, 30, NaN],
    [3, 5, 0],
    [3, 5, -0],
  ]);
  // Written again, a point counts as written last.
  expect(pointsOf(columns)).toEqual([
    [1, 10, 1],
    [2, 20, 7],
    [2, 30, 6],
    [2, 30, 5],
    [2, 30, NaN],
    [3, 5, 0],
    [3, 5, -0],
  ]);
  expect(columns.bad).toEqual([0, 0, 0, 0, 1, 0, 0]);
});

it('merges kept points as if they had been written one after another', () => {
  let seed = 11;
  const random = (below: number) => ((seed = (seed * 48271) % 2147483647) % 1000) % below;
  const points = Array.from({ length: 600 }, (): [number, number, number] => [random(40), random(5), random(3)]);
  const whole = keptOf(points);
  expect(whole.steps.length).toBe(new Set(points.map(String)).size);
  expect(whole.steps).toEqual(whole.steps.toSorted((a, b) => a - b));
  const merged = mergeColumns(keptOf(points.slice(0, 350)), keptOf(points.slice(350)), 'KEEP');
  expect(pointsOf(merged)).toEqual(pointsOf(whole));
});

it('reads at a step its last point, and the range of all behind it', () => {
  const columns = keptOf([
    [1, 0, 4],
    [5, 1, 9],
    [5, 2, -3],
    [5, 3, NaN],
    [5, 4, 2],
  ]);
  expect([0, 3, 4, 5, 9].map((step) => nearest(columns, step))).toEqual([0, 0, 4, 4, 4]);
  expect(rangeAt(columns, 4)).toEqual([-3, 9]);
  expect(rangeAt(columns, 0)).toEqual([4, 4]);
  expect(rangeAt(emptyColumns(), -1)).toBe(null);
});
