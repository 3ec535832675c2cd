// Cells: the steps cut at the multiples of a power of two, the same for all metrics and attempts. Rollups are entries
// of cells, so that what a chart snaps to is said by the points alone, never by when and how they were stored, and a
// cell that two places have a part of is the entry of both parts. Pure.
import type { Points } from '../columns.ts';
import { type Entries, entriesBetween, mergeBetween } from './rollup.ts';

/** Cells of 2^6 = 64 steps are the finest; each level has eight of the one before. */
export const FINEST_SHIFT = 6;
export const SHIFT_STRIDE = 3;
/** No step is beyond ±2^53: one cell holds either half of them. */
export const COARSEST_SHIFT = 54;
/** A page of rollups covers this many cells, from a multiple of it on: a page of one level is 8 pages of the one below. */
export const PAGE_CELLS_SHIFT = 9;

/** The number of the cell of 2^shift steps that `step` is in. Exact: dividing by a power of two never rounds here. */
export function cellOf(step: number, shift: number): number {
  return Math.floor(step / 2 ** shift);
}

/** The number of the page of that level that `step` is on. */
export function pageOf(step: number, shift: number): number {
  return Math.floor(step / 2 ** (shift + PAGE_CELLS_SHIFT));
}

/**
 * The level whose cells a chart of so many buckets over these steps (inclusive) snaps to: the coarsest that has two cells
 * a bucket at least, or 0 where that would be finer than the finest: then points are drawn as they are.
 */
export function chooseShift(firstStep: number, lastStep: number, buckets: number): number {
  const enough = (lastStep - firstStep) / (2 * buckets);
  if (!(enough >= 2 ** FINEST_SHIFT)) return 0;
  let shift = FINEST_SHIFT;
  while (shift + SHIFT_STRIDE <= COARSEST_SHIFT && 2 ** (shift + SHIFT_STRIDE) <= enough) shift += SHIFT_STRIDE;
  return shift;
}

/** One entry a cell that has a point; points are in the metric's order, and so steps ascend. */
export function cellsOfPoints(points: Points, shift: number): Entries {
  return entriesBetween(points, boundaries(points.steps, shift));
}

/** Entries of finer or the same cells, in their order, as one entry a cell: parts of one cell become one. */
export function cellsOfEntries(entries: Entries, shift: number): Entries {
  return mergeBetween(entries, boundaries(entries.firstSteps, shift));
}

/** Where each cell begins in an ascending column, and at the end its length. */
function boundaries(steps: Float64Array, shift: number): number[] {
  const starts: number[] = [];
  const size = 2 ** shift;
  let end = -Infinity;
  for (let at = 0; at < steps.length; at++) {
    if (steps[at]! < end) continue;
    starts.push(at);
    end = (Math.floor(steps[at]! / size) + 1) * size;
  }
  starts.push(steps.length);
  return starts;
}
