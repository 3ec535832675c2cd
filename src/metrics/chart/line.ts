// Which points count: batches of one metric merged into a series per attempt, and attempts into the run's line. Pure;
// it takes batches by sequence and refuses another order. What was merged before (folded) is one more batch in front:
// merging it with the rest gives what merging everything at once would.

import type { Metadata, MetricColumns, Points, Repeats } from '../columns.ts';

export interface Batch {
  sequence: number;
  attempt: number;
  /** Of one and the same metric in all batches; a batch that names it twice stands here twice, in its order. */
  columns: MetricColumns;
}

/** The points of one metric in one attempt, each key once, in the metric's order: step; kept: step, time, as written. */
export interface Series extends Points {
  attempt: number;
  repeats: Repeats;
}

/**
 * Series in ascending order of attempts. A step, or where repeats are kept a (step, time, value), that was written
 * twice counts as it was written last: by sequence, then position. Values are the same when no bit differs, NaN aside
 * (every NaN is one): 0 and −0 are two. How the metric repeats is said by the first batch that names it, which is
 * `batches[0]` unless the caller knows better (batches before these are gone).
 */
export function mergeBatches(batches: readonly Batch[], repeats?: Repeats): Series[] {
  const mode = repeats ?? batches[0]?.columns.repeats ?? 'REPLACE';
  const attempts = new Map<number, Points[]>();
  let previous = -Infinity;
  for (const { sequence, attempt, columns } of batches) {
    if (sequence < previous) throw new RangeError(`batch ${sequence} comes after ${previous}`);
    previous = sequence;
    const parts = attempts.get(attempt);
    if (parts === undefined) attempts.set(attempt, [columns]);
    else parts.push(columns);
  }
  return [...attempts]
    .toSorted(([a], [b]) => a - b)
    .map(([attempt, parts]) => ({ attempt, repeats: mode, ...settle(concatenate(parts), mode) }));
}

/** Each attempt up to, not including, the smallest step that any later attempt has; in the metric's order. */
export function lineOf(series: readonly Series[]): Points {
  const parts: Points[] = [];
  let cut = Infinity;
  for (const attempt of series.toSorted((a, b) => b.attempt - a.attempt)) {
    if (attempt.steps.length === 0) continue;
    parts.unshift(slice(attempt, 0, countBelow(attempt.steps, cut)));
    cut = Math.min(cut, attempt.steps[0]!);
  }
  return concatenate(parts);
}

/** The same points by time, then step; points of one time and step stay in their order. */
export function byTime(points: Points): Points {
  const { steps, times } = points;
  if (isOrdered(times, steps, false)) return points;
  return pick(points, sortedIndices(times, steps));
}

/** Points from index `start` up to, not including, `end`. No copy: columns are views. */
export function slice(points: Points, start: number, end: number): Points {
  if (start === 0 && end === points.steps.length) return points;
  return {
    steps: points.steps.subarray(start, end),
    times: points.times.subarray(start, end),
    values: points.values.subarray(start, end),
    metadata: withoutNulls(points.metadata?.slice(start, end) ?? null),
  };
}

/** How many entries of an ascending column are less than `x`: the index of the first that is not. */
export function countBelow(ascending: Float64Array, x: number): number {
  let low = 0;
  let high = ascending.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ascending[middle]! < x) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** `points` as written to what counts of them. */
function settle(points: Points, repeats: Repeats): Points {
  const { steps, times } = points;
  // Training logs in order: then everything counts, and there is nothing to sort or to drop.
  if (isOrdered(steps, repeats === 'KEEP' ? times : null, true)) return points;
  const order = sortedIndices(steps, repeats === 'KEEP' ? times : null);
  return pick(points, repeats === 'KEEP' ? dropRepeats(points, order) : dropReplaced(steps, order));
}

function dropReplaced(steps: Float64Array, order: readonly number[]): number[] {
  return order.filter((index, i) => i === order.length - 1 || steps[index] !== steps[order[i + 1]!]);
}

function dropRepeats({ steps, times, values }: Points, order: readonly number[]): number[] {
  const kept: number[] = [];
  const seen = new Set<number | string>();
  // Backwards, so that of equal points the last is met first.
  for (let i = order.length - 1; i >= 0; i--) {
    const index = order[i]!;
    const after = order[i + 1];
    if (after === undefined || steps[index] !== steps[after] || times[index] !== times[after]) seen.clear();
    // A set takes every NaN for one, as it should, but also 0 and −0.
    const key = Object.is(values[index], -0) ? '-0' : values[index]!;
    if (seen.has(key)) continue;
    seen.add(key);
    kept.push(index);
  }
  return kept.toReversed();
}

/** By `first`, then `second` if there is one: ascending, or strictly, so that no two are equal. */
function isOrdered(first: Float64Array, second: Float64Array | null, strictly: boolean): boolean {
  for (let i = 1; i < first.length; i++) {
    if (first[i]! > first[i - 1]!) continue;
    if (first[i]! < first[i - 1]!) return false;
    const difference = second === null ? 0 : second[i]! - second[i - 1]!;
    if (difference < 0 || (strictly && difference === 0)) return false;
  }
  return true;
}

/** A plain array, because its sort uses the order that is there already; a typed array's does not. */
export function sortedIndices(first: Float64Array, second: Float64Array | null): number[] {
  return Array.from(first.keys()).toSorted(
    (a, b) => first[a]! - first[b]! || (second === null ? 0 : second[a]! - second[b]!) || a - b,
  );
}

export function pick(points: Points, indices: readonly number[]): Points {
  const from = (column: Float64Array) => Float64Array.from(indices, (index) => column[index]!);
  const { metadata } = points;
  return {
    steps: from(points.steps),
    times: from(points.times),
    values: from(points.values),
    metadata: metadata === null ? null : withoutNulls(indices.map((index) => metadata[index]!)),
  };
}

export function concatenate(parts: readonly Points[]): Points {
  const [only] = parts;
  if (parts.length === 1 && only !== undefined) {
    const { steps, times, values, metadata } = only;
    return { steps, times, values, metadata: withoutNulls(metadata) };
  }
  return {
    steps: join(parts.map((part) => part.steps)),
    times: join(parts.map((part) => part.times)),
    values: join(parts.map((part) => part.values)),
    metadata: parts.every((part) => part.metadata === null)
      ? null
      : withoutNulls(parts.flatMap((part) => part.metadata ?? Array.from(part.steps, () => null))),
  };
}

function join(columns: readonly Float64Array[]): Float64Array {
  const joined = new Float64Array(columns.reduce((length, column) => length + column.length, 0));
  let at = 0;
  for (const column of columns) {
    joined.set(column, at);
    at += column.length;
  }
  return joined;
}

/** Replacing and cutting can take the last object away: then there is no metadata at all. */
function withoutNulls(metadata: (Metadata | null)[] | null): (Metadata | null)[] | null {
  return metadata === null || metadata.every((entry) => entry === null) ? null : metadata;
}
