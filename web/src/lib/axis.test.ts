import { expect, it } from 'vitest';
import { inUnits, ticksBetween, unitOf, xRange, yRange } from './axis.ts';
import { emptyColumns, putPoint } from './columns.ts';

function lineOf(values: number[]) {
  const columns = emptyColumns();
  for (const [step, value] of values.entries()) putPoint(columns, step, step, value, 'REPLACE');
  return { tag: '', columns };
}

it('draws any doubles on an axis that has a length', () => {
  for (const values of [
    [1.7e308, -1.7e308],
    [Number.MAX_VALUE, 0],
    [Number.MAX_VALUE],
    [5e-324],
    [5e-324, -5e-324],
    [1e-320, 3e-320],
    [1e300, 1, NaN, Infinity],
    [1e16, 1e16 + 2],
    [0],
  ]) {
    const lines = [lineOf(values)];
    const unit = unitOf(lines);
    const drawn = inUnits(lines, unit)[0]!.columns.values.filter((value) => Number.isFinite(value));
    const [min, max] = yRange(Math.min(...drawn), Math.max(...drawn));
    expect(Number.isFinite(max - min) && max > min, `${values.join()}: ${min} to ${max}`).toBe(true);
    for (const value of drawn) expect((value - min) / (max - min)).toSatisfy((part: number) => part >= 0 && part <= 1);
  }
});

it('leaves ordinary values as they are', () => {
  const lines = [lineOf([0.1, -3, 1e20, NaN])];
  expect(unitOf(lines)).toBe(1);
  expect(inUnits(lines, 1)).toBe(lines);
  expect([unitOf([]), unitOf([lineOf([0, NaN])])]).toEqual([1, 1]);
});

it('steps from tick to tick, also where adding an increment changes nothing', () => {
  expect(ticksBetween(-0.1, 0.32, 0.1)).toEqual([-0.1, 0, 0.1, 0.2, 0.3]);
  expect(ticksBetween(1e16, 1e16 + 4, 2)).toEqual([1e16, 1e16 + 2, 1e16 + 4]);
  expect(ticksBetween(1e16, 1e16 + 2, 1)).toEqual([1e16, 1e16 + 2]);
  const { MAX_SAFE_INTEGER: last } = Number;
  expect(ticksBetween(...xRange(last, last), 1)).toEqual([last - 1, last, last + 1]);
  expect([ticksBetween(0, 1, 0), ticksBetween(0, 1, NaN), ticksBetween(0, 1e9, 1).length]).toEqual([[], [], 100]);
});

it('puts the ends of the axis just outside the steps, and ticks still on them', () => {
  const [min, max] = xRange(1, 3);
  expect([min < 1, max > 3, max - min < 2.0001]).toEqual([true, true, true]);
  expect(ticksBetween(min, max, 1)).toEqual([1, 2, 3]);
  expect([xRange(5, 5), xRange(null, null)]).toEqual([
    [4, 6],
    [0, 1],
  ]);
});
